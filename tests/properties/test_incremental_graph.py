"""A graph that grows task by task and edge by edge has the cycles that a search of the whole finds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.errors import CycleError, GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.spec.task_graph import find_cycle

NUMBERS = st.integers(0, 11)
STEPS = st.lists(
    st.tuples(st.just("edge"), NUMBERS, NUMBERS)
    | st.tuples(st.just("task"), st.lists(NUMBERS, max_size=3), st.lists(NUMBERS, max_size=3)),
    max_size=40,
)


def list_new_edges(step: tuple[Any, ...], keys: list[str]) -> list[tuple[str, str]]:
    """Return the edges that a step is about."""
    if step[0] == "edge":
        source, dest = keys[step[1] % len(keys)], keys[step[2] % len(keys)]
        return [(source, dest)]
    new = f"t{len(keys)}"
    return [(keys[n % len(keys)], new) for n in step[1]] + [(new, keys[n % len(keys)]) for n in step[2]]


def try_to_grow(flow: Flow, step: tuple[Any, ...], new: list[tuple[str, str]], key: str) -> CycleError | None:
    try:
        if step[0] == "edge":
            flow.add_edge({"src_key": new[0][0], "dest_key": new[0][1]})
        else:
            flow.add_task(
                {
                    "key": key,
                    "task_type": "noop",
                    "precursors": [source for source, dest in new if dest == key],
                    "successors": [dest for source, dest in new if source == key],
                }
            )
    except CycleError as error:
        return error
    return None


@given(STEPS)
def test_it_refuses_exactly_the_edges_that_close_a_cycle(steps: list[tuple[Any, ...]]) -> None:
    flow, edges = Flow(), set()
    flow.add_task({"key": "t0", "task_type": "noop"})
    keys = ["t0"]
    for step in steps:
        new = list_new_edges(step, keys)
        all_keys = keys if step[0] == "edge" else [*keys, f"t{len(keys)}"]
        cycle = find_cycle(all_keys, [*edges, *new])
        before = flow.to_flow_dict()
        refusal = try_to_grow(flow, step, new, all_keys[-1])
        assert (refusal is None) == (cycle is None)
        if refusal is None:
            keys = all_keys
            edges.update(new)
        else:
            assert refusal.cycle[0] == refusal.cycle[-1]
            assert set(pairwise(refusal.cycle)) <= {*edges, *new}
            assert flow.to_flow_dict() == before
        flow.check_invariants()
    named = {(edge["src_key"], edge["dest_key"]) for edge in flow.get_edges()}
    assert {edge for edge in named if edge[0] != "ROOT"} == edges
    for source, dest in edges:
        assert flow.has_edge(source, dest)


@given(STEPS)
def test_it_does_the_same_as_one_that_was_made_at_once(steps: list[tuple[Any, ...]]) -> None:
    grown = Flow(key="f")
    grown.add_task({"key": "t0", "task_type": "noop"})
    for step in steps:
        keys = list(grown.tasks)
        try:
            if step[0] == "edge":
                ((source, dest),) = list_new_edges(step, keys)
                grown.add_edge({"src_key": source, "dest_key": dest})
            else:
                grown.add_task(
                    {
                        "task_type": "noop",
                        "precursors": [keys[n % len(keys)] for n in step[1]],
                        "successors": [keys[n % len(keys)] for n in step[2]],
                    }
                )
        except GraphError:
            continue
    made = Flow.from_flow_dict(grown.to_flow_dict())
    made.check_invariants()
    assert made.to_flow_dict() == grown.to_flow_dict()
    engine = FlowEngine()
    while grown.status not in {"FAILED", "COMPLETED"}:
        one, other = engine.tick_flow(grown), engine.tick_flow(made)
        assert (one.started, one.completed) == (other.started, other.completed)
    assert made.status == grown.status == "COMPLETED"
