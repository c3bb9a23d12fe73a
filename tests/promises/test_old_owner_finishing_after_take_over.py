"""A runner that was overtaken cannot undo what the new owner did, whatever it still does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mc.errors import LeaseLostError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

SPEC = {"tasks": [{"key": "a", "task_type": "work"}, {"key": "b", "task_type": "work"}]}


def make_engine(result: str) -> FlowEngine:
    return FlowEngine(task_handlers={"work": lambda task: result})


@pytest.mark.parametrize("new_owner_has", ["claimed", "finished"])
def test_the_late_result_changes_nothing_and_is_kept_as_evidence(
    url: str, expire_leases: Callable[[], None], new_owner_has: str
) -> None:
    with FlowStore(url) as old, FlowStore(url) as new:
        old.create(Flow.from_flow_spec(SPEC, key="f"))
        seen = check_store(old)
        (old_lease,) = old.claim(owner="old")
        slow = old.load("f")
        make_engine("late").run_flow(slow)
        expire_leases()
        (new_lease,) = new.claim(owner="new")
        assert new_lease.token == old_lease.token + 1
        flow = new.load("f")
        if new_owner_has == "finished":
            make_engine("in time").run_flow(flow)
            new.save(flow, lease=new_lease, release=True)
        check_store(new, seen)
        before = new.load("f").to_flow_dict()
        with pytest.raises(LeaseLostError) as error:
            old.save(slow, lease=old_lease, release=True)
        assert error.value.token == old_lease.token
        with pytest.raises(LeaseLostError):
            old.renew(old_lease)
        with pytest.raises(LeaseLostError):
            old.block(old_lease, "it is mine")
        with pytest.raises(LeaseLostError):
            old.hold(old_lease)
        check_store(new, seen)
        assert new.load("f").to_flow_dict() == before
        evidence = [event for event in new.history.events("f") if event.owner == "old"]
        assert {event.token for event in evidence} == {old_lease.token}
        if new_owner_has == "claimed":
            make_engine("in time").run_flow(flow)
            new.save(flow, lease=new_lease, release=True)
        check_store(new, seen)
        assert {new.load("f").tasks[key]["data"]["result"] for key in "ab"} == {"in time"}
