"""Whether a tick is interrupted, and where, never changes what becomes of a flow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.durations import format_time, parse_time
from mc.flows.flow import Flow
from mc.flows.formats.flow_rows import next_tick_time
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.support.interruptions import (
    MANNERS,
    MAX_ROUNDS,
    comparable,
    engine_of,
    run_in_memory,
    run_stored,
)
from tests.support.partial_flows import never_read_whole
from tests.support.random_specs import meddling_specs, nested_specs, wild_specs

CLOCK = ManualClock()


@pytest.fixture(scope="module", params=["whole", "in parts"])
def store(request: pytest.FixtureRequest) -> Iterator[FlowStore]:
    if request.param == "whole":
        with FlowStore("sqlite://", clock=CLOCK) as opened:
            yield opened
    else:
        with never_read_whole(), FlowStore("sqlite://", clock=CLOCK, partial_from=1) as opened:
            yield opened


def compare(
    store: FlowStore, spec: dict[str, Any], manner: str, data: st.DataObject, *, awaits: bool = False
) -> None:
    end, changes, writes = run_stored(store, CLOCK, spec, awaits=awaits)
    if not awaits:
        assert end == run_in_memory(spec)
    for _ in range(2):
        points = data.draw(st.lists(st.integers(1, writes), min_size=1, max_size=2), label="points")
        same_end, same_changes, _ = run_stored(store, CLOCK, spec, manner, points, awaits=awaits)
        assert same_end == end
        if awaits:  # which of two tasks side by side is told of first is of no consequence
            assert Counter(same_changes) == Counter(changes)
        else:
            assert same_changes == changes


@pytest.mark.parametrize("manner", MANNERS)
class TestStored:
    """A runner is interrupted after a save; another one loads the flow and goes on."""

    @settings(max_examples=6)
    @given(nested_specs(), st.data())
    def test_it_ends_as_if_nothing_had_happened(
        self, store: FlowStore, manner: str, spec: dict[str, Any], data: st.DataObject
    ) -> None:
        compare(store, spec, manner, data)

    @settings(max_examples=6)
    @given(nested_specs(), st.data())
    def test_also_where_calls_are_under_way_side_by_side(
        self, store: FlowStore, manner: str, spec: dict[str, Any], data: st.DataObject
    ) -> None:
        compare(store, spec, manner, data, awaits=True)

    @settings(max_examples=6)
    @given(meddling_specs(), st.data())
    def test_also_where_tasks_meddle_with_others(
        self, store: FlowStore, manner: str, spec: dict[str, Any], data: st.DataObject
    ) -> None:
        compare(store, spec, manner, data)


class TestFlowDict:
    """A tick in memory is left between two calls; what was written down meanwhile goes on."""

    def run(self, spec: dict[str, Any], stops: list[int], finishes: bool) -> dict[str, Any]:
        clock = ManualClock()
        engine = engine_of(clock)
        flow = engine.flow_spec_to_flow(spec)
        for number in range(MAX_ROUNDS):
            tick = engine.begin_tick(flow)
            left, is_over = stops[number % len(stops)], False
            for call in tick.calls():
                assert call is not None
                call.run()
                left -= 1
                if not left:
                    break
            else:
                is_over = True
            if is_over or finishes:
                tick.finish()
            before = flow.to_flow_dict()
            flow = Flow.from_flow_dict(json.loads(json.dumps(before)))
            assert flow.to_flow_dict() == before
            flow.check_invariants()
            if flow.status in FINISHED_FLOW_STATUSES:
                return comparable(before)
            due_at = next_tick_time(flow.state, format_time(clock.now()))
            assert due_at is not None
            clock.advance(max((parse_time(due_at) - clock.now()).total_seconds(), 0))
        raise AssertionError("the flow did not end")

    @given(wild_specs() | meddling_specs(), st.lists(st.integers(1, 4), min_size=1), st.booleans())
    def test_it_ends_as_if_nothing_had_happened(
        self, spec: dict[str, Any], stops: list[int], finishes: bool
    ) -> None:
        assert self.run(spec, stops, finishes) == run_in_memory(spec)
