"""The server ends a driver's connection at each statement and each commit of each operation of a store.

The operation is done, or it is told that the database went away; a fresh process finishes all flows as if
nothing had happened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.operations import OPERATIONS
from tests.databases import quick_url

ROOT = Path(__file__).resolve().parents[2]
# Commands are a note that is written, and a tick: one of them stands for all, but where figures are wanted.
LIKE_CANCEL = {"pause", "resume", "skip", "set", "retry what failed inside", "retry what failed below"}
ALL = os.environ.get("MC_TEST_SCALE", "1") != "1" or os.environ.get("MC_WRITE_RELIABILITY") == "1"
CUT = [name for name in OPERATIONS if ALL or name not in LIKE_CANCEL]


@pytest.mark.parametrize("database", ["postgres", "mariadb"])  # SQLite has no connection that could be lost
@pytest.mark.parametrize("operation", CUT)
def test_a_lost_connection_loses_nothing(operation: str, database: str, figure: Callable[..., None]) -> None:
    with quick_url(database) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.outages.cut_connections", url, operation],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["points"] >= 3
    figure("Lost connections", row=operation, column=database, value=found["points"])
    figure("Lost connections", row=operation, column=f"{database}, unnoticed", value=found["unnoticed"])
