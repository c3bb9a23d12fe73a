"""What users wrote reaches a terminal without its control characters, and a log line for line."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc import FlowEngine
from tests.edges.cli.conftest import process_environment

FORGED = "2026-01-01 00:00:00,000 ERROR mc.task: forged"
NASTY = f"a\x1b[31m\x07\x9b2J\u202eb\n{FORGED}\r\x85c\tz"
HANDLERS = f"""
import logging

from mc import task_handler

@task_handler("fail")
def fail():
    logging.getLogger("shop").warning("sold %s", {NASTY!r})
    print("\\x1b[32mgreen\\x1b[0m")
    try:
        raise KeyError({NASTY!r})
    except KeyError:
        logging.getLogger("shop").exception("lost")
    raise ValueError({NASTY!r})
"""
TASKS: list[dict[str, Any]] = [
    {"key": "print", "task_type": "print", "task_params": {"msg": NASTY}},
    {"key": "dump", "task_type": "print", "task_params": {"msg": {"x": "\x9b2J"}}},
    {"key": "log", "task_type": "log", "task_params": {"msg": NASTY, "dump_task": True}, "label": NASTY},
    {"key": "fail", "task_type": "fail"},
]


def run_on_terminal(*arguments: str | Path) -> str:
    """Run the command with a terminal as its stdout and stderr, and return what came there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mc", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**process_environment(), "TERM": "dumb", "PYTHONIOENCODING": "utf-8"},
    )
    os.close(follower)
    parts = []
    try:
        while part := os.read(leader, 65_536):
            parts.append(part)
    except OSError:  # Linux says so when nobody has the other end any more
        pass
    process.wait()
    os.close(leader)
    return b"".join(parts).decode().replace("\r\n", "\n")


def control_characters(text: str) -> set[str]:
    """Return the characters by which a text could do more than be read."""
    return set(re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text))


@pytest.fixture
def spec(write_spec: Callable[..., Path], tmp_path: Path) -> Path:
    (tmp_path / "nasty_handlers.py").write_text(HANDLERS)
    return write_spec(
        TASKS, key="k", label=NASTY, description=NASTY, data={"n": NASTY}, results={"n": "$ctx.flow.data.n"}
    )


def test_nothing_but_a_handlers_own_print_reaches_a_terminal_raw(spec: Path) -> None:
    shown = run_on_terminal("run", spec, "--handlers", "nasty_handlers", "--debug")
    assert "\x1b[32mgreen\x1b[0m" in shown
    assert control_characters(shown.replace("\x1b[32mgreen\x1b[0m", "")) == set()
    assert (
        f"a\\u001b[31m\\u0007\\u009b2J\\u202eb\n{FORGED}\\r\\u0085c\tz\n" in shown
    )  # of print, with its lines
    assert "\\u009b2J" in shown
    assert "ValueError" in shown


def test_a_pipe_gets_what_print_was_given(spec: Path, houston_process: Callable[..., Any]) -> None:
    ended = houston_process("run", spec, "--handlers", "nasty_handlers")
    assert NASTY.replace("\r", "\n") in ended.out.replace("\r", "\n")
    assert control_characters(ended.err) == set()


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_no_record_can_be_forged(spec: Path, houston_process: Callable[..., Any], options: list[str]) -> None:
    ended = houston_process("run", spec, "--handlers", "nasty_handlers", *options)
    lines = ended.err.splitlines()
    assert any(FORGED in line for line in lines)
    assert not any(line.startswith(FORGED[:19]) for line in lines)
    begins = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: |    ")
    assert all(begins.match(line) for line in lines), lines


def test_the_log_task_writes_one_line_for_any_handler_of_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flow = FlowEngine().flow_spec_to_flow(
        {"tasks": [{"key": "a", "task_type": "log", "task_params": {"msg": NASTY}}]}
    )
    FlowEngine().run_flow(flow)
    assert flow.status == "COMPLETED"
    (message,) = [record.getMessage() for record in caplog.records if record.name == "mc.task"]
    assert message.isprintable()
    assert message.splitlines() == [message]


def test_no_command_writes_control_characters_of_what_is_stored(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    waits = {"key": "w", "task_type": "wait_for_signal", "task_params": {"name": "go"}, "label": NASTY}
    asks = {"key": "ask", "task_type": "approval", "task_params": {"message": NASTY}, "precursors": []}
    spec = write_spec([asks, {**waits, "precursors": []}], label=NASTY, description=NASTY, data={"n": NASTY})
    key = f"k{NASTY}"
    bad = write_spec([{"key": NASTY, "task_type": NASTY, NASTY: NASTY}], "bad.json")
    houston("submit", spec, "--key", key)
    commands: list[list[Any]] = [
        ["tick"],
        ["list"],
        ["list", "--json"],
        ["show", key],
        ["show", key, "--json"],
        *(["show", key, "--graph", form] for form in ("text", "mermaid", "dot")),
        ["history", key],
        ["history", key, "--json"],
        ["explain", key],
        ["export", key],
        ["doctor"],
        ["plan", spec],
        ["simulate", spec],
        ["validate", bad],
        ["validate", f"{NASTY}.json"],
        ["submit", bad],
        ["submit", spec, "--key", key, "--data", f"n={NASTY}"],
        ["submit", spec, "--data", f"{NASTY}=1"],
        ["migrate", key, spec, "--dry-run"],
        ["signal", key, NASTY, "--by", NASTY],
        ["approve", key, NASTY],
        ["approve", key, "ask", "--comment", NASTY, "--by", NASTY],
        ["pause", key, "--reason", NASTY, "--by", NASTY],
        ["explain", key],
        ["set", key, "--data", f"n={NASTY}"],
        ["rerun", key, "--key", "other"],
        ["cancel", key, "--reason", NASTY],
        ["retry", key, "--task", NASTY],
        ["history", key],
        ["show", NASTY],
        ["skip", NASTY, NASTY],
        ["resource", "set", NASTY, "--slots", "1"],
        ["resource", "show", NASTY],
        [NASTY],
        ["tick", NASTY],
        [f"--{NASTY}"],
    ]
    for command in commands:
        for options in ([], ["--debug"]):
            ended = houston(*command, *options)
            assert control_characters(ended.out + ended.err) == set(), (command, ended)


def test_what_a_program_reads_is_as_it_was_given(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    spec = write_spec([])
    key = "k\x1b[31m"
    assert houston("submit", spec, "--key", key).out == f"{key}\n"
    assert houston("list", "--json").document[0]["key"] == key
