"""Functions that the script calls in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mc.flows.jobs.job import Outcome
from tests.support.job_folders import await_that, make_folder, run, start, write_module


def call(tmp_path: Path, text: str, **work: Any) -> Outcome:
    """Run a module's function `work` as a job."""
    folder = make_folder(tmp_path, {**write_module(tmp_path, text), **work})
    _, said = run(folder)
    outcome = folder.read_outcome()
    assert outcome is not None, said
    assert said == ""
    return outcome


def fail(tmp_path: Path, text: str, **work: Any) -> dict[str, Any]:
    """Run it, and return the error that it must end with."""
    outcome = call(tmp_path, text, **work)
    assert outcome.status == "FAILED"
    assert outcome.error is not None
    return dict(outcome.error)


class TestResults:
    def test_what_it_returns_is_the_result(self, tmp_path: Path) -> None:
        text = (
            "def work(a, *, b):\n    print('{}')\n    return {'sum': a + b, 'pair': (a, b), 'none': None}\n"
        )
        outcome = call(tmp_path, text, args=[1], kwargs={"b": 2.5})
        assert outcome.status == "COMPLETED"
        assert outcome.result == {"sum": 3.5, "pair": [1, 2.5], "none": None}
        assert outcome.stdout == "{}\n"

    def test_a_large_result_comes_through(self, tmp_path: Path) -> None:
        assert len(call(tmp_path, "def work(): return 'x' * 3_000_000").result) == 3_000_000

    def test_a_coroutine_function_is_awaited(self, tmp_path: Path) -> None:
        text = "import asyncio\nasync def work():\n    await asyncio.sleep(0)\n    return 'done'\n"
        assert call(tmp_path, text).result == "done"

    def test_it_learns_which_attempt_it_is(self, tmp_path: Path) -> None:
        text = "def work(task_ctx): return [task_ctx.attempt, task_ctx['task'], dict(task_ctx)]"
        ctx = {"idempotency_key": "f:t:1", "flow_key": "f", "task": "t", "attempt": 1}
        assert call(tmp_path, text, task_ctx=ctx).result == [1, "t", ctx]

    def test_it_sees_neither_the_modules_of_the_script_nor_its_stdin(self, tmp_path: Path) -> None:
        text = (
            "import importlib.util, subprocess, sys\n"
            "def work():\n"
            "    read = subprocess.run(['cat'], capture_output=True).stdout.decode()\n"
            "    return [importlib.util.find_spec('job_run'), sys.stdin.read(), read]\n"
        )
        assert call(tmp_path, text).result == [None, "", ""]

    @pytest.mark.parametrize(
        ("value", "pointer", "what"),
        [
            ("{'a': [1, {2}]}", "/result/a/1", "type set"),
            ("{'a/b': float('nan')}", "/result/a~1b", "number nan"),
            ("[{1: 2}]", "/result/0", "keys that are no texts"),
        ],
    )
    def test_a_result_that_is_not_json_names_the_place(
        self, tmp_path: Path, value: str, pointer: str, what: str
    ) -> None:
        error = fail(tmp_path, f"def work(): return {value}")
        assert error["type"] == "NotJsonError"
        assert "mc.errors.NotJsonError" in error["types"]
        assert f"at {pointer} is" in error["message"]
        assert what in error["message"]

    def test_a_result_that_holds_itself_is_not_json(self, tmp_path: Path) -> None:
        assert (
            fail(tmp_path, "def work():\n    a = []\n    a.append(a)\n    return a")["type"] == "NotJsonError"
        )


class TestFailures:
    def test_an_exception_is_told_with_its_classes_and_where_it_was_raised(self, tmp_path: Path) -> None:
        text = "class Gone(LookupError): pass\ndef work():\n    raise Gone('no such row')\n"
        error = fail(tmp_path, text)
        assert (error["type"], error["message"]) == ("Gone", "no such row")
        assert {"LookupError", "Exception", "work_of_test.Gone"} <= set(error["types"])
        assert "raise Gone" in error["traceback"]

    def test_a_long_message_is_cut(self, tmp_path: Path) -> None:
        error = fail(tmp_path, "def work(): raise ValueError('x' * 1_000_000)")
        assert len(error["message"]) < 4_100
        assert len(error["traceback"]) <= 8_000

    def test_a_module_that_fails_on_import_is_named(self, tmp_path: Path) -> None:
        error = fail(tmp_path, "1 / 0\ndef work(): pass")
        assert error["type"] == "ImportError"
        assert "'work_of_test'" in error["message"]
        assert "ZeroDivisionError" in error["message"]

    def test_a_module_that_is_not_there_says_where_it_was_looked_for(self, tmp_path: Path) -> None:
        error = fail(tmp_path, "", function="no_such_module:work")
        assert error["type"] == "ModuleNotFoundError"
        assert "'no_such_module'" in error["message"]
        assert str(tmp_path) in error["message"]

    def test_a_function_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert "'other'" in fail(tmp_path, "", function="work_of_test:other")["message"]

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("os._exit(0)", "ExitCode0"),
            ("os._exit(137)", "ExitCode137"),
            ("os.abort()", "KilledBySignal6"),
            ("os.kill(os.getpid(), 9)", "KilledBySignal9"),
            ("sys.exit(4)", "SystemExit"),
        ],
    )
    def test_whatever_it_does_to_its_process_is_told(self, tmp_path: Path, code: str, kind: str) -> None:
        error = fail(tmp_path, f"import os, sys\ndef work(): {code}")
        assert error["type"] == kind
        assert error["message"]

    def test_a_child_that_it_forks_is_not_taken_for_it(self, tmp_path: Path) -> None:
        text = (
            "import atexit, os\n"
            "def work():\n"
            "    reading, writing = os.pipe()\n"
            "    if os.fork():\n"
            "        atexit.register(lambda: (os.close(writing), os.wait()))\n"
            "        return 'parent'\n"
            "    os.close(writing)\n"
            "    os.read(reading, 1)  # until the parent has returned\n"
            "    return 'child'\n"
        )
        assert call(tmp_path, text).result == "parent"

    def test_memory_is_limited(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, write_module(tmp_path, "def work(): return len(bytearray(2 * 10**9))"))
        run(folder, "--memory-bytes", str(10**9))
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error["type"] == "MemoryError"


class TestProgress:
    def test_a_function_tells_how_far_it_is(self, tmp_path: Path) -> None:
        text = (
            "import time\n"
            "def work(task_ctx):\n"
            "    task_ctx.progress(0.4, '40 of 100')\n"
            "    time.sleep(1000)\n"
        )
        folder = make_folder(tmp_path, write_module(tmp_path, text))
        with start(folder) as process:
            progress = await_that(folder.read_progress)
            process.terminate()
        assert (progress.fraction, progress.text) == (0.4, "40 of 100")

    def test_the_last_word_is_kept(self, tmp_path: Path) -> None:
        text = (
            "def work(task_ctx):\n"
            "    for n in range(1000): task_ctx.progress(n / 1000, f'{n} of 1000')\n"
            "    task_ctx.progress(None, 'more than 1000')\n"
        )
        folder = make_folder(tmp_path, write_module(tmp_path, text))
        run(folder)
        progress = folder.read_progress()
        assert progress is not None
        assert (progress.fraction, progress.text) == (None, "more than 1000")

    @pytest.mark.parametrize(
        ("line", "fraction", "text"),
        [
            ("::progress 0.4 40 of 100", 0.4, "40 of 100"),
            ("::progress 1", 1.0, ""),
            ("::progress - waiting", None, "waiting"),
            ("::progress 40 of 100", None, "40 of 100"),
            ("::progress nan of it", None, "nan of it"),
        ],
    )
    def test_a_command_prints_it(self, tmp_path: Path, line: str, fraction: float | None, text: str) -> None:
        command = f"echo; echo ' ::progress 0.9 not this'; printf '{line}'"
        folder = make_folder(tmp_path, {"type": "shell", "command": command})
        run(folder)
        progress = folder.read_progress()
        assert progress is not None
        assert (progress.fraction, progress.text) == (fraction, text)
        assert line.encode() in folder.read_log("stdout")

    def test_a_command_that_lasts_shows_that_it_lives(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "sleep 1000"}, heartbeat_seconds=0.01)
        with start(folder) as process:
            first = await_that(folder.read_heartbeat)
            await_that(lambda: (folder.read_heartbeat() or first) > first)
            process.terminate()
