"""What starting costs: importing the package, asking for help, a tick with nothing to do.

Measured as whole processes with byte code compiled, and compared with processes that do no more than
start the interpreter or import what is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 9


def shortest(*arguments: str) -> tuple[float, float]:
    """Return the shortest wall time in milliseconds of several runs of Python, and the peak memory in MiB."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    times, peak = [], 0.0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        times.append((time.perf_counter() - began) * 1e3)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, arguments
        peak = max(peak, usage.ru_maxrss / 1024)
    return min(times), peak


@pytest.fixture(scope="module")
def bare() -> float:
    """Milliseconds of an interpreter that does nothing."""
    return shortest("-c", "pass")[0]


def test_importing_the_package_costs_little(bare: float, table: Any) -> None:
    cost = shortest("-c", "import mc")[0] - bare
    click = shortest("-c", "import click")[0] - bare
    table.add("import mc, ms over a bare interpreter", f"{cost:.1f}", "30", beside=f"{bare:.1f} ms bare")
    assert cost <= max(click, 1.0)


def test_help_costs_little_more_than_importing_click(bare: float, table: Any) -> None:
    cost, _ = shortest("-m", "mc", "--help")
    click, _ = shortest("-c", "import click")
    table.add("houston --help, ms", f"{cost:.1f}", "100", beside=f"{click:.1f} ms import click")
    assert cost <= 2.0 * click


def test_a_tick_with_nothing_to_do_costs_little_more_than_importing_sqlalchemy(
    bare: float, table: Any, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'idle.sqlite3'}"
    shortest("-m", "mc", "tick", "--db", url)
    cost, peak = shortest("-m", "mc", "tick", "--db", url)
    needed, needed_peak = shortest("-c", "import click, sqlite3, sqlalchemy")
    table.add("idle houston tick, ms", f"{cost:.0f}", "300", beside=f"{needed:.0f} ms import sqlalchemy, click")
    table.add("idle houston tick, MiB", f"{peak:.1f}", "45", beside=f"{needed_peak:.1f} MiB the same imports")
    assert cost <= 1.8 * needed
    assert peak <= 1.35 * needed_peak
