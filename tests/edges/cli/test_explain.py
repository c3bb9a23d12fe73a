"""`houston explain`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WAIT = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
SUB = {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [WAIT]}}, "precursors": []}


@pytest.fixture
def waiting(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    houston(
        "submit", write_spec([SUB, {"key": "end", "task_type": "noop", "precursors": ["sub"]}]), "--key", "f"
    )
    houston("tick")
    return houston


def test_people_read_what_each_task_waits_for_and_what_to_type(waiting: Callable[..., Any]) -> None:
    ended = waiting("explain", "f")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[0] == "f is RUNNING"
    assert lines[1] == "No time makes the flow due: it waits for something outside."
    assert any(line.startswith("sub: The task waits for the sub-flow 'f/sub/1'") for line in lines)
    assert "f/sub/1 is RUNNING" in lines
    assert "$ houston signal f/sub/1 go" in lines
    assert "end: The task waits for sub (WAITING)." in lines


def test_of_one_task_only_that_is_told(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    inner = {"tasks": [{**WAIT, "precursors": []}, {**WAIT, "key": "other", "precursors": []}]}
    outer = {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": inner}}
    houston("submit", write_spec([outer, {"key": "end", "task_type": "noop"}]), "--key", "f")
    houston("tick")
    told = houston("explain", "f", "--task", "outer/w", "--json").document["reasons"]
    assert [(each["kind"], each["task"]) for each in told] == [("event", None), ("signal", "outer/w")]
    told = houston("explain", "f", "--task", "outer", "--json").document["reasons"]
    assert [each["task"] for each in told] == [None, "outer/w", "outer/other"]
    ended = houston("explain", "f", "--task", "outer/v")
    assert ended.code == 2
    assert "Flow 'f' has no task 'outer/v'. Did you mean 'outer/w'" in ended.err


def test_what_it_says_to_type_can_be_typed(waiting: Callable[..., Any]) -> None:
    typed = next(line for line in waiting("explain", "f").out.splitlines() if "$ houston signal" in line)
    assert waiting(*typed.split()[2:]).code == 0
    waiting("tick")
    assert waiting("explain", "f").out.splitlines()[1].startswith("  The flow is finished: COMPLETED.")


def test_where_only_some_may_decide_it_says_to_name_them(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    houston(
        "submit", write_spec([{"task_type": "approval", "task_params": {"approvers": ["ada"]}}]), "--key", "f"
    )
    houston("tick")
    typed = next(line for line in houston("explain", "f").out.splitlines() if "$ houston approve" in line)
    assert houston(*typed.replace("NAME", "ada").split()[2:]).out == "task_1 of f was approved by ada\n"


def test_with_json_one_document_is_printed(waiting: Callable[..., Any]) -> None:
    document = waiting("explain", "f", "--json", "--tasks", "1").document
    assert (document["key"], document["status"], document["tasks_not_shown"]) == ("f", "RUNNING", 1)
    event, sub = document["reasons"]
    assert (event["kind"], event["task"], sub["kind"], sub["task"]) == ("event", None, "sub-flow", "sub")
    assert sub["sub_flow"]["reasons"][1]["commands"] == ["houston signal f/sub/1 go"]


def test_a_flow_that_is_not_stored_is_an_error(waiting: Callable[..., Any]) -> None:
    ended = waiting("explain", "g")
    assert ended.code == 2
    assert "No flow with the key 'g' is stored." in ended.err
