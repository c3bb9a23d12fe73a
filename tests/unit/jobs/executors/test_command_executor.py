"""The executor `command`: over SSH, and by commands of one's own."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.flows.jobs.executor import EXECUTORS, FolderJob, Liveness
from mc.flows.jobs.job import Outcome
from mc.jobs.executors.command import CommandExecutor
from mc.jobs.executors.command_templates import TEMPLATES
from mc.jobs.executors.scheduler_tool import ToolError
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_json, read_start, write_json
from tests.support.job_folders import await_that, make_folder, make_job
from tests.support.slurm import need_slurm
from tests.support.ssh_server import start_ssh_server


class Jobs:
    """Jobs of one test, and an executor for them."""

    def __init__(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        self.tmp_path = tmp_path
        self.settings = {"look_seconds": 0, **settings}
        self.executor = CommandExecutor(**self.settings)
        self.started: list[str] = []

    def make(self, command: str, key: str = "f/t/1", **fields: Any) -> FolderJob:
        work = {"type": "shell", "command": command, "cwd": str(self.tmp_path)}
        folder = make_folder(self.tmp_path / "data 'of' ünö $HOME", work, key=key)
        return FolderJob(job=make_job(work, key=key, **fields), folder=folder.path)

    def start(self, command: str, **fields: Any) -> tuple[FolderJob, str]:
        job = self.make(command, **fields)
        native_id = self.executor.start([job])[job.job.key]
        assert isinstance(native_id, str), native_id
        self.started.append(native_id)
        return job, native_id

    def look(self, native_id: str) -> Liveness | None:
        return self.executor.alive([native_id]).get(native_id)

    def await_end(self, native_id: str) -> None:
        await_that(lambda: self.look(native_id) is Liveness.GONE, "the end")

    def await_outcome(self, job: FolderJob) -> Outcome:
        return await_that(JobFolder(job.folder).read_outcome, "the outcome")  # type: ignore[no-any-return]

    def read(self, name: str) -> list[int]:
        path = self.tmp_path / name
        return [int(pid) for pid in str(await_that(lambda: path.exists() and path.read_text())).split()]


def test_it_is_found_by_its_name() -> None:
    (found,) = (each for each in entry_points(group=EXECUTORS) if each.name == "command")
    assert found.load() is CommandExecutor


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, Any]]:
    """Settings for an SSH server."""
    with tempfile.TemporaryDirectory() as folder, start_ssh_server(Path(folder)) as settings:
        yield settings


class TestSsh:
    @pytest.fixture
    def jobs(self, tmp_path: Path, server: dict[str, Any]) -> Iterator[Jobs]:
        jobs = Jobs(tmp_path, server)
        yield jobs
        jobs.executor.stop(jobs.started, force=True)

    def test_a_job_runs_to_its_end(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        (jobs.tmp_path / "a b").mkdir()
        monkeypatch.chdir(jobs.tmp_path / "a b")
        job, native_id = jobs.start("ulimit -v", requests={"memory": "512M", "time": "1h"})
        assert native_id == f"ssh:{job.folder}"
        assert jobs.await_outcome(job).stdout == f"{512 * 1024}\n"
        jobs.await_end(native_id)
        assert jobs.executor.start([job]) == jobs.executor.find([job]) == {"f/t/1": native_id}

    def test_what_a_killed_script_left_behind_is_killed(self, jobs: Jobs) -> None:
        command = "(setsid sh -c 'echo $$ > left; exec sleep 1000' &); echo $PPID > script; sleep 1000"
        _, native_id = jobs.start(command)
        (script,), (left,) = jobs.read("script"), jobs.read("left")
        assert jobs.look(native_id) is Liveness.ALIVE
        os.kill(script, signal.SIGKILL)
        jobs.await_end(native_id)
        assert read_start(left) is not None
        jobs.executor.stop([native_id], force=True)
        assert read_start(left) is None

    def test_what_the_host_refuses_is_told(self, jobs: Jobs) -> None:
        executor = CommandExecutor(**{**jobs.settings, "python": "/no/such/python"})
        answer = executor.start([jobs.make("true")])["f/t/1"]
        assert isinstance(answer, ExecutorError)
        told = f"Job 'f/t/1' was refused: There is no /no/such/python on {os.uname().nodename} (`ssh "
        assert answer.message.startswith(told)

    def test_nothing_is_known_of_a_job_of_another_host(self, jobs: Jobs) -> None:
        """A name may lead to one host today and to another tomorrow."""
        job, native_id = jobs.start("true")
        jobs.await_outcome(job)
        claim = str(job.folder / "claim.json")
        write_json(claim, {**read_json(claim), "host": "elsewhere"})
        assert jobs.look(native_id) is None

    def test_a_host_that_does_not_answer_is_tried_later(
        self, jobs: Jobs, caplog: pytest.LogCaptureFixture
    ) -> None:
        job, native_id = jobs.start("sleep 1000")
        away = CommandExecutor(template="ssh", host="127.0.0.1", options=["-F", "none", "-p", "1"])
        with pytest.raises(ToolError, match="Connection refused"):
            away.start([jobs.make("true", key="other")])
        with caplog.at_level(logging.WARNING):
            assert away.alive([native_id]) == {}
            assert away.alive([native_id]) == {}  # nor is it asked again at once
            away.stop([native_id])
        assert len(caplog.records) == 2
        assert away.find([job]) == {"f/t/1": native_id}  # its claim says so
        assert jobs.look(native_id) is Liveness.ALIVE


OWN = {
    "submit": "sbatch --parsable --hold --output=/dev/null --job-name={name} {options} "
    "--wrap='{python:sh} {script:sh} {folder:sh}'",
    "id": r"^(\d+)",
    "list": "squeue --all --states=all --noheader --format=%i|%T|%j",
    "alive": r"(?m)^(?P<id>\d+)\|(?P<state>\w+)\|(?P<name>\S+)",
    "alive_states": ["PENDING", "RUNNING", "COMPLETING"],
    "cancel": "scancel {ids}",
}


class TestCommandsOfOnesOwn:
    """Those of Slurm, which tells an id only when a job was submitted."""

    @pytest.fixture
    def jobs(self, tmp_path: Path) -> Iterator[Jobs]:
        need_slurm()
        jobs = Jobs(tmp_path, {**OWN, "cancel": ["scancel", "{id}"], "options": ["--partition=main"]})
        yield jobs
        jobs.executor.stop(jobs.started)

    def test_a_job_is_found_by_its_name(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("true")
        other = jobs.make("true", key="other")
        assert native_id.startswith("command:")
        assert jobs.look(native_id) is Liveness.ALIVE
        assert jobs.executor.find([job, other]) == {"f/t/1": native_id}
        assert jobs.executor.start([job]) == {"f/t/1": native_id}
        jobs.executor.stop([native_id, "local:7"])
        jobs.await_end(native_id)

    def test_what_is_refused_and_what_cannot_be_read_are_told(self, jobs: Jobs) -> None:
        wrong = CommandExecutor(**{**jobs.settings, "options": ["--partition=nowhere"]})
        answer = wrong.start([jobs.make("true")])["f/t/1"]
        assert isinstance(answer, ExecutorError)
        assert "invalid partition specified: nowhere" in answer.message
        blind = CommandExecutor(**{**jobs.settings, "submit": "echo no {name} {script} {folder}"})
        with pytest.raises(ToolError, match=r"`id` = .* finds nothing in what `submit` printed: .no mc-"):
            blind.start([jobs.make("true", key="other")])

    def test_what_was_not_requested_is_left_out(self, tmp_path: Path) -> None:
        submit = [
            "sh",
            "-c",
            'printf "%s " "$@" >' + str(tmp_path / "said"),
            "sh",
            ["-n", "{cpus}"],
            "-W={minutes}",
        ]
        jobs = Jobs(tmp_path, {**OWN, "submit": [*submit, "{limits}"], "id": "{name}"})
        jobs.start("true", requests={"time": "90s"})
        assert (tmp_path / "said").read_text() == "-W=2 --timeout-seconds 90 "
        jobs.start("true", key="b", requests={"cpus": 1.5})
        assert (tmp_path / "said").read_text() == "-n 2 "


# As these schedulers list the job 7, which runs, and 8, which has ended.
LISTED = {
    "lsf": "7|RUN|mc-a-1\n8|DONE|mc-b-1\n",
    "pbs": """Job Id: 7.server
    Job_Name = mc-a-1
    Job_Owner = ann@server
    job_state = R
    queue = main

Job Id: 8.server
    Job_Name = mc-b-1
    job_state = F
""",
    "kubernetes": "7   Running\n8   Succeeded\n",
    "ray": """[JobDetails(type=<JobType.SUBMISSION: 'SUBMISSION'>, job_id=None, submission_id='7',
            driver_info=None, status=<JobStatus.RUNNING: 'RUNNING'>, entrypoint='x'),
 JobDetails(submission_id='8', status=<JobStatus.SUCCEEDED: 'SUCCEEDED'>)]""",
}


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "has no `submit`, `list`, `cancel`, `alive`"),
            ({"template": "shh"}, "Did you mean 'ssh'"),
            ({"template": "ssh"}, "{host}, which has no value. Give it one as host = "),
            ({"template": "ssh", "host": "a", "optoins": []}, "no setting 'optoins'.*Did you mean 'options'"),
            ({**OWN, "submit": "sbatch {nmae}"}, "`submit` .*{nmae}, which has no value"),
            ({**OWN, "list": "squeue --name={name}"}, "`list` .*{name}, which has no value"),
            ({**OWN, "submit": "echo 'a"}, "`submit` .*expected program and arguments"),
            ({**OWN, "submit": [7]}, "`submit` .*expected program and arguments"),
            ({**OWN, "alive": "("}, "`alive` is '\\(', which is no regular expression"),
            ({**OWN, "alive": "a"}, "expected a group for the id"),
            ({**OWN, "alive": "(?P<id>a)"}, "expected a group for the name"),
            ({**OWN, "alive_states": "PENDING"}, "`alive_states`"),
            ({**OWN, "options": "-x"}, "`options`"),
            ({**OWN, "max_workers": 0}, "`max_workers`"),
        ],
    )
    def test_what_is_wrong_is_told(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ExecutorError, match=message):
            CommandExecutor(**settings)

    @pytest.mark.parametrize("name", TEMPLATES)
    def test_all_templates_can_be_used(self, name: str) -> None:
        values = {
            "ssh": {"host": "a"},
            "kubernetes": {"image": "python:3", "mount": "/data", "claim": "data"},
        }
        assert CommandExecutor(template=name, **values.get(name, {})).channel == "folder"

    @pytest.mark.parametrize("name", LISTED)
    def test_lists_of_schedulers_are_read(self, name: str) -> None:
        values = {"kubernetes": {"image": "python:3", "mount": "/data", "claim": "data"}}.get(name, {})
        settings = {"list": ["printf", "%s", LISTED[name]], "look_seconds": 0, **values}
        executor = CommandExecutor(template=name, **settings)
        end = ".server" if name == "pbs" else ""
        ids = [f"{name}:{each}{end}" for each in ("7", "8", "9")]
        answers = executor.alive(ids)
        assert [answers[each] for each in ids] == [Liveness.ALIVE, Liveness.GONE, Liveness.GONE]
