"""Random new specs for flows that are under way."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.support.random_specs import task_cfgs

__all__ = ["new_specs"]

_FREE = ("PENDING", "FAILED", "CANCELLED")


@st.composite
def new_specs(
    draw: st.DrawFn, old: Mapping[str, Any], statuses: Mapping[str, str], *, polite: bool
) -> dict[str, Any]:
    """Specs that differ from an old one in some tasks, edges, the order and `cfg`.

    Args:
        draw: by hypothesis.
        old: the spec of the flow, whose tasks all say their precursors.
        statuses: of the tasks.
        polite: leave out what would be refused in most cases.
    """
    left: list[dict[str, Any]] = []
    for task in old["tasks"]:
        changed = _change(draw, task, statuses.get(task["key"], "PENDING"), polite=polite)
        if changed is not None:
            left.append(changed)
    names = [f"n{number}" for number in range(3)]
    known = {task["key"] for task in left}
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=2)):
        if name in known:
            continue
        left.append({"key": name, "task_type": "act", "precursors": [], "task_params": draw(_params())})
    _connect(draw, left, {task["key"]: task for task in old["tasks"]}, statuses, polite=polite)
    cfg = {**old["cfg"], "fail_fast": draw(st.booleans())}
    if draw(st.integers(0, 4)) == 0:
        cfg["timeout"] = draw(st.integers(1, 3000))
    return {
        **old,
        "cfg": cfg,
        "label": draw(st.sampled_from([None, "x"])),
        "tasks": draw(st.permutations(left)),
    }


def _change(draw: st.DrawFn, task: Mapping[str, Any], status: str, *, polite: bool) -> dict[str, Any] | None:
    """Return a task in a new form; None where it is left out."""
    changed = deepcopy(dict(task))
    if polite and status not in _FREE:
        return changed
    move = draw(st.sampled_from(["stay", "stay", "params", "cfg", "remove", "label"]))
    if move == "remove":
        return None
    if move == "params":
        changed["task_params"] = draw(_params())
    if move == "label":
        changed["label"] = draw(st.sampled_from(["l", "m"]))
    if move == "cfg":
        changed["cfg"] = draw(task_cfgs([]))
    return changed


def _connect(
    draw: st.DrawFn,
    tasks: list[dict[str, Any]],
    old: Mapping[str, Mapping[str, Any]],
    statuses: Mapping[str, str],
    *,
    polite: bool,
) -> None:
    """Take away edges whose end is gone, and add some that close no cycle."""
    keys = {task["key"] for task in tasks}
    for task in tasks:
        before = task["precursors"] = [key for key in task["precursors"] if key in keys]
        gone = len(before) < len(old.get(task["key"], {}).get("precursors", []))
        if gone and isinstance((task.get("cfg") or {}).get("start_when"), dict):
            task["cfg"] = {name: value for name, value in task["cfg"].items() if name != "start_when"}
    may_change = [
        task
        for task in tasks
        if not polite or statuses.get(task["key"], "PENDING") in ("PENDING", "CANCELLED")
    ]
    for task in may_change:
        others = sorted(keys - {task["key"]} - set(task["precursors"]))
        for key in draw(st.lists(st.sampled_from(others), unique=True, max_size=2)) if others else []:
            if not _leads_to(tasks, task["key"], key):
                task["precursors"].append(key)


def _leads_to(tasks: list[dict[str, Any]], source: str, dest: str) -> bool:
    """Tell whether `dest` waits for `source`, perhaps by way of others."""
    before = {task["key"]: task["precursors"] for task in tasks}
    stack, seen = [dest], set()
    while stack:
        key = stack.pop()
        if key == source:
            return True
        if key not in seen:
            seen.add(key)
            stack += before.get(key, [])
    return False


def _params() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "fails": st.sampled_from([0, 0, 0, 1, 9]),
            "polls": st.integers(0, 1),
            "waits": st.lists(st.integers(0, 100), max_size=1),
        }
    )
