"""`houston signal`, `houston approve` and `houston reject`."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WAIT = {
    "key": "w",
    "task_type": "wait_for_signal",
    "task_params": {"signal": "go", "schema": {"type": "integer"}, "timeout": "2d"},
}
ASK = {"key": "ask", "task_type": "approval", "task_params": {"approvers": ["ada"], "message": "ok?"}}


@pytest.fixture
def waiting(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    spec = write_spec([{**WAIT, "precursors": []}, {**ASK, "precursors": []}])
    houston("submit", spec, "--key", "f")
    houston("tick")
    return houston


def test_a_signal_is_sent_and_counted_once(waiting: Callable[..., Any]) -> None:
    assert waiting("signal", "f", "go", "--data", "3", "--id", "1").out == "sent go to f\n"
    assert waiting("signal", "f", "go", "--data", "3", "--id", "1").out == (
        "go with the id 1 was sent to f before\n"
    )
    again = waiting("signal", "f", "go", "--data", "3", "--id", "1", "--json")
    assert (again.code, again.document) == (0, {"key": "f", "signal": "go", "id": "1", "sent": False})
    new = waiting("signal", "f", "go", "--data", "4", "--json").document
    assert new == {"key": "f", "signal": "go", "id": new["id"], "sent": True}


def test_the_sender_is_who_is_logged_in_unless_named(waiting: Callable[..., Any]) -> None:
    waiting("signal", "f", "go", "--data", "3")
    waiting("signal", "f", "go", "--data", "3", "--by", "shop")
    events = [event for event in waiting("history", "f", "--json").document if event["kind"] == "signal_sent"]
    assert [event["detail"]["by"] for event in events] == [getpass.getuser(), "shop"]
    assert "go from shop" in waiting("history", "f").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("f", "go", "--data", '"x"'), "signal-refused", "/data: "),
        (("f", "go", "--data", "x"), "usage", "is not JSON"),
        (("f", "go", "--data", "NaN"), "usage", "is not JSON"),
        (("f", "go", "--data", '{"a": 1, "a": 2}'), "usage", "'a' stands twice"),
        (("f", ""), "signal-refused", "1 to 255 characters"),
        (("f", "mc.x"), "signal-refused", "kept for the engine"),
        (("f", "go", "--data", "3", "--id", ""), "signal-refused", "1 to 255 characters"),
        (("nobody", "go"), "flow-not-found", "'nobody'"),
    ],
)
def test_what_cannot_be_sent_is_bad_input(
    waiting: Callable[..., Any], arguments: tuple[str, ...], code: str, said: str
) -> None:
    ended = waiting("signal", *arguments, "--json")
    assert (ended.code, ended.out, ended.error["code"]) == (2, "", code)
    assert said in ended.error["message"]


def test_a_finished_flow_takes_none(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    houston("run", write_spec([{"task_type": "noop"}]), "--key", "f")
    ended = houston("signal", "f", "go")
    assert (ended.code, ended.out) == (2, "")
    assert "Flow 'f' is COMPLETED" in ended.err


def test_show_lists_what_a_flow_waits_for(waiting: Callable[..., Any]) -> None:
    waiting("signal", "f", "other")
    shown = waiting("show", "f").out
    assert "waits for signal go in w, until 2" in shown
    assert "waits for approval of ask by ada: ok?" in shown
    assert "signals   1 other; no task has taken them" in shown
    assert len(waiting("show", "f", "--json").document["signals"]) == 1


@pytest.mark.parametrize(("verb", "word"), [("approve", "approved"), ("reject", "rejected")])
def test_a_person_decides(waiting: Callable[..., Any], verb: str, word: str) -> None:
    first = waiting(verb, "f", "ask", "--by", "ada", "--comment", "because")
    assert (first.code, first.out) == (0, f"ask of f was {word} by ada\n")
    again = waiting(verb, "f", "ask", "--by", "ada", "--comment", "because", "--json")
    approved = verb == "approve"
    document = {"key": "f", "task": "ask", "approved": approved, "by": "ada", "decided": False}
    assert (again.code, again.document) == (0, document)
    waiting("tick")
    ask = waiting("show", "f", "--json").document["graph"]["tasks"]["ask"]
    assert (ask["data"]["approved"], ask["data"]["comment"]) == (approved, "because")


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("ask", ("--by", "eve"), "not for 'eve' to decide"),
        ("ask", ("--by", ""), "by nobody"),
        ("w", ("--by", "ada"), "no approval 'w'; it has ask"),
    ],
)
def test_a_decision_that_is_not_theirs_is_refused(
    waiting: Callable[..., Any], task: str, options: tuple[str, ...], said: str
) -> None:
    for verb in ("approve", "reject"):
        ended = waiting(verb, "f", task, *options)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err


def test_another_decision_is_refused(waiting: Callable[..., Any]) -> None:
    waiting("approve", "f", "ask", "--by", "ada")
    ended = waiting("reject", "f", "ask", "--by", "ada", "--json")
    assert (ended.code, ended.error["code"]) == (2, "signal-refused")
    assert "was approved by ada" in ended.error["message"]
