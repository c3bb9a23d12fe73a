"""Instructions that the hot paths take, counted by valgrind: figures that noise does not move.

The counts are kept in `instruction_counts.json`, by the versions of Python, its libraries and the platform on
which somebody counted. Whoever makes a path dearer writes the new counts, so that it is seen in review.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.benchmarks.counted_work import COUNTED

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("instruction_counts.json")
IDLE_TICK = "an idle houston tick, from its start to its end"
MOST_CHANGE = 0.05
# Names in the environment, which come before all other objects. Where an object lies in memory decides what
# collides with it in a dict, which makes two per cent either way: a figure is the median of several layouts.
SHIFTS = (0, 1, 7, 50, 333)
WRITE = 'MC_WRITE_COUNTS=1 make bench ARGS="-k instructions"'


def environment() -> str:
    """Name what a count depends on besides the code."""
    return (
        f"{platform.python_implementation()} {platform.python_version()} by {platform.python_compiler()}, "
        f"SQLAlchemy {version('sqlalchemy')}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()}"
    )


def count_instructions(*arguments: str, shift: int = 0) -> int:
    """Return how many instructions a process of Python takes."""
    fixed = {f"SHIFT_{number}": "" for number in range(shift)}
    fixed |= {"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("--tool=callgrind", "--callgrind-out-file=/dev/null")
    process = subprocess.run(
        [str(shutil.which("valgrind")), *options, sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=fixed,
        cwd=ROOT,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", process.stderr)
    assert process.returncode == 0, process.stderr[-2_000:]
    assert found is not None, process.stderr[-2_000:]
    return int(found[1])


def count_work(folder: Path, shift: int, *kind: str) -> int:
    """Return the instructions of a process that does each kind of work a little, and one kind more."""
    place = mkdtemp(dir=folder)
    return count_instructions("-m", "tests.benchmarks.counted_work", place, *kind, shift=shift)


def count_all(folder: Path) -> dict[str, int]:
    """Return the instructions of each path, once."""
    idle = ("-m", "mc", "tick", "--db", f"sqlite:///{folder / 'idle.sqlite3'}")
    for _ in range(2):  # the first makes the tables
        subprocess.run([sys.executable, *idle], cwd=ROOT, check=True, capture_output=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        little = {shift: pool.submit(count_work, folder, shift) for shift in SHIFTS}
        idle_tick = pool.submit(count_instructions, *idle)
        more = {
            (kind, shift): pool.submit(count_work, folder, shift, kind)
            for kind in COUNTED
            for shift in SHIFTS
        }
    counts = {
        kind: int(median(more[kind, shift].result() - little[shift].result() for shift in SHIFTS)) // times
        for kind, times in COUNTED.items()
    }
    return {**counts, IDLE_TICK: idle_tick.result()}


@pytest.mark.timeout(1_800)  # some four minutes where nothing else runs
def test_no_hot_path_takes_more_instructions_than_were_kept(tmp_path: Path, table: Any) -> None:
    if shutil.which("valgrind") is None:
        table.add("instructions of hot paths", "not counted", "valgrind is not installed")
        return
    counts, here = count_all(tmp_path), environment()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if os.environ.get("MC_WRITE_COUNTS"):
        kept[here] = counts
        KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    known, limit = kept.get(here, {}), f"{1 + MOST_CHANGE} x what is kept"
    if not known:
        table.add(
            "instructions are not compared:", "", f"kept are those of {'; '.join(kept)}; here is {here}"
        )
    dearer = []
    for what, count in counts.items():
        ratio = count / known.get(what, count)
        advice = f"; keep it: {WRITE}" if ratio < 1 - MOST_CHANGE else ""
        beside, told = "none kept", ""
        if what in known:
            beside, told = f"{known[what]:,} kept", f"{ratio:.3f} x{advice}"
        table.add(what, f"{count:,} instructions", limit, beside=beside, exponent=told)
        dearer += [f"{what} ({ratio:.3f} x)"] if ratio > 1 + MOST_CHANGE else []
    assert not dearer, f"Dearer than kept: {', '.join(dearer)}. Where that is worth it, keep it: {WRITE}"
