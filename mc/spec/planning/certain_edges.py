"""Edges that are certain: which tasks of a flow are finished before another one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mc.spec.spec_level import Level
from mc.spec.task_graph import ROOT_TASK_KEY

__all__ = ["find_certain_edges"]


def find_certain_edges(level: Level, order: Sequence[str]) -> list[tuple[str, str]]:
    """Return edges (earlier, later) between tasks of which the later never starts before the earlier ends.

    A task that waits for one of several tasks starts after none of them for certain, but after what
    precedes all of them.

    Args:
        level: the flow.
        order: the keys of its tasks, each after its precursors.
    """
    before = level.precursors()
    certain: dict[str, list[str]] = {}
    for key in order:
        precursors = [one for one in before[key] if one != ROOT_TASK_KEY]
        waits_for_all, waited_for = _read_rule(level.by_key[key].spec, precursors)
        if waits_for_all or len(waited_for) == 1:
            certain[key] = waited_for
        else:
            found = [_with_earlier(one, certain) for one in waited_for]
            certain[key] = sorted(set.intersection(*found)) if found else []
    return [(source, key) for key, sources in certain.items() for source in sources]


def _read_rule(task: Mapping[str, Any], precursors: list[str]) -> tuple[bool, list[str]]:
    """Return whether a task waits for all or for one, and for which tasks."""
    rule = (task.get("cfg") or {}).get("start_when")
    if isinstance(rule, Mapping):
        word = "all" if "all" in rule else "any"
        named = dict.fromkeys(condition["task"] for condition in rule[word])
        if word == "any" and ROOT_TASK_KEY in named:
            return True, []
        return word == "all", [key for key in named if key != ROOT_TASK_KEY]
    return rule not in ("any_completed", "any_failed"), precursors


def _with_earlier(key: str, certain: Mapping[str, list[str]]) -> set[str]:
    found = {key}
    waiting = [key]
    while waiting:
        for earlier in certain[waiting.pop()]:
            if earlier not in found:
                found.add(earlier)
                waiting.append(earlier)
    return found
