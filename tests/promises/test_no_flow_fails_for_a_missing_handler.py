"""A runner that lacks the handler of a task leaves the flow to runners that have it."""

from __future__ import annotations

from pathlib import Path

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore


def test_the_flow_waits_untouched_and_carries_on_when_the_handler_is_there(tmp_path: Path) -> None:
    clock = ManualClock()
    store = FlowStore(f"sqlite:///{tmp_path / 'mc.sqlite3'}", clock=clock)
    tasks = [{"key": "a", "task_type": "noop"}, {"key": "b", "task_type": "own"}]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": tasks}))

    report = FlowRunner(store, FlowEngine(clock=clock)).tick()
    assert [error["type"] for error in report.errors] == ["UnknownTaskTypeError"]
    assert "'own'" in report.errors[0]["message"]
    stored = store.load("f")
    assert (stored.status, stored.count_tasks()) == ("BLOCKED", {"COMPLETED": 1, "PENDING": 1})

    knowing = FlowRunner(store, FlowEngine(task_handlers={"own": lambda task: {"x": 1}}, clock=clock))
    assert knowing.tick().claimed == 0
    clock.advance(60)
    assert knowing.tick().completed == 1
    assert store.load("f").tasks["b"]["data"] == {"x": 1}
    store.close()
