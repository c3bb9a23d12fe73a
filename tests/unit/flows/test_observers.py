"""Observers are told of each change, in order, and change nothing."""

from __future__ import annotations

import logging
import signal
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent


class Recorder:
    def __init__(self) -> None:
        self.events: list[ChangeEvent] = []

    def on_change(self, event: ChangeEvent) -> None:
        self.events.append(event)

    def changes(self) -> list[tuple[str | None, str]]:
        return [(event.task_key, event.new_status) for event in self.events]


class Broken:
    def on_change(self, event: ChangeEvent) -> None:
        raise RuntimeError("blind")


SPEC: dict[str, Any] = {
    "key": "f",
    "cfg": {"fail_fast": False},
    "tasks": [
        {"key": "a", "task_type": "bad", "cfg": {"retry": {"max_attempts": 2}}},
        {"key": "b", "task_type": "noop"},
        {"key": "c", "task_type": "noop", "precursors": []},
    ],
}
CHANGES = [
    (None, "RUNNING"),
    ("a", "RUNNING"),
    ("a", "PENDING"),
    ("c", "RUNNING"),
    ("c", "COMPLETED"),
    ("a", "RUNNING"),
    ("a", "FAILED"),
    ("b", "SKIPPED"),
    (None, "FAILED"),
]


def run(*observers: Any, clock: ManualClock | None = None) -> Flow:
    engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0}, observers=observers, clock=clock)
    flow = Flow.from_flow_spec(SPEC)
    while flow.status not in {"FAILED", "COMPLETED"}:
        engine.tick_flow(flow)
    return flow


class TestObservers:
    def test_each_change_is_told_in_order(self) -> None:
        first, second = Recorder(), Recorder()
        run(first, second)
        assert first.changes() == second.changes() == CHANGES

    def test_an_event_tells_who_when_and_why(self, clock: ManualClock) -> None:
        recorder = Recorder()
        run(recorder, clock=clock)
        retried, failed = recorder.events[2], recorder.events[6]
        assert retried[:6] == ("f", "a", 1, "RUNNING", "PENDING", "2000-01-01T00:00:00.000000+00:00")
        assert failed[:5] == ("f", "a", 2, "RUNNING", "FAILED")
        assert retried.error is not None
        assert retried.error["type"] == "ZeroDivisionError"
        assert failed.error is not None
        assert failed.error["message"] == "division by zero"
        assert recorder.events[0] == ChangeEvent(
            "f", None, 0, "PENDING", "RUNNING", "2000-01-01T00:00:00.000000+00:00", tasks={"PENDING": 3}
        )

    def test_one_that_raises_is_logged_and_changes_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        recorder = Recorder()
        with caplog.at_level(logging.ERROR):
            flow = run(Broken(), recorder)
        assert recorder.changes() == CHANGES
        assert flow.count_tasks() == {"COMPLETED": 1, "FAILED": 1, "SKIPPED": 1}
        assert len(caplog.records) == len(CHANGES)
        assert all(getattr(record, "action", None) == "observer_failed" for record in caplog.records)
        assert "blind" in caplog.text

    def test_the_logger_can_be_chosen(self, caplog: pytest.LogCaptureFixture) -> None:
        engine = FlowEngine(observers=[Broken()], logger=logging.getLogger("mine"))
        engine.tick_flow(Flow())
        assert {record.name for record in caplog.records} == {"mine"}

    def test_changes_made_between_ticks_are_told_with_the_next_tick(self) -> None:
        recorder = Recorder()
        engine = FlowEngine(observers=[recorder], task_handler=lambda task: task.update(status="WAITING"))
        flow = Flow.from_flow_spec({"tasks": [{"key": "a"}, {"key": "b"}]})
        engine.tick_flow(flow)
        flow.tasks["a"]["status"] = "COMPLETED"
        assert flow.get_tasks_by_status("COMPLETED") == [flow.tasks["a"]]
        assert flow.has_incomplete_tasks()  # takes up the change
        flow.change_status("PAUSED")
        engine.tick_flow(flow)
        assert recorder.changes()[3:] == []
        flow.change_status("RUNNING")
        engine.tick_flow(flow)
        assert recorder.changes() == [
            (None, "RUNNING"),
            ("a", "RUNNING"),
            ("a", "WAITING"),
            ("a", "COMPLETED"),
            (None, "PAUSED"),
            (None, "RUNNING"),
            ("b", "RUNNING"),
            ("b", "WAITING"),
        ]

    def test_a_cancellation_is_told(self) -> None:
        recorder = Recorder()
        engine = FlowEngine(observers=[recorder], task_handler=lambda task: task.update(status="WAITING"))
        flow = Flow.from_flow_spec({"tasks": [{"key": "a"}]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow)
        assert recorder.changes()[3:] == [("a", "CANCELLED"), (None, "CANCELLED")]

    def test_an_engine_tells_only_its_own_observers(self) -> None:
        recorder = Recorder()
        flow = Flow.from_flow_spec(
            {"tasks": [{"key": "a", "task_type": "noop"}, {"key": "b", "task_type": "noop"}]}
        )

        def interrupt() -> None:
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            FlowEngine(observers=[recorder], task_handlers={"noop": interrupt}).tick_flow(flow)
        told = len(recorder.events)
        FlowEngine().run_flow(flow)
        assert (flow.status, len(recorder.events)) == ("COMPLETED", told)
