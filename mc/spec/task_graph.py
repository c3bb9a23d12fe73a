"""Keys and edges that the task list of a spec gives; the one place that knows the implicit rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

__all__ = ["ROOT_TASK_KEY", "assign_task_keys", "find_cycle", "list_edges", "start_rule_task_keys"]

ROOT_TASK_KEY = "ROOT"

TaskSpec = Mapping[str, Any]


def assign_task_keys(task_specs: Sequence[TaskSpec]) -> list[str]:
    """Return the key of each task; the same spec always gets the same keys.

    A task without a key is `task_<n>`, n being its place in the list from 1; where another task
    bears that name, underscores are appended.
    """
    taken = {task["key"] for task in task_specs if task.get("key")}
    keys: list[str] = []
    for number, task in enumerate(task_specs, 1):
        key = task.get("key")
        if not key:
            key = f"task_{number}"
            while key in taken:
                key += "_"
            taken.add(key)
        keys.append(key)
    return keys


def start_rule_task_keys(task_spec: TaskSpec) -> list[str]:
    """Return the tasks that a custom `cfg.start_when` names; each is a precursor too."""
    rule = (task_spec.get("cfg") or {}).get("start_when")
    if not isinstance(rule, Mapping):
        return []
    return [condition["task"] for group in ("all", "any") for condition in rule.get(group) or ()]


def list_edges(keys: Sequence[str], task_specs: Sequence[TaskSpec]) -> list[tuple[str, str]]:
    """Return the edges (precursor, successor) of a task list, each once, those from ROOT included.

    A task with neither `precursors` nor `successors` follows the one listed before it. A task that
    nothing precedes follows ROOT.

    Args:
        keys: the key of each task, as given by `assign_task_keys`.
        task_specs: the tasks, in the same order.
    """
    precursors: dict[str, dict[str, None]] = {key: {} for key in keys}
    unknown: list[tuple[str, str]] = []
    previous = ROOT_TASK_KEY
    for key, task in zip(keys, task_specs, strict=True):
        named = task.get("precursors")
        followers = task.get("successors")
        if named is None and followers is None:
            precursors[key][previous] = None
        else:
            for precursor in named or ():
                precursors[key][precursor] = None
        for precursor in start_rule_task_keys(task):
            precursors[key][precursor] = None
        previous = key
    for key, task in zip(keys, task_specs, strict=True):
        for follower in task.get("successors") or ():
            if follower in precursors:
                precursors[follower][key] = None
            else:
                unknown.append((key, follower))
    edges: list[tuple[str, str]] = []
    for key, before in precursors.items():
        if not before:
            edges.append((ROOT_TASK_KEY, key))
        elif len(before) > 1:
            before.pop(ROOT_TASK_KEY, None)
        edges.extend((precursor, key) for precursor in before)
    return edges + unknown


def find_cycle(keys: Collection[str], edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """Return one cycle as the path `[a, b, a]`, or None; edges from and to other keys are passed over."""
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(keys, ()))
    known = set(keys)
    for source, dest in edges:
        if source in known and dest in known:
            sorter.add(dest, source)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return None
