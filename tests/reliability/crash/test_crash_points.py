"""A process is killed at each statement and each commit of each operation of a store.

What is left fulfils the invariants, is the state before the operation or after it, and a fresh process
finishes all flows as if nothing had happened.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.crash.operations import SHARES, Share
from tests.support.databases import DATABASES, quick_url
from tests.support.trials import Trial

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.reliability(sample=4, of_each="database")
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("share", SHARES, ids=str)
def test_a_kill_at_any_point_loses_nothing(
    share: Share, database: str, trial: Trial, figure: Callable[..., None]
) -> None:
    with quick_url(database) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.reliability.crash.kill_at_points", url, *share.arguments(trial)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)["points"]
    assert points >= 3  # a transaction that writes has a statement, and dies before and after its COMMIT
    figure("Crash points", row=share.operation, column=database, value=points)
