"""Executors that work by job folders, each with the real thing: what holds for jobs wherever they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, update

from mc.flows.flow import Flow
from mc.flows.jobs.executor import FolderJob, Liveness
from mc.houston import Houston
from mc.jobs.find_executor import make_executor
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_start, write_json
from mc.store.job_record import JobRecord
from mc.store.schema import tables
from tests.support.databases import quick_url
from tests.support.job_folders import await_that
from tests.support.slurm import need_slurm
from tests.support.ssh_server import start_ssh_server


@contextmanager
def local() -> Iterator[dict[str, Any]]:
    """This host."""
    yield {"kind": "local", "max_workers": 8}


@contextmanager
def slurm() -> Iterator[dict[str, Any]]:
    """Slurm on this host."""
    need_slurm()
    yield {"kind": "slurm", "look_seconds": 0.1}


@contextmanager
def ssh() -> Iterator[dict[str, Any]]:
    """This host by SSH, as another that shares its disk."""
    with tempfile.TemporaryDirectory() as folder, start_ssh_server(Path(folder)) as settings:
        yield {"kind": "command", "look_seconds": 0.1, "max_workers": 8, **settings}


# Each yields the settings of an executor, as long as what it needs is there.
PLACES: Mapping[str, Callable[[], AbstractContextManager[dict[str, Any]]]] = {
    "local": local,
    "slurm": slurm,
    "ssh": ssh,
}


@pytest.fixture(scope="module", params=PLACES)
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Settings of the executor that a test is about."""
    with PLACES[request.param]() as found:
        yield found


class Site:
    """A database, a data folder, and an executor by the name of `there`."""

    def __init__(self, url: str, folder: Path, settings: dict[str, Any]) -> None:
        self.url, self.folder, self.settings = url, folder, settings

    def houston(self) -> Houston:
        return Houston(
            self.url,
            allow="shell",
            data_folder=self.folder / "data",
            executors={"there": self.settings},
            executor="there",
        )

    def submit(self, *tasks: dict[str, Any], **spec: Any) -> None:
        with self.houston() as houston:
            houston.submit({"tasks": [*tasks], **spec}, key="f")

    def tick(self) -> Flow:
        """Tick as a cron line does, which knows nothing of the ticks before."""
        with self.houston() as houston:
            houston.tick()
            return houston.load("f")

    def tick_until(self, condition: Callable[[Flow], Any], what: str = "it") -> Flow:
        def look() -> Flow | None:
            flow = self.tick()
            return flow if condition(flow) else None

        return await_that(look, what)  # type: ignore[no-any-return]

    def finish(self) -> Flow:
        return self.tick_until(lambda flow: flow.status in ("COMPLETED", "FAILED", "CANCELLED"), "the end")

    def jobs(self) -> dict[str, JobRecord]:
        with self.houston() as houston:
            return {record.job.key: record for record in houston.jobs.list()}

    def statuses(self) -> dict[str, str]:
        return {key: record.status for key, record in self.jobs().items()}

    def job_folder(self, key: str) -> JobFolder:
        return JobFolder.of(self.folder / "data", key)

    def alive(self) -> set[Liveness]:
        """Ask an executor that knows nothing but the native ids of the jobs."""
        ids = [str(record.native_id) for record in self.jobs().values()]
        answers = make_executor("there", {"there": self.settings}).alive(ids)
        return {answers.get(each, Liveness.UNKNOWN) for each in ids}

    def await_gone(self) -> None:
        await_that(lambda: self.alive() == {Liveness.GONE}, "the end of the jobs there")

    def folder_jobs(self) -> list[FolderJob]:
        return [
            FolderJob(job=each.job, folder=self.job_folder(key).path) for key, each in self.jobs().items()
        ]

    def find(self) -> Mapping[str, str]:
        """Look for the jobs as who does not know their native ids."""
        return make_executor("there", {"there": self.settings}).find(self.folder_jobs())

    def start_again(self) -> None:
        """Start all jobs again behind the keeper's back, which starts none."""
        ids = {key: record.native_id for key, record in self.jobs().items()}
        assert make_executor("there", {"there": self.settings}).start(self.folder_jobs()) == ids

    def read(self, name: str) -> list[str]:
        path = self.folder / name
        return str(await_that(lambda: path.exists() and path.read_text().strip(), name)).split()

    def clean(self) -> None:
        ids = [str(record.native_id) for record in self.jobs().values() if record.native_id is not None]
        make_executor("there", {"there": self.settings}).stop(ids, force=True)


@pytest.fixture
def site(settings: dict[str, Any], tmp_path: Path) -> Iterator[Site]:
    """A site of which no job is left after the test."""
    with ExitStack() as rooms:
        site = Site(rooms.enter_context(quick_url("sqlite")), tmp_path, settings)
        yield site
        site.clean()


def shell(site: Site, key: str, command: str, *precursors: str, **more: Any) -> dict[str, Any]:
    params = {"command": command, "cwd": str(site.folder), **more.pop("params", {})}
    return {"key": key, "task_type": "shell", "task_params": params, "precursors": [*precursors], **more}


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
    site.submit(*tasks, cfg={"fail_fast": False})
    flow = site.finish()
    assert flow.status == "FAILED"
    assert site.statuses() == {
        **{f"f/{key}/1": "FAILED" for key in ends},
        "f/good/1": "COMPLETED",
        "f/big/1": "COMPLETED",
    }
    errors = {key: (task.get("error") or {}).get("type") for key, task in flow.tasks.items()}
    assert errors == {
        "good": None,
        "big": None,
        "bad": "ExitCode1",
        "killed": "ExitCode137",
        "absent": "ExitCode127",
        "shot": "KilledBySignal11",
    }
    assert flow.tasks["good"]["data"]["result"] == {"rows": 7}
    assert len(site.job_folder("f/big/1").read_log("stdout")) == 5_000_000
    site.await_gone()


def test_who_did_not_start_it_sees_it_live_and_end(site: Site) -> None:
    site.submit(shell(site, "a", "while ! [ -e go ]; do sleep 0.02; done; echo done"))
    site.tick()
    assert site.alive() == {Liveness.ALIVE}
    site.tick_until(lambda _: site.statuses() == {"f/a/1": "RUNNING"})
    site.start_again()
    assert site.alive() == {Liveness.ALIVE}
    (site.folder / "go").touch()
    assert site.finish().tasks["a"]["data"]["stdout"] == "done\n"
    site.start_again()


def test_a_starter_that_is_killed_leaves_no_job_behind_and_starts_none_twice(site: Site) -> None:
    site.submit(shell(site, "a", "echo run >> runs; while ! [ -e go ]; do sleep 0.02; done"))
    script = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from tests.contract.test_executors_contract import Site, make_executor
site = Site({site.url!r}, Path({str(site.folder)!r}), {site.settings!r})
kind = type(make_executor("there", {{"there": site.settings}}))
start = kind.start
def start_and_die(self, jobs):
    assert start(self, jobs)
    os.kill(os.getpid(), signal.SIGKILL)
kind.start = start_and_die
site.tick()
"""
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert site.jobs()["f/a/1"].native_id is None
    site.read("runs")
    engine = create_engine(site.url)
    with engine.begin() as connection:  # a minute later
        connection.execute(update(tables.job).values(lease_expires_at="2000-01-01T00:00:00.000000Z"))
    engine.dispose()
    found = site.find()
    assert list(found) == ["f/a/1"]
    site.tick_until(lambda _: site.jobs()["f/a/1"].native_id is not None)
    assert site.jobs()["f/a/1"].native_id == found["f/a/1"]
    assert site.alive() == {Liveness.ALIVE}
    (site.folder / "go").touch()
    assert site.finish().status == "COMPLETED"
    assert site.read("runs") == ["run"]
    assert site.statuses() == {"f/a/1": "COMPLETED"}


def test_what_is_cancelled_ends_with_all_that_it_started(site: Site) -> None:
    site.submit(shell(site, "a", "setsid sleep 1000 & echo $! $$ > pids; sleep 1000"))
    site.tick()
    pids = [int(pid) for pid in site.read("pids")]
    with site.houston() as houston:
        houston.cancel("f", by="ann")
    site.await_gone()
    assert [read_start(pid) for pid in pids] == [None, None]
    site.tick_until(lambda _: site.statuses() == {"f/a/1": "CANCELLED"})


def test_what_is_killed_is_lost_and_tried_again_and_its_late_outcome_changes_nothing(site: Site) -> None:
    site.submit(
        shell(site, "a", "echo $$ > $MC_ATTEMPT; while ! [ -e go ]; do sleep 0.02; done; echo second")
    )
    site.tick()
    site.read("1")
    claim = site.job_folder("f/a/1").read_claim()
    assert claim is not None
    os.kill(claim.pid, signal.SIGKILL)
    site.tick_until(lambda _: site.statuses().get("f/a/1") == "LOST")
    write_json(str(site.job_folder("f/a/1").path / "outcome.json"), {"version": 1, "status": "COMPLETED"})
    site.tick_until(lambda _: (site.folder / "2").exists())
    (site.folder / "go").touch()
    assert site.finish().tasks["a"]["data"]["stdout"] == "second\n"
    assert site.statuses() == {"f/a/1": "LOST", "f/a/2": "COMPLETED"}
