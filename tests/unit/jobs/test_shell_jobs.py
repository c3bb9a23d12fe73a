"""Commands that the script runs: what their outcome says."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.job_folders import make_folder, run, run_shell


def error_of(outcome: Any) -> dict[str, Any]:
    assert outcome.status == "FAILED"
    return dict(outcome.error)


class TestTheEnd:
    def test_a_command_that_succeeds_is_completed(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "echo hello; echo careful >&2")
        assert (outcome.status, outcome.exit_code, outcome.error) == ("COMPLETED", 0, None)
        assert (outcome.stdout, outcome.stderr) == ("hello\n", "careful\n")
        assert outcome.started_at < outcome.finished_at
        assert outcome.host == os.uname().nodename
        assert outcome.usage["cpu_seconds"] >= 0

    def test_the_script_exits_with_zero_for_what_is_completed_alone(self, tmp_path: Path) -> None:
        assert run(make_folder(tmp_path, {"type": "shell", "command": "true"}))[0] == 0
        assert run(make_folder(tmp_path, {"type": "shell", "command": "false"}, key="other"))[0] == 1

    def test_another_exit_code_fails_and_shows_the_end_of_stderr(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "seq 100 >&2; echo 'no such table' >&2; exit 3")
        error = error_of(outcome)
        assert (error["type"], error["types"]) == ("ExitCode3", ["ExitCode3", "ExitCodeError"])
        assert error["message"].endswith("99\n100\nno such table")
        assert "\n50\n" not in error["message"]
        assert outcome.exit_code == 3

    def test_the_end_of_stdout_is_shown_where_nothing_was_written_to_stderr(self, tmp_path: Path) -> None:
        error = error_of(run_shell(tmp_path, "seq 100; echo 'FAILED test_orders'; exit 1"))
        assert "exit code 1. The end of its stdout:\n" in error["message"]
        assert error["message"].endswith("99\n100\nFAILED test_orders")

    def test_a_command_that_wrote_nothing_is_told_so(self, tmp_path: Path) -> None:
        error = error_of(run_shell(tmp_path, "exit 1"))
        assert error["message"].endswith("exit code 1. It wrote nothing to stderr or stdout.")

    def test_an_exit_code_that_is_allowed_is_completed(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "exit 3", work={"ok_exit_codes": [0, 3]})
        assert (outcome.status, outcome.exit_code) == ("COMPLETED", 3)

    def test_exit_code_137_is_explained(self, tmp_path: Path) -> None:
        error = error_of(run_shell(tmp_path, "exit 137"))
        assert error["type"] == "ExitCode137"
        assert "SIGKILL" in error["message"]

    def test_a_command_that_is_killed_names_the_signal(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "kill -KILL $$")
        error = error_of(outcome)
        assert error["types"] == ["KilledBySignal9", "KilledBySignalError"]
        assert "SIGKILL" in error["message"]
        assert (outcome.signal, outcome.exit_code) == (signal.SIGKILL, None)

    def test_python_does_not_leave_its_ignored_signals_to_the_command(self, tmp_path: Path) -> None:
        assert run_shell(tmp_path, "kill -PIPE $$").signal == signal.SIGPIPE


class TestTheStart:
    def test_a_command_that_is_not_found_says_where_it_was_looked_for(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "argv": ["no-such"], "env": {"PATH": "/x:/y"}})
        run(folder)
        error = error_of(folder.read_outcome())
        assert error["type"] == "FileNotFoundError"
        assert "'no-such'" in error["message"]
        assert "PATH=/x:/y" in error["message"]

    def test_a_file_that_is_not_executable_says_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "plain"
        path.write_text("echo")
        folder = make_folder(tmp_path, {"type": "shell", "argv": [str(path)]})
        run(folder)
        error = error_of(folder.read_outcome())
        assert error["type"] == "PermissionError"
        assert "chmod +x" in error["message"]

    def test_a_file_without_an_interpreter_says_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "plain"
        path.write_text("echo")
        path.chmod(0o755)
        folder = make_folder(tmp_path, {"type": "shell", "argv": [str(path)]})
        run(folder)
        assert "'#!'" in error_of(folder.read_outcome())["message"]

    def test_a_missing_working_folder_is_named(self, tmp_path: Path) -> None:
        error = error_of(run_shell(tmp_path, "true", work={"cwd": str(tmp_path / "gone")}))
        assert error["type"] == "FileNotFoundError"
        assert f"{str(tmp_path / 'gone')!r}" in error["message"]
        assert "`cwd`" in error["message"]

    def test_a_null_character_is_refused(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "argv": ["echo", "a\0b"]})
        run(folder)
        assert error_of(folder.read_outcome())["type"] == "ValueError"

    def test_the_command_runs_where_it_is_told(self, tmp_path: Path) -> None:
        assert run_shell(tmp_path, "pwd", work={"cwd": str(tmp_path)}).stdout == f"{tmp_path}\n"

    def test_it_reads_its_stdin_and_else_nothing(self, tmp_path: Path) -> None:
        text = "grün\n" * 50_000  # more than a pipe holds
        outcome = run_shell(tmp_path, "wc -c", work={"stdin": text}, key="some")
        assert int(outcome.stdout) == len(text.encode())
        assert run_shell(tmp_path, "wc -c").stdout.strip() == "0"

    def test_stdin_that_nobody_reads_is_no_failure(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "true", work={"stdin": "x" * 1_000_000})
        assert outcome.status == "COMPLETED"

    def test_its_environment_says_which_job_it_is(self, tmp_path: Path) -> None:
        command = "echo $MC_JOB_KEY $MC_FLOW_KEY $MC_TASK $MC_ATTEMPT $MINE; ls $MC_JOB_FOLDER/job.json >&2"
        outcome = run_shell(tmp_path, command, work={"env": {"MINE": "own"}})
        assert outcome.stdout == "f:t:1 f t 1 own\n"
        assert outcome.exit_code == 0

    @pytest.mark.parametrize(
        ("work", "place"),
        [
            ({"type": "dance"}, "work.type"),
            ({"type": "shell"}, "`argv`"),
            ({"type": "shell", "argv": "ls", "command": "ls"}, "both"),
            ({"type": "shell", "argv": ["ls", 1]}, "work.argv"),
            ({"type": "shell", "argv": []}, "work.argv"),
            ({"type": "shell", "argv": ["ls"], "env": ["A=1"]}, "work.env"),
            ({"type": "function"}, "work.function"),
        ],
    )
    def test_work_that_cannot_be_understood_fails_and_names_the_place(
        self, tmp_path: Path, work: dict[str, Any], place: str
    ) -> None:
        folder = make_folder(tmp_path, work)
        run(folder)
        error = error_of(folder.read_outcome())
        assert error["type"] == "JobError"
        assert place in error["message"]

    @pytest.mark.parametrize(
        ("text", "found"), [("{", "not JSON"), ("[]", "holds no job"), ('{"version": 9, "work": {}}', "9")]
    )
    def test_a_damaged_job_fails(self, tmp_path: Path, text: str, found: str) -> None:
        folder = make_folder(tmp_path, {})
        (folder.path / "job.json").write_text(text)
        run(folder)
        assert found in error_of(folder.read_outcome())["message"]


class TestResults:
    def run_json(self, tmp_path: Path, command: str) -> Any:
        return run_shell(tmp_path, command, work={"parse": "json"})

    def test_the_last_line_that_is_an_object_is_the_result(self, tmp_path: Path) -> None:
        outcome = self.run_json(tmp_path, """echo '{"n": 1}'; echo '{"n": 2}'; echo '{oops}'; echo done""")
        assert outcome.result == {"n": 2}

    @pytest.mark.parametrize("line", ["[1]", "text", '{"a": NaN}', '{"a": 1e999}', '{"a": ', ""])
    def test_output_that_is_no_json_object_fails(self, tmp_path: Path, line: str) -> None:
        outcome = self.run_json(tmp_path, f"echo '{line}'")
        assert error_of(outcome)["type"] == "OutputError"
        assert line.strip() in error_of(outcome)["message"]
        assert outcome.exit_code == 0

    def test_json_that_is_too_deep_fails(self, tmp_path: Path) -> None:
        outcome = self.run_json(tmp_path, """python3 -c 'print("{\\"a\\":" * 100000 + "1" + "}" * 100000)'""")
        assert error_of(outcome)["type"] == "OutputError"

    def test_the_result_may_be_larger_than_what_is_kept_of_the_output(self, tmp_path: Path) -> None:
        work = {"parse": "json", "output_limit": 10}
        outcome = run_shell(tmp_path, """printf '{"a": "%01000d"}\\n' 7""", work=work)
        assert outcome.result == {"a": f"{7:01000d}"}
        assert outcome.stdout.endswith('00007"}\n')

    def test_output_is_not_parsed_unless_it_is_asked_for(self, tmp_path: Path) -> None:
        assert run_shell(tmp_path, "echo '{}'").result is None


class TestOutput:
    def test_the_last_bytes_are_kept_and_the_rest_is_in_the_log(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "seq 1000"}, output_limit=10)
        run(folder)
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.stdout == "... (3883 bytes before this are in the log)\n\n999\n1000\n"
        assert folder.read_log("stdout") == b"".join(b"%d\n" % n for n in range(1, 1001))

    def test_a_character_is_not_cut_in_two(self, tmp_path: Path) -> None:
        outcome = run_shell(tmp_path, "printf 'aääää'", work={"output_limit": 5})
        assert outcome.stdout == "... (5 bytes before this are in the log)\nää"

    def test_binary_output_is_kept_as_text(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": r"printf 'a\377\000b'"})
        run(folder)
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.stdout == "a\\xff\0b"
        assert folder.read_log("stdout") == b"a\xff\0b"
        json.dumps(outcome.to_dict()).encode()

    def test_fifty_megabytes_leave_a_log_of_bounded_length(self, tmp_path: Path) -> None:
        command = "echo first; head -c 50000000 /dev/zero; echo; echo last"
        folder = make_folder(tmp_path, {"type": "shell", "command": command}, log_limit_bytes=100_000)
        run(folder)
        outcome = folder.read_outcome()
        assert outcome is not None
        log = folder.read_log("stdout")
        assert 100_000 < len(log) < 100_100
        assert log.startswith(b"first\n\0")
        assert log.endswith(b"\0\nlast\n")
        assert b"\n... (49900012 bytes are left out here)\n" in log
        assert outcome.stdout.endswith("\nlast\n")
        assert outcome.usage["max_rss_bytes"] > 0
