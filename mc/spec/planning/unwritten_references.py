"""References to data that nothing in the spec writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from mc.context.interpolation import find_references
from mc.context.paths import format_path, nearest_name, parse_path
from mc.context.wiring import Wiring, parse_wirings
from mc.errors import ContextError, PathError
from mc.spec.problems import list_names
from mc.spec.spec_level import Level, PlacedTask, Steps
from mc.spec.task_outputs import names_in_data, names_in_output, params_of, task_type_of

__all__ = ["Reading", "explain_unwritten", "find_inputs", "list_readings"]

# Parameters that are not read when the task starts: they have a level of their own, or are looked at apart.
_NOT_READ: Final[Mapping[str, frozenset[str]]] = {
    "flow": frozenset({"flow_spec"}),
    "inline_flow": frozenset({"flow_spec"}),
    "loop": frozenset({"flow_spec"}),
    "spread": frozenset({"mapping_params"}),
    "switch": frozenset({"cases", "default_case"}),
}


class Reading(NamedTuple):
    """A place that reads a path."""

    pointer: str
    path: str  # as it is written, without the dollar
    task: PlacedTask | None  # None: the flow's results


def list_readings(level: Level) -> Iterator[Reading]:
    """Yield what the tasks of a flow and its results read, in order."""
    for task in level.tasks:
        params, place = params_of(task.spec), f"{task.pointer}/task_params"
        name = task_type_of(task.spec)
        skipped = _NOT_READ.get(name, frozenset())
        if name == "wire" and isinstance(params.get("wirings"), list):
            skipped = frozenset({"wirings"})
        own = {key: value for key, value in params.items() if key not in skipped}
        yield from _in_value(own, place, task)
        yield from _in_value((task.spec.get("cfg") or {}).get("when"), f"{task.pointer}/cfg/when", task)
        if name == "switch":
            for at, case in enumerate(params.get("cases") or ()):
                yield from _in_value(case["condition"], f"{place}/cases/{at}/condition", task)
        elif name == "wire":
            yield from _in_wirings(params.get("wirings"), f"{place}/wirings", task)
        elif name == "spread" and isinstance(params.get("mapping_params"), Mapping):
            wirings = params["mapping_params"].get("wirings")
            yield from _in_wirings(wirings, f"{place}/mapping_params/wirings", task)
    yield from _in_value(level.spec.get("results"), f"{level.pointer}/results", None)


def _in_value(value: Any, pointer: str, task: PlacedTask | None) -> Iterator[Reading]:
    for below, path in find_references(value):
        yield Reading(pointer + below, path, task)


def _in_wirings(wirings: Any, place: str, task: PlacedTask) -> Iterator[Reading]:
    if not isinstance(wirings, list):
        return
    try:
        parsed = parse_wirings(wirings)
    except ContextError:
        return
    for at, wiring in enumerate(parsed):
        yield from _in_wiring(wiring, f"{place}/{at}", task)
        if task_type_of(task.spec) == "wire":
            yield from _in_value(wiring.value, f"{place}/{at}/value", task)


def _in_wiring(wiring: Wiring, pointer: str, task: PlacedTask) -> Iterator[Reading]:
    if wiring.source is not None:
        yield Reading(pointer, wiring.source, task)
    for inner in wiring.wirings:
        yield from _in_wiring(inner, pointer, task)


def explain_unwritten(level: Level, reading: Reading) -> str | None:
    """Return why nothing can be found where a path leads to; None if something may be."""
    located = _locate(level, reading.path)
    if located is None:
        return None
    found, place = located
    reads = reading.task is None or reading.task.key not in level.idle
    if place[:2] == ("flow", "tasks") and place[3:4] == ("data",) and len(place) > 4:
        return _explain_task_data(found, place, reads)
    if place[:2] == ("flow", "data") and len(place) > 2 and found.parent is not None:
        return _explain_flow_data(found, place)
    return None


def find_inputs(level: Level) -> list[str]:
    """Return the data of the outermost flow that are read, but neither given nor written by the spec."""
    inputs: dict[str, None] = {}
    waiting = [level]
    while waiting:
        one = waiting.pop()
        waiting += [inner for _, inner in one.sub_levels()]
        for reading in list_readings(one):
            located = _locate(one, reading.path)
            if located is not None and located[0].parent is None and located[1][:2] == ("flow", "data"):
                place = located[1]
                if len(place) > 2 and str(place[2]) not in level.data and not level.is_written(place[:3]):
                    inputs[str(place[2])] = None
    return list(inputs)


def _locate(level: Level, path: str) -> tuple[Level, Steps] | None:
    try:
        located = level.locate(parse_path(path))
    except PathError:
        return None
    return None if located is None or located[0].is_template else located


def _explain_task_data(level: Level, place: Steps, reads: bool) -> str | None:
    task = level.by_key.get(str(place[2]))
    if task is None or level.is_written(place[:5]):
        return None
    if reads and task.key in level.idle and place[4] not in (task.spec.get("data") or {}):
        return f"task {task.key!r} never runs, and leaves nothing."
    names = names_in_data(task.spec)
    if names is None:
        return None
    name, key = str(place[4]), str(place[2])
    if name not in names:
        near = nearest_name(name, names)
        hint = f" Did you mean {near!r}?" if near else ""
        left = f"it has {list_names(sorted(names))}" if names else "it has none"
        return (
            f"task {key!r} ({task_type_of(task.spec)}) has no {name!r} in its data, and no wiring writes it; "
            f"{left}.{hint}"
        )
    inner = names_in_output(task.spec, name) if name not in (task.spec.get("data") or {}) else None
    if inner is None or len(place) < 6 or str(place[5]) in inner:
        return None
    declared = list_names(sorted(inner)) if inner else "none"
    return f"the sub-flow of task {key!r} declares no result {str(place[5])!r}; its results are: {declared}."


def _explain_flow_data(level: Level, place: Steps) -> str | None:
    name = str(place[2])
    if level.unknown_data is None or name in level.unknown_data or name in level.data:
        return None
    if level.is_written(place[:3]):
        return None
    where = "/".join(level.path)
    return (
        f"the sub-flow of {where} has no {format_path(('data', name))}: neither its spec nor its task gives "
        f"it, and no wiring writes it."
    )
