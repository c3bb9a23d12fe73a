"""Saves of a flow that goes on under its lease, which leave alone what seldom changes."""

from __future__ import annotations

from typing import Any

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore


def chain(*task_types: str) -> dict[str, Any]:
    return {"tasks": [{"key": f"t{n}", "task_type": name} for n, name in enumerate(task_types)]}


def test_a_label_that_a_task_gives_its_flow_is_stored_before_the_next_one_begins(
    store: FlowStore, clock: ManualClock
) -> None:
    seen: list[str | None] = []

    def name(task: dict[str, Any], task_ctx: Any) -> None:
        task_ctx["flow"].label = "named"
        task["status"] = "COMPLETED"

    handlers = {"name": name, "look": lambda: seen.append(store.summary("f").label)}
    store.create(Flow.from_flow_spec(chain("look", "look", "name", "look", "look"), key="f"))
    FlowRunner(store, FlowEngine(clock=clock, task_handlers=handlers)).tick()
    assert seen == [None, None, "named", "named"]
    assert store.load("f").label == "named"


def test_a_flow_whose_runner_vanishes_between_two_steps_is_due_at_once(
    store: FlowStore, clock: ManualClock
) -> None:
    engine = FlowEngine(clock=clock, task_handlers={"step": lambda: None})
    store.create(Flow.from_flow_spec(chain(*["step"] * 5), key="f"))
    (lease,) = store.claim(owner="gone", lease_seconds=0)
    flow = store.load("f")
    for _ in range(3):
        engine.tick_flow(flow)
        store.save(flow, lease=lease)
        clock.advance(60)
    due_at = store.next_due_at()
    assert due_at is not None
    assert due_at <= clock.now()
    assert [lease.flow_key for lease in store.claim(owner="next")] == ["f"]
    assert store.load("f").count_tasks() == {"COMPLETED": 3, "PENDING": 2}


def test_a_flow_that_comes_to_wait_in_the_meantime_is_due_when_its_time_has_come(
    store: FlowStore, clock: ManualClock
) -> None:
    engine = FlowEngine(clock=clock, task_handlers={"step": lambda: None})
    spec = chain("step", "step", "wait")
    spec["tasks"][2]["task_params"] = {"duration": "1h"}
    store.create(Flow.from_flow_spec(spec, key="f"))
    (lease,) = store.claim(owner="d", lease_seconds=0)
    flow = store.load("f")
    for _ in range(3):
        engine.tick_flow(flow)
        store.save(flow, lease=lease)
    assert store.claim(owner="next") == []
    clock.advance("1h")
    assert [lease.flow_key for lease in store.claim(owner="next")] == ["f"]
