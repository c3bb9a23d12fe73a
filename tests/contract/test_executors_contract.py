"""Executors, each with the real thing: what holds for jobs wherever they run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.flows.jobs.executor import Liveness
from mc.flows.jobs.job import Outcome
from mc.jobs.script.job_files import read_start, write_json
from mc.store.job_record import JobEnding
from tests.support.executor_places import Place, Site, call, open_place, shell
from tests.support.job_folders import await_that

# Each executor on one database, and those whose jobs need nothing but it on all.
PLACES = [
    ("local", "sqlite"),
    ("slurm", "sqlite"),
    ("ssh", "mariadb"),
    ("queue", "postgres"),
    ("celery", "mariadb"),
    ("dask", "postgres"),
    ("threads", "sqlite"),
    ("processes", "postgres"),
]
RARE = [("local", "postgres"), ("local", "mariadb"), ("queue", "sqlite"), ("queue", "mariadb")]
ALL: list[Any] = [
    *(pytest.param(each, id="-".join(each)) for each in PLACES),
    *(pytest.param(each, id="-".join(each), marks=pytest.mark.reliability(sample=1)) for each in RARE),
]


@pytest.fixture(scope="module", params=ALL)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where the jobs of a test run."""
    with open_place(*request.param) as place:
        yield place


@pytest.fixture
def site(place: Place, tmp_path: Path) -> Iterator[Site]:
    """A site of which no job is left after the test."""
    site = Site(place, tmp_path)
    yield site
    site.clean()


def is_dead(pid: int | str) -> bool:
    return read_start(int(pid)) is None


def test_each_end_is_told_as_it_was(site: Site) -> None:
    ends = {
        "good": "echo '{\"rows\": 7}'",
        "big": "head -c 5000000 /dev/zero | tr '\\0' x",
        "bad": "echo no >&2; exit 1",
        "killed": "exit 137",
        "absent": "no-such-command",
        "shot": "kill -SEGV $$",
    }
    tasks = [shell(site, key, command) for key, command in ends.items()]
    tasks[0]["task_params"]["parse"] = "json"
    site.submit(*tasks, call("sum", "add", a=1, b=2), call("raises", "fail"), cfg={"fail_fast": False})
    flow = site.finish()
    assert flow.status == "FAILED"
    good = ("good", "big", "sum")
    statuses = {f"{key}/1": "COMPLETED" if key in good else "FAILED" for key in flow.tasks}
    assert site.statuses() == statuses
    errors = {key: (task.get("error") or {}).get("type") for key, task in flow.tasks.items()}
    assert errors == {
        **dict.fromkeys(good),
        "bad": "ExitCode1",
        "killed": "ExitCode137",
        "absent": "ExitCode127",
        "shot": "KilledBySignal11",
        "raises": "FileNotFoundError",
    }
    assert flow.tasks["good"]["data"]["result"] == {"rows": 7}
    assert flow.tasks["sum"]["data"]["result"] == 3
    assert len(site.job_folder("big/1").read_log("stdout")) == 5_000_000
    site.await_told(Liveness.GONE)
    assert site.statuses_told() == {f"{site.key}/{key}": status for key, status in statuses.items()}
    wrong = {"COMPLETED": "FAILED", "FAILED": "COMPLETED"}
    for key, seen in site.seen.items():
        assert wrong[statuses[key]] not in seen, f"{key} was told to be {seen}"


def test_who_did_not_start_it_sees_it_live_and_end_and_starts_it_no_second_time(site: Site) -> None:
    site.submit(shell(site, "a", "echo run >> runs; while ! [ -e go ]; do sleep 0.02; done; echo done"))
    site.tick_until_statuses(a="RUNNING")
    site.await_told(Liveness.ALIVE)
    site.start_again()
    site.await_told(Liveness.ALIVE)
    (site.folder / "go").touch()
    assert site.finish().tasks["a"]["data"]["stdout"] == "done\n"
    site.start_again()
    site.await_told(Liveness.GONE)
    assert site.statuses() == {"a/1": "COMPLETED"}
    assert site.read("runs") == ["run"]


def test_a_starter_that_is_killed_leaves_no_job_behind_and_starts_none_twice(site: Site) -> None:
    site.submit(shell(site, "a", "echo run >> runs; while ! [ -e go ]; do sleep 0.02; done"))
    site.begin_and_be_killed("runs")
    site.end_leases("SUBMITTED")  # a minute later
    found = site.find() if site.place.kind.names_jobs else {}
    site.tick_until_statuses(a="RUNNING")
    if site.place.kind.names_jobs:
        assert found == {f"{site.key}/a/1": site.jobs()["a/1"].native_id}
    site.await_told(Liveness.ALIVE)
    (site.folder / "go").touch()
    assert site.finish().status == "COMPLETED"
    assert site.read("runs") == ["run"]
    assert site.statuses() == {"a/1": "COMPLETED"}


def test_what_is_cancelled_ends_with_all_that_it_started(site: Site) -> None:
    gate, begun = site.folder / "gate", site.folder / "begun"
    command = shell(site, "command", "setsid sleep 1000 & echo $! $$ > pids; sleep 1000")
    site.submit(command, call("call", "wait_for", gate=str(gate), begun=str(begun)))
    site.tick()
    (called,), pids = site.read("begun"), site.read("pids")
    site.cancel()
    site.tick_until_statuses(command="CANCELLED")
    await_that(lambda: all(map(is_dead, pids)), "the end of the processes")
    if not site.place.kind.interrupts_calls:
        assert not is_dead(called)
        gate.touch()
    site.tick_until_statuses(call="CANCELLED")
    if site.place.kind.interrupts_calls:
        await_that(lambda: is_dead(called), "the end of the call")
    site.await_told(Liveness.GONE)


def test_what_is_killed_is_lost_and_tried_again_and_its_late_outcome_changes_nothing(site: Site) -> None:
    site.submit(
        shell(site, "a", "echo $$ > $MC_ATTEMPT; while ! [ -e go ]; do sleep 0.02; done; echo second")
    )
    site.tick()
    site.read("1")
    claim = site.job_folder("a/1").read_claim()
    assert claim is not None
    taken = site.jobs()["a/1"]
    os.kill(claim.pid, signal.SIGKILL)
    site.tick_until_statuses(a="LOST")
    write_json(str(site.job_folder("a/1").path / "outcome.json"), {"version": 1, "status": "COMPLETED"})
    with site.place.houston() as houston:
        late = JobEnding(record=taken, status="COMPLETED", outcome=Outcome(status="COMPLETED"))
        assert not houston.store.jobs.end([late])
    site.tick_until(lambda _: (site.folder / "2").exists())
    (site.folder / "go").touch()
    assert site.finish().tasks["a"]["data"]["stdout"] == "second\n"
    assert site.statuses() == {"a/1": "LOST", "a/2": "COMPLETED"}


def test_a_call_goes_with_whoever_makes_it_and_is_made_again(site: Site) -> None:
    site.submit(call("a", "wait_once", begun=str(site.folder / "begun")))
    site.tick()
    (pid,) = site.read("begun")
    site.tick_until_statuses(a="RUNNING")
    site.kill_who_runs("a/1")
    if not site.place.kind.can_be_asked:  # or only after a minute
        await_that(lambda: is_dead(pid), "the end of the call")
        site.end_leases("RUNNING")
    assert site.finish().tasks["a"]["data"]["result"] == "again"
    await_that(lambda: is_dead(pid), "the end of the call")
    assert site.statuses() == {"a/1": "LOST", "a/2": "COMPLETED"}
