"""The executors `threads` and `processes`: pools that live as long as the run or loop that has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from mc import FlowEngine, Houston
from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob, Liveness
from mc.flows.jobs.job import Outcome
from mc.jobs.executors.pool import BasePoolExecutor
from mc.jobs.executors.processes import ProcessesExecutor
from mc.jobs.executors.threads import ThreadsExecutor
from mc.jobs.find_executor import make_executor
from mc.jobs.folder import JobFolder
from tests.support import pool_functions
from tests.support.job_folders import await_that, make_folder, make_job

FUNCTIONS = pool_functions.__name__
KINDS = {"threads": ThreadsExecutor, "processes": ProcessesExecutor}


class Pool:
    """An executor, and jobs for it."""

    def __init__(self, kind: str, tmp_path: Path) -> None:
        self.kind, self.tmp_path = kind, tmp_path
        self.gate, self.begun = tmp_path / "gate", tmp_path / "begun"
        self.executor: BasePoolExecutor = KINDS[kind](max_workers=1)

    def start(self, work: dict[str, Any], key: str = "f:t:1", **fields: Any) -> tuple[JobFolder, str]:
        folder = make_folder(self.tmp_path, work, key=key, **fields)
        job = make_job(work, key=key, **fields)
        native_id = self.executor.start([FolderJob(job=job, folder=folder.path)])[key]
        assert isinstance(native_id, str), native_id
        return folder, native_id

    def call(self, name: str, key: str = "f:t:1", **kwargs: Any) -> tuple[JobFolder, str]:
        return self.start({"type": "function", "function": f"{FUNCTIONS}:{name}", "kwargs": kwargs}, key)

    def wait(self, key: str = "f:t:1", **fields: Any) -> tuple[JobFolder, str]:
        kwargs = {"gate": str(self.gate), "begun": str(self.begun)}
        work = {"type": "function", "function": f"{FUNCTIONS}:wait_for", "kwargs": kwargs}
        started = self.start(work, key, **fields)
        await_that(self.begun.exists, "its begin")
        return started

    def look(self, native_id: str) -> Liveness:
        return self.executor.alive([native_id])[native_id]


def outcome_of(folder: JobFolder) -> Outcome:
    return await_that(folder.read_outcome, "the outcome")  # type: ignore[no-any-return]


@pytest.fixture(params=KINDS)
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    """A pool with one worker."""
    pool = Pool(request.param, tmp_path)
    yield pool
    pool.gate.touch()
    pool.executor.close()


def test_they_are_found_by_their_names() -> None:
    assert {type(make_executor(kind, {})) for kind in KINDS} == set(KINDS.values())
    with pytest.raises(ExecutorError, match=r"`max_workers` is 0; expected"):
        make_executor("threads", {"threads": {"max_workers": 0}})


class TestOneJob:
    def test_a_result(self, pool: Pool) -> None:
        folder, native_id = pool.call("add", a=1, b=2)
        outcome = outcome_of(folder)
        assert (outcome.status, outcome.result, outcome.host) == ("COMPLETED", 3, os.uname().nodename)
        assert (outcome.pid == os.getpid()) is (pool.kind == "threads")
        assert outcome.pid == folder.read_claim().pid  # type: ignore[union-attr]
        await_that(lambda: pool.look(native_id) is Liveness.GONE, "the end")

    def test_a_failure_has_the_names_of_its_error(self, pool: Pool) -> None:
        error = outcome_of(pool.call("fail")[0]).error
        assert error is not None
        assert (error["type"], error["message"]) == ("FileNotFoundError", "no such table")
        assert "OSError" in error["types"]
        assert "pool_functions.py" in error["traceback"]

    def test_a_function_that_is_not_there(self, pool: Pool) -> None:
        outcome = outcome_of(pool.call("no_such")[0])
        assert outcome.error is not None
        assert "has no function 'no_such'" in outcome.error["message"]

    def test_progress(self, pool: Pool) -> None:
        work_ctx = {"idempotency_key": "f:t:1"}
        kwargs = {"gate": str(pool.gate), "begun": str(pool.begun)}
        work = {"type": "function", "function": f"{FUNCTIONS}:wait_for", "kwargs": kwargs}
        folder, _ = pool.start({**work, "task_ctx": work_ctx})
        await_that(pool.begun.exists)
        progress = folder.read_progress()
        assert progress is not None
        assert (progress.fraction, progress.text) == (0.4, "40 of 100")

    @pytest.mark.parametrize("pool", ["processes"], indirect=True)
    def test_a_process_gives_the_job_its_output_and_surroundings(self, pool: Pool) -> None:
        for key in ("f:t:1", "f:t:2"):  # the second sees nothing of the first
            folder, _ = pool.call("print_and_change", key)
            outcome = outcome_of(folder)
            assert outcome.result == [str(Path.cwd()), "t", "nothing"]
            assert (outcome.stdout, outcome.stderr) == ("to stdout\n::progress 0.9 nearly\n", "to stderr\n")
            assert folder.read_log("stderr") == b"to stderr\n"
            assert folder.read_progress().text == "nearly"  # type: ignore[union-attr]

    @pytest.mark.parametrize("pool", ["processes"], indirect=True)
    def test_a_forked_child_that_comes_back_tells_nothing(self, pool: Pool) -> None:
        assert outcome_of(pool.call("fork")[0]).result == "parent"

    def test_a_command_is_run_by_the_script(self, pool: Pool) -> None:
        folder, native_id = pool.start({"type": "shell", "command": "echo hello; exit 3"})
        outcome = outcome_of(folder)
        assert (outcome.status, outcome.exit_code, outcome.stdout) == ("FAILED", 3, "hello\n")
        await_that(lambda: pool.look(native_id) is Liveness.GONE, "the end")

    def test_a_call_that_is_too_late_has_failed_and_its_result_is_kept(self, pool: Pool) -> None:
        folder, _ = pool.wait(timeout_seconds=0.001)
        pool.gate.touch()
        outcome = outcome_of(folder)
        assert outcome.error is not None
        assert (outcome.status, outcome.error["type"], outcome.result) == ("FAILED", "TimeoutError", "passed")
        assert "timeout of 0.001" in outcome.error["message"]

    def test_the_time_that_a_command_requests_is_kept_by_the_script(self, pool: Pool) -> None:
        work = {"type": "shell", "command": "sleep 1000"}
        folder = make_folder(pool.tmp_path, work)
        job = make_job(work, requests={"time": "0.1s"})
        pool.executor.start([FolderJob(job=job, folder=folder.path)])
        outcome = outcome_of(folder)
        assert outcome.error is not None
        assert outcome.error["type"] == "TimeoutError"

    def test_a_folder_that_is_claimed_is_not_run_again(self, pool: Pool) -> None:
        folder, native_id = pool.call("add", a=1, b=2)
        outcome_of(folder)
        (folder.path / "outcome.json").unlink()
        assert pool.call("add", a=1, b=2)[1] == native_id
        outcome_of(pool.call("add", "f:t:2", a=1, b=2)[0])  # whose turn is after it
        assert folder.read_outcome() is None


class TestManyJobs:
    def test_more_jobs_than_workers(self, pool: Pool) -> None:
        folders = [pool.call("add", f"f:t:{n}", a=n, b=0)[0] for n in range(5)]
        assert [outcome_of(folder).result for folder in folders] == [0, 1, 2, 3, 4]

    def test_what_has_not_begun_is_cancelled_at_once(self, pool: Pool) -> None:
        _, running = pool.wait()
        folder, waiting = pool.call("add", "f:t:2", a=1, b=2)
        assert pool.look(waiting) is Liveness.ALIVE
        pool.executor.stop([waiting])
        assert outcome_of(folder).status == "CANCELLED"
        assert not folder.is_claimed()
        assert (pool.look(waiting), pool.look(running)) == (Liveness.GONE, Liveness.ALIVE)

    def test_a_call_that_runs_is_cancelled_at_its_end(self, pool: Pool) -> None:
        folder, native_id = pool.wait()
        for force in (False, True):
            pool.executor.stop([native_id], force=force)
        assert pool.look(native_id) is Liveness.ALIVE
        pool.gate.touch()
        assert outcome_of(folder).status == "CANCELLED"
        assert outcome_of(pool.call("add", "f:t:2", a=1, b=2)[0]).result == 3  # its worker lives

    @pytest.mark.parametrize("force", [False, True])
    def test_a_command_that_runs_is_ended(self, pool: Pool, force: bool) -> None:
        folder, native_id = pool.start({"type": "shell", "command": "echo begun; sleep 1000"})
        await_that(lambda: folder.read_log("stdout"))
        pool.executor.stop([native_id], force=force)
        await_that(lambda: pool.look(native_id) is Liveness.GONE, "the end")
        outcome = folder.read_outcome()
        if force:  # its script sees the command's end, or does not live to see it
            assert outcome is None or outcome.status == "FAILED"
        else:
            assert outcome is not None
            assert outcome.status == "CANCELLED"

    def test_the_end_of_the_pool_waits_for_calls_and_leaves_the_rest(self, pool: Pool) -> None:
        folder, _ = pool.wait()
        idle, native_id = pool.call("add", "f:t:2", a=1, b=2)
        pool.gate.touch()
        pool.executor.close()
        assert folder.read_outcome().status == "COMPLETED"  # type: ignore[union-attr]
        if idle.read_outcome() is None:  # or its turn had come
            assert (pool.look(native_id), idle.is_claimed()) == (Liveness.GONE, False)
            pool.call("add", "f:t:2", a=1, b=2)
        assert outcome_of(idle).result == 3

    def test_another_pool_tells_who_lives_by_the_processes(self, pool: Pool) -> None:
        other = KINDS[pool.kind]()
        folder, native_id = pool.wait()
        assert other.alive([native_id]) == {native_id: Liveness.ALIVE}
        of_the_dead = native_id.replace(f":{os.getpid()}:", ":999999999:").replace(str(folder.path), "/gone")
        elsewhere = native_id.replace(os.uname().nodename, "elsewhere").replace(str(folder.path), "/gone")
        assert other.alive([of_the_dead, elsewhere]) == {
            of_the_dead: Liveness.GONE,
            elsewhere: Liveness.UNKNOWN,
        }


@pytest.mark.parametrize("pool", ["processes"], indirect=True)
class TestLostPools:
    def test_a_killed_worker_loses_what_it_was_at(self, pool: Pool) -> None:
        lost, lost_id = pool.wait()
        idle, idle_id = pool.call("add", "f:t:2", a=1, b=2)
        os.kill(int(pool.begun.read_text()), signal.SIGKILL)
        await_that(lambda: pool.look(lost_id) is Liveness.GONE, "the end")
        assert lost.read_outcome() is None
        assert pool.look(idle_id) in (Liveness.ALIVE, Liveness.GONE)
        assert outcome_of(idle).result == 3  # by a new pool

    def test_workers_that_cannot_begin_are_told(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        resource_tracker.ensure_running()  # it is the test process's, and must not be what cannot begin
        monkeypatch.setenv("PYTHONHOME", "/no/such/python")
        folder, native_id = pool.call("add", a=1, b=2)
        await_that(lambda: pool.look(native_id) is Liveness.GONE, "the end")
        assert not folder.is_claimed()
        with pytest.raises(ExecutorError, match="The workers of the pool cannot be started: they end"):
            pool.call("add", "f:t:2", a=1, b=2)


class TestFlows:
    """Flows on a database, and in memory."""

    @staticmethod
    def spec(kind: str, name: str, **params: Any) -> dict[str, Any]:
        work = {"job_type": f"{FUNCTIONS}:{name}", "job_params": params, "executor": kind}
        return {"key": "f", "tasks": [{"key": "a", "task_type": "job", "task_params": work}]}

    @pytest.fixture(params=KINDS)
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def houston(self, tmp_path: Path) -> Iterator[Houston]:
        with open_houston(tmp_path) as houston:
            yield houston

    def test_a_run_does_all(self, houston: Houston, kind: str) -> None:
        flow = houston.run(self.spec(kind, "add", a=1, b=2))
        assert (flow.status, flow.tasks["a"]["data"]["result"]) == ("COMPLETED", 3)

    def test_without_a_database(self, kind: str) -> None:
        engine = FlowEngine(handler_modules=FUNCTIONS)
        flow = engine.flow_spec_to_flow(self.spec(kind, "add", a=1, b=2))
        engine.run_flow(flow)
        assert flow.tasks["a"]["data"]["result"] == 3

    def test_a_tick_leaves_them_pending_and_says_why(
        self, houston: Houston, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        houston.submit(self.spec(kind, "add", a=1, b=2))
        houston.tick()
        (record,) = houston.jobs.list()
        assert record.status == "PENDING"
        said = [each.getMessage() for each in caplog.records if kind in each.getMessage()]
        assert [each.partition(":")[0] for each in said] == [
            f"jobs of the executor {kind} wait for a `houston run` or `houston loop`"
        ]
        told = [each.moves for each in houston.explain("f").reasons if each.task == "a"]
        assert "A `houston run` or `houston loop`: the executor" in told[0]
        assert houston.runner.run_flow("f").status == "COMPLETED"

    def test_a_killed_worker_is_an_attempt_that_is_lost(self, houston: Houston, tmp_path: Path) -> None:
        flow = houston.run(self.spec("processes", "be_killed_once", begun=str(tmp_path / "begun")))
        assert (flow.status, flow.tasks["a"]["data"]["result"]) == ("COMPLETED", "again")
        assert [each.status for each in houston.jobs.list()] == ["COMPLETED", "LOST"]

    def test_the_next_run_does_again_what_a_killed_one_was_at(
        self, houston: Houston, kind: str, tmp_path: Path
    ) -> None:
        begun = tmp_path / "begun"
        spec = self.spec(kind, "wait_once", begun=str(begun))
        after = self.spec(kind, "add", a=1, b=2)["tasks"][0] | {"key": "b", "precursors": []}
        spec["tasks"] = [spec["tasks"][0], after]
        houston.submit(spec)
        script = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from tests.unit.jobs.executors.test_pool_executors import open_houston
open_houston(Path({str(tmp_path)!r})).runner.run_flow("f")
"""
        with subprocess.Popen([sys.executable, "-c", script]) as runner:
            await_that(lambda: begun.exists() and begun.read_text(), "its begin")
            # Or they are looked for on their executor only after a minute.
            await_that(lambda: all(each.native_id for each in houston.jobs.list()), "the note of their start")
            runner.kill()
        flow = houston.runner.run_flow("f")
        assert flow.status == "COMPLETED"
        assert [flow.tasks[key]["data"]["result"] for key in "ab"] == ["again", 3]
        assert {each.job.key: each.status for each in houston.jobs.list()} == {
            "f/a/1": "LOST",
            "f/a/2": "COMPLETED",
            "f/b/1": "COMPLETED",  # it waited for the only worker, and had not begun
        }


def open_houston(tmp_path: Path) -> Houston:
    one: dict[str, dict[str, Any]] = {kind: {"max_workers": 1} for kind in KINDS}
    return Houston(
        f"sqlite:///{tmp_path}/f.sqlite3",
        handler_modules=FUNCTIONS,
        data_folder=tmp_path / "data",
        executors=one,
    )
