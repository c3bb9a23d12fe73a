"""Signals at random moments: each is taken once and in order, and none is left while a task waits for it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from tests.support.invariants import check_store

NAMES = ("a", "b")
NAP = {"task_type": "wait", "task_params": {"duration": "1h"}}


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Chains of waits, some inside other tasks, some after a nap; all chains begin with the flow."""
    tasks: list[dict[str, Any]] = []
    for chain in range(draw(st.integers(1, 3))):
        for place in range(draw(st.integers(1, 3))):
            key, before = f"c{chain}_{place}", [f"c{chain}_{place - 1}"] if place else []
            wait: dict[str, Any] = {
                "task_type": "wait_for_signal",
                "task_params": {"signal": draw(st.sampled_from(NAMES))},
            }
            kind = draw(st.sampled_from(["plain", "plain", "inline", "switch", "nap"]))
            if kind == "inline":
                inner = {"tasks": [{**wait, "key": "x", "precursors": []}, {"task_type": "noop"}]}
                wait = {"task_type": "inline_flow", "task_params": {"flow_spec": inner}}
            elif kind == "switch":
                params = {"control_value": 1, "default_case": {"task": wait}}
                wait = {"task_type": "switch", "task_params": params}
            elif kind == "nap":
                wait = NAP
            tasks.append({**wait, "key": key, "precursors": before})
    return {"tasks": tasks}


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(NAMES)),
        st.tuples(st.just("send again"), st.sampled_from(NAMES)),
        st.sampled_from([("tick", ""), ("tick", ""), ("nap", ""), ("trip", "")]),
    ),
    max_size=30,
)


def number_of(flow: Flow, name: str) -> int:
    return sum(signal.name == name for signal in flow.mailbox)


def waits_for(value: Any) -> list[str]:
    """Return the names for which tasks wait, at any depth of a flow dict."""
    if isinstance(value, list):
        return [name for part in value for name in waits_for(part)]
    if not isinstance(value, dict):
        return []
    own = [value["waits_for"]["signal"]] if "waits_for" in value and value.get("status") == "WAITING" else []
    return own + [name for part in value.values() for name in waits_for(part)]


@given(specs(), MOVES)
def test_in_memory(spec: dict[str, Any], moves: list[tuple[str, str]]) -> None:
    clock = ManualClock()
    engine = FlowEngine(clock=clock)
    flow = engine.flow_spec_to_flow(spec, key="f")
    sent: list[str] = []
    taken: list[tuple[str, str]] = []  # id, wait

    def note_taken() -> None:
        taken.extend((each.signal.id, each.taken_by) for each in flow.mailbox.taken)
        flow.mailbox.mark_saved(0, len(flow.mailbox.taken))

    for move, name in moves:
        if flow.status in ("COMPLETED", "FAILED"):
            break
        if move == "send":
            assert engine.signal(flow, name, len(sent), id=str(len(sent)))
            sent.append(name)
        elif move == "send again" and sent:
            last = len(sent) - 1
            known = flow.mailbox.get(str(last))
            assert known is None or not engine.signal(flow, known.name, last, id=str(last))
        elif move == "nap":
            clock.advance(3600)
        elif move == "trip":
            note_taken()
            flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
        elif move == "tick":
            engine.run_flow(flow, max_ticks=50)
            note_taken()
            flow.check_invariants()
            for waited in waits_for(flow.to_flow_dict()["graph"]):
                assert number_of(flow, waited) == 0, "a task waits for a signal that is there"
    note_taken()
    ids = [signal_id for signal_id, _ in taken]
    left = [signal.id for signal in flow.mailbox]
    assert sorted(ids + left, key=int) == [str(number) for number in range(len(sent))]
    assert len({wait for _, wait in taken}) == len(taken)
    for name in NAMES:
        of_name = [int(signal_id) for signal_id in ids if sent[int(signal_id)] == name]
        rest = [int(signal_id) for signal_id in left if sent[int(signal_id)] == name]
        assert not rest or not of_name or max(of_name) < min(rest), "taken before an older one"


@given(specs(), MOVES)
def test_in_a_store(spec: dict[str, Any], moves: list[tuple[str, str]]) -> None:
    clock = ManualClock()
    with Houston("sqlite://", clock=clock) as houston:
        houston.submit(spec, key="f")
        seen = check_store(houston.store)
        sent: list[str] = []
        for move, name in moves:
            if houston.summary("f").status == "COMPLETED":
                break
            if move == "send":
                assert houston.signal("f", name, len(sent), id=str(len(sent)))
                sent.append(name)
            elif move == "send again" and sent:
                last = len(sent) - 1
                assert not houston.signal("f", sent[last], last, id=str(last))
            elif move == "nap":
                clock.advance(3600)
            else:
                houston.tick()
                flow_dict = houston.export("f")
                there = {signal["name"] for signal in flow_dict.get("signals", [])}
                assert not there & set(waits_for(flow_dict["graph"]))
            check_store(houston.store, seen)
        assert len(seen.signals) == len(sent)
