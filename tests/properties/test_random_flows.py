"""Whatever the spec: each task runs as it should, the flow ends, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from tests.support.random_specs import Act, graphs, meddling_specs, wild_specs
from tests.support.recorder import Recorder

MAX_TICKS = 400
Trip = Callable[[Flow], Flow]


def stay(flow: Flow) -> Flow:
    return flow


def copy(flow: Flow) -> Flow:
    return Flow.from_flow_dict(flow.to_flow_dict())


def through_sorted_text(flow: Flow) -> Flow:
    return Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict(), sort_keys=True, allow_nan=False)))


def run(spec: dict[str, Any], trip: Trip = stay, strict: bool = True) -> tuple[Flow, list[ChangeEvent]]:
    """Tick a flow to its end, taking the trip between ticks, and return it with its history."""
    clock, recorder = ManualClock(), Recorder()
    engine = FlowEngine(task_handlers={"act": Act}, clock=clock, observers=[recorder])
    flow = engine.flow_spec_to_flow(spec) if strict else Flow.from_flow_spec(spec)
    while flow.status not in {"FAILED", "COMPLETED"}:
        report = engine.tick_flow(flow)
        flow.check_invariants()
        flow = trip(flow)
        flow.check_invariants()
        assert flow.ticks <= MAX_TICKS
        if flow.status == "RUNNING":
            assert report.next_tick_at is not None
            clock.advance(max((report.next_tick_at - clock.now()).total_seconds(), 0))
    assert report.next_tick_at is None
    return flow, recorder.events


class TestSuccess:
    def check(self, tasks: list[dict[str, Any]], trip: Trip) -> None:
        flow, events = run({"tasks": tasks}, trip)
        completed = [event.task_key for event in events if event.task_key and event.new_status == "COMPLETED"]
        started = [event.task_key for event in events if event.task_key and event.new_status == "RUNNING"]
        assert sorted(completed) == sorted(started) == sorted(task["key"] for task in tasks)
        done: set[str | None] = set()
        for event in events:
            if event.task_key and event.new_status == "RUNNING":
                assert {task["key"] for task in flow.get_precursors(event.task_key)} <= done | {"ROOT"}
            elif event.new_status == "COMPLETED":
                done.add(event.task_key)
        assert flow.status == "COMPLETED"

    @given(graphs(20))
    def test_each_task_runs_once_and_after_all_its_precursors(self, tasks: list[dict[str, Any]]) -> None:
        self.check(tasks, stay)

    @given(graphs(12))
    def test_also_through_a_flow_dict_after_every_tick(self, tasks: list[dict[str, Any]]) -> None:
        self.check(tasks, through_sorted_text)

    @given(graphs(20))
    def test_the_number_of_ticks_is_the_length_of_the_longest_path(self, tasks: list[dict[str, Any]]) -> None:
        flow, _ = run({"tasks": tasks})
        before = {task["key"]: task["precursors"] for task in tasks}

        def length(key: str) -> int:
            return 1 + max((length(other) for other in before[key]), default=0)

        assert flow.ticks == max((length(key) for key in before), default=1)


class TestAnySpec:
    @given(wild_specs())
    def test_every_accepted_spec_ends(self, spec: dict[str, Any]) -> None:
        flow, _ = run(spec)
        counts = flow.count_tasks()
        assert not counts.keys() & {"RUNNING", "WAITING"}
        uncalled_for = [
            task
            for task in flow.get_tasks_by_status("FAILED")
            if not task.get("cfg", {}).get("allow_failure")
        ]
        if uncalled_for:
            assert flow.status == "FAILED"
        else:
            assert flow.status == "COMPLETED" or flow.error is not None
        if flow.status == "COMPLETED":
            assert "PENDING" not in counts
        for task in flow.get_tasks_by_status("FAILED"):
            assert task["error"]["type"]
            assert task["error"]["message"]

    @given(wild_specs())
    def test_its_history_is_the_same_through_a_flow_dict_after_every_tick(self, spec: dict[str, Any]) -> None:
        flow, events = run(spec)
        for trip in (copy, through_sorted_text):
            other, others = run(spec, trip)
            assert others == events
            assert other.count_tasks() == flow.count_tasks()
            assert other.ticks == flow.ticks

    @given(wild_specs(), st.integers(0, 6))
    def test_a_round_trip_loses_nothing(self, spec: dict[str, Any], ticks: int) -> None:
        engine = FlowEngine(task_handlers={"act": Act}, clock=ManualClock())
        flow = engine.flow_spec_to_flow(spec)
        for _ in range(ticks):
            engine.tick_flow(flow)
        flow_dict = flow.to_flow_dict()
        for trip in (copy, through_sorted_text):
            assert trip(flow).to_flow_dict() == flow_dict
            assert list(trip(flow).tasks) == list(flow.tasks)

    @given(wild_specs())
    def test_the_spec_is_not_changed(self, spec: dict[str, Any]) -> None:
        before = json.dumps(spec)
        run(spec)
        assert json.dumps(spec) == before

    @given(meddling_specs())
    def test_tasks_that_meddle_with_others_change_nothing_of_this(self, spec: dict[str, Any]) -> None:
        flow, events = run(spec)
        other, others = run(spec, through_sorted_text)
        assert others == events
        assert other.to_flow_dict()["graph"]["order"] == flow.to_flow_dict()["graph"]["order"]
        assert other.count_tasks() == flow.count_tasks()
