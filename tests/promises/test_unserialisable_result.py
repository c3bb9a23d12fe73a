"""A value that cannot be stored fails its own task and names the place; the flow and the others live."""

from __future__ import annotations

from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE
VALUES = {
    "a set": {1, 2},
    "an object": object(),
    "not a number": float("nan"),
    "infinite": float("inf"),
    "bytes": b"x",
    "a key that is no text": {1: "x"},
    "a cycle": CYCLE,
}


@pytest.mark.parametrize("name", VALUES)
def test_it_fails_its_task_and_nothing_else(url: str, name: str) -> None:
    def spoil(task: dict[str, Any]) -> None:
        task["data"] = {"fine": 1, "deep": [{"here": VALUES[name]}]}

    with FlowStore(url) as store:
        tasks = [
            {"key": "bad", "task_type": "spoil", "precursors": []},
            {"key": "good", "task_type": "noop", "precursors": []},
            {"key": "after", "task_type": "noop", "precursors": ["bad"]},
        ]
        store.create(Flow.from_flow_spec({"tasks": tasks, "cfg": {"fail_fast": False}}, key="f"))
        store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "noop"}]}, key="other"))
        report = FlowRunner(store, FlowEngine(task_handlers={"spoil": spoil})).tick()
        assert (report.failed, report.completed, report.errors) == (1, 1, [])
        flow = store.load("f")
        statuses = {key: flow.tasks[key]["status"] for key in ("bad", "good", "after")}
        assert statuses == {"bad": "FAILED", "good": "COMPLETED", "after": "SKIPPED"}
        error = flow.tasks["bad"]["error"]
        assert error["type"] == "NotJsonError"
        assert "/data/deep/0/here" in error["message"]
        check_store(store)
