"""Workers, with real processes: what they take they run, and tell in the database how it ended."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mc import Houston
from mc.errors import ExecutorError
from mc.jobs.attendance import attend, turns_alone
from mc.jobs.job_worker import JobWorker
from mc.jobs.script.job_files import read_start
from tests.support.job_folders import await_that, write_module
from tests.support.left_out import leave_out

Make = Callable[..., Houston]


def shell(command: str, **more: Any) -> dict[str, Any]:
    params = {"command": command, "executor": "queue"}
    return {"key": "a", "task_type": "shell", "task_params": params, "precursors": [], **more}


@pytest.fixture
def houston(tmp_path: Path) -> Iterator[Houston]:
    with make_houston(tmp_path) as houston:
        yield houston


def make_houston(tmp_path: Path, **options: Any) -> Houston:
    return Houston(
        f"sqlite:///{tmp_path}/mc.sqlite3", allow="shell", data_folder=tmp_path / "data", **options
    )


def begin(houston: Houston, *tasks: dict[str, Any], **spec: Any) -> None:
    houston.submit({"key": "f", "tasks": [*tasks], **spec})
    houston.tick()


def end_leases(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mc.sqlite3")) as connection, connection:
        connection.execute("UPDATE mc_job SET lease_expires_at = '2000-01-01T00:00:00.000000Z'")


@contextmanager
def at_work(worker: JobWorker, houston: Houston) -> Iterator[None]:
    """Let a worker work in a thread, until it has what is there."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        await_that(lambda: houston.jobs.list(statuses=["RUNNING"]))
        yield
    finally:
        worker.stop()
        worker.stop()
        thread.join()


def pid_of(tmp_path: Path) -> int:
    return int(
        str(await_that(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()))
    )


def is_alive(pid: int) -> bool:
    return read_start(pid) is not None


def tick_elsewhere(tmp_path: Path) -> None:
    """Tick as another process does, which looks at all jobs anew."""
    with make_houston(tmp_path) as houston:
        houston.tick()


class TestWork:
    def test_commands_and_functions_are_run_and_their_flow_goes_on(
        self, houston: Houston, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_module(tmp_path, "def double(x):\n    print('at it')\n    return 2 * x\n", "worked")
        monkeypatch.syspath_prepend(tmp_path)
        houston = make_houston(tmp_path, handler_modules="worked")
        call = {"function": "worked:double", "kwargs": {"x": 21}, "executor": "queue"}
        begin(
            houston,
            shell("echo $MC_TASK"),
            {"key": "b", "task_type": "call", "task_params": call, "precursors": []},
        )
        report = houston.worker(slots=2).run(until_idle=True)
        assert report.ended == {"COMPLETED": 2}
        houston.tick()
        flow = houston.load("f")
        assert flow.status == "COMPLETED"
        assert flow.tasks["a"]["data"]["stdout"] == "a\n"
        assert flow.tasks["b"]["data"]["result"] == 42
        assert houston.jobs.folder("f/b/1").read_log("stdout") == b"at it\n"

    def test_a_failure_is_told_as_one(self, houston: Houston) -> None:
        begin(houston, shell("echo oh >&2; exit 3"))
        assert houston.worker().run(until_idle=True).ended == {"FAILED": 1}
        houston.tick()
        assert houston.load("f").tasks["a"]["error"]["type"] == "ExitCode3"

    def test_no_more_than_its_slots_run_at_a_time(self, houston: Houston, tmp_path: Path) -> None:
        tasks = [{**shell(f"cat {tmp_path}/fifo"), "key": key} for key in "abc"]
        os.mkfifo(tmp_path / "fifo")
        begin(houston, *tasks)
        worker = houston.worker(slots=2)
        with at_work(worker, houston):
            await_that(lambda: len(worker.running) == 2)
            statuses = sorted(record.status for record in houston.jobs.list())
            assert statuses == ["PENDING", "RUNNING", "RUNNING"]

    def test_it_uses_no_more_cores_than_it_asks_for(self, houston: Houston) -> None:
        if not hasattr(os, "sched_setaffinity"):
            leave_out("only Linux binds processes to cores")
        task = shell("nproc; echo $OMP_NUM_THREADS", cfg={"retry": {"max_attempts": 1}})
        task["task_params"]["requests"] = {"cpus": 1}
        local = {**task, "key": "b", "task_params": {**task["task_params"], "executor": "local"}}
        begin(houston, task, local)
        houston.worker().run(until_idle=True)
        await_that(lambda: houston.tick() and houston.load("f").status == "COMPLETED")
        for key in "ab":
            assert houston.load("f").tasks[key]["data"]["stdout"] == "1\n1\n"

    def test_a_timeout_ends_it(self, houston: Houston) -> None:
        begin(houston, shell("sleep 1000", cfg={"timeout": "0.2s"}))
        houston.worker().run(until_idle=True)
        houston.tick()
        assert houston.load("f").tasks["a"]["error"]["type"] == "TimeoutError"

    def test_progress_is_seen_while_it_runs(self, houston: Houston) -> None:
        begin(houston, shell("echo ::progress 0.25 one of four; sleep 1000"))
        with at_work(houston.worker(lease_seconds=1), houston):
            await_that(lambda: houston.jobs.get("f/a/1").told_progress == "25 % one of four")

    def test_what_is_no_queue_is_told(self, houston: Houston) -> None:
        with pytest.raises(ExecutorError, match="'local' is no queue"):
            houston.worker("local")


class TestStops:
    def test_a_flow_that_is_cancelled_ends_its_job(self, houston: Houston, tmp_path: Path) -> None:
        begin(houston, shell(f"echo $$ > {tmp_path}/pid; sleep 1000"))
        with at_work(houston.worker(), houston):
            pid = pid_of(tmp_path)
            houston.cancel("f", by="ann", reason="too dear")
            await_that(lambda: houston.jobs.get("f/a/1").status == "CANCELLED")
            assert not is_alive(pid)

    def test_asked_to_stop_it_takes_no_more_and_waits_for_what_runs(
        self, houston: Houston, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "fifo")
        begin(houston, shell(f"cat {tmp_path}/fifo"), {**shell("true"), "key": "b"})
        worker = houston.worker()
        with at_work(worker, houston):
            worker.stop()
            (tmp_path / "fifo").write_text("now\n")
            await_that(lambda: houston.jobs.get("f/a/1").status == "COMPLETED")
        assert houston.jobs.get("f/b/1").status == "PENDING"

    def test_asked_again_it_ends_what_runs_which_is_lost_at_once(
        self, houston: Houston, tmp_path: Path
    ) -> None:
        begin(houston, shell(f"echo $$ > {tmp_path}/pid; sleep 1000"))
        with at_work(houston.worker(), houston):
            pid = pid_of(tmp_path)
        lost = houston.jobs.get("f/a/1")
        assert (lost.status, lost.reason) == ("LOST", "its worker was stopped.")
        await_that(lambda: not is_alive(pid))
        houston.tick()
        assert houston.jobs.get("f/a/2").status == "PENDING"

    def test_a_job_that_is_not_its_own_any_more_is_ended(self, houston: Houston, tmp_path: Path) -> None:
        """As after a pause of the whole host: others called it LOST, and it is tried again elsewhere."""
        begin(houston, shell(f"echo $$ > {tmp_path}/pid; sleep 1000"))
        with at_work(houston.worker(), houston):
            pid = pid_of(tmp_path)
            end_leases(tmp_path)
            tick_elsewhere(tmp_path)
            await_that(lambda: not is_alive(pid))
            assert houston.jobs.get("f/a/1").status == "LOST"


class TestKills:
    def test_a_killed_worker_takes_its_jobs_along_and_they_are_tried_again(
        self, houston: Houston, tmp_path: Path
    ) -> None:
        begin(houston, shell(f"echo $$ > {tmp_path}/pid; [ $MC_ATTEMPT = 2 ] || sleep 1000"))
        options = ["--db", f"sqlite:///{tmp_path}/mc.sqlite3", "--queue", "queue"]
        with subprocess.Popen([sys.executable, "-m", "mc", "work", *options], cwd=tmp_path) as worker:
            pid = pid_of(tmp_path)
            worker.send_signal(signal.SIGKILL)
        await_that(lambda: not is_alive(pid))
        houston.tick()
        assert houston.jobs.get("f/a/1").status == "RUNNING"  # its lease is not over
        end_leases(tmp_path)
        tick_elsewhere(tmp_path)
        assert houston.jobs.get("f/a/1").status == "LOST"
        houston.worker().run(until_idle=True)
        houston.tick()
        assert houston.load("f").status == "COMPLETED"

    def test_a_killed_job_is_lost_at_once(self, houston: Houston, tmp_path: Path) -> None:
        begin(houston, shell("[ $MC_ATTEMPT = 2 ] || kill -9 $PPID"))
        houston.worker().run(until_idle=True)
        assert houston.jobs.get("f/a/1").status == "LOST"
        houston.tick()
        houston.worker().run(until_idle=True)
        houston.tick()
        assert houston.load("f").status == "COMPLETED"


class TestThen:
    """What lets the flow of a job go on at its end."""

    def test_it_is_started_when_jobs_have_ended(self, tmp_path: Path) -> None:
        with make_houston(tmp_path, then=["touch", str(tmp_path / "then")]) as houston:
            begin(houston, shell("true"))
            houston.worker().run(until_idle=True)
            await_that((tmp_path / "then").exists)

    def test_not_where_a_run_looks_after_them(self, tmp_path: Path) -> None:
        with make_houston(tmp_path, then=["touch", str(tmp_path / "then")]) as houston:
            begin(houston, shell("true"))
            with attend(tmp_path / "data"):
                houston.worker().run(until_idle=True)
            begun = [each for each in tmp_path.iterdir() if each.name == "then"]
            assert begun == []
            assert houston.jobs.get("f/a/1").status == "COMPLETED"

    def test_one_that_is_at_work_is_asked_to_go_on_instead(self, tmp_path: Path) -> None:
        with make_houston(tmp_path, then=["touch", str(tmp_path / "then")]) as houston:
            begin(houston, shell("true"))
            turns = turns_alone(tmp_path / "data")
            next(turns)
            houston.worker().run(until_idle=True)
            assert houston.jobs.get("f/a/1").status == "COMPLETED"
            assert list(turns) == [None]  # another one, and no more
        assert not (tmp_path / "then").exists()


def test_the_job_of_a_key_is_run_by_whoever_asks_first(houston: Houston) -> None:
    begin(houston, shell("echo once"))
    one, two = houston.worker(), houston.worker()
    assert one.run_job("f/a/1") == "COMPLETED"
    assert two.run_job("f/a/1") is None
    one.close()
    houston.tick()
    assert houston.load("f").tasks["a"]["data"]["stdout"] == "once\n"
