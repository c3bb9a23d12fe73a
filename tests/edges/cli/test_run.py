from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAME = {"key": "name", "task_type": "noop", "data": {"name": "world"}}
GREET = {"key": "greet", "task_type": "print", "task_params": {"msg": "Hello, ${ctx.flow.data.name}!"}}
LATER = {"key": "later", "task_type": "wait", "task_params": {"duration": "1h"}}

HANDLERS = """
import os, subprocess, sys
from mc import task_handler

@task_handler("make_noise")
def make_noise():
    print("by print")
    os.write(1, b"by descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('by child')"], check=True)

@task_handler("fail")
def fail():
    raise ValueError("no such planet")

@task_handler("hang")
def hang():
    import time
    open("beats", "w").close()
    print("hanging", flush=True)
    while not os.path.exists("go"):
        with open("beats", "a") as file:
            file.write(".")
        time.sleep(0.01)

@task_handler("mark")
def mark(task):
    with open("marks", "a") as file:
        file.write(task["key"] + "\\n")

@task_handler("break_out")
def break_out():
    open("reached", "w").close()
"""


@pytest.fixture(autouse=True)
def _handlers(tmp_path: Path) -> None:
    (tmp_path / "run_handlers.py").write_text(HANDLERS)


class TestPlainOutput:
    def test_each_change_of_a_task_is_a_line_and_the_outcome_is_the_last(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        ended = houston("run", write_spec([NAME, GREET], key="k", data={"name": "you"}))
        assert (ended.code, ended.err) == (0, "")
        lines = [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in ended.out.splitlines()]
        assert lines == [
            "flow k",
            "name  RUNNING",
            "name  COMPLETED",
            "greet  RUNNING",
            "Hello, you!",
            "greet  COMPLETED",
            "flow k is COMPLETED; tasks: 2 COMPLETED",
        ]

    def test_a_failure_is_told_with_its_message(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([{"key": "a", "task_type": "fail"}, NAME])
        ended = houston("run", spec, "--handlers", "run_handlers")
        assert ended.code == 1
        assert re.search(r"a  FAILED  ValueError: no such planet\n", ended.out)
        assert ended.out.splitlines()[-2] == "failure: task 'a': ValueError: no such planet"

    def test_results_are_printed(self, houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
        spec = write_spec([NAME], results={"who": "$ctx.flow.tasks.name.data.name"})
        assert houston("run", spec).out.splitlines()[-1] == 'results: {"who": "world"}'

    def test_log_records_of_tasks_go_to_stderr(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([{"key": "a", "task_type": "log", "task_params": {"msg": "noted"}}])
        ended = houston_process("run", spec)
        assert ended.code == 0
        assert ended.err.endswith("INFO mc.task: noted\n")


class TestJson:
    def test_the_document_has_counts_results_and_errors(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([NAME], key="k", results={"who": "$ctx.flow.tasks.name.data.name"})
        ended = houston("run", spec, "--json")
        assert ended.code == 0
        assert ended.document == {
            "key": "k",
            "status": "COMPLETED",
            "tasks": {"COMPLETED": 1},
            "results": {"who": "world"},
            "errors": [],
        }

    def test_a_failure_is_listed_with_its_task(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([{"key": "a", "task_type": "fail"}, NAME])
        ended = houston("run", spec, "--json", "--handlers", "run_handlers")
        assert ended.code == 1
        assert ended.document["status"] == "FAILED"
        assert ended.document["errors"] == [{"task": "a", "type": "ValueError", "message": "no such planet"}]

    def test_stdout_holds_nothing_but_the_document(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([{"key": "a", "task_type": "make_noise"}])
        ended = houston_process("run", spec, "--json", "--handlers", "run_handlers")
        assert ended.code == 0
        assert ended.document["status"] == "COMPLETED"
        assert ended.err.splitlines() == ["by print", "by descriptor", "by child"]

    def test_text_that_stdout_cannot_encode_is_escaped(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([NAME], data={"x": "naïve €"}, results={"x": "$ctx.flow.data.x"})
        ended = houston_process("run", spec, "--json", env={"PYTHONIOENCODING": "ascii"})
        assert ended.document["results"] == {"x": "naïve €"}


class TestData:
    def test_values_are_json_where_they_parse_and_text_elsewhere(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([NAME], data={"a": 0, "kept": 1}, results={"all": "$ctx.flow.data"})
        given = ["a=5", 'b={"c": [true]}', "d=plain text", "e=", "f=NaN", 'g="5"', "h=x=y"]
        options = [word for text in given for word in ("--data", text)]
        assert houston("run", spec, "--json", *options).document["results"]["all"] == {
            "a": 5,
            "kept": 1,
            "b": {"c": [True]},
            "d": "plain text",
            "e": "",
            "f": "NaN",
            "g": "5",
            "h": "x=y",
        }

    def test_a_spec_may_come_from_stdin(self, houston_process: Callable[..., Any]) -> None:
        ended = houston_process("run", "-", "--json", stdin=json.dumps({"tasks": [NAME]}))
        assert ended.document["status"] == "COMPLETED"


class TestUnfinished:
    def test_a_run_that_runs_out_of_time_ends_with_4(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        ended = houston("run", write_spec([NAME, LATER], key="k"), "--max-seconds", "0.01", "--json")
        assert ended.code == 4
        assert ended.document["status"] in {"PENDING", "RUNNING"}
        assert houston("list", "--json").document[0]["tasks"].get("COMPLETED", 0) <= 1

    def test_people_are_told_how_it_goes_on(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        ended = houston("run", write_spec([LATER], key="k"), "--max-seconds", "0")
        assert ended.code == 4
        assert "houston tick" in ended.out

    def test_the_same_run_goes_on_where_it_stood(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        marks = [{"key": key, "task_type": "mark"} for key in ("a", "b", "c")]
        command = ["run", write_spec(marks, key="k"), "--handlers", "run_handlers"]
        assert houston(*command, "--max-seconds", "0").code == 4
        assert houston(*command).code == 0
        assert houston(*command).code == 0
        assert Path("marks").read_text().split() == ["a", "b", "c"]

    def test_the_key_of_another_spec_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        houston("run", write_spec([NAME], "one.json"), "--key", "k")
        ended = houston("run", write_spec([GREET], "two.json"), "--key", "k")
        assert ended.code == 2
        assert "another spec" in ended.err


class TestBlocked:
    @pytest.fixture
    def command(self, houston: Callable[..., Any], write_spec: Callable[..., Path]) -> list[Any]:
        """A run of a flow that the runner has given up."""
        spec = write_spec([NAME], key="k")
        houston("submit", spec)
        with sqlite3.connect("mc.sqlite3") as connection:
            connection.execute(
                "UPDATE mc_flow SET status = 'BLOCKED', next_tick_at = NULL, blocked_reason = 'It broke.'"
            )
        connection.close()
        return ["run", spec]

    def test_it_ends_with_1_and_says_why(self, houston: Callable[..., Any], command: list[Any]) -> None:
        ended = houston(*command)
        assert ended.code == 1
        assert "blocked: It broke." in ended.out
        assert "goes on" not in ended.out

    def test_json_has_the_reason_among_the_errors(
        self, houston: Callable[..., Any], command: list[Any]
    ) -> None:
        ended = houston(*command, "--json")
        assert (ended.code, ended.document["status"]) == (1, "BLOCKED")
        assert ended.document["errors"] == [{"task": None, "type": "FlowBlocked", "message": "It broke."}]


class TestSignals:
    @pytest.fixture
    def begin_run(self, write_spec: Callable[..., Path]) -> Iterator[Callable[[], subprocess.Popen[str]]]:
        """Start a run whose second task waits for the file `go`, and return it when that task runs."""
        tasks = [
            {"key": key, "task_type": kind} for key, kind in (("a", "mark"), ("b", "hang"), ("c", "mark"))
        ]
        spec = write_spec(tasks, key="k")
        started: list[subprocess.Popen[str]] = []

        def begin() -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "mc", "run", str(spec), "--handlers", "run_handlers"],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            assert process.stdout is not None
            while "hanging" not in (line := process.stdout.readline()):
                assert line
            return process

        yield begin
        for process in started:
            process.kill()
            process.communicate()

    def test_ctrl_c_ends_a_run_after_the_task_that_runs(
        self, houston: Callable[..., Any], begin_run: Callable[[], subprocess.Popen[str]]
    ) -> None:
        process = begin_run()
        process.send_signal(signal.SIGINT)
        Path("go").touch()
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err.count("\n")) == (130, 2)
        assert err.startswith("SIGINT: waiting for task b of flow k")
        assert "Flow k is saved; `houston tick` goes on with it" in err
        assert houston("list", "--json").document[0]["tasks"] == {"PENDING": 1, "COMPLETED": 2}
        assert houston("tick", "--handlers", "run_handlers").code == 0
        assert Path("marks").read_text().split() == ["a", "c"]

    def test_a_second_ctrl_c_ends_it_at_once(
        self, houston: Callable[..., Any], begin_run: Callable[[], subprocess.Popen[str]]
    ) -> None:
        process = begin_run()
        process.send_signal(signal.SIGINT)
        wait_for_beats(2)  # by then the first one has been taken note of
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err
        Path("go").touch()
        assert houston("tick", "--handlers", "run_handlers").code == 0
        assert houston("list", "--json").document[0]["status"] == "COMPLETED"
        assert Path("marks").read_text().split() == ["a", "c"]

    def test_sigterm_ends_a_run_after_the_task_that_runs(
        self, houston: Callable[..., Any], begin_run: Callable[[], subprocess.Popen[str]]
    ) -> None:
        process = begin_run()
        process.send_signal(signal.SIGTERM)
        Path("go").touch()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err.count("\n")) == (4, 1)
        assert err.startswith("SIGTERM: waiting for task b of flow k")
        assert "It is saved; `houston tick` goes on with it" in out
        assert houston("list", "--json").document[0]["tasks"] == {"PENDING": 1, "COMPLETED": 2}

    def test_a_reader_that_goes_away_does_not_stop_the_run(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        tasks = [{"key": f"t{number}", "task_type": "noop"} for number in range(50)]
        spec = write_spec([*tasks, {"key": "end", "task_type": "break_out"}], key="k")
        with subprocess.Popen(
            [sys.executable, "-m", "mc", "run", str(spec), "--handlers", "run_handlers"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read().decode()
        assert (process.returncode, err) == (141, "")
        assert Path("reached").exists()
        assert houston("list", "--json").document[0]["status"] == "COMPLETED"


def wait_for_beats(number: int) -> None:
    """Wait until the hanging task has gone round so often from now on."""
    beats = Path("beats")
    before = beats.stat().st_size
    while beats.stat().st_size < before + number:
        os.sched_yield()


def run_on_terminal(*arguments: str, columns: int = 100) -> tuple[int, str]:
    """Run `houston` on a terminal of its own and return the exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    size = {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **size}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-m", "mc", *arguments], env=environment, stdout=theirs, stderr=theirs, stdin=theirs
    ) as process:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:
            pass  # the other end was closed: the process has ended
    os.close(ours)
    return process.returncode, b"".join(parts).decode()


class TestTerminal:
    def test_a_run_shows_a_table_and_then_the_outcome(self, write_spec: Callable[..., Path]) -> None:
        code, shown = run_on_terminal("run", str(write_spec([NAME, GREET], key="k", data={"name": "you"})))
        assert code == 0
        assert "Hello, you!" in shown
        assert "flow k is COMPLETED; tasks: 2 COMPLETED" in shown
        assert "\x1b[" in shown

    def test_a_list_is_a_coloured_table(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        houston("run", write_spec([NAME], key="k", label="[b]label[/b]"))
        code, shown = run_on_terminal("list")
        assert code == 0
        assert "\x1b[32mCOMPLETED" in shown
        assert "[b]label[/b]" in shown

    @pytest.mark.parametrize("label", [None, "a label of several words"])
    def test_a_narrow_terminal_folds_no_key(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], label: str | None
    ) -> None:
        key = houston("submit", write_spec([NAME], label=label)).out.strip()
        assert len(key) == len("flow:") + 36
        code, shown = run_on_terminal("list", columns=80)
        assert code == 0
        assert key in shown
        assert "PENDING" in shown

    def test_a_key_that_no_terminal_holds_is_folded(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        houston("submit", write_spec([NAME]), "--key", "k" * 200)
        code, shown = run_on_terminal("list", columns=80)
        assert (code, shown.count("k")) == (0, 200)


def test_a_line_says_how_long_a_task_took_that_was_not_short(capsys: pytest.CaptureFixture[str]) -> None:
    from mc.cli.printing.progress import LineProgress
    from mc.clock import ManualClock
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine

    clock, progress = ManualClock(), LineProgress()
    work = {"slow": lambda: clock.advance(8) and None, "quick": lambda: None}
    engine = FlowEngine(task_handlers=work, clock=clock, observers=[progress])
    tasks = [{"key": key, "task_type": key} for key in work]
    with progress.following("f"):
        engine.run_flow(Flow.from_flow_spec({"key": "f", "tasks": tasks}))
    assert capsys.readouterr().out.splitlines() == [
        "00:00:00  slow  RUNNING",
        "00:00:08  slow  COMPLETED in 8s",
        "00:00:08  quick  RUNNING",
        "00:00:08  quick  COMPLETED",
    ]


def test_lines_do_not_tell_again_that_a_task_waits_or_runs(capsys: pytest.CaptureFixture[str]) -> None:
    from datetime import timedelta

    from mc.cli.printing.progress import LineProgress
    from mc.clock import ManualClock
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine
    from mc.task_handlers.base_task_handler import BaseTaskHandler

    class Polls(BaseTaskHandler):
        def initial_tick(self) -> None:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=4))

        def intermediate_tick(self) -> None:
            self.data["polls"] = polls = self.data.get("polls", 0) + 1
            if polls == 3:
                self.complete()
            else:
                self.wait_until(self.task_ctx.now() + timedelta(seconds=4))

    progress = LineProgress()
    engine = FlowEngine(task_handlers={"polls": Polls}, clock=ManualClock(), observers=[progress])
    with progress.following("f"):
        engine.run_flow(Flow.from_flow_spec({"key": "f", "tasks": [{"key": "a", "task_type": "polls"}]}))
    assert capsys.readouterr().out.splitlines() == [
        "00:00:00  a  RUNNING",
        "00:00:00  a  WAITING",
        "00:00:12  a  COMPLETED in 12s",
    ]
