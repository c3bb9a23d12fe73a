"""The executor `slurm`, with a real Slurm of one node."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.flows.jobs.executor import EXECUTORS, FolderJob, Liveness
from mc.flows.jobs.job import Outcome
from mc.jobs.executors.scheduler_tool import ToolError
from mc.jobs.executors.shared_folder import read_submission
from mc.jobs.executors.slurm import SlurmExecutor
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_start
from tests.support.job_folders import await_that, make_folder, make_job
from tests.support.slurm import ask_slurm, need_slurm


class Jobs:
    """Jobs of one test, and executors for them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.started: list[str] = []

    def executor(self, **settings: Any) -> SlurmExecutor:
        return SlurmExecutor(**{"look_seconds": 0, **settings})

    def make(self, command: str, key: str = "f/t/1", **fields: Any) -> FolderJob:
        work = {"type": "shell", "command": command, "cwd": str(self.tmp_path)}
        folder = make_folder(self.tmp_path, work, key=key)
        return FolderJob(job=make_job(work, key=key, **fields), folder=folder.path)

    def start(self, *jobs: FolderJob, **settings: Any) -> list[str]:
        answers = self.executor(**settings).start(jobs)
        ids = [answers[job.job.key] for job in jobs]
        self.started += [each for each in ids if isinstance(each, str)]
        assert len(self.started) >= len(jobs), ids
        return [str(each) for each in ids]

    def run(self, command: str, **settings: Any) -> tuple[FolderJob, str]:
        job = self.make(command)
        (native_id,) = self.start(job, **settings)
        return job, native_id

    def look(self, *native_ids: str) -> list[Liveness | None]:
        answers = self.executor().alive(native_ids)
        return [answers.get(each) for each in native_ids]

    def await_end(self, *native_ids: str) -> None:
        await_that(lambda: self.look(*native_ids) == [Liveness.GONE] * len(native_ids), "the end")

    def await_outcome(self, job: FolderJob) -> Outcome:
        return await_that(JobFolder(job.folder).read_outcome, "the outcome")  # type: ignore[no-any-return]

    def read(self, name: str) -> str:
        path = self.tmp_path / name
        return str(await_that(lambda: path.exists() and path.read_text().strip(), name))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Jobs of which nothing is left in Slurm after the test."""
    need_slurm()
    jobs = Jobs(tmp_path)
    yield jobs
    jobs.executor().stop(jobs.started, force=True)


@pytest.fixture
def down(tmp_path: Path) -> str:
    """Settings of a Slurm whose controller does not answer."""
    need_slurm()
    known = Path(os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf")).read_text()
    path = tmp_path / "down.conf"
    path.write_text(f"{known}\nSlurmctldPort=1\nMessageTimeout=1\n")
    return str(path)


HELD = {"options": ["--hold"]}


def show(native_id: str) -> dict[str, str]:
    said = ask_slurm("scontrol", "--oneliner", "show", "job", native_id.removeprefix("slurm:"))
    return dict(field.split("=", 1) for field in said.splitlines()[0].split(" ") if "=" in field)


def test_it_is_found_by_its_name() -> None:
    (found,) = (each for each in entry_points(group=EXECUTORS) if each.name == "slurm")
    assert found.load() is SlurmExecutor


class TestStart:
    def test_a_job_runs_to_its_end(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MC_SECRET_WORD", "sesame")
        monkeypatch.setenv("GREETING", "hello")
        job, native_id = jobs.run("echo $GREETING; tr '\\0' '\\n' </proc/$PPID/environ | grep -c sesame")
        outcome = jobs.await_outcome(job)
        assert (outcome.stdout, outcome.exit_code) == ("hello\n0\n", 1)
        jobs.await_end(native_id)
        assert (job.folder / "script.log").read_text() == ""

    def test_jobs_of_one_start_are_one_array(self, jobs: Jobs) -> None:
        made = [jobs.make("echo $MC_JOB_KEY", key=f"f/s/item {n}'\"/1") for n in range(6)]
        ids = jobs.start(*made)
        (number,) = {each.partition("_")[0] for each in ids}
        assert ids == [f"{number}_{n}" for n in range(6)]
        assert [jobs.await_outcome(job).stdout for job in made] == [f"{job.job.key}\n" for job in made]
        jobs.await_end(*ids)

    def test_other_requests_are_another_submission(self, jobs: Jobs) -> None:
        asked = {"cpus": 1.5, "memory": "100M", "time": "90m"}
        made = [jobs.make("true", "a"), jobs.make("true", "b", requests=asked), jobs.make("true", "c")]
        first, second, third = jobs.start(*made, **HELD, partition="main")
        assert first.partition("_")[0] == third.partition("_")[0] != second
        shown = show(second)
        assert (shown["CPUs/Task"], shown["MinMemoryNode"]) == ("2", "100M")
        assert (shown["TimeLimit"], shown["Partition"], shown["Requeue"]) == ("01:30:00", "main", "0")
        assert shown["Comment"] == "b"
        assert shown["JobName"].startswith("mc-b-")

    def test_a_job_tells_that_its_time_is_over_before_slurm_ends_it(self, jobs: Jobs) -> None:
        job = jobs.make("sleep 1000", requests={"time": "100ms"})
        jobs.start(job)
        error = jobs.await_outcome(job).error
        assert error is not None
        assert error["type"] == "TimeoutError"

    def test_a_node_without_the_interpreter_is_told_by_the_outcome(self, jobs: Jobs) -> None:
        job, native_id = jobs.run("true", python="/no/such/python")
        error = jobs.await_outcome(job).error
        assert error is not None
        assert error["message"].startswith(f"There is no /no/such/python on the node {os.uname().nodename}.")
        jobs.await_end(native_id)

    def test_what_slurm_refuses_is_told_with_its_words(self, jobs: Jobs) -> None:
        good, wrong = jobs.make("true", "good"), jobs.make("true", "wrong", requests={"cpu": 1})
        answers = jobs.executor(**HELD).start([good, wrong])
        jobs.started.append(str(answers["good"]))
        assert isinstance(answers["good"], str)
        assert isinstance(answers["wrong"], ExecutorError)
        assert "Did you mean 'cpus'?" in answers["wrong"].message
        refused = jobs.executor(partition="nowhere").start([jobs.make("true")])["f/t/1"]
        assert isinstance(refused, ExecutorError)
        start = (
            "Slurm refused job 'f/t/1': sbatch: error: invalid partition specified: nowhere; sbatch: error: "
        )
        assert refused.message.startswith(start)
        assert "(`sbatch --parsable " in refused.message

    def test_where_it_does_not_answer_it_is_tried_later(
        self, jobs: Jobs, down: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_CONF", down)
        with pytest.raises(ToolError, match="sbatch"):
            jobs.executor().start([jobs.make("true")])

    def test_where_there_is_none_it_is_tried_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = Jobs(tmp_path).make("true")
        monkeypatch.setenv("PATH", "/no/such/folder")
        with pytest.raises(ToolError, match=r"`sbatch .*cannot be run here: No such file"):
            SlurmExecutor().start([job])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_workers": 0}, "max_workers"),
            ({"partition": 7}, "partition"),
            ({"options": "--exclusive"}, "expected a list"),
            ({"options": ["--clusters=all"]}, "SLURM_CLUSTERS"),
            ({"look_seconds": -1}, "look_seconds"),
        ],
    )
    def test_wrong_settings_are_refused(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ExecutorError, match=message):
            SlurmExecutor(**settings)


class TestFind:
    def test_what_was_submitted_is_found_and_not_submitted_again(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f/t/{n}") for n in range(3)]
        ids = jobs.start(*made, **HELD)
        single = jobs.make("true", key="single")
        (alone,) = jobs.start(single, **HELD)
        other = jobs.make("true", key="other")
        found = jobs.executor().find([*made, single, other])
        assert found == {**{job.job.key: each for job, each in zip(made, ids, strict=True)}, "single": alone}
        assert jobs.start(made[1], single, **HELD) == [ids[1], alone]

    def test_what_was_not_submitted_after_all_is_submitted(self, jobs: Jobs) -> None:
        job = jobs.make("true")
        jobs.executor(partition="nowhere").start([job])
        before = read_submission(job)
        assert before is not None
        assert jobs.executor().find([job]) == {}
        assert jobs.look(*jobs.start(job, **HELD)) == [Liveness.ALIVE]
        assert read_submission(job) != before

    def test_nothing_is_submitted_twice_because_slurm_does_not_answer(
        self, jobs: Jobs, down: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, native_id = jobs.run("true", **HELD)
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", down)
            assert jobs.executor().find([job]) == {}
            with pytest.raises(ToolError, match="squeue"):
                jobs.executor().start([job])
        assert jobs.start(job) == [native_id]


class TestAlive:
    def test_nothing_is_known_while_slurm_does_not_answer(
        self, jobs: Jobs, down: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, native_id = jobs.run("true", **HELD)
        monkeypatch.setenv("SLURM_CONF", down)
        executor = jobs.executor()
        assert executor.alive([native_id]) == {}
        monkeypatch.delenv("SLURM_CONF")
        assert executor.alive([native_id]) == {}  # it is left alone for a while
        assert jobs.look(native_id) == [Liveness.ALIVE]

    def test_what_slurm_has_forgotten_is_gone(self, jobs: Jobs) -> None:
        assert jobs.look("slurm:99999999", "slurm:99999998_7") == [Liveness.GONE] * 2

    def test_unless_its_accounts_have_it_run(
        self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        sacct = tmp_path / "sacct"
        sacct.write_text("#!/bin/sh\necho '7_1|RUNNING'\necho '7_2|CANCELLED by 0'\n")
        sacct.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        ids = ["slurm:99999999", "slurm:7_1", "slurm:7_2"]
        assert jobs.look(*ids) == [Liveness.GONE, Liveness.UNKNOWN, Liveness.GONE]

    def test_what_is_no_id_of_its_own_is_unknown(self, jobs: Jobs) -> None:
        assert jobs.look("", "local:7", "slurm:x") == [Liveness.UNKNOWN] * 3
        jobs.executor().stop(["local:7"])

    def test_answers_are_kept_for_a_while_but_not_for_new_jobs(self, jobs: Jobs) -> None:
        executor = jobs.executor(look_seconds=3600)
        _, first = jobs.run("true", **HELD)
        assert executor.alive([first]) == {first: Liveness.ALIVE}
        jobs.executor().stop([first])
        assert executor.alive([first]) == {first: Liveness.ALIVE}
        (second,) = jobs.start(jobs.make("true", "b"), **HELD)
        assert executor.alive([first, second]) == {first: Liveness.GONE, second: Liveness.ALIVE}

    def test_why_a_job_waits_for_somebody_is_told_once(
        self, jobs: Jobs, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, native_id = jobs.run("true", **HELD)
        executor = jobs.executor()
        with caplog.at_level(logging.WARNING):
            executor.alive([native_id])
            executor.alive([native_id])
        (record,) = caplog.records
        assert f"Slurm does not start {native_id} (mc-f-t-1-" in record.message
        assert "JobHeldUser" in record.message

    def test_a_script_that_was_killed_is_gone_without_an_outcome(self, jobs: Jobs) -> None:
        job, native_id = jobs.run("echo $PPID > pid; exec sleep 1000")
        os.kill(int(jobs.read("pid")), signal.SIGKILL)
        jobs.await_end(native_id)
        assert JobFolder(job.folder).read_outcome() is None


class TestStop:
    def test_one_of_an_array_ends_cancelled_and_others_go_on(self, jobs: Jobs) -> None:
        made = [jobs.make(f"echo $$ > {n}; sleep 1000", key=f"f/t/{n}") for n in range(2)]
        first, second = jobs.start(*made)
        jobs.read("0"), jobs.read("1")
        jobs.executor().stop([second])
        assert jobs.await_outcome(made[1]).status == "CANCELLED"
        jobs.await_end(second)
        assert jobs.look(first) == [Liveness.ALIVE]

    def test_what_waits_is_taken_back(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f/t/{n}") for n in range(3)]
        ids = jobs.start(*made, **HELD)
        jobs.executor().stop(ids[:2])
        assert jobs.look(*ids) == [Liveness.GONE, Liveness.GONE, Liveness.ALIVE]
        jobs.executor().stop(ids[:2])
        jobs.executor().stop(ids[:2], force=True)

    def test_a_script_that_does_not_react_is_killed_with_its_command(self, jobs: Jobs) -> None:
        _, native_id = jobs.run("echo $PPID $$ > pids; exec sleep 1000")
        script, child = map(int, jobs.read("pids").split())
        os.kill(script, signal.SIGSTOP)
        jobs.executor().stop([native_id], force=True)
        jobs.await_end(native_id)
        assert read_start(script) is None
        assert read_start(child) is None
