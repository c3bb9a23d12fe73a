"""Checks of what tasks say about each other: keys, edges, cycles, start rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mc.spec.findings import Findings
from mc.spec.problems import join_pointer, shorten
from mc.spec.task_graph import ROOT_TASK_KEY, assign_task_keys, find_cycle, list_edges

__all__ = ["check_graph"]

_MAX_CYCLES: Final = 20
_MAX_CYCLE_SHOWN: Final = 20


def check_graph(tasks: Sequence[Any], pointer: str, findings: Findings) -> dict[str, int]:
    """Check the tasks of a flow spec as far as they are sound, and return their keys with their places."""
    records = [_read_task(task) for task in tasks]
    _check_duplicates(records, pointer, findings)
    keys = assign_task_keys(records)
    places = {key: at for at, key in enumerate(keys)}
    for at, (key, record) in enumerate(zip(keys, records, strict=True)):
        if not record.keys() <= {"key"}:
            _check_edges(key, tasks[at], places, f"{pointer}/tasks/{at}", findings)
    edges = [(source, dest) for source, dest in list_edges(keys, records) if source != dest]
    _check_cycles(places, edges, pointer, findings)
    _check_start_rules(keys, tasks, edges, pointer, findings)
    return places


def _read_task(task: Any) -> dict[str, Any]:
    """Return of a task what makes the graph, without what is malformed."""
    record: dict[str, Any] = {}
    if type(task) is not dict:
        return record
    key = task.get("key")
    if type(key) is str and key != ROOT_TASK_KEY:
        record["key"] = key
    for name in ("precursors", "successors"):
        named = task.get(name)
        if named is not None:
            record[name] = [key for key in named if type(key) is str] if type(named) is list else []
    rule = _custom_rule(task)
    if rule:
        record["cfg"] = {"start_when": {"all": [{"task": condition["task"]} for _, condition in rule]}}
    return record


def _custom_rule(task: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the sound conditions of a custom start rule, each with the steps to it."""
    cfg = task.get("cfg")
    rule = cfg.get("start_when") if type(cfg) is dict else None
    if type(rule) is not dict:
        return []
    return [
        (f"cfg/start_when/{group}/{at}", condition)
        for group in ("all", "any")
        if type(rule.get(group)) is list
        for at, condition in enumerate(rule[group])
        if type(condition) is dict and type(condition.get("task")) is str
    ]


def _check_duplicates(records: list[dict[str, Any]], pointer: str, findings: Findings) -> None:
    places: dict[str, int] = {}
    for at, record in enumerate(records):
        key = record.get("key")
        if key is None or places.setdefault(key, at) == at:
            continue
        findings.add(
            "MC103",
            f"{pointer}/tasks/{at}/key",
            f"The key {shorten(key)} is taken by the task at {pointer}/tasks/{places[key]}.",
            found=key,
            expected="a key that no other task of the flow has",
        )
        del record["key"]  # else the edges of both would be taken for those of one task


def _check_edges(
    key: str, task: dict[str, Any], places: dict[str, int], pointer: str, findings: Findings
) -> None:
    for name, number in (("precursors", "MC101"), ("successors", "MC102")):
        named = task.get(name)
        if type(named) is not list:
            continue
        for at, other in enumerate(named):
            if type(other) is str:
                place = join_pointer(pointer, name, at)
                _check_end(key, other, name[:-1], number, place, places, findings)
    for steps, condition in _custom_rule(task):
        place = f"{pointer}/{steps}/task"
        _check_end(key, condition["task"], "start_when task", "MC110", place, places, findings)


def _check_end(
    key: str, other: str, what: str, number: str, pointer: str, places: dict[str, int], findings: Findings
) -> None:
    if other == key:
        message = f"Task {shorten(key)} waits for itself."
        findings.add("MC107", pointer, message, found=other, expected="the key of another task")
    elif other == ROOT_TASK_KEY:
        if number == "MC102":
            message = f"Task {shorten(key)} names ROOT as a successor, but ROOT precedes all tasks."
            findings.add("MC106", pointer, message, found=other, expected="the key of another task")
    elif other not in places:
        findings.add(
            number,
            pointer,
            f"Task {shorten(key)} names the {what} {shorten(other)}, but the flow has no such task.",
            found=other,
            expected="the key of a task of the same flow",
            suggestion=findings.suggester.nearest(other, places),
        )


def _check_cycles(
    places: dict[str, int], edges: list[tuple[str, str]], pointer: str, findings: Findings
) -> None:
    remaining = places
    for _ in range(_MAX_CYCLES):
        cycle = find_cycle(remaining, edges)
        if cycle is None:
            return
        shown = cycle
        if len(cycle) > _MAX_CYCLE_SHOWN:
            half = _MAX_CYCLE_SHOWN // 2
            shown = [*cycle[:half], f"... ({len(cycle) - 1 - _MAX_CYCLE_SHOWN} more)", *cycle[-half:]]
        path = " -> ".join(shown)
        findings.add(
            "MC108",
            f"{pointer}/tasks/{places[cycle[0]]}",
            f"The tasks wait for each other in a circle: {path}.",
            found=path,
            expected="edges that never lead back",
        )
        # Each further search leaves out the tasks of the circles found.
        on_cycle = set(cycle)
        remaining = {key: at for key, at in remaining.items() if key not in on_cycle}


def _check_start_rules(
    keys: list[str], tasks: Sequence[Any], edges: list[tuple[str, str]], pointer: str, findings: Findings
) -> None:
    waiting = {at: task["cfg"] for at, task in enumerate(tasks) if _has_start_rule(task)}
    if not waiting:
        return
    wanted = {keys[at] for at in waiting}
    before: dict[str, set[str]] = {key: set() for key in wanted}
    for source, dest in edges:
        if dest in wanted:
            before[dest].add(source)
    for at, cfg in waiting.items():
        rule = cfg["start_when"]
        reason = None
        if rule == "any_failed" and before[keys[at]] <= {ROOT_TASK_KEY}:
            reason = "no task precedes it that could fail"
        elif type(rule) is dict:
            reason = _why_never(rule)
        if reason:
            findings.add(
                "MC109",
                f"{pointer}/tasks/{at}/cfg/start_when",
                f"Task {shorten(keys[at])} can never start: {reason}.",
                found=rule,
                expected="a start rule that can hold",
            )


def _has_start_rule(task: Any) -> bool:
    return type(task) is dict and type(task.get("cfg")) is dict and bool(task["cfg"].get("start_when"))


def _why_never(rule: dict[str, Any]) -> str | None:
    """Return why a custom rule cannot hold, where that is certain."""
    if len(rule) != 1:
        return None
    ((group, conditions),) = rule.items()
    if type(conditions) is not list or not conditions:
        return None
    possible: dict[str, set[str]] = {}
    can_hold = []
    for condition in conditions:
        if type(condition) is not dict or type(condition.get("task")) is not str:
            return None
        key, statuses = condition["task"], condition.get("status")
        if type(statuses) is not str and type(statuses) is not list:
            return None  # which the schema refuses
        named = {statuses} if type(statuses) is str else {one for one in statuses if type(one) is str}
        if key == ROOT_TASK_KEY:
            named &= {"COMPLETED"}  # which it always is
        can_hold.append(bool(named))
        possible[key] = possible[key] & named if key in possible else named
    if group == "any":
        return None if any(can_hold) else "ROOT is always COMPLETED"
    for key, left in possible.items():
        if not left:
            return f"{shorten(key)} cannot have all the statuses that it asks for"
    return None
