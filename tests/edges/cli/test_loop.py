"""`houston loop`, and how it and `houston tick` end when they are told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from mc.store.flow_store import FlowStore

ROOT = Path(__file__).resolve().parents[3]
MODULE = """
import os, signal, sys
from threading import Event
from mc import task_handler

@task_handler("hang")
def hang():
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    print("hanging", flush=True)
    os.read(told, 1)
    print("told", flush=True)
    Event().wait(600)

@task_handler("ask")
def ask(task):
    print(f"asking {task['key']}\\n", end="", flush=True)  # at once, whatever other threads print
    return {"answer": sys.stdin.readline().strip()}
"""
NOOP = {"key": "a", "task_type": "noop"}
START = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[START]:
    """Begin a command in a process of its own, with the task type `ask`, which reads a line from stdin."""
    (tmp_path / "asking.py").write_text(MODULE)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MC_", "PYTEST", "COV"))
    }
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mc", *arguments, "--handlers", "asking"],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def ask_twice(houston: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path) -> None:
    """Store a flow of two tasks that ask."""
    (tmp_path / "asking.py").write_text(MODULE)
    tasks = [{"key": key, "task_type": "ask"} for key in ("first", "second")]
    assert houston("submit", write_spec(tasks, key="k"), "--handlers", "asking").code == 0


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def read_statuses(folder: Path) -> tuple[list[str], Any]:
    with FlowStore(f"sqlite:///{folder}/mc.sqlite3") as store:
        flow = store.load("k")
        flow.check_invariants()
        held = store.is_held("k")
        return [flow.tasks[key]["status"] for key in ("first", "second")], held


@pytest.mark.usefixtures("ask_twice")
class TestSignals:
    @pytest.mark.parametrize("command", [("loop",), ("loop", "--interval", "1h"), ("tick",)])
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    def test_the_task_under_way_is_finished_saved_and_the_flow_is_free(
        self, start: START, tmp_path: Path, command: tuple[str, ...], number: int, code: int
    ) -> None:
        process = start(*command)
        assert read_line(process) == "asking first\n"
        process.send_signal(number)
        out, err = process.communicate("one\ntwo\n")
        assert (process.returncode, "asking second" in out) == (code, False), err
        assert read_statuses(tmp_path) == (["COMPLETED", "PENDING"], False)

    def test_a_signal_ends_the_wait_for_the_next_interval(self, start: START, tmp_path: Path) -> None:
        process = start("loop", "--interval", "1h")
        assert read_line(process) == "asking first\n"
        assert process.stdin is not None
        process.stdin.write("one\ntwo\n")
        process.stdin.flush()
        assert read_line(process) == "asking second\n"
        while read_statuses(tmp_path)[0] != ["COMPLETED", "COMPLETED"]:
            Event().wait(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert "1 flow, 2 task calls" in out


@pytest.mark.parametrize("command", ["loop", "tick"])
def test_a_second_interrupt_ends_it_at_once(
    start: START, houston: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    tasks = [{"key": "first", "task_type": "hang"}, {"key": "second", "task_type": "noop"}]
    (tmp_path / "asking.py").write_text(MODULE)
    houston("submit", write_spec(tasks, key="k"), "--handlers", "asking")
    process = start(command)
    for line in ("hanging\n", "told\n"):
        assert read_line(process) == line
        process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    notice, last = err.splitlines()
    assert (process.returncode, last) == (130, "Interrupted.")
    assert notice.startswith("SIGINT: waiting for task first of flow k ")
    assert read_statuses(tmp_path) == (["PENDING", "PENDING"], False)


class TestThreads:
    @pytest.fixture
    def asking(
        self, start: START, houston: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
    ) -> subprocess.Popen[str]:
        """A loop in which two flows have asked and wait for their answers."""
        (tmp_path / "asking.py").write_text(MODULE)
        tasks = [{"key": key, "task_type": "ask"} for key in ("first", "second")]
        for key in ("k", "l"):
            houston("submit", write_spec(tasks, key=key), "--handlers", "asking")
        process = start("loop", "--threads", "2")
        assert [read_line(process), read_line(process)] == ["asking first\n"] * 2
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        notice = process.stderr.readline()
        assert notice.startswith("SIGINT: waiting for task first of flow ")
        assert ") and task first of flow " in notice
        return process

    def test_all_calls_under_way_are_finished_and_saved(
        self, asking: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        out, err = asking.communicate("one\ntwo\n")
        assert (asking.returncode, err) == (130, "")
        assert "2 flows, 2 task calls" in out
        assert read_statuses(tmp_path) == (["COMPLETED", "PENDING"], False)

    def test_a_second_interrupt_waits_for_none_and_lets_the_flows_go(
        self, asking: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        asking.send_signal(signal.SIGINT)
        assert asking.wait(60) == 130
        assert asking.stderr is not None
        assert asking.stderr.read() == "Interrupted.\n"
        assert read_statuses(tmp_path) == (["PENDING", "PENDING"], False)


class TestLoop:
    def test_it_ends_when_the_time_is_up(self, houston: Callable[..., Any]) -> None:
        ended = houston("loop", "--max-seconds", "0.05", "--json")
        assert (ended.code, ended.document["claimed"]) == (0, 0)

    def test_flows_that_others_submit_meanwhile_are_taken_up(
        self, start: START, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        process = start("loop", "--interval", "0.05", "--json")
        for key in ("one", "two"):
            houston("submit", write_spec([NOOP], key=key))
            while json.loads(houston("show", key, "--json").out)["status"] != "COMPLETED":
                Event().wait(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert json.loads(out)["completed"] == 2

    def test_a_flow_that_fails_does_not_end_it(
        self, start: START, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        params = {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]}
        houston("submit", write_spec([{"key": "w", "task_type": "wire", "task_params": params}], key="k"))
        process = start("loop", "--interval", "0.05")
        while json.loads(houston("show", "k", "--json").out)["status"] != "FAILED":
            Event().wait(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
        assert (process.returncode, "1 failed" in out) == (0, True)

    @pytest.mark.parametrize("text", ["0", "0s", "soon", "-1"])
    def test_an_interval_that_is_none_is_refused(self, houston: Callable[..., Any], text: str) -> None:
        ended = houston("loop", f"--interval={text}", "--max-seconds", "0")
        assert ended.code == 2
        assert "interval" in ended.err

    @pytest.mark.parametrize("text", ["2", "0.5", "1m", "PT5S"])
    def test_an_interval_is_any_duration(self, houston: Callable[..., Any], text: str) -> None:
        assert houston("loop", "--interval", text, "--max-seconds", "0").code == 0


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_goes_away_under_the_loop_ends_it_with_3(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "flows.sqlite3"
    command = [sys.executable, "-m", "mc", "loop", "--db", f"sqlite:///{path}", "--interval", "0.05"]
    loop = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        with FlowStore(f"sqlite:///{path}") as store:
            while not store.ticks.list():
                assert loop.poll() is None
                Event().wait(0.02)
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        _, told = loop.communicate(timeout=60)
    finally:
        loop.kill()
    assert loop.returncode == 3
    assert ("was replaced by another file" if replaced else "was deleted or moved away") in told
    assert "Traceback" not in told
