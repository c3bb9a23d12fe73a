"""What Ctrl-C, typed on a real terminal, is answered with while a task runs."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore
from tests.edges.cli.conftest import process_environment

MODULE = """
from threading import Event

from mc import task_handler

@task_handler("hang")
def hang():
    open("hanging", "w").close()
    Event().wait(600)
"""
TASK = {"key": "first", "task_type": "hang"}
COMMANDS = {"tick": ["tick"], "loop": ["loop"], "run": ["run", "spec.json", "--key", "k"]}


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, kind: str = "dumb", stderr: int | None = None) -> None:
        self.leader, follower = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mc", *arguments, "--handlers", "hanging_tasks"],
            cwd=folder,
            stdin=follower,
            stdout=follower,
            stderr=follower if stderr is None else stderr,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one call of the system
            env={**process_environment(), "TERM": kind, "COLUMNS": "300"},
        )
        os.close(follower)

    def type(self, keys: bytes) -> None:
        os.write(self.leader, keys)

    def read_until(self, text: str) -> str:
        """Read until a text has come, and return all that came so far; everything where it never comes."""
        while text not in self.text:
            try:
                part = os.read(self.leader, 65_536)
            except OSError:  # nobody has the other end any more
                break
            self.text += part.decode()
        return self.text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.leader)


Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path, write_spec: Callable[..., Path]) -> Iterator[Open]:
    """Run a command that comes to a task which never ends, and wait until it does."""
    (tmp_path / "hanging_tasks.py").write_text(MODULE)
    write_spec([TASK], "spec.json")
    opened: list[Terminal] = []

    def begin(name: str, **options: Any) -> Terminal:
        if name != "run":
            with FlowStore(f"sqlite:///{tmp_path}/mc.sqlite3") as store:
                store.create(Flow.from_flow_spec({"key": "k", "tasks": [TASK]}))
        terminal = Terminal(tmp_path, *COMMANDS[name], **options)
        opened.append(terminal)
        while not (tmp_path / "hanging").exists():
            assert terminal.process.poll() is None, terminal.read_until("?")
        return terminal

    yield begin
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize(("name", "kind"), [(name, "dumb") for name in COMMANDS] + [("run", "xterm")])
def test_the_first_ctrl_c_is_answered_while_the_task_runs_and_the_second_ends_it(
    open_terminal: Open, name: str, kind: str
) -> None:
    terminal = open_terminal(name, kind=kind)
    terminal.type(b"\x03")
    told = terminal.read_until("by a later tick.")
    assert "SIGINT: waiting for task first of flow k (called at 20" in told
    assert "Another Ctrl-C ends it at once" in told
    assert terminal.process.poll() is None
    terminal.type(b"\x03")
    assert "Interrupted" in terminal.read_until("Interrupted")
    assert terminal.process.wait(timeout=60) == 130


def test_sigterm_says_what_would_end_it_at_once(open_terminal: Open) -> None:
    terminal = open_terminal("loop")
    for _ in range(2):  # it is told once
        terminal.process.send_signal(signal.SIGTERM)
    told = terminal.read_until("by a later tick.")
    assert "SIGTERM: waiting for task first of flow k" in told
    assert "Ctrl-C (SIGINT) ends it at once" in told
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.read_until("never").count("waiting for") == 1


def test_a_stderr_that_goes_elsewhere_gets_it_beside_a_table(open_terminal: Open, tmp_path: Path) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        terminal = open_terminal("run", kind="xterm", stderr=errors.fileno())
    terminal.type(b"\x03")
    terminal.read_until("by a later tick.")
    assert (tmp_path / "errors").read_text().startswith("SIGINT: waiting for task first of flow k")
