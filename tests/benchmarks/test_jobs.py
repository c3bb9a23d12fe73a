"""Jobs that do next to nothing, from their start to their outcome, by each way to run them.

Beside each figure stands the bare round trip of the same run: `subprocess.run(["true"])`, one by one.
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from mc.flows.jobs.executor import FolderJob
from mc.jobs.executors.local import LocalExecutor
from mc.jobs.executors.pool import BasePoolExecutor
from mc.jobs.executors.processes import ProcessesExecutor
from mc.jobs.executors.threads import ThreadsExecutor
from mc.jobs.folder import JobFolder
from mc.jobs.job_server import JobServer
from tests.benchmarks.workloads import best_seconds
from tests.support.job_folders import make_folder, make_job, write_module

COUNT = 100
ROUNDS = 2
SLOTS = os.cpu_count() or 1
PATIENCE = 60.0  # seconds

# What is run, how, jobs per second to reach, and the most times that a job may take of a bare round trip.
WAYS = [
    ("shell", "local", 40, 30.0),
    ("function", "local", 40, 120.0),
    ("shell", "job server", 200, 30.0),
    ("function", "job server", 200, 40.0),
    ("function", "processes", 500, 40.0),
    ("function", "threads", 500, 20.0),
]


@pytest.fixture(scope="module")
def bare() -> float:
    """Seconds of a bare round trip."""

    def run(_: None) -> int:
        for _ in range(COUNT):
            subprocess.run(["true"], check=True)
        return COUNT

    return best_seconds(lambda: None, run, COUNT, ROUNDS) / COUNT


class Jobs:
    """Jobs in folders of one test."""

    def __init__(self, tmp_path: Path, kind: str) -> None:
        self._tmp_path = tmp_path
        self._made = 0
        self._work: dict[str, Any] = {"type": "shell", "argv": ["true"]}
        if kind == "function":
            self._work = write_module(tmp_path, "def work():\n    return 1\n")

    def make(self) -> list[FolderJob]:
        """Write the jobs of a round."""
        self._made += 1
        keys = [f"f:t{self._made}:{number}" for number in range(COUNT)]
        return [
            FolderJob(
                job=make_job(self._work, key=key),
                folder=make_folder(self._tmp_path, self._work, key=key).path,
            )
            for key in keys
        ]


def run_on_local(jobs: list[FolderJob]) -> int:
    answers = LocalExecutor().start(jobs)
    assert all(isinstance(answer, str) for answer in answers.values()), answers
    left, give_up_at = jobs, perf_counter() + PATIENCE
    while left := [job for job in left if not (job.folder / "outcome.json").exists()]:
        assert perf_counter() < give_up_at
        select.select((), (), (), 0.002)
    return count_completed(jobs)


def run_by_job_server(jobs: list[FolderJob]) -> int:
    server, ended, rest = JobServer(), 0, iter(jobs)
    try:
        for job in islice(rest, SLOTS):
            server.submit(job.folder)
        while ended < len(jobs):
            more = server.poll(PATIENCE)
            assert more
            ended += len(more)
            for job in islice(rest, len(more)):
                server.submit(job.folder)
    finally:
        server.close(kill=True)
    return count_completed(jobs)


def run_in_pool(kind: str, jobs: list[FolderJob]) -> int:
    executor = POOLS[kind]
    executor.start(jobs)
    left, give_up_at = jobs, perf_counter() + PATIENCE
    while left := [job for job in left if not (job.folder / "outcome.json").exists()]:
        assert perf_counter() < give_up_at
        select.select((), (), (), 0.002)
    return count_completed(jobs)


def count_completed(jobs: list[FolderJob]) -> int:
    outcomes = [JobFolder(job.folder).read_outcome() for job in jobs]
    return sum(outcome is not None and outcome.status == "COMPLETED" for outcome in outcomes)


POOLS: dict[str, BasePoolExecutor] = {"processes": ProcessesExecutor(), "threads": ThreadsExecutor()}
RUNS: dict[str, Callable[[list[FolderJob]], int]] = {
    "local": run_on_local,
    "job server": run_by_job_server,
    **{kind: partial(run_in_pool, kind) for kind in POOLS},
}


@pytest.fixture(scope="module", autouse=True)
def close_pools() -> Iterator[None]:
    """End what the tests of this module leave."""
    yield
    for executor in POOLS.values():
        executor.close()


@pytest.mark.parametrize(("kind", "way", "goal", "most"), WAYS)
def test_a_job_costs_little_besides_its_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: Any,
    bare: float,
    kind: str,
    way: str,
    goal: int,
    most: float,
) -> None:
    jobs = Jobs(tmp_path, kind)
    if way in POOLS:
        monkeypatch.syspath_prepend(tmp_path)  # or they are left to the script
    cpu = cpu_seconds()
    each = best_seconds(jobs.make, RUNS[way], COUNT, ROUNDS) / COUNT
    cpu = (cpu_seconds() - cpu) / (COUNT * ROUNDS)
    spent = f", {cpu * 1e3:.1f} ms of CPU each" if way == "job server" else ""  # others leave this process
    table.add(
        f"{kind} jobs by {way}, jobs per second",
        f"{1 / each:.0f} ({each / bare:.1f} x){spent}",
        f"{goal}",
        beside=f"{1 / bare:.0f} bare round trips per second",
    )
    assert each <= most * bare


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
