"""Obstacles: what forbids that a flow moves to a new spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mc.context.json_values import json_equal
from mc.errors import Obstacle
from mc.flows.migration.spec_pair import SpecPair
from mc.flows.migration.written_tasks import WrittenTasks
from mc.flows.state.start_rules import START, UNDECIDED, counted_status, start_rule_for
from mc.spec.schema.params_schema import check_flow_data
from mc.spec.task_graph import ROOT_TASK_KEY, find_cycle
from mc.statuses import FINISHED_TASK_STATUSES

__all__ = ["find_flow_obstacles", "find_task_obstacles"]

# parts of a task that what happened already depends upon, by the task's status
_FIXED_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "COMPLETED": ("task_type", "task_params", "precursors"),
    "SKIPPED": ("task_type", "task_params", "precursors"),
    "RUNNING": ("task_type", "task_params", "data", "cfg"),
    "WAITING": ("task_type", "task_params", "data", "cfg"),
}
_ACTIVE: Final = ("RUNNING", "WAITING")
# parts after a change of which a task that has begun must still have been allowed to begin
_RULE_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "RUNNING": frozenset({"precursors"}),
    "WAITING": frozenset({"precursors"}),
    "FAILED": frozenset({"precursors", "cfg"}),
}


def find_flow_obstacles(pair: SpecPair) -> Iterator[Obstacle]:
    """Yield what forbids it whatever the tasks are."""
    for obstacle in _of_whole_flow(pair, pair.old_spec, pair.new_spec):
        place = f"{pair.place}{obstacle.pointer}"
        yield replace(obstacle, task_key=pair.around[:-1] or None, pointer=place)


def _of_whole_flow(
    pair: SpecPair, old_spec: Mapping[str, Any], new_spec: Mapping[str, Any]
) -> Iterator[Obstacle]:
    flow, key = pair.flow, new_spec.get("key")
    if flow.status == "COMPLETED":
        advice = "Submit the new spec as a new flow."
        yield _of_flow("flow-completed", "", "The flow is COMPLETED; nothing of it will be run.", advice)
    if key not in (None, flow.key, old_spec.get("key")):
        message = f"The spec is for the flow {key!r}, not for {flow.key!r}."
        yield _of_flow("other-key", "/key", message, f"Leave `key` out, or write {flow.key!r}.")
    params = new_spec.get("params")
    data = {**(new_spec.get("data") or {}), **flow.state.data}
    if params is not None and not (
        json_equal(params, old_spec.get("params")) and data.keys() == flow.state.data.keys()
    ):
        for problem in check_flow_data(params, data):
            message = f"The flow's data do not keep to `params`: {problem.pointer}: {problem.message}"
            advice = f"Change `params`, or the data (houston set {pair.root_key})."
            yield _of_flow("data-misfit", "/params", message, advice)
    cycle = find_cycle(pair.task_keys(), pair.edges())
    if cycle is not None:
        message = f"With the edges that were added while the flow ran there is a cycle: {' -> '.join(cycle)}."
        yield _of_flow("cycle", "/tasks", message, "Remove one of these edges from the new spec.")


def find_task_obstacles(
    pair: SpecPair, changed: Mapping[str, Sequence[str]], removed: Sequence[str]
) -> Iterator[Obstacle]:
    """Yield what forbids it because of a task, in the order of the new spec, then of those removed.

    Args:
        pair: of the flow.
        changed: which parts of a task are compared here, by key.
        removed: the tasks that the new spec leaves out.
    """
    taken = set(pair.later)
    for key in pair.new.tasks:
        if key in taken:
            name, place = pair.name(key), pair.pointer(key, "key")
            message = f"Task {name!r} was added while the flow ran; the new spec gives its key to another."
            yield _of_task("key-taken", name, place, message, "Choose another key.")
        elif key in changed:
            yield from _of_changed(pair, key, changed[key])
    for key in removed:
        yield from _of_removed(pair, key)


def _of_changed(pair: SpecPair, key: str, parts: Sequence[str]) -> Iterator[Obstacle]:
    status, name = pair.statuses[key], pair.name(key)
    fixed = _FIXED_PARTS.get(status, ())
    for part in parts:
        if part in fixed:
            message = f"Task {name!r} is {status}; its {part} cannot change any more."
            if part == "precursors":
                message = f"{message[:-1]} ({_describe_precursors(pair, key)})."
            code = "active-task-changed" if status in _ACTIVE else "finished-task-changed"
            yield _of_task(code, name, pair.pointer(key, part), message, _advice(pair, status))
    if not _RULE_PARTS.get(status, frozenset()).isdisjoint(parts):
        yield from _of_precursors(pair, key, status)


def _of_precursors(pair: SpecPair, key: str, own_status: str) -> Iterator[Obstacle]:
    """Yield why a task that has begun could not have begun under the new spec."""
    name, before, after = pair.name(key), pair.old.precursors[key], pair.new.precursors[key]
    place, advice = pair.pointer(key, "precursors"), _advice(pair, own_status)
    statuses = {source: pair.status_of(source) for source in after}
    unfinished = [
        source
        for source, status in statuses.items()
        if source not in before and status not in FINISHED_TASK_STATUSES
    ]
    for source in unfinished:
        message = f"Task {name!r} is {own_status}; it cannot wait for {source!r}, which is not finished."
        yield _of_task("unfinished-precursor", name, place, message, advice)
    if not unfinished and _may_start(pair, pair.old, key) and not _may_start(pair, pair.new, key):
        shown = ", ".join(f"{source!r} is {status}" for source, status in statuses.items())
        message = f"Task {name!r} is {own_status}; by the new spec it would not have begun: {shown}."
        yield _of_task("start-rule-broken", name, place, message, advice)


def _may_start(pair: SpecPair, written: WrittenTasks, key: str) -> bool:
    """Ask a start rule as the engine does: once for each precursor that is finished."""
    statuses = {source: pair.status_of(source) for source in written.precursors[key]}
    rule = start_rule_for(written.tasks[key].get("cfg"))
    if rule is None or written.precursors[key] == (ROOT_TASK_KEY,):
        return all(status == "COMPLETED" for status in statuses.values())
    left, decision = len(statuses), UNDECIDED
    for source, status in statuses.items():
        if status in FINISHED_TASK_STATUSES and decision == UNDECIDED:
            left -= 1
            counted = counted_status(status, pair.flow.state.tasks.nodes[source].task)
            decision = rule.decide(counted, left, pair.status_of)
    return decision == START


def _of_removed(pair: SpecPair, key: str) -> Iterator[Obstacle]:
    status, name, place = pair.statuses[key], pair.name(key), f"{pair.place}/tasks"
    if status in _FIXED_PARTS:
        code = "active-task-removed" if status in _ACTIVE else "finished-task-removed"
        message = f"Task {name!r} is {status} and is missing in the new spec."
        yield _of_task(code, name, place, message, _advice(pair, status))
    after = pair.flow.state.tasks.nodes[key].successors
    waiting = [node.key for node in after if node.key not in pair.old.tasks]
    if waiting:
        shown = ", ".join(repr(other) for other in waiting[:5])
        message = (
            f"Task {name!r} is missing in the new spec; {shown}, added while the flow ran, waits for it."
        )
        yield _of_task("needed-task-removed", name, place, message, "Leave the task in the new spec.")


def _describe_precursors(pair: SpecPair, key: str) -> str:
    before, after = pair.old.precursors[key], pair.new.precursors[key]
    return f"it followed {', '.join(before)}, and would follow {', '.join(after)}"


def _advice(pair: SpecPair, status: str) -> str:
    key = pair.root_key
    if status in _ACTIVE:
        return (
            f"Wait until it is finished; or cancel the flow (houston cancel {key}), migrate it, and go on "
            f"(houston retry {key})."
        )
    if status == "FAILED":
        return f"Retry it first (houston retry {key}), then migrate."
    return "Leave it as it was; give what is new to a task with another key."


def _of_flow(code: str, pointer: str, message: str, advice: str) -> Obstacle:
    return Obstacle(code=code, task_key=None, pointer=pointer, message=message, advice=advice)


def _of_task(code: str, key: str, pointer: str, message: str, advice: str) -> Obstacle:
    return Obstacle(code=code, task_key=key, pointer=pointer, message=message, advice=advice)
