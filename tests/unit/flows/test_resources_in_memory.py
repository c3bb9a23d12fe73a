"""Named resources of flows that run without a store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import GraphError, ResourceError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.resource import make_resource
from mc.simulation.simulation import simulate_flow


def spec(*needs: Any) -> dict[str, Any]:
    return {
        "tasks": [
            {"key": f"t{number}", "task_type": "noop", "precursors": [], "cfg": {"resources": each}}
            for number, each in enumerate(needs)
        ]
    }


def test_a_rate_makes_run_flow_wait() -> None:
    clock = ManualClock()
    engine = FlowEngine(clock=clock, resources=[make_resource("api", rate="1/min")])
    began_at = clock.now()
    assert engine.run_flow(Flow.from_flow_spec(spec(["api"], ["api"], ["api"]))).status == "COMPLETED"
    assert (clock.now() - began_at).total_seconds() == 120


def test_slots_are_given_back_within_the_flow() -> None:
    engine = FlowEngine(resources=[make_resource("db", 1)])
    flow = Flow.from_flow_spec(spec(["db"], {"db": 1}, ["db"]))
    assert engine.tick_flow(flow).started == ["t0"]
    flow.check_invariants()
    assert engine.run_flow(flow).status == "COMPLETED"


def test_what_nobody_set_is_waited_for_and_named() -> None:
    engine = FlowEngine()
    flow = engine.run_flow(Flow.from_flow_spec(spec(["db"])))
    assert flow.status == "RUNNING"
    assert flow.tasks["t0"]["resource_claim"]["lacking"] == ["db"]
    engine.resources.set("db", slots=1)
    flow = Flow.from_flow_dict(flow.to_flow_dict())  # asks again, as in another process
    assert engine.run_flow(flow).status == "COMPLETED"


def test_a_flow_that_ends_gives_back_what_another_needs() -> None:
    engine = FlowEngine(resources=[make_resource("db", 1)])
    wait = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    holder = engine.run_flow(Flow.from_flow_spec({"tasks": [{**wait, "cfg": {"resources": ["db"]}}]}))
    waiter = engine.run_flow(Flow.from_flow_spec(spec(["db"])))
    assert waiter.status == "RUNNING"
    engine.cancel_flow(holder)
    waiter = Flow.from_flow_dict(waiter.to_flow_dict())
    assert engine.run_flow(waiter).status == "COMPLETED"


def through_its_dict(flow: Flow) -> Flow:
    return Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))


@pytest.mark.parametrize("kind", ["wait", "inline_flow", "flow", "switch"])
def test_the_loop_of_the_docs_goes_on_with_what_the_flow_holds(kind: str) -> None:
    clock = ManualClock()
    engine = FlowEngine(clock=clock, resources=[make_resource("db", 1), make_resource("api", rate="2/min")])
    params: dict[str, Any] = {"duration": 30}
    if kind == "switch":
        params = {
            "control_value": 1,
            "cases": [],
            "default_case": {"task": {"task_type": "wait", "task_params": params}},
        }
    elif kind != "wait":
        params = {"flow_spec": {"tasks": [{"task_type": "wait", "task_params": params}]}}
    tasks = [
        {
            "key": key,
            "task_type": kind,
            "task_params": params,
            "precursors": [],
            "cfg": {"resources": ["db", "api"]},
        }
        for key in "ab"
    ]
    flow = engine.flow_spec_to_flow({"tasks": tasks})
    other = engine.flow_spec_to_flow(spec(["db"]))
    while flow.status not in {"FAILED", "COMPLETED"}:
        engine.tick_flow(flow)
        flow = through_its_dict(flow)
        under_way = [task["key"] for task in flow.tasks.values() if task["status"] in ("RUNNING", "WAITING")]
        assert len(under_way) <= 1
        if under_way:
            engine.tick_flow(other)
            assert other.tasks["t0"]["status"] == "PENDING"
        clock.advance(10)
        assert flow.ticks < 20
    assert flow.status == engine.run_flow(through_its_dict(other)).status == "COMPLETED"


def test_what_is_cancelled_after_it_went_through_its_dict_gives_back() -> None:
    engine = FlowEngine(resources=[make_resource("db", 1)])
    wait = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    holder = engine.run_flow(Flow.from_flow_spec({"tasks": [{**wait, "cfg": {"resources": ["db"]}}]}))
    engine.cancel_flow(through_its_dict(holder))
    del holder
    assert engine.run_flow(Flow.from_flow_spec(spec(["db"]))).status == "COMPLETED"


@pytest.mark.parametrize("goes_through_its_dict", [True, False])
def test_what_was_paused_asks_again_at_once(goes_through_its_dict: bool) -> None:
    clock = ManualClock()
    engine = FlowEngine(clock=clock, resources=[make_resource("db", 1)])
    task = {"task_type": "wait", "task_params": {"duration": 60}, "cfg": {"resources": ["db"]}}
    first, other = engine.flow_spec_to_flow({"tasks": [task]}), engine.flow_spec_to_flow({"tasks": [task]})
    engine.tick_flow(first)
    engine.control(first, "pause", by="ann")
    engine.tick_flow(other)
    assert other.tasks["task_1"]["status"] == "WAITING"
    if goes_through_its_dict:
        first = through_its_dict(first)
    engine.control(first, "resume", by="ann")
    clock.advance(30)
    report = engine.tick_flow(first)
    assert report.next_tick_at is None  # until the other one gives it back
    clock.advance(30)
    engine.tick_flow(first)
    assert first.tasks["task_1"]["status"] == "WAITING"
    assert engine.run_flow(other).status == "COMPLETED"
    assert engine.run_flow(through_its_dict(first)).status == "COMPLETED"


def test_tasks_beyond_max_running_tasks_take_nothing() -> None:
    engine = FlowEngine(resources=[make_resource("db", 5)])
    wait = {"task_type": "wait_for_signal", "task_params": {"signal": "go"}, "precursors": []}
    tasks = [{**wait, "key": f"w{number}", "cfg": {"resources": ["db"]}} for number in range(3)]
    flow = Flow.from_flow_spec({"cfg": {"max_running_tasks": 2}, "tasks": tasks})
    assert engine.tick_flow(flow).started == ["w0", "w1"]
    other = engine.run_flow(Flow.from_flow_spec(spec({"db": 3})))
    assert other.status == "COMPLETED"


def test_a_simulation_takes_it_that_there_is_enough() -> None:
    assert simulate_flow(spec(["db"], {"api": 9})).flow.status == "COMPLETED"


@pytest.mark.parametrize("needs", ["db", {"db": "1"}, {"db": 0}, ["a b"], [1]])
def test_a_flow_dict_with_malformed_needs_is_refused(needs: Any) -> None:
    with pytest.raises(GraphError, match=r"'t0': .*resource"):
        Flow.from_flow_spec(spec(needs))


def test_a_resource_that_was_not_set_cannot_be_deleted() -> None:
    with pytest.raises(ResourceError, match="'db'"):
        FlowEngine().resources.delete("db")
