"""A flow hears of the end of its sub-flow, also if it is being ticked then, and if that tick loses a race."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from mc.errors import LeaseLostError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.claimed_flow import ClaimedFlow
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import check_store
from tests.support.ticking import make_calls, save_at_last

INNER = {"tasks": [{"key": "inner", "task_type": "noop"}]}
SPEC = {
    "tasks": [
        {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": INNER}},
        {"key": "after", "task_type": "noop"},
    ]
}
CHILD = "f/sub/1"


def tick(store: FlowStore, lease: Lease, flow: Flow) -> None:
    """Do what a driver does with a flow that it has claimed and loaded."""
    claimed = ClaimedFlow(store, FlowEngine(), lease, flow, task_ctx={}, must_stop=lambda: False)
    save_at_last(store, lease, make_calls(claimed))


def start(store: FlowStore) -> None:
    """Store a flow and tick it until it waits for its sub-flow."""
    store.create(Flow.from_flow_spec(SPEC, key="f"))
    (lease,) = store.claim(owner="first")
    tick(store, lease, store.load("f"))


def finish_child(store: FlowStore) -> None:
    (lease,) = store.claim(owner="child", keys=[CHILD])
    tick(store, lease, store.load(CHILD))
    assert store.summary(CHILD).status == "COMPLETED"


def test_an_end_that_comes_while_the_flow_is_ticked_is_acted_upon(url: str) -> None:
    with FlowStore(url) as store, FlowStore(url) as other:
        start(store)
        seen = check_store(store)
        with_label = store.load("f")
        with_label.label = "changed"
        store.save(with_label)
        finish_child(other)
        check_store(store, seen)
        assert FlowRunner(store, FlowEngine()).tick().completed == 1
        check_store(store, seen)


@pytest.mark.parametrize("loaded", ["before the end", "after it"])
def test_a_tick_that_lost_the_race_leaves_the_note_for_the_next(
    url: str, expire_leases: Callable[[], None], loaded: str
) -> None:
    with FlowStore(url) as store, FlowStore(url) as other:
        start(store)
        seen = check_store(store)
        if loaded == "before the end":
            stale = store.load("f")
        finish_child(other)
        (lease,) = store.claim(owner="slow", keys=["f"])
        if loaded == "after it":
            stale = store.load("f")
        expire_leases()
        (taken,) = other.claim(owner="quick", keys=["f"])
        other.release(taken)
        with pytest.raises(LeaseLostError):
            tick(store, lease, stale)
        check_store(store, seen)
        assert FlowRunner(other, FlowEngine()).tick().completed == 1
        assert {key: task["status"] for key, task in store.load("f").tasks.items()} == {
            "sub": "COMPLETED",
            "after": "COMPLETED",
        }
        check_store(store, seen)


def test_a_save_by_one_who_loaded_before_the_end_keeps_the_flow_due(url: str) -> None:
    with FlowStore(url) as store, FlowStore(url) as other:
        start(store)
        seen = check_store(store)
        finish_child(other)
        (lease,) = store.claim(owner="slow", keys=["f"])
        flow = store.load("f")
        store.save(flow, lease=lease, release=True)  # it did not act upon the note
        check_store(store, seen)
        assert FlowRunner(other, FlowEngine()).tick().completed == 1


class Hold(BaseTaskHandler):
    """Waits, and keeps what it needs meanwhile."""

    def tick_task(self) -> None:
        self.wait_until(self.task_ctx.now() + timedelta(hours=1))


def test_a_resource_that_is_given_back_while_the_flow_asks_again_is_offered_again(url: str) -> None:
    """It had been offered before, and taken by one that is more urgent before the flow asked."""

    def submit(key: str, task_type: str, priority: int = 0) -> None:
        task = {"key": "t", "task_type": task_type, "cfg": {"resources": {"db": 1}}}
        houston.submit({"cfg": {"priority": priority}, "tasks": [task]}, key=key)
        houston.tick()

    with Houston(url, task_handlers={"hold": Hold}) as houston, FlowStore(url) as store:
        houston.resources.set("db", slots=1)
        submit("first", "hold")
        submit("f", "noop")
        houston.cancel("first", by="ada")
        (lease,) = store.claim(owner="driver", keys=["f"])
        claimed = ClaimedFlow(
            store,
            FlowEngine(),
            lease,
            store.load("f"),
            task_ctx={},
            must_stop=lambda: False,
            on_progress=lambda *_: houston.cancel("urgent", by="ada"),
        )
        submit("urgent", "hold", priority=1)
        make_calls(claimed)
        assert houston.summary("f").status == "RUNNING"
        assert houston.tick().completed == 1
        check_store(store)
