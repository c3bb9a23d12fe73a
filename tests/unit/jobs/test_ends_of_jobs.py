"""Ends that come from outside: timeouts, requests to stop, kills; and that nothing of a job is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_start
from tests.support.job_folders import OLDEST_PYTHON, SCRIPT, await_that, make_folder, run, run_shell, start

# Ways to get away from a shell: each writes its process id to the file `child`.
IN_THE_BACKGROUND = "sleep 1000 & echo $! > child"
WITH_SETSID = "setsid sh -c 'echo $$ > child; exec sleep 1000' &"
FORKED_TWICE = "(setsid sh -c 'echo $$ > child; exec sleep 1000' >/dev/null 2>&1 &) &"
WITHOUT_ENVIRONMENT = "(setsid env -i sh -c 'echo $$ > child; exec sleep 1000' &) &"
DEAF = "trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $! > child"
ESCAPES = {
    "in the background": IN_THE_BACKGROUND,
    "with setsid": WITH_SETSID,
    "forked twice": FORKED_TWICE,
    "without an environment": WITHOUT_ENVIRONMENT,
    "deaf to TERM": DEAF,
}
WAIT_FOR_CHILD = "while ! [ -s child ]; do sleep 0.01; done"


def read_child(tmp_path: Path) -> int:
    def read() -> int:
        path = tmp_path / "child"
        return int(path.read_text().strip() or 0) if path.exists() else 0

    return int(await_that(read, "the child"))


def make_escaping_job(tmp_path: Path, escape: str, after: str, **settings: object) -> JobFolder:
    command = f"{escape}\n{WAIT_FOR_CHILD}\n{after}"
    work = {"type": "shell", "command": command, "cwd": str(tmp_path)}
    return make_folder(tmp_path, work, **settings)


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
class TestWhatACommandStarts:
    def test_it_ends_with_the_command(self, tmp_path: Path, escape: str) -> None:
        folder = make_escaping_job(tmp_path, escape, "exit 0")
        run(folder)
        assert read_start(read_child(tmp_path)) is None
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.exit_code) == ("COMPLETED", 0)

    def test_it_ends_at_the_timeout(self, tmp_path: Path, escape: str) -> None:
        folder = make_escaping_job(tmp_path, escape, "while :; do sleep 0.05; done", timeout_seconds=0.5)
        run(folder)
        assert not (tmp_path / "child").exists() or read_start(read_child(tmp_path)) is None
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert (outcome.status, outcome.error["type"]) == ("FAILED", "TimeoutError")
        assert "0.5 seconds" in outcome.error["message"]

    def test_it_ends_when_the_script_is_told_to(self, tmp_path: Path, escape: str) -> None:
        folder = make_escaping_job(tmp_path, escape, "sleep 1000")
        with start(folder) as process:
            child = read_child(tmp_path)
            process.terminate()
        assert read_start(child) is None
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.error) == ("CANCELLED", None)


class TestStop:
    def test_a_file_in_the_folder_stops_the_job(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "echo begun; sleep 1000"})
        with start(folder):
            await_that(lambda: folder.read_log("stdout"))
            folder.ask_to_stop()
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.stdout) == ("CANCELLED", "begun\n")

    def test_a_job_that_is_stopped_before_its_start_is_not_begun(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "touch begun", "cwd": str(tmp_path)})
        folder.ask_to_stop()
        run(folder)
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.status == "CANCELLED"
        assert not (tmp_path / "begun").exists()

    def test_a_command_has_time_to_end_by_itself(self, tmp_path: Path) -> None:
        command = "trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 0.01; done"
        folder = make_folder(tmp_path, {"type": "shell", "command": command}, grace_seconds=30)
        with start(folder) as process:
            await_that(lambda: folder.read_log("stdout"))
            process.terminate()
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.stdout, outcome.exit_code) == ("CANCELLED", "begun\nbye\n", 0)

    def test_a_signal_that_went_to_the_command_too_is_no_failure_of_it(self, tmp_path: Path) -> None:
        """As from a scheduler that ends all processes of a job at once."""
        folder = make_folder(tmp_path, {"type": "shell", "command": "echo $$; exec sleep 1000"})
        with start(folder) as process:
            pid = int(await_that(lambda: folder.read_log("stdout").strip()))
            process.send_signal(signal.SIGSTOP)
            os.kill(pid, signal.SIGTERM)
            process.terminate()
            process.send_signal(signal.SIGCONT)
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.error) == ("CANCELLED", None)

    def test_a_stopped_process_is_ended_too(self, tmp_path: Path) -> None:
        command = "echo begun; kill -STOP $$"
        folder = make_folder(tmp_path, {"type": "shell", "command": command}, grace_seconds=30)
        with start(folder) as process:
            await_that(lambda: folder.read_log("stdout"))
            process.terminate()
        outcome = folder.read_outcome()
        assert outcome is not None
        assert (outcome.status, outcome.signal) == ("CANCELLED", signal.SIGTERM)

    def test_the_timeout_of_the_executor_counts_too(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "sleep 1000"}, timeout_seconds=900)
        run(folder, "--timeout-seconds", "0.1")
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert "0.1 seconds" in outcome.error["message"]


class TestKills:
    def test_when_the_script_is_killed_its_command_ends(self, tmp_path: Path) -> None:
        command = "echo $$ > child; exec sleep 1000"
        folder = make_folder(tmp_path, {"type": "shell", "command": command, "cwd": str(tmp_path)})
        with start(folder) as process:
            child = read_child(tmp_path)
            process.kill()
        await_that(lambda: read_start(child) is None)
        assert folder.read_outcome() is None

    def test_a_kill_of_what_it_started_is_told_as_the_command_tells_it(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "sh -c 'kill -KILL $$'; echo $?")
        assert (outcome.status, outcome.stdout) == ("COMPLETED", "137\n")


class TestClaims:
    def test_a_job_is_run_once(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "echo run >> runs", "cwd": str(tmp_path)})
        processes = [start(folder) for _ in range(4)]
        codes = sorted(process.wait() for process in processes)
        for process in processes:
            process.communicate()
        assert codes == [0, 75, 75, 75]
        assert (tmp_path / "runs").read_text() == "run\n"
        claim = folder.read_claim()
        assert claim is not None
        assert claim.pid in {process.pid for process in processes}
        assert claim.host == os.uname().nodename

    def test_a_job_that_has_ended_is_not_run_again(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "echo run >> runs", "cwd": str(tmp_path)})
        assert run(folder)[0] == 0
        before = (folder.path / "outcome.json").read_bytes()
        assert run(folder)[0] == 75
        assert (folder.path / "outcome.json").read_bytes() == before
        assert (tmp_path / "runs").read_text() == "run\n"

    def test_a_folder_that_is_not_there_cannot_be_claimed(self, tmp_path: Path) -> None:
        code, said = run(JobFolder(tmp_path / "gone"))
        assert code == 74
        assert "cannot be claimed" in said


class TestDisks:
    def test_a_log_that_has_no_room_is_cut_and_the_job_goes_on(self, tmp_path: Path) -> None:
        command = "head -c 200000 /dev/zero; echo end"
        folder = make_folder(tmp_path, {"type": "shell", "command": command}, output_limit=4)
        run(folder, python=("prlimit", "--fsize=100000", sys.executable))
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.status == "COMPLETED"
        assert (outcome.stdout or "").endswith("end\n")
        assert len(folder.read_log("stdout")) == 100_000
        trouble = outcome.usage["log_trouble"]
        assert "stdout was cut: File too large" in trouble
        assert "100004 bytes were not kept" in trouble

    def test_an_outcome_that_cannot_be_written_is_told_by_the_exit_code(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "true"})
        (folder.path / "outcome.json").mkdir()
        code, said = run(folder, "--outcome-seconds", "0.1")
        assert code == 74
        assert "outcome.json could not be written" in said

    def test_an_outcome_is_tried_again_until_there_is_room(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "true"})
        (folder.path / "outcome.json").mkdir()
        with start(folder) as process:
            assert process.stderr is not None
            process.stderr.readline()
            (folder.path / "outcome.json").rmdir()
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.status == "COMPLETED"


class TestThen:
    def test_a_command_follows_the_outcome_and_outlives_the_script(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "go")
        path = JobFolder.of(tmp_path, "f:t:1").path
        then = ["sh", "-c", f"cat {tmp_path}/go; ls {path}/outcome.json; ps -o sid= $$; echo $$"]
        folder = make_folder(tmp_path, {"type": "shell", "command": "true"}, then={"argv": then})
        assert run(folder)[0] == 0  # though what follows still waits
        (tmp_path / "go").write_text("gone on\n")
        log = folder.path / "then.log"
        await_that(lambda: log.read_text().count("\n") == 4)
        first, second, group, pid = log.read_text().splitlines()
        assert (first, second) == ("gone on", str(folder.path / "outcome.json"))
        assert group.strip() == pid

    def test_one_that_cannot_be_started_says_so_in_its_log(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "true"}, then={"argv": ["/no/such"]})
        assert run(folder)[0] == 0
        log = folder.path / "then.log"
        await_that(lambda: log.exists() and "could not be started" in log.read_text())


def test_the_script_runs_elsewhere_on_the_oldest_python(tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-r", str(SCRIPT.parent), str(copied)], check=True)
    work = {"type": "function", "function": "json:loads", "args": ["[1]"]}
    for key, each in {"call": work, "command": {"type": "shell", "command": "echo hi"}}.items():
        folder = make_folder(tmp_path, each, key=key)
        code, said = run(folder, python=(OLDEST_PYTHON,), script=copied / "run_job.py")
        assert (code, said) == (0, "")
