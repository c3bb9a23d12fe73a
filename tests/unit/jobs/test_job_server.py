"""The job server of a worker: jobs without an interpreter for each, none of which outlives the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.flows.jobs.job import Outcome
from mc.jobs.folder import JobFolder
from mc.jobs.job_server import EndedJob, JobServer
from mc.jobs.script.job_files import read_start
from tests.support.job_folders import await_that, make_folder, write_module

LONG = 60.0  # seconds; nothing here takes so long


class Jobs:
    """Jobs of one test, and a server for them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.server = JobServer()
        self.made = 0

    def submit(self, work: Mapping[str, Any] | str, **settings: Any) -> JobFolder:
        if isinstance(work, str):
            work = {"type": "shell", "command": work, "cwd": str(self.tmp_path)}
        limits = {
            name: settings.pop(name) for name in ("timeout_seconds", "memory_bytes") if name in settings
        }
        self.made += 1
        folder = make_folder(self.tmp_path, work, key=f"f:t:{self.made}", **settings)
        self.server.submit(folder.path, **limits)
        return folder

    def submit_function(self, text: str, **work: Any) -> JobFolder:
        return self.submit({**write_module(self.tmp_path, text), **work})

    def poll(self, count: int = 1) -> dict[str, int | None]:
        """Return the exit codes of the next jobs that end."""
        ended: list[EndedJob] = []
        while len(ended) < count:
            more = self.server.poll(LONG)
            assert more
            ended += more
        return {each.folder: each.exit_code for each in ended}

    def run(self, folder: JobFolder) -> Outcome:
        """Return how the only job that runs ended."""
        assert set(self.poll()) == {str(folder.path)}
        return self.outcome(folder)

    def outcome(self, folder: JobFolder) -> Outcome:
        outcome = folder.read_outcome()
        assert outcome is not None, folder.path
        return outcome

    def read(self, name: str) -> str:
        path = self.tmp_path / name
        return str(await_that(lambda: path.exists() and path.read_text().strip(), name))

    def server_pid(self, folder: JobFolder) -> int:
        """Return the parent of the process that has claimed a job."""
        claim = await_that(folder.read_claim, "the claim")
        return int(Path(f"/proc/{claim.pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Jobs of which nothing is left after the test."""
    jobs = Jobs(tmp_path)
    yield jobs
    jobs.server.close(kill=True)


def has_ended(*pids: int) -> bool:
    return all(read_start(pid) is None for pid in pids)


class TestJobs:
    def test_a_command_runs_to_its_end(self, jobs: Jobs) -> None:
        folder = jobs.submit("echo hello; exit 3")
        assert jobs.poll() == {str(folder.path): 1}
        outcome = jobs.outcome(folder)
        assert (outcome.stdout, outcome.exit_code) == ("hello\n", 3)
        assert not (folder.path / "script.log").exists()

    def test_many_run_at_a_time(self, jobs: Jobs) -> None:
        folders = [jobs.submit("while ! [ -e go ]; do sleep 0.01; done") for _ in range(5)]
        for folder in folders:
            await_that(folder.read_claim)
        assert jobs.server.running == 5
        assert jobs.server.poll(0) == []
        (jobs.tmp_path / "go").touch()
        assert jobs.poll(5) == {str(folder.path): 0 for folder in folders}
        assert jobs.server.running == 0

    def test_each_leads_a_session_of_its_own_and_inherits_nothing(self, jobs: Jobs) -> None:
        folder = jobs.submit("ls -l /proc/$PPID/fd /proc/$$/fd > fds; ps -o sid=,tty= $$ > group; sleep 1000")
        claim = await_that(folder.read_claim)
        assert jobs.read("group").split() == [str(claim.pid), "?"]
        fds = jobs.read("fds")
        assert Path(f"/proc/{claim.pid}/fd/0").readlink() == Path("/dev/null")
        server = jobs.server_pid(folder)
        for fd in (0, 1):
            assert str(Path(f"/proc/{server}/fd/{fd}").readlink()) not in fds

    def test_a_job_that_is_claimed_is_not_run_again(self, jobs: Jobs) -> None:
        folder = jobs.submit("echo run >> runs")
        jobs.poll()
        jobs.server.submit(folder.path)
        assert jobs.poll() == {str(folder.path): 75}
        assert jobs.read("runs") == "run"

    def test_one_without_a_folder_does_not_stop_the_others(self, jobs: Jobs) -> None:
        gone = jobs.tmp_path / "gone"
        jobs.server.submit(gone)
        folder = jobs.submit("true")
        assert jobs.poll(2) == {str(gone): 74, str(folder.path): 0}

    def test_limits_of_the_worker_hold(self, jobs: Jobs) -> None:
        slow = jobs.submit("sleep 1000", timeout_seconds=0.1)
        small = jobs.submit("ulimit -v", memory_bytes=2**29)
        jobs.poll(2)
        assert (jobs.outcome(slow).error or {})["type"] == "TimeoutError"
        assert jobs.outcome(small).stdout == f"{2**19}\n"

    def test_a_job_can_be_asked_to_stop(self, jobs: Jobs) -> None:
        folder = jobs.submit("echo $$ > child; sleep 1000")
        jobs.read("child")
        folder.ask_to_stop()
        assert jobs.run(folder).status == "CANCELLED"

    def test_several_threads_may_submit(self, jobs: Jobs) -> None:
        folders = [
            make_folder(jobs.tmp_path, {"type": "shell", "argv": ["true"]}, key=f"{n}") for n in range(8)
        ]
        threads = [threading.Thread(target=jobs.server.submit, args=(folder.path,)) for folder in folders]
        for thread in threads:
            thread.start()
        assert jobs.poll(8) == {str(folder.path): 0 for folder in folders}
        for thread in threads:
            thread.join()


class TestFunctions:
    def test_what_it_returns_is_the_result(self, jobs: Jobs) -> None:
        folder = jobs.submit_function(
            "import sys\ndef work(a, *, b):\n"
            "    print('out')\n    print('err', file=sys.stderr)\n    return {'sum': a + b}\n",
            args=[1],
            kwargs={"b": 2},
        )
        outcome = jobs.run(folder)
        assert (outcome.status, outcome.result) == ("COMPLETED", {"sum": 3})
        assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("out\n", "err\n", 0)

    def test_no_interpreter_is_started_for_it(self, jobs: Jobs) -> None:
        text = "import os\ndef work(): return open(f'/proc/{os.getpid()}/cmdline').read().split('\\0')[1]"
        assert jobs.run(jobs.submit_function(text)).result.endswith("/job_server.py")

    def test_it_finds_all_as_in_an_interpreter_of_its_own(self, jobs: Jobs) -> None:
        text = """
import atexit, importlib.util, os, signal, subprocess, sys, threading
def work():
    threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
    atexit.register(print, "exit")
    def read(*argv):
        return subprocess.run(argv, capture_output=True).stdout.decode()
    return {
        "env": [os.environ.get("OWN"), read("sh", "-c", "echo $OWN")],
        "cwd": os.getcwd(),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "stdin": [sys.stdin.read(), read("cat")],
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "wakeup": signal.set_wakeup_fd(-1),
        "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "group": os.getpgid(0) == os.getpid(),
        "script": [importlib.util.find_spec(name) for name in ("job_run", "call_function", "job_server")],
        "main": sys.modules["__main__"].__dict__.get("__file__"),
        "path": sys.path[0],
    }
"""
        folder = jobs.submit_function(text, env={"OWN": "mine"}, cwd=str(jobs.tmp_path))
        outcome = jobs.run(folder)
        result = outcome.result
        assert isinstance(result, dict), outcome.error
        fds = result.pop("fds")
        assert fds[:4] == [0, 1, 2, 3]
        assert len(fds) == 5  # that of the listing too
        assert result == {
            "env": ["mine", "mine\n"],
            "cwd": str(jobs.tmp_path),
            "stdin": ["", ""],
            "signals": [0, 0, 0],
            "interrupt": True,
            "wakeup": -1,
            "mask": [],
            "group": True,
            "script": [None, None, None],
            "main": None,
            "path": str(jobs.tmp_path),
        }
        assert outcome.stdout == "thread\nexit\n"

    def test_jobs_share_no_state(self, jobs: Jobs) -> None:
        text = "import random\nseen = []\n"
        text += "def work():\n    seen.append(1)\n    return [len(seen), random.random()]"
        first, second = jobs.submit_function(text), jobs.submit_function(text)
        jobs.poll(2)
        one, other = jobs.outcome(first).result, jobs.outcome(second).result
        assert one[0] == other[0] == 1
        assert one[1] != other[1]

    def test_a_module_that_was_changed_is_read_anew(self, jobs: Jobs) -> None:
        assert jobs.run(jobs.submit_function("def work(): return 'old'")).result == "old"
        assert jobs.run(jobs.submit_function("def work(): return 'newer'")).result == "newer"

    def test_its_failure_is_told(self, jobs: Jobs) -> None:
        error = jobs.run(jobs.submit_function("def work(): raise LookupError('no such row')")).error
        assert error is not None
        assert (error["type"], error["message"]) == ("LookupError", "no such row")

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("os._exit(3)", "ExitCode3"),
            ("os.kill(os.getpid(), 9)", "KilledBySignal9"),
            ("os.abort()", "KilledBySignal6"),
        ],
    )
    def test_a_crash_of_it_hurts_nobody_else(self, jobs: Jobs, line: str, kind: str) -> None:
        error = jobs.run(jobs.submit_function(f"import os\ndef work(): {line}")).error
        assert error is not None
        assert error["type"] == kind
        assert jobs.run(jobs.submit("true")).status == "COMPLETED"

    def test_memory_is_limited(self, jobs: Jobs) -> None:
        work = write_module(jobs.tmp_path, "def work(): return len(bytearray(2 ** 30))")
        error = jobs.run(jobs.submit(work, memory_bytes=2**29)).error
        assert error is not None
        assert error["type"] == "MemoryError"

    def test_an_environment_that_an_interpreter_reads_at_its_start_gets_one(self, jobs: Jobs) -> None:
        text = "import sys\ndef work(): return [sys.flags.optimize, sys.stdout.encoding]"
        env = {"PYTHONOPTIMIZE": "2", "PYTHONIOENCODING": "cp850"}
        assert jobs.run(jobs.submit_function(text, env=env)).result == [2, "cp850"]

    @pytest.mark.parametrize("work", [{"cwd": "/no/such"}, {"env": {"A": "a\0b"}}])
    def test_what_cannot_be_started_says_why(self, jobs: Jobs, work: dict[str, Any]) -> None:
        error = jobs.run(jobs.submit_function("def work(): pass", **work)).error
        assert error is not None
        assert error["type"] in ("FileNotFoundError", "ValueError")


class TestEnd:
    def test_a_closed_server_ends_its_jobs_and_they_are_tried_again(self, jobs: Jobs) -> None:
        command = (
            "trap '' TERM; setsid sh -c 'echo $$ > far; exec sleep 1000' & sleep 1000 & echo $! > child; wait"
        )
        folder = jobs.submit(command)
        left = [int(jobs.read(name)) for name in ("far", "child")]
        assert jobs.server.close() == [EndedJob(folder=str(folder.path), exit_code=1)]
        assert has_ended(*left)
        error = jobs.outcome(folder).error
        assert error is not None
        assert error["type"] == "JobLostError"

    def test_killed_jobs_get_no_time_to_end(self, jobs: Jobs) -> None:
        folder = jobs.submit(
            "trap 'echo ended > ended' TERM; echo $$ > child; sleep 1000", grace_seconds=1000
        )
        child = int(jobs.read("child"))
        assert jobs.server.close(kill=True) == [EndedJob(folder=str(folder.path), exit_code=-signal.SIGKILL)]
        assert has_ended(child)
        assert folder.read_outcome() is None
        assert not (jobs.tmp_path / "ended").exists()

    def test_a_closed_server_takes_no_jobs(self, jobs: Jobs) -> None:
        assert jobs.server.close() == []
        with pytest.raises(ExecutorError, match="closed"):
            jobs.submit("true")

    def test_what_the_killed_process_of_a_job_left_behind_is_killed(self, jobs: Jobs) -> None:
        folder = jobs.submit(
            "setsid sh -c 'echo $$ > far; exec sleep 1000' & sleep 1000 & echo $! > child; wait"
        )
        other = jobs.submit("echo $$ > other; exec sleep 1000")
        left = [int(jobs.read(name)) for name in ("far", "child")]
        stays = int(jobs.read("other"))
        claim = folder.read_claim()
        assert claim is not None
        os.kill(claim.pid, signal.SIGKILL)
        assert jobs.poll() == {str(folder.path): -signal.SIGKILL}
        assert has_ended(*left)
        assert not has_ended(stays)
        assert other.read_outcome() is None

    def test_a_killed_server_leaves_no_job_and_the_next_job_has_another(self, jobs: Jobs) -> None:
        folder = jobs.submit("setsid sh -c 'echo $$ > far; exec sleep 1000' & echo $$ > child; wait")
        left = [int(jobs.read(name)) for name in ("far", "child")]
        os.kill(jobs.server_pid(folder), signal.SIGKILL)
        assert jobs.poll() == {str(folder.path): None}
        await_that(lambda: has_ended(*left))
        assert (await_that(folder.read_outcome).error or {})["type"] == "JobLostError"
        assert jobs.run(jobs.submit("true")).status == "COMPLETED"

    @pytest.mark.parametrize("forked", [False, True])
    def test_a_killed_worker_leaves_no_job(self, jobs: Jobs, forked: bool) -> None:
        command = "setsid sh -c 'echo $$ > far; exec sleep 1000' & echo $$ > child; wait"
        work = {"type": "shell", "command": command, "cwd": str(jobs.tmp_path)}
        folder = make_folder(jobs.tmp_path, work)
        fork = (
            "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(1000)\n" if forked else ""
        )
        script = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from mc.jobs.job_server import JobServer
server = JobServer()
server.submit({str(folder.path)!r})
{fork}
server.poll(1000)
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            heir = int(worker.stdout.readline()) if forked else 0
            left = [int(jobs.read(name)) for name in ("far", "child")]
            server = jobs.server_pid(folder)
            worker.kill()
            await_that(lambda: has_ended(*left, server))
            if forked:  # it inherited nothing that keeps the server alive
                assert not has_ended(heir)
                os.kill(heir, signal.SIGKILL)
        assert jobs.outcome(folder).status == "FAILED"

    def test_what_is_forked_from_a_worker_has_a_server_of_its_own(self, jobs: Jobs) -> None:
        mine = jobs.submit("echo $$ > child; exec sleep 1000")
        jobs.read("child")
        other = make_folder(jobs.tmp_path, {"type": "shell", "argv": ["true"]}, key="other")
        pid = os.fork()
        if pid == 0:
            code = 1
            with suppress(BaseException):
                jobs.server.submit(other.path)
                code = 0 if [each.exit_code for each in jobs.server.poll(LONG)] == [0] else 2
                jobs.server.close()
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert mine.read_outcome() is None

    def test_an_interpreter_that_is_not_there_is_named(self, jobs: Jobs) -> None:
        server = JobServer(python="/no/such/python")
        with pytest.raises(ExecutorError, match="/no/such/python: No such file"):
            server.submit(jobs.tmp_path)
