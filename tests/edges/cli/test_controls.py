"""`houston cancel`, `pause`, `resume`, `retry`, `skip`, `set` and `rerun`."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "8h"}}
SAY = {"key": "say", "task_type": "print", "task_params": {"msg": "hello"}}
HANDLERS = ("--handlers", "own_types_to_stop")
OWN = """
from mc.task_handlers.base_task_handler import BaseTaskHandler


class TaskHandler(BaseTaskHandler):
    def initial_tick(self):
        self.task["status"] = "WAITING"

    def cancel(self):
        print("stopped", self.task["key"])
"""


@pytest.fixture
def napping(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """A flow that waits, with a task behind."""
    houston("submit", write_spec([NAP, SAY]), "--key", "f")
    houston("tick")
    return houston


def test_each_command_says_what_became_of_the_flow(napping: Callable[..., Any]) -> None:
    assert napping("pause", "f").out == "f: paused; the flow is PAUSED\n"
    assert napping("resume", "f").out == "f: resumed; the flow is RUNNING\n"
    assert napping("cancel", "f").out == "f: cancelled; the flow is CANCELLED\n"
    assert napping("retry", "f").out == "f: retried; the flow is RUNNING\n"
    assert napping("set", "f", "say", "--params", "msg=good night").out == (
        "f: set msg of say; the flow is RUNNING\n"
    )
    assert napping("set", "f", "--data", "n=1").out == "f: set n of the flow; the flow is RUNNING\n"
    assert napping("skip", "f", "nap", "say").out == "f: skipped nap, say; the flow is RUNNING\n"
    napping("tick")
    assert napping("rerun", "f", "--key", "g").out == "g\n"
    assert [row["status"] for row in napping("list", "--json").document] == ["PENDING", "COMPLETED"]


def test_programs_get_a_document(napping: Callable[..., Any]) -> None:
    report = napping("pause", "f", "--json").document
    assert report == {"key": "f", "status": "PAUSED", "done": True, "why_not": None}
    assert napping("rerun", "f", "--key", "g", "--json").document == {"key": "g", "of": "f"}


def test_the_history_tells_who_asked_for_what_and_why(napping: Callable[..., Any]) -> None:
    napping("skip", "f", "nap", "say", "--reason", "slept enough", "--by", "ann")
    napping("set", "f", "--data", 'limits={"low": 1}')
    napping("rerun", "f", "--key", "g", "--reason", "again", "--by", "bob")
    me = getpass.getuser()
    for told in (
        "skip nap, say, by ann: slept enough",
        f'set data {{"limits": {{"low": 1}}}}, by {me}',
        "rerun new flow g, by bob: again",
    ):
        assert told in " ".join(napping("history", "f").out.split())
    assert "rerun of flow f, by bob: again" in napping("history", "g").out
    assert "skip nap, say, by ann" in napping("history", "f", "--task", "say").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("resume", "f"), "control-refused", "is RUNNING; only a PAUSED or BLOCKED flow can be resumed"),
        (("retry", "f"), "control-refused", "no task of it failed"),
        (("retry", "f", "--task", "nap"), "control-refused", "'nap', which is WAITING"),
        (("skip", "f", "snap"), "control-refused", "has no task 'snap'"),
        (("skip", "f", "nap/inner"), "control-refused", "has no task 'nap/inner'"),
        (("skip", "f"), "usage", "TASK"),
        (("set", "f"), "control-refused", "neither data nor params"),
        (("set", "f", "--params", "x=1"), "control-refused", "name the task whose params are meant"),
        (("set", "f", "say", "--params", "massage=1"), "invalid-spec", "/task_params/massage"),
        (("set", "f", "say", "--data", "x"), "usage", "NAME=VALUE"),
        (("set", "f", "nap", "--params", "duration=1"), "control-refused", "which is WAITING with those"),
        (("rerun", "f", "--key", "f"), "flow-exists", "'f'"),
        (("cancel", "nobody"), "flow-not-found", "'nobody'"),
        (("pause", "f", "--by", " "), "control-refused", "expected a name"),
        (("rerun", "f", "--by", " "), "control-refused", "expected a name"),
    ],
)
def test_what_cannot_be_done_is_bad_input_and_changes_nothing(
    napping: Callable[..., Any], arguments: tuple[str, ...], code: str, said: str
) -> None:
    before = napping("export", "f").out
    ended = napping(*arguments, "--json")
    assert (ended.code, ended.out, ended.error["code"]) == (2, "", code)
    assert said in ended.error["message"]
    assert napping("export", "f").out == before
    plain = napping(*arguments)
    assert plain.code == 2
    assert "Traceback" not in plain.err


@pytest.fixture
def own(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """A flow with a task under way that takes its own handler to stop."""
    Path("own_types_to_stop.py").write_text(OWN)
    spec = write_spec([{"key": "a", "task_type": "own_types_to_stop:TaskHandler"}])
    houston("submit", spec, "--key", "f", *HANDLERS)
    houston("tick", *HANDLERS)
    return houston


@pytest.mark.parametrize("command", [("cancel", "f"), ("skip", "f", "a")])
def test_a_task_is_stopped_by_the_handler_that_is_named(
    own: Callable[..., Any], command: tuple[str, ...]
) -> None:
    ended = own(*command, *HANDLERS, "--json")
    assert (ended.code, ended.document["done"]) == (0, True)
    assert "stopped a" in ended.err


def test_a_flow_of_own_types_is_run_again(own: Callable[..., Any]) -> None:
    assert own("rerun", "f", "--key", "g").code == 2
    assert own("rerun", "f", "--key", "g", *HANDLERS).out == "g\n"
    assert own("tick", *HANDLERS).code == 0
    assert own("list", "--status", "RUNNING", "--json").document[0]["key"] == "g"
