"""Costs of starting: importing the package, asking for help, a tick with nothing to do.

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


# What a process that is started here reports of itself: Linux would count this large process's memory too.
TELL_PEAK = """
import atexit, runpy, sys
def tell():
    status = open("/proc/self/status").read()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(tell)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def shortest(*arguments: str) -> float:
    """Return the shortest wall time in milliseconds of several runs of Python."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment(), check=True)
        times.append((time.perf_counter() - began) * 1e3)
    return min(times)


def peak_mib(code: str) -> float:
    """Return the most memory that a process running this code held, in MiB."""
    process = subprocess.run(
        [sys.executable, "-c", TELL_PEAK + code],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    return int(process.stderr.split()[-1]) / 1024


@pytest.fixture(scope="module")
def bare() -> float:
    """Milliseconds of an interpreter that does nothing."""
    return shortest("-c", "pass")


def test_importing_the_package_costs_little(bare: float, table: Any) -> None:
    cost = shortest("-c", "import mc") - bare
    click = shortest("-c", "import click") - bare
    table.add("import mc, ms over a bare interpreter", f"{cost:.1f}", "30", beside=f"{bare:.1f} ms bare")
    assert cost <= max(click, 1.0)


def test_help_costs_little_more_than_importing_click(bare: float, table: Any) -> None:
    cost = shortest("-m", "mc", "--help")
    click = shortest("-c", "import click")
    table.add("houston --help, ms", f"{cost:.1f}", "100", beside=f"{click:.1f} ms import click")
    assert cost <= 2.0 * click


def test_a_tick_with_nothing_to_do_costs_little_more_than_importing_sqlalchemy(
    bare: float, table: Any, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'idle.sqlite3'}"
    shortest("-m", "mc", "tick", "--db", url)
    cost = shortest("-m", "mc", "tick", "--db", url)
    needed = shortest("-c", "import click, sqlite3, sqlalchemy")
    peak = peak_mib(
        f"sys.argv = ['houston', 'tick', '--db', {url!r}]; runpy.run_module('mc', run_name='__main__')"
    )
    needed_peak = peak_mib("import click, sqlite3, sqlalchemy")
    table.add(
        "idle houston tick, ms", f"{cost:.0f}", "300", beside=f"{needed:.0f} ms import sqlalchemy, click"
    )
    table.add("idle houston tick, MiB", f"{peak:.1f}", "45", beside=f"{needed_peak:.1f} MiB the same imports")
    assert cost <= 1.8 * needed
    assert peak <= 1.35 * needed_peak
