"""`houston resource`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

WAIT = {
    "key": "w",
    "task_type": "wait_for_signal",
    "task_params": {"signal": "go"},
    "cfg": {"resources": {"db": 1}},
}


@pytest.fixture
def busy(houston: Command, write_spec: Callable[..., Path]) -> Command:
    """One slot, one flow that holds it, one that waits."""
    houston("resource", "set", "db", "--slots", "1")
    for key in ("a", "b"):
        houston("submit", write_spec([WAIT]), "--key", key)
        houston("tick")
    return houston


def test_what_is_set_is_told(houston: Command) -> None:
    assert houston("resource", "set", "db", "--slots", "3").out == "db: 3 slots\n"
    both = houston("resource", "set", "api", "--slots", "1", "--rate", "10/min")
    assert both.out == "api: 1 slot, 10/min\n"
    told = houston("resource", "set", "api", "--rate", "600/min", "--json").document
    assert told == {"name": "api", "slots": None, "rate": "600/min"}
    assert houston("resource", "list", "--json").document == [
        {"name": "api", "slots": None, "rate": "600/min", "is_set": True, "held": 0, "waiting": 0},
        {"name": "db", "slots": 3, "rate": None, "is_set": True, "held": 0, "waiting": 0},
    ]


def test_who_has_it_and_who_waits_is_shown(busy: Command) -> None:
    shown = busy("resource", "show", "db").out.splitlines()
    assert shown[0] == "db: slots 1; 1 held, 1 task waiting"
    assert [line.split()[:4] for line in shown[2:]] == [["a", "w", "1", "held"], ["b", "w", "1", "waits"]]
    shares = busy("resource", "show", "db", "--json").document["shares"]
    assert {share["flow_key"]: share["granted_at"] is None for share in shares} == {"a": False, "b": True}
    assert "waits for db" in busy("show", "b").out


def test_a_name_that_nobody_set_is_listed_where_tasks_wait_for_it(
    houston: Command, write_spec: Callable[..., Path]
) -> None:
    houston("submit", write_spec([WAIT]), "--key", "f")
    houston("tick")
    assert houston("resource", "list").out.splitlines()[1].split() == ["db", "not", "set", "0", "1"]


def test_one_in_use_is_not_deleted(busy: Command) -> None:
    refused = busy("resource", "delete", "db")
    assert (refused.code, refused.out) == (2, "")
    assert "a/w, b/w" in refused.err
    busy("cancel", "b")
    busy("cancel", "a")
    assert busy("resource", "delete", "db").out == "deleted db\n"
    assert busy("resource", "show", "db", "--json").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "db"), "a rate such as '10/min'"),
        (("set", "db", "--slots", "0"), "1 to 1000000"),
        (("set", "a b", "--slots", "1"), "cannot be the name"),
        (("set", "db", "--rate", "often"), "is not a rate"),
        (("set", "db", "--rate", "10/"), "is not a rate"),
        (("set", "db", "--rate", "10/ "), "is not a rate"),
        (("set", "db", "--rate", "10"), "is not a rate"),
        (("set", "db", "--rate", "/s"), "is not a rate"),
        (("set", "db", "--rate", "1 0/s"), "is not a rate"),
        (("set", "db", "--rate", "10/ss"), "is not a rate"),
        (("set", "db", "--rate", "10/min/s"), "is not a rate"),
        (("show", "db"), "There is no resource 'db'"),
        (("delete", "db"), "There is no resource 'db'"),
    ],
)
def test_what_cannot_be_done_is_bad_input(houston: Command, arguments: tuple[str, ...], said: str) -> None:
    houston("db", "init")
    failed = houston("resource", *arguments, "--json")
    assert (failed.code, failed.out) == (2, "")
    assert said in failed.error["message"]
    assert failed.error["code"] == "resource"
