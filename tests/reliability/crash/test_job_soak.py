"""Jobs are done while runners, workers and jobs themselves are killed: each ends once, and none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mc.houston import Houston
from mc.jobs.script.job_files import read_start
from mc.store.flow_store import FlowStore
from tests.reliability.crash.job_soak import JOBS_PER_FLOW, make_spec, open_houston
from tests.support.databases import DATABASES, quick_url
from tests.support.invariants import Seen, check_store
from tests.support.job_folders import await_that
from tests.support.trials import SCALE, Trial

ROOT = Path(__file__).resolve().parents[3]
NUM_JOBS = {"sqlite": 800, "postgres": 640, "mariadb": 560}  # 2,000
PARTS = 2
SAMPLE = 30
SECONDS_BETWEEN_CHECKS = 5


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of which no process is left after the test, even if it failed."""
    yield tmp_path
    for pid in processes_of(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.reliability(sample=1)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("database", DATABASES)
def test_each_job_ends_once_while_processes_are_killed(
    database: str, part: int, trial: Trial, folder: Path, figure: Callable[..., None]
) -> None:
    num_jobs = trial.size(int(NUM_JOBS[database] * SCALE) // PARTS, SAMPLE)
    num_flows = max(num_jobs // JOBS_PER_FLOW, 1)
    with quick_url(database) as url, open_houston(url, folder) as houston:
        for number in range(num_flows):
            houston.submit(make_spec(number), key=f"f{number}")
        seen, kills = soak(url, houston.store, folder, part)
        await_that(lambda: not list(processes_of(folder)), "the end of all processes")
        check_store(houston.store, seen)
        check_results(houston, num_flows)
        ends = Counter(record.status for record in houston.jobs.list())
        blamed = {record.job.key for record in houston.jobs.list(statuses=["LOST"], executor="queue")}
        owners = {record.job.key: record for record in houston.jobs.list()}
    begun = [line.split() for line in lines_of(folder / "begun")]
    runs = Counter(key for key, _, _ in begun)
    assert [key for key, number in runs.items() if number > 1] == []
    assert lines_of(folder / "overlaps-of-job") == []
    assert [(pid, key) for key, pid, started in begun if read_start(int(pid)) == int(started)] == []
    assert runs.keys() <= owners.keys()
    assert ends["COMPLETED"] == num_flows * JOBS_PER_FLOW
    assert ends.keys() <= {"COMPLETED", "FAILED", "LOST"}
    # What is not a job's own fault is that its lease ran out while its worker was slow.
    overlaps = lines_of(folder / "overlaps-of-task")
    assert {before(key) for key in overlaps} <= blamed
    for row, value in {
        "jobs": num_flows * JOBS_PER_FLOW,
        "runners killed": kills["runners"],
        "workers killed": kills["workers"],
        "interpreters killed by which these start jobs": kills["starters"],
        "processes of jobs killed": kills["jobs"],
        "jobs LOST, and tried again": ends["LOST"],
        "jobs FAILED because their process was killed, and tried again": ends["FAILED"],
        "flows blocked after three kills in a row, and resumed": len(lines_of(folder / "resumed")),
        "jobs that ran twice": runs.total() - len(runs),
        "attempts that began while one before them, whose lease had run out, still ran": len(overlaps),
        "processes left behind": 0,
        "tasks lost": 0,
    }.items():
        figure("Random kills of jobs", row=row, column=database, value=value, add=True)


def soak(url: str, store: FlowStore, folder: Path, seed: int) -> tuple[Seen, dict[str, int]]:
    """Let all work, check the invariants meanwhile, and return how many of each were killed."""
    seen = check_store(store)
    command = [sys.executable, "-m", "tests.reliability.crash.job_soak", url, str(seed)]
    environ = {**os.environ, "MC_SOAK": str(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as program:
        try:
            while True:
                try:
                    printed, _ = program.communicate(timeout=SECONDS_BETWEEN_CHECKS)
                    break
                except subprocess.TimeoutExpired:
                    check_store(store, seen, replay=False)
        except BaseException:
            program.kill()
            raise
    assert program.returncode == 0
    kills: dict[str, int] = json.loads(printed)
    return seen, kills


def check_results(houston: Houston, num_flows: int) -> None:
    """See that each task has its own result, by one job that is COMPLETED."""
    done = Counter(
        (record.job.flow_key, record.job.task_path) for record in houston.jobs.list(statuses=["COMPLETED"])
    )
    assert set(done.values()) == {1}
    for number in range(num_flows):
        flow = houston.load(f"f{number}")
        assert flow.status == "COMPLETED"
        found = {key: task["data"] for key, task in flow.tasks.items() if task["task_type"] != "root"}
        for key in ("first", "beside", "other", "last", "end"):
            assert found[key]["result"] == {"task": f"{flow.key}/{key}"}
        for key, size in (("many", 3), ("some", 2)):
            results: list[Any] = [each["result"] for each in found[key]["results"]]
            assert results == [{"task": f"{flow.key}/{key}/item_{n}"} for n in range(size)]


def before(key: str) -> str:
    """Return the key of the job of the attempt before."""
    task, _, attempt = key.rpartition("/")
    return f"{task}/{int(attempt) - 1}"


def processes_of(folder: Path) -> Iterator[int]:
    """Yield the processes that the program started, and those that they started."""
    mark = f"MC_SOAK={folder}\0".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes() + b"\0":
                yield int(path.parent.name)
        except OSError:  # it has ended
            continue


def lines_of(path: Path) -> list[str]:
    """Return the lines that jobs added; none if they added none."""
    return path.read_text().splitlines() if path.exists() else []
