"""Claimed flows, ticked without a runner."""

from __future__ import annotations

from mc.runners.claimed_flow import ClaimedFlow, ClaimResult
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.saving.flow_saver import Outbox

__all__ = ["make_calls", "save_at_last"]


def make_calls(claimed: ClaimedFlow) -> ClaimResult:
    """Make the calls that a claimed flow wants made, as a runner does."""
    steps = claimed.tick()
    while True:
        try:
            call = next(steps)
        except StopIteration as end:
            result: ClaimResult = end.value
            return result
        if call is not None:
            call.run()
            claimed.call_done(call)


def save_at_last(store: FlowStore, lease: Lease, result: ClaimResult) -> None:
    """Save a flow and let it go, where that was left to the runner."""
    if result.final is not None:
        outbox = Outbox(acted_upon=result.final.acted_upon)
        store.save(result.flow, lease=lease, release=True, outbox=outbox)
