"""Pairs of specs of what lives inside of a task under way: the one that it was made of, and a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mc.context.json_values import json_equal
from mc.flows.flow import Flow
from mc.flows.migration.spec_pair import SpecPair
from mc.flows.migration.written_tasks import WrittenTasks
from mc.flows.state.task_node import Task
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.spec.task_types import canonical_task_type
from mc.statuses import FINISHED_FLOW_STATUSES

__all__ = ["NESTED_PARAMS", "find_nested_pair"]

# parameters that hold specs, by the task types that have something inside of them
NESTED_PARAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "inline_flow": ("flow_spec",),
    "loop": ("flow_spec",),
    "spread": ("mapping_params",),
    "switch": ("cases", "default_case"),
}


def find_nested_pair(pair: SpecPair, key: str) -> SpecPair | None:
    """Return what lives inside of a task between what the two specs say of it.

    Args:
        pair: of the flow that the task is in.
        key: of the task, which both specs have.

    Returns:
        None where nothing lives inside, or where parameters differ that it was begun with.
    """
    task, before, after = pair.task(key), pair.old.tasks[key], pair.new.tasks[key]
    task_type = canonical_task_type(str(before.get("task_type")))
    old, new = before.get("task_params") or {}, after.get("task_params") or {}
    nested = NESTED_PARAMS.get(task_type, ())
    if pair.statuses.get(key) not in ("RUNNING", "WAITING") or not nested:
        return None
    if canonical_task_type(str(after.get("task_type"))) != task_type:
        return None
    if not json_equal(_without(old, nested), _without(new, nested)):
        return None
    place = pair.pointer(key, "task_params")
    if task_type == "switch":
        return _of_switch(pair, key, task, old, new, place)
    state = pair.flow.state.find_sub_flow(task)
    if state is None and task_type == "loop":
        return _nothing(pair)
    if state is None or state.status in FINISHED_FLOW_STATUSES:
        return None
    inner, around = Flow.from_state(state), f"{pair.name(key)}/"
    inner.reconcile()
    if task_type == "spread":
        return _of_spread(pair, inner, old, new, around, place)
    specs = [params.get("flow_spec") for params in (old, new)]
    if not all(isinstance(spec, Mapping) for spec in specs):
        return None
    place = f"{place}/flow_spec"
    return SpecPair.of(inner, specs[0], specs[1], root_key=pair.root_key, around=around, place=place)  # type: ignore[arg-type]


def _nothing(pair: SpecPair) -> SpecPair:
    """Return what there is of a loop between two rounds: the next one follows the new spec."""
    none = WrittenTasks(tasks={}, precursors={}, places={})
    return replace(pair, old=none, new=none, statuses={}, later=(), is_flow=False)


def _without(params: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


# --- spread ----------------------------------------------------------------------------------


def _of_spread(
    pair: SpecPair,
    inner: Flow,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    around: str,
    place: str,
) -> SpecPair | None:
    before, after = old.get("mapping_params") or {}, new.get("mapping_params") or {}
    skeletons = [params.get("skeleton") for params in (before, after)]
    if not json_equal(_without(before, ("skeleton",)), _without(after, ("skeleton",))):
        return None
    first, second = skeletons
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return None
    if not all(json_equal(first.get(name), second.get(name)) for name in ("precursors", "successors")):
        return None
    precursors: dict[str, list[str]] = {}
    for edge in inner.get_edges():
        precursors.setdefault(edge["dest_key"], []).append(edge["src_key"])
    nodes = inner.state.tasks.nodes
    items = {key: _written(node.task) for key, node in nodes.items() if _is_item(key)}
    shape: Any = {
        "precursors": {key: tuple(precursors.get(key, [ROOT_TASK_KEY])) for key in items},
        "places": dict.fromkeys(items, 0),
    }
    changed = {
        key: {**item, **_merge(_parts(first), _parts(second), _parts(item))} for key, item in items.items()
    }
    return SpecPair.of(
        inner,
        {},
        {},
        root_key=pair.root_key,
        old=WrittenTasks(tasks=items, **shape),
        new=_OfSkeleton(tasks=changed, **shape),
        around=around,
        place=f"{place}/mapping_params/skeleton",
    )


class _OfSkeleton(WrittenTasks):
    """The tasks of items, which are all written in one place."""

    __slots__ = ()

    def pointer(self, key: str, part: str = "") -> str:
        """Return the JSON Pointer to a part of the skeleton."""
        return f"/{part}" if part in self.tasks[key] else ""


def _is_item(key: str) -> bool:
    return key.startswith("item_") and key[len("item_") :].isdecimal()


def _written(task: Task) -> dict[str, Any]:
    """Return a task of an item as skeleton and wirings wrote it."""
    return _parts({**task, "task_params": task.get("raw_task_params") or task.get("task_params")})


def _parts(task: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: task[name] for name in ("task_type", "label") if name in task}
    return parts | {name: task.get(name) or {} for name in ("task_params", "data", "cfg")}


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return `own` with what differs between `old` and `new`, but where wirings wrote something else."""
    merged = dict(own)
    for name in {**old, **new}:
        before, after, here = old.get(name), new.get(name), own.get(name)
        if json_equal(before, after):
            continue
        if all(isinstance(value, Mapping) for value in (before, after, here)):
            merged[name] = _merge(before, after, here)  # type: ignore[arg-type]
        elif json_equal(before, here):
            if name in new:
                merged[name] = after
            else:
                merged.pop(name, None)
    return merged


# --- switch ----------------------------------------------------------------------------------


def _of_switch(
    pair: SpecPair,
    key: str,
    task: Task,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    place: str,
) -> SpecPair | None:
    """Return the chosen task between the two specs; None where the choice may have been another one."""
    proxied = task.get("proxied_task")
    before, after = list(_list_choices(old)), list(_list_choices(new))
    if not isinstance(proxied, dict) or [(at, when) for at, when, _ in before] != [
        (at, when) for at, when, _ in after
    ]:
        return None
    written = _written(proxied)
    chosen = [
        (at, first, second)
        for (at, _, first), (_, _, second) in zip(before, after, strict=True)
        if first is not None and second is not None and _made_of(proxied, written, first, key)
    ]
    if len({at for at, _, _ in chosen}) != 1:
        return None
    ((at, first, second),) = chosen
    own = str(proxied.get("key"))
    if (second.get("key") or key) != own:
        return None
    shape: Any = {"precursors": {own: (ROOT_TASK_KEY,)}, "places": {own: 0}}
    return replace(
        pair,
        old=WrittenTasks(tasks={own: first}, **shape),
        new=_OfSkeleton(tasks={own: second}, **shape),
        statuses={own: str(proxied.get("status"))},
        later=(),
        is_flow=False,
        around=pair.around if own == key else f"{pair.name(key)}/",
        place=f"{place}/{at}",
        proxied=proxied,
    )


def _list_choices(params: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any] | None]]:
    """Yield of each case, and of the default, where its task stands, when it is chosen, and the task."""
    cases = params.get("cases")
    for number, case in enumerate(cases if isinstance(cases, list) else ()):
        if isinstance(case, Mapping):
            yield f"cases/{number}/task", case.get("condition"), _task_of(case)
    default = params.get("default_case")
    if isinstance(default, Mapping):
        yield "default_case/task", None, _task_of(default)


def _task_of(case: Mapping[str, Any]) -> Mapping[str, Any] | None:
    task = case.get("task")
    return task if isinstance(task, Mapping) else None


def _made_of(proxied: Task, written: Mapping[str, Any], task: Mapping[str, Any], key: str) -> bool:
    """Tell whether a proxied task was made of what a case says."""
    return (task.get("key") or key) == proxied.get("key") and all(
        json_equal(written.get(name) or {}, task.get(name) or {})
        for name in ("task_type", "task_params", "cfg")
    )
