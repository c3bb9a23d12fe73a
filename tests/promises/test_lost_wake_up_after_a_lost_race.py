"""The end of a sub-flow that a runner could not save wakes nobody; that of the winner wakes the flow once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mc.errors import LeaseLostError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.saving.flow_saver import FinalSave
from tests.support.invariants import check_store

INNER = {"tasks": [{"key": "inner", "task_type": "noop"}]}
SPEC = {"tasks": [{"key": "sub", "task_type": "flow", "task_params": {"flow_spec": INNER}}]}
CHILD = "f/sub/1"


def lose(store: FlowStore, flow: Flow, lease: Lease, together: bool) -> None:
    """Save a flow too late: by itself, or with others as a runner does at the end."""
    if together:
        errors = store.save_many([FinalSave(flow=flow, lease=lease, acted_upon=())])
        assert type(errors[flow.key]) is LeaseLostError
    else:
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease, release=True)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("winner", ["claimed", "finished"])
def test_the_flow_is_woken_by_the_winner_of_the_race_for_its_sub_flow(
    url: str, expire_leases: Callable[[], None], winner: str, together: bool
) -> None:
    engine = FlowEngine()
    with FlowStore(url) as loser, FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        FlowRunner(store, engine).tick(max_flows=1)
        seen = check_store(store)
        (lost_lease,) = loser.claim(owner="loser", keys=[CHILD])
        lost_flow = loser.load(CHILD)
        engine.run_flow(lost_flow)
        expire_leases()
        (lease,) = store.claim(owner="winner", keys=[CHILD])
        flow = store.load(CHILD)
        if winner == "finished":
            engine.run_flow(flow)
            store.save(flow, lease=lease, release=True)
            assert store.next_due_at() is not None
        lose(loser, lost_flow, lost_lease, together)
        check_store(store, seen)
        if winner == "claimed":
            assert store.next_due_at() is None  # nobody is told of an end that was not saved
            assert store.state_of(store.load("f")).wakes == ()
            engine.run_flow(flow)
            store.save(flow, lease=lease, release=True)
        assert [wake.source_key for wake in store.state_of(store.load("f")).wakes] == [CHILD]
        check_store(store, seen)
        report = FlowRunner(store, engine).tick()
        assert (report.claimed, report.completed) == (1, 1)
        check_store(store, seen)
        assert FlowRunner(store, engine).tick().claimed == 0
