"""What the task list of a spec says about keys and edges; the one place that knows the implicit rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def find_cycle(keys: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """Return one cycle as the path `[a, b, a]`, or None.

    Iterative depth-first search with three colours (Cormen et al., Introduction to Algorithms,
    section 20.3), so that a deep graph does not exhaust the stack.
    """
    successors: dict[str, list[str]] = {key: [] for key in keys}
    for source, dest in edges:
        if source in successors and dest in successors:
            successors[source].append(dest)
    done: set[str] = set()
    for start in successors:
        if start in done:
            continue
        path = [start]
        on_path = {start}
        branches = [iter(successors[start])]
        while branches:
            for dest in branches[-1]:
                if dest in on_path:
                    return [*path[path.index(dest) :], dest]
                if dest not in done:
                    path.append(dest)
                    on_path.add(dest)
                    branches.append(iter(successors[dest]))
                    break
            else:
                branches.pop()
                key = path.pop()
                on_path.discard(key)
                done.add(key)
    return None
