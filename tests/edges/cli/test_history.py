from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TASKS = [
    {"key": "a", "task_type": "noop"},
    {
        "key": "b",
        "task_type": "wire",
        "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
        "cfg": {"retry": {"max_attempts": 2}},
    },
    {"key": "never", "task_type": "noop"},
]


@pytest.fixture
def ran(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    houston("submit", write_spec(TASKS), "--key", "f")
    houston("tick")
    return houston


def test_the_time_line_is_for_people(ran: Callable[..., Any]) -> None:
    ended = ran("history", "f")
    assert ended.code == 0
    head, *lines = ended.out.splitlines()
    assert head.split() == ["TIME", "TASK", "ATTEMPT", "WHAT", "DURATION", "BY", "NOTE"]
    shown = [re.sub(r"^\S+ \S+ +", "", line) for line in lines]
    assert [re.split(r"  +", line)[:3] for line in shown] == [
        ["(flow)", "created: PENDING"],
        ["(flow)", "PENDING -> RUNNING", shown[1].split("  ")[-1].strip()],
        ["a", "1", "PENDING -> RUNNING"],
        ["a", "1", "RUNNING -> COMPLETED"],
        ["b", "1", "PENDING -> RUNNING"],
        ["b", "1", "RUNNING -> PENDING"],
        ["b", "2", "PENDING -> RUNNING"],
        ["b", "2", "RUNNING -> FAILED"],
        ["(flow)", "RUNNING -> FAILED", re.split(r"  +", shown[-1])[2]],
    ]
    ends = [line for line in shown if re.search(r"RUNNING -> [CFP]", line)]
    assert all(re.search(r"RUNNING -> \w+ +\d[\d.]*m?s  ", line) for line in ends)
    assert "there is no 'x' in 'ctx.flow.data'" in lines[-2]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", lines[0])


def test_with_json_all_that_is_known_is_printed(ran: Callable[..., Any]) -> None:
    events = ran("history", "f", "--json").document
    assert [event["number"] for event in events] == list(range(1, 10))
    failed = events[7]
    assert {name: failed[name] for name in ("kind", "task_key", "attempt", "old_status", "new_status")} == {
        "kind": "changed",
        "task_key": "b",
        "attempt": 2,
        "old_status": "RUNNING",
        "new_status": "FAILED",
    }
    assert failed["error"]["type"] == "WiringError"
    assert [event["number"] for event in events if event["seconds"] is not None] == [4, 6, 8, 9]
    assert failed["token"] == 1


def test_one_task_can_be_followed(ran: Callable[..., Any]) -> None:
    events = ran("history", "f", "--task", "b", "--json").document
    assert [(event["attempt"], event["new_status"]) for event in events] == [
        (1, "RUNNING"),
        (1, "PENDING"),
        (2, "RUNNING"),
        (2, "FAILED"),
    ]


def test_a_task_that_has_not_begun_has_no_history(ran: Callable[..., Any]) -> None:
    ended = ran("history", "f", "--task", "never", "--json")
    assert (ended.code, ended.document) == (0, [])


def test_a_wrong_task_is_named_with_the_nearest(ran: Callable[..., Any]) -> None:
    ended = ran("history", "f", "--task", "nevr")
    assert ended.code == 2
    assert "Flow 'f' has no task 'nevr'. Did you mean 'never'?" in ended.err


def test_an_unknown_flow_is_named(ran: Callable[..., Any]) -> None:
    ended = ran("history", "nowhere", "--json")
    assert ended.code == 2
    assert ended.error["code"] == "flow-not-found"
    assert ended.out == ""


def test_the_key_of_a_deleted_flow_is_refused(
    ran: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    from mc import Houston as Facade

    with Facade() as facade:
        facade.delete("f")
    ended = ran("submit", write_spec(TASKS), "--key", "f", "--json")
    assert ended.code == 2
    assert ended.error["code"] == "flow-exists"
    assert "was used before" in ended.error["message"]


def test_what_a_task_says_cannot_harm_the_terminal(
    houston: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "evil_tasks.py").write_text(
        "from mc import task_handler\n"
        "@task_handler('evil')\n"
        "def evil(task):\n"
        "    raise ValueError('no \\x1b[31m colour')\n",
        encoding="utf-8",
    )
    houston(
        "submit", write_spec([{"key": "t", "task_type": "evil"}]), "--key", "f", "--handlers", "evil_tasks"
    )
    houston("tick", "--handlers", "evil_tasks")
    shown = houston("history", "f").out
    assert "RUNNING -> FAILED" in shown
    assert "[31m colour" in shown
    assert "\x1b" not in shown
