"""Jobs of stored flows, from their submission to the outcome in the database, by `queue` and by Slurm.

Beside each figure stands the bare round trip of what the jobs go through: of `subprocess.run(["true"])` for a
queue, and of as many elements of one array of `sbatch --wait`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from mc.houston import Houston
from tests.benchmarks.workloads import best_seconds
from tests.support.databases import quick_url
from tests.support.slurm import need_slurm

ROUNDS = 2
SLOTS = os.cpu_count() or 1
PATIENCE = 120.0  # seconds


@pytest.fixture
def houston(tmp_path: Path) -> Iterator[Houston]:
    with (
        quick_url("sqlite") as url,
        Houston(
            url,
            allow="shell",
            data_folder=tmp_path / "data",
            executors={"slurm": {"look_seconds": 0.1}, "queue": {}},
        ) as houston,
    ):
        yield houston


def make_spec(number: int, executor: str) -> dict[str, Any]:
    """Return a spec of so many jobs side by side."""
    params = {"argv": ["true"], "executor": executor}
    task = {"task_type": "shell", "task_params": params, "precursors": []}
    return {"tasks": [{**task, "key": f"t{index}"} for index in range(number)]}


def count_completed(houston: Houston, key: str) -> int:
    return len(houston.jobs.list(flow_key=key, statuses=["COMPLETED"]))


def measure(run: Callable[[], int], number: int) -> float:
    """Return the seconds that each of so many takes."""
    return best_seconds(lambda: None, lambda _: run(), number, ROUNDS) / number


def add_row(table: Any, name: str, each: float, bare: float, goal: str) -> None:
    table.add(
        f"shell jobs by {name}, submit to outcome, per second",
        f"{1 / each:.0f} ({each / bare:.1f} x)",
        goal,
        beside=f"{1 / bare:.0f} bare round trips per second",
    )


def test_a_queue(houston: Houston, table: Any) -> None:
    number, keys = 200, count()

    def run() -> int:
        key = houston.submit(make_spec(number, "queue"), key=f"f{next(keys)}")
        houston.tick()
        houston.worker("queue", slots=SLOTS).run(until_idle=True)
        return count_completed(houston, key)

    def run_bare() -> int:
        for _ in range(number):
            subprocess.run(["true"], check=True)
        return number

    add_row(table, "queue", measure(run, number), measure(run_bare, number), "200")


def test_slurm(houston: Houston, table: Any, tmp_path: Path) -> None:
    need_slurm()
    number, keys = 20, count()

    def run() -> int:
        key = houston.submit(make_spec(number, "slurm"), key=f"f{next(keys)}")
        give_up_at = perf_counter() + PATIENCE
        while houston.tick() and houston.load(key).status != "COMPLETED":
            assert perf_counter() < give_up_at
        return count_completed(houston, key)

    def run_bare() -> int:
        command = ["sbatch", "--wait", f"--array=1-{number}", "--output=/dev/null", "--wrap=true"]
        subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        return number

    add_row(table, "Slurm", measure(run, number), measure(run_bare, number), "")
