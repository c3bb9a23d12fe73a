"""However many urgent flows are due and however few a tick takes, what has waited longest has its turn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.leases.claims import FAIR_SHARE

SPEC = {"tasks": [{"key": "t", "task_type": "poll"}]}
URGENT = 12


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def store_flows(url: str, clock: ManualClock, num_low: int) -> None:
    with FlowStore(url, clock=clock) as store:
        for number in range(num_low):
            store.create(Flow.from_flow_spec({**SPEC, "cfg": {"priority": -number}}, key=f"low-{number}"))
            clock.advance(1)
        spec = {**SPEC, "cfg": {"priority": 9}}
        store.create_many(Flow.from_flow_spec(spec, key=f"urgent-{number}") for number in range(URGENT))


def tick(url: str, clock: ManualClock, max_flows: int) -> list[str]:
    """Make one tick as a process of its own does, and return the flows that had their turn."""
    called: list[str] = []

    def poll(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        called.append(task_ctx["flow"].key)  # and is due again at once

    clock.advance(60)
    with FlowStore(url, clock=clock) as store:
        FlowRunner(store, FlowEngine(clock=clock, task_handlers={"poll": poll})).tick(max_flows=max_flows)
    return called


@pytest.mark.parametrize("max_flows", [1, 3])
def test_across_ticks_of_few_flows(url: str, clock: ManualClock, max_flows: int) -> None:
    num_low = 2
    store_flows(url, clock, num_low)
    had: list[str] = []
    for _ in range(FAIR_SHARE * num_low // max_flows + 1):
        had += tick(url, clock, max_flows)
    for number in range(num_low):  # the n-th that waits has its turn in the claim of place n * FAIR_SHARE
        assert f"low-{number}" in had[: FAIR_SHARE * (number + 1) + max_flows - 1]
    assert Counter(key.partition("-")[0] for key in had)["urgent"] >= len(had) * 3 // 4


def test_ticks_that_find_nothing_do_not_begin_the_count_anew(url: str, clock: ManualClock) -> None:
    store_flows(url, clock, 1)
    had: list[str] = []
    for _ in range(FAIR_SHARE):
        had += tick(url, clock, 1)
        assert tick(url, clock, 0) == []
        with FlowStore(url, clock=clock) as store:
            engine = FlowEngine(clock=clock)
            assert FlowRunner(store, engine).tick(max_seconds=0).claimed == 0
    assert "low-0" in had


def test_in_claims_of_one_store_that_are_part_of_no_tick(url: str, clock: ManualClock) -> None:
    store_flows(url, clock, 1)
    had: list[str] = []
    with FlowStore(url, clock=clock) as store:
        for _ in range(FAIR_SHARE):
            (lease,) = store.claim(owner="me")
            had.append(lease.flow_key)
            store.release(lease)
    assert had.count("low-0") == 1
