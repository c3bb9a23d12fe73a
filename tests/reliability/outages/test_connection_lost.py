"""The server ends a runner's connection at each statement and each commit of each operation of a store.

The operation is done, or it is told that the database went away; a fresh process finishes all flows as if
nothing had happened.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.crash.operations import SHARES, Share
from tests.support.databases import quick_url
from tests.support.trials import Trial

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.reliability(sample=3, of_each="database")
@pytest.mark.parametrize("database", ["postgres", "mariadb"])  # SQLite has no connection that could be lost
@pytest.mark.parametrize("share", SHARES, ids=str)
def test_a_lost_connection_loses_nothing(
    share: Share, database: str, trial: Trial, figure: Callable[..., None]
) -> None:
    with quick_url(database) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.reliability.outages.cut_connections", url, *share.arguments(trial)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["points"] >= 3
    row, unnoticed = share.operation, f"{database}, unnoticed"
    figure("Lost connections", row=row, column=database, value=found["points"])
    figure("Lost connections", row=row, column=unnoticed, value=found["unnoticed"], add=True)
