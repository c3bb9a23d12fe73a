"""Every unfinished flow has an explanation, and who does what it advises brings the flow to its end."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.support.advice import MOVES, Person, waiting_specs


@example({"tasks": []}, ["vanish", "vanish", "vanish", "pause"])
@given(waiting_specs(), MOVES)
def test_the_advice_of_an_explanation_moves_every_flow(spec: dict[str, Any], moves: list[str]) -> None:
    clock = ManualClock()
    with FlowStore("sqlite://", clock=clock) as store:
        store.create(Flow.from_flow_spec({**spec, "key": "f"}))
        person = Person(store, clock, "f")
        for what in moves:
            person.move(what)
            for summary in store.query():
                person.explain(summary.key)
        assert person.follow("f") in FINISHED_FLOW_STATUSES
