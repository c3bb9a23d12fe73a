"""A process is killed at each statement and each commit of each operation of a store.

What is left fulfils the invariants, is the state before the operation or after it, and a fresh process
finishes all flows as if nothing had happened.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash.operations import OPERATIONS
from tests.databases import DATABASES, fresh_url

ROOT = Path(__file__).resolve().parents[2]
MEMORY = Path("/dev/shm")


@contextmanager
def quick_url(database: str) -> Iterator[str]:
    """Yield the URL of an empty store that need not survive the machine, only its processes."""
    if database == "sqlite" and MEMORY.is_dir():
        with TemporaryDirectory(prefix="mc_test_", dir=MEMORY) as folder:
            yield f"sqlite:///{folder}/flows.sqlite3"
    else:
        with fresh_url(database) as url:
            yield url.replace("search_path", "synchronous_commit=off -c search_path")


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_point_loses_nothing(
    operation: str, database: str, figure: Callable[..., None]
) -> None:
    with quick_url(database) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.kill_at_points", url, operation],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)["points"]
    assert points >= 3  # a transaction that writes has a statement, and dies before and after its COMMIT
    figure("Crash points", row=operation, column=database, value=points)
