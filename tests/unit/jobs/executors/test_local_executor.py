"""The executor `local`: processes that nothing of their starter holds on to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.flows.jobs.executor import EXECUTORS, FolderJob, Liveness
from mc.flows.jobs.job import Outcome
from mc.jobs.executors.local import LocalExecutor
from mc.jobs.executors.requests import read_memory
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_boot_id, read_start
from tests.support.job_folders import await_that, make_folder, make_job, start

HERE = os.uname().nodename


class Jobs:
    """Jobs of one test, and an executor for them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.executor = LocalExecutor(max_workers=2)

    def make(self, command: str, key: str = "f:t:1", **fields: Any) -> FolderJob:
        work = {"type": "shell", "command": command, "cwd": str(self.tmp_path)}
        folder = make_folder(self.tmp_path, work, key=key)
        return FolderJob(job=make_job(work, key=key, **fields), folder=folder.path)

    def start(self, command: str, **fields: Any) -> tuple[FolderJob, str]:
        job = self.make(command, **fields)
        native_id = self.executor.start([job])[job.job.key]
        assert isinstance(native_id, str), native_id
        return job, native_id

    def await_outcome(self, job: FolderJob) -> Outcome:
        return await_that(JobFolder(job.folder).read_outcome, "the outcome")  # type: ignore[no-any-return]

    def look(self, native_id: str) -> Liveness | None:
        return self.executor.alive([native_id]).get(native_id)

    def await_end(self, native_id: str) -> None:
        await_that(lambda: self.look(native_id) is Liveness.GONE, "the end")

    def read(self, name: str) -> str:
        path = self.tmp_path / name
        return str(await_that(lambda: path.exists() and path.read_text().strip(), name))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Jobs of which nothing is left after the test."""
    jobs = Jobs(tmp_path)
    yield jobs
    folders = [path.parent for path in tmp_path.glob("jobs/*/*/claim.json")]
    started = jobs.executor.find(
        [FolderJob(job=make_job({}, key=str(path)), folder=path) for path in folders]
    )
    LocalExecutor().stop(list(started.values()), force=True)


def write_python(tmp_path: Path, text: str) -> str:
    """Write an interpreter that calls `before`, and `after` in the child, when the script forks."""
    begin, python = tmp_path / "begin.py", tmp_path / "python"
    begin.write_text(f"""
import os, runpy, sys
def before(count): pass
def after(count): pass
{text}
fork, count = os.fork, 0
def fork_for_a_job():
    global count
    count += 1
    before(count)
    pid = fork()
    if pid == 0:
        os.fork = fork
        after(count)
    return pid
os.fork = fork_for_a_job
sys.argv[:] = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
""")
    python.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -E -s -S {begin} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_it_is_found_by_its_name() -> None:
    (found,) = (each for each in entry_points(group=EXECUTORS) if each.name == "local")
    assert found.load() is LocalExecutor


class TestStart:
    def test_a_job_runs_to_its_end(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("echo hello")
        outcome = jobs.await_outcome(job)
        assert (outcome.status, outcome.stdout) == ("COMPLETED", "hello\n")
        jobs.await_end(native_id)
        kind, host, boot_id, pid, started = native_id.split(":")
        assert (kind, host, boot_id) == ("local", HERE, read_boot_id())
        assert int(pid) == outcome.pid
        assert int(started) > 0

    def test_nothing_holds_on_to_its_starter(self, jobs: Jobs) -> None:
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        command = "ls -l /proc/$PPID/fd /proc/$$/fd > fds; ps -o sid=,tty= $$ > group; sleep 1000"
        _, native_id = jobs.start(command)
        pid = int(native_id.split(":")[3])
        group = jobs.read("group").split()
        assert group == [str(pid), "?"]
        assert f"pipe:[{os.fstat(writing).st_ino}]" not in jobs.read("fds")
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        with pytest.raises(ChildProcessError):  # it is no child of this process, and so never its zombie
            os.waitpid(pid, os.WNOHANG)
        for fd in (reading, writing):
            os.close(fd)

    def test_it_survives_the_kill_of_its_starter_and_of_all_in_its_group(self, jobs: Jobs) -> None:
        job = jobs.make("while ! [ -e go ]; do sleep 0.01; done; echo done")
        script = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from mc.flows.jobs.executor import FolderJob
from mc.jobs.executors.local import LocalExecutor
from tests.support.job_folders import make_job
job = FolderJob(job=make_job({{}}), folder=Path({str(job.folder)!r}))
print(LocalExecutor().start([job])["f:t:1"], flush=True)
os.killpg(0, signal.SIGKILL)
"""
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert done.returncode == -signal.SIGKILL
        native_id = done.stdout.strip()
        assert jobs.look(native_id) is Liveness.ALIVE
        assert jobs.executor.find([job]) == {"f:t:1": native_id}
        (jobs.tmp_path / "go").touch()
        assert jobs.await_outcome(job).stdout == "done\n"

    def test_the_same_job_twice_is_one_process(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("echo run >> runs; sleep 1000")
        assert jobs.read("runs") == "run"
        assert jobs.executor.start([job]) == {"f:t:1": native_id}
        jobs.executor.stop([native_id])
        assert jobs.executor.start([job]) == {"f:t:1": native_id}
        assert jobs.read("runs") == "run"

    def test_many_are_started_at_once(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f:t:{n}") for n in range(5)]
        answers = jobs.executor.start(made)
        assert len(set(answers.values())) == 5
        assert {jobs.await_outcome(job).status for job in made} == {"COMPLETED"}

    def test_one_without_a_folder_does_not_stop_the_others(self, jobs: Jobs) -> None:
        good = jobs.make("true")
        bad = FolderJob(job=make_job({}, key="bad"), folder=jobs.tmp_path / "gone")
        answers = jobs.executor.start([bad, good])
        assert isinstance(answers["f:t:1"], str)
        assert isinstance(answers["bad"], ExecutorError)
        assert "'bad'" in answers["bad"].message

    def test_an_interpreter_that_is_not_there_is_named(self, jobs: Jobs) -> None:
        with pytest.raises(ExecutorError, match="/no/such/python: No such file"):
            LocalExecutor(python="/no/such/python").start([jobs.make("true")])

    def test_an_interpreter_that_cannot_run_it_is_told_by_its_log(self, jobs: Jobs) -> None:
        answer = LocalExecutor(python="/bin/false").start([jobs.make("true")])["f:t:1"]
        assert isinstance(answer, ExecutorError)
        assert "'f:t:1'" in answer.message

    def test_each_has_a_session_of_its_own(self, jobs: Jobs) -> None:
        made = [jobs.make("ps -o sid= $$; ls -l /proc/$PPID/fd", key=f"f:t:{n}") for n in range(2)]
        answers = jobs.executor.start(made)
        for job in made:
            sid, *fds = jobs.await_outcome(job).stdout.splitlines()
            assert sid.strip() == answers[job.job.key].split(":")[3]  # type: ignore[union-attr]
            assert sum(line.endswith(" -> /dev/null") for line in fds) >= 3

    def test_one_interpreter_starts_all_jobs_until_its_executor_is_gone(self, jobs: Jobs) -> None:
        parents = []
        for number in range(2):
            job, _ = jobs.start("ps -o ppid= $PPID", key=f"f:t:{number}")
            parents.append(int(jobs.await_outcome(job).stdout))
        assert parents[0] == parents[1]
        _, native_id = jobs.start("sleep 1000", key="f:t:2")
        jobs.executor = LocalExecutor()
        assert read_start(parents[0]) is None
        assert jobs.look(native_id) is Liveness.ALIVE

    def test_what_changed_around_the_starter_reaches_the_next_job(
        self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        for number in range(2):
            monkeypatch.setenv("AROUND", str(number))
            (folder := jobs.tmp_path / f"around-{number}").mkdir()
            monkeypatch.chdir(folder)
            work = {"type": "shell", "command": "echo $AROUND $PWD"}
            made = make_folder(jobs.tmp_path, work, key=f"f:t:{number}")
            job = FolderJob(job=make_job(work, key=f"f:t:{number}"), folder=made.path)
            jobs.executor.start([job])
            seen.append(jobs.await_outcome(job).stdout)
        assert seen == [f"{number} {jobs.tmp_path}/around-{number}\n" for number in range(2)]

    def test_an_interpreter_that_was_killed_meanwhile_is_started_again(self, jobs: Jobs) -> None:
        job, _ = jobs.start("ps -o ppid= $PPID")
        parent = int(jobs.await_outcome(job).stdout)
        os.kill(parent, signal.SIGKILL)
        await_that(lambda: read_start(parent) is None)
        again, _ = jobs.start("true", key="f:t:2")
        assert jobs.await_outcome(again).status == "COMPLETED"

    def test_what_is_forked_from_the_starter_has_an_interpreter_of_its_own(self, jobs: Jobs) -> None:
        jobs.start("true")
        other = jobs.make("ps -o ppid= $PPID", key="f:t:2")
        pid = os.fork()
        if pid == 0:
            code = 1
            with suppress(BaseException):
                jobs.executor.start([other])
                code = 0
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        jobs.await_outcome(other)
        mine, _ = jobs.start("true", key="f:t:3")
        assert jobs.await_outcome(mine).status == "COMPLETED"

    def test_those_for_which_the_host_has_no_room_are_left_out(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f:t:{n}") for n in range(4)]
        text = """
import errno
def before(count):
    if count in (3, 4):
        raise BlockingIOError(errno.EAGAIN, "no room")
"""
        answers = LocalExecutor(python=write_python(jobs.tmp_path, text)).start(made)
        assert list(answers) == ["f:t:0", "f:t:1"]
        for job in made[:2]:
            jobs.await_outcome(job)
        assert not any((job.folder / "claim.json").exists() for job in made[2:])
        assert len(jobs.executor.start(made)) == 4

    def test_a_process_that_dies_before_its_claim_hurts_no_other(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f:t:{n}") for n in range(3)]
        text = """
def after(count):
    if count == 2:
        os._exit(9)
"""
        answers = LocalExecutor(python=write_python(jobs.tmp_path, text)).start(made)
        assert isinstance(answers["f:t:1"], ExecutorError)
        assert [jobs.await_outcome(made[n]).status for n in (0, 2)] == ["COMPLETED", "COMPLETED"]

    def test_an_interpreter_that_is_killed_halfway_leaves_the_rest_for_later(self, jobs: Jobs) -> None:
        made = [jobs.make("true", key=f"f:t:{n}") for n in range(3)]
        text = """
import select
def before(count):
    if count == 2:
        while not os.path.exists(OUTCOME):
            select.select((), (), (), 0.01)
        os.kill(os.getpid(), 9)
""".replace("OUTCOME", repr(str(made[0].folder / "outcome.json")))
        answers = LocalExecutor(python=write_python(jobs.tmp_path, text)).start(made)
        assert list(answers) == ["f:t:0"]
        assert jobs.await_outcome(made[0]).status == "COMPLETED"

    def test_an_interpreter_that_is_killed_at_once_is_told(self, jobs: Jobs) -> None:
        text = "os.kill(os.getpid(), 11)\n"
        with pytest.raises(ExecutorError, match="was killed by signal 11"):
            LocalExecutor(python=write_python(jobs.tmp_path, text)).start([jobs.make("true")])

    @pytest.mark.parametrize("number", [0, -1, "2", True, 1.5])
    def test_a_wrong_number_of_workers_is_refused(self, number: Any) -> None:
        with pytest.raises(ExecutorError, match="max_workers"):
            LocalExecutor(max_workers=number)

    def test_it_takes_as_many_jobs_as_there_are_cores(self) -> None:
        assert LocalExecutor().max_workers == os.cpu_count()


class TestRequests:
    def test_memory_is_a_limit_of_each_process(self, jobs: Jobs) -> None:
        job, _ = jobs.start("ulimit -v", requests={"memory": "512M"})
        assert jobs.await_outcome(job).stdout == f"{512 * 1024}\n"

    def test_time_is_a_timeout(self, jobs: Jobs) -> None:
        job, _ = jobs.start("sleep 1000", requests={"time": "100ms"})
        error = jobs.await_outcome(job).error
        assert error is not None
        assert error["type"] == "TimeoutError"

    @pytest.mark.parametrize("requests", [{"memory": "much"}, {"memory": -1}, {"time": "soon"}])
    def test_what_cannot_be_read_is_refused(self, jobs: Jobs, requests: dict[str, Any]) -> None:
        job = jobs.make("true", requests=requests)
        answer = jobs.executor.start([job])["f:t:1"]
        assert isinstance(answer, ExecutorError)
        assert f"requests.{next(iter(requests))}" in answer.message

    @pytest.mark.parametrize(
        ("value", "number"),
        [(5, 5), ("5", 5), ("2K", 2048), ("1.5 GiB", 3 * 2**29), ("3mb", 3 * 2**20), ("1T", 2**40)],
    )
    def test_amounts_of_memory(self, value: Any, number: int) -> None:
        assert read_memory(value) == number


class TestAlive:
    def test_a_process_is_known_by_its_start_too(self, jobs: Jobs) -> None:
        started = read_start(os.getpid())
        assert started is not None
        mine = f"local:{HERE}:{read_boot_id()}:{os.getpid()}"
        assert jobs.look(f"{mine}:{started}") is Liveness.ALIVE
        assert jobs.look(f"{mine}:{started + 1}") is Liveness.GONE

    def test_of_another_host_nothing_is_known(self, jobs: Jobs) -> None:
        assert jobs.look("local:elsewhere:boot:1:1") is Liveness.UNKNOWN

    def test_nothing_survives_another_start_of_the_host(self, jobs: Jobs) -> None:
        assert jobs.look(f"local:{HERE}:another-boot:{os.getpid()}:1") is Liveness.GONE

    def test_of_another_container_on_this_host_nothing_is_known(self, jobs: Jobs) -> None:
        assert jobs.look(f"local:{HERE}:{read_boot_id()}.4711:{os.getpid()}:1") is Liveness.UNKNOWN

    @pytest.mark.parametrize("native_id", ["", "local", "slurm:7", f"local:{HERE}:{read_boot_id()}:x:1"])
    def test_what_is_no_id_of_its_own_is_unknown(self, jobs: Jobs, native_id: str) -> None:
        assert jobs.look(native_id) is Liveness.UNKNOWN
        jobs.executor.stop([native_id])

    def test_a_zombie_is_gone(self, jobs: Jobs) -> None:
        process = subprocess.Popen(["true"])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert read_start(process.pid) is None
        process.wait()

    def test_a_script_that_was_killed_is_gone_without_an_outcome(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("echo $$ > child; exec sleep 1000")
        child = int(jobs.read("child"))
        os.kill(int(native_id.split(":")[3]), signal.SIGKILL)
        jobs.await_end(native_id)
        await_that(lambda: read_start(child) is None)
        assert JobFolder(job.folder).read_outcome() is None


class TestStop:
    def test_a_job_ends_cancelled_with_all_that_it_started(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("setsid sleep 1000 & echo $! > child; sleep 1000")
        child = int(jobs.read("child"))
        jobs.executor.stop([native_id])
        jobs.await_end(native_id)
        assert read_start(child) is None
        assert jobs.await_outcome(job).status == "CANCELLED"

    def test_to_stop_again_is_harmless(self, jobs: Jobs) -> None:
        job, native_id = jobs.start("true")
        jobs.await_outcome(job)
        jobs.executor.stop([native_id, native_id])
        jobs.executor.stop([])
        assert jobs.await_outcome(job).status == "COMPLETED"

    def test_a_script_that_does_not_react_is_killed(self, jobs: Jobs) -> None:
        _, native_id = jobs.start("echo $$ > child; sleep 1000")
        child, pid = int(jobs.read("child")), int(native_id.split(":")[3])
        os.kill(pid, signal.SIGSTOP)
        jobs.executor.stop([native_id], force=True)
        assert jobs.look(native_id) is Liveness.GONE
        assert read_start(child) is None

    def test_what_a_killed_script_left_behind_is_killed(self, jobs: Jobs) -> None:
        command = (
            "trap '' TERM; (setsid sh -c 'echo $$ > far; exec sleep 1000' &); "
            "(env -i sh -c 'echo $$ > near; exec sleep 1000' &); sleep 1000 & echo $! > child; wait"
        )
        _, native_id = jobs.start(command)
        left = [int(jobs.read(name)) for name in ("far", "near", "child")]
        os.kill(int(native_id.split(":")[3]), signal.SIGKILL)
        jobs.await_end(native_id)
        assert all(read_start(pid) for pid in left)
        jobs.executor.stop([native_id], force=True)
        assert not any(read_start(pid) for pid in left)

    def test_others_are_left_alone(self, jobs: Jobs) -> None:
        _, first = jobs.start("sleep 1000")
        _, second = jobs.start("sleep 1000", key="f:t:2")
        jobs.executor.stop([first])
        jobs.await_end(first)
        assert jobs.executor.alive([first, second]) == {first: Liveness.GONE, second: Liveness.ALIVE}


class TestFind:
    def test_only_what_was_started_is_found(self, jobs: Jobs) -> None:
        started, native_id = jobs.start("true")
        waiting = jobs.make("true", key="f:t:2")
        assert jobs.executor.find([started, waiting]) == {"f:t:1": native_id}

    def test_a_damaged_claim_hides_no_other_and_is_told_at_the_start(self, jobs: Jobs) -> None:
        started, native_id = jobs.start("true")
        damaged = jobs.make("true", key="f:t:2")
        (damaged.folder / "claim.json").write_text("{")
        assert jobs.executor.find([damaged, started]) == {"f:t:1": native_id}
        answer = jobs.executor.start([damaged])["f:t:2"]
        assert isinstance(answer, ExecutorError)
        assert "'f:t:2'" in answer.message
        assert "claim.json is damaged" in answer.message

    def test_what_was_started_by_hand_is_found(self, jobs: Jobs) -> None:
        job = jobs.make("sleep 1000")
        with start(JobFolder(job.folder)) as process:
            await_that(lambda: jobs.executor.find([job]))
            native_id = jobs.executor.find([job])["f:t:1"]
            assert native_id.split(":")[3] == str(process.pid)
            jobs.executor.stop([native_id])
