"""Flows that a runner saves and lets go in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from mc.clock import ManualClock
from mc.errors import LeaseLostError, NotJsonError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.saving.flow_saver import FinalSave, Outbox

CHAIN = {"tasks": [{"key": "one", "task_type": "noop"}, {"key": "two", "task_type": "noop"}]}
Tick = Callable[..., list[FinalSave]]


@pytest.fixture
def tick(store: FlowStore, clock: ManualClock) -> Tick:
    """Store flows, claim them and run them, and return what is to be saved."""
    engine = FlowEngine(clock=clock)

    def tick(*keys: str, lease_seconds: float = 60) -> list[FinalSave]:
        store.create_many(Flow.from_flow_spec(CHAIN, key=key) for key in keys)
        leases = store.claim(owner="d", limit=len(keys), keys=keys, lease_seconds=lease_seconds)
        saves = []
        for lease in leases:
            flow = store.load(lease.flow_key)
            engine.run_flow(flow)
            saves.append(FinalSave(flow=flow, lease=lease))
        return saves

    return tick


def statuses(store: FlowStore) -> dict[str, str]:
    return {flow.key: flow.status for flow in store.query()}


def test_they_are_saved_with_one_commit_and_let_go(store: FlowStore, tick: Tick) -> None:
    saves = tick("a", "b", "c")
    commits: list[Any] = []
    event.listen(store._database._engine, "commit", commits.append)
    assert store.save_many(saves) == {}
    assert len(commits) == 1
    assert statuses(store) == dict.fromkeys("abc", "COMPLETED")
    assert not store.is_held(family_of="a")
    for save in saves:
        loaded = store.load(save.flow.key)
        loaded.check_invariants()
        assert loaded.to_flow_dict() == save.flow.to_flow_dict()


def test_a_flow_that_was_taken_over_is_left_alone_and_the_others_are_saved(
    store: FlowStore, tick: Tick
) -> None:
    late = tick("late", lease_seconds=0)
    store.claim(owner="quick", keys=["late"])
    errors = store.save_many([*tick("a"), *late, *tick("b")])
    assert list(errors) == ["late"]
    assert isinstance(errors["late"], LeaseLostError)
    assert statuses(store) == {"a": "COMPLETED", "b": "COMPLETED", "late": "PENDING"}
    assert store.load("late").count_tasks() == {"PENDING": 2}
    kinds = [entry.kind for entry in store.history.events("late")]
    assert EventKind.LOST_RESULT in kinds


def test_what_json_cannot_hold_keeps_back_its_own_flow_only(store: FlowStore, tick: Tick) -> None:
    saves = tick("a", "bad", "c")
    bad = next(save for save in saves if save.flow.key == "bad")
    bad.flow.data["x"] = object()
    errors = store.save_many(saves)
    assert {key: type(error) for key, error in errors.items()} == {"bad": NotJsonError}
    assert statuses(store) == {"a": "COMPLETED", "bad": "PENDING", "c": "COMPLETED"}
    assert store.is_held(family_of="bad")


def test_a_flow_that_another_waits_for_wakes_it(store: FlowStore, tick: Tick, clock: ManualClock) -> None:
    wait = {"key": "t", "task_type": "wait", "task_params": {"duration": 3600}}
    parent = Flow.from_flow_spec({"tasks": [wait]}, key="parent")
    store.create(parent)
    FlowEngine(clock=clock).tick_flow(parent)
    child = Flow.from_flow_spec(CHAIN, key="child", parent_key="parent", parent_task_key="t")
    store.save(parent, outbox=Outbox(started={"child": child}))
    (lease,) = store.claim(owner="d", keys=["child"])
    child = store.load("child")
    FlowEngine(clock=clock).run_flow(child)
    assert store.save_many([FinalSave(flow=child, lease=lease), *tick("other")]) == {}
    assert statuses(store) == {"parent": "RUNNING", "child": "COMPLETED", "other": "COMPLETED"}
    assert [lease.flow_key for lease in store.claim(owner="d", limit=9)] == ["parent"]


def test_a_sleeping_flow_that_was_woken_meanwhile_stays_due(store: FlowStore, clock: ManualClock) -> None:
    wait = {"key": "t", "task_type": "wait", "task_params": {"duration": 3600}}
    store.create(Flow.from_flow_spec({"tasks": [wait]}, key="f"))
    (lease,) = store.claim(owner="d")
    flow = store.load("f")
    FlowEngine(clock=clock).tick_flow(flow)
    canceller = Flow(key="canceller")
    store.create(canceller)
    store.save(canceller, outbox=Outbox(cancelled={"f": "no longer needed"}))
    assert store.save_many([FinalSave(flow=flow, lease=lease)]) == {}
    assert [lease.flow_key for lease in store.claim(owner="d", keys=["f"])] == ["f"]
    (wake,) = store.state_of(store.load("f")).wakes
    assert wake.reason == "no longer needed"


def test_more_tasks_than_one_transaction_should_lock_are_saved_in_several(
    store: FlowStore, clock: ManualClock
) -> None:
    wide = {"tasks": [{"key": f"t{n}", "task_type": "noop", "precursors": []} for n in range(900)]}
    store.create_many(Flow.from_flow_spec(wide, key=key) for key in "abc")
    leases = store.claim(owner="d", limit=3)
    saves = [FinalSave(flow=store.load(lease.flow_key), lease=lease) for lease in leases]
    commits: list[Any] = []
    event.listen(store._database._engine, "commit", commits.append)
    assert store.save_many(saves) == {}
    assert len(commits) == 2
