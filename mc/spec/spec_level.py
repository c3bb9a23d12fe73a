"""One flow of a spec, the outermost one or one inside a task, and what is known of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mc.context.interpolation import find_references, interpolate
from mc.context.json_values import copy_json
from mc.context.paths import Step, format_path, parse_path, read_path
from mc.context.wiring import Wiring, parse_wirings
from mc.errors import ContextError, McError, PathError
from mc.spec.task_graph import assign_task_keys, list_edges
from mc.spec.task_outputs import OUTPUTS, list_cases, names_in_data, params_of, task_type_of

__all__ = ["Level", "PlacedTask", "make_level"]

Steps = tuple[Step, ...]

_SUB_FLOWS: Final = frozenset({"flow", "inline_flow", "loop"})
_OF_AN_ITEM: Final = "$ctx.item.value"  # stands for a value that each item has of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTask:
    """A task of a flow, or one that a `switch` of it may choose."""

    spec: Mapping[str, Any]
    pointer: str  # JSON Pointer to it
    key: str  # of the task of the graph that it is or stands in
    path: tuple[str, ...]  # keys from the outermost flow's task to this one
    is_proxied: bool

    @property
    def shown(self) -> str:
        """The path as people write it."""
        return "/".join(self.path)


class _Places:
    """Places that are written, quick to ask for."""

    __slots__ = ("_above", "_exact")

    def __init__(self) -> None:
        self._exact: set[tuple[str, ...]] = set()
        self._above: set[tuple[str, ...]] = set()

    def add(self, steps: Steps) -> None:
        """Note that a place is written."""
        names = tuple(map(str, steps))
        self._exact.add(names)
        self._above.update(names[:length] for length in range(len(names)))

    def touches(self, steps: Steps) -> bool:
        """Tell whether a place, something below it or something above it is written."""
        names = tuple(map(str, steps))
        return names in self._above or any(names[:end] in self._exact for end in range(len(names) + 1))


@dataclass(slots=True, kw_only=True)
class Level:
    """A flow of a spec.

    Attributes:
        spec: the sound flow spec.
        pointer: JSON Pointer to it.
        path: keys of the tasks from the outermost to the one that runs it.
        parent: the flow that the task is in.
        data: what the flow begins with, as far as it is known.
        unknown_data: names of data that it is given too, with a value that is not known; None: any name.
        writes: destinations of wirings.
        writes_anywhere: whether there are wirings whose destinations are not known.
        is_template: the tasks of a `spread`'s items, which wirings complete.
        idle: keys of tasks that never run, once that is known.
    """

    spec: Mapping[str, Any]
    pointer: str
    path: tuple[str, ...]
    parent: Level | None
    data: dict[str, Any]
    unknown_data: frozenset[str] | None = frozenset()
    keys: list[str] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    tasks: list[PlacedTask] = field(default_factory=list)
    by_key: dict[str, PlacedTask] = field(default_factory=dict)
    writes: _Places = field(default_factory=_Places)
    writes_anywhere: bool = False
    is_template: bool = False
    idle: frozenset[str] = frozenset()

    def sub_levels(self) -> Iterator[tuple[PlacedTask, Level]]:
        """Yield the flows inside its tasks, each with its task."""
        for task in self.tasks:
            params = params_of(task.spec)
            name = task_type_of(task.spec)
            if name in _SUB_FLOWS and isinstance(params.get("flow_spec"), Mapping):
                yield task, self._make_sub_level(task, params)
            elif name == "spread" and isinstance(params.get("mapping_params"), Mapping):
                skeleton = _complete_skeleton(params["mapping_params"])
                if skeleton is not None:
                    pointer = f"{task.pointer}/task_params/mapping_params"
                    yield task, _make_item_level(skeleton, pointer, task.path, self)

    def _make_sub_level(self, task: PlacedTask, params: Mapping[str, Any]) -> Level:
        spec = params["flow_spec"]
        data, unknown = copy_json(dict(spec.get("data") or {})), frozenset[str]()
        laid_over = params.get("data")
        if isinstance(laid_over, str):
            return make_level(spec, f"{task.pointer}/task_params/flow_spec", task.path, self, data, None)
        for name, value in (laid_over or {}).items():
            known, constant = self.find_constant(value)
            if known:
                data[name] = constant
            else:
                data.pop(name, None)
                unknown |= {name}
        return make_level(spec, f"{task.pointer}/task_params/flow_spec", task.path, self, data, unknown)

    def precursors(self) -> dict[str, list[str]]:
        """Return the keys of the tasks that each task waits for, ROOT included."""
        before: dict[str, list[str]] = {key: [] for key in self.keys}
        for source, dest in self.edges:
            before[dest].append(source)
        return before

    # --- paths -----------------------------------------------------------------------------

    def locate(self, steps: Steps) -> tuple[Level, Steps] | None:
        """Return the flow that a path leads into and the steps from `flow` on; None: it leads elsewhere."""
        level: Level | None = self
        rest = steps[1:]
        while level is not None and rest[:1] == ("parent",):
            level, rest = level.parent, rest[1:]
        return (level, rest) if level is not None and rest[:1] == ("flow",) else None

    def is_written(self, steps: Steps) -> bool:
        """Tell whether a wiring may write to, below or above a place, given as steps from `flow` on."""
        return self.writes_anywhere or self.writes.touches(steps)

    # --- constants -------------------------------------------------------------------------

    def find_constant(self, value: Any) -> tuple[bool, Any]:
        """Return whether a value is the same whenever the flow runs, and if so, that value."""
        paths = [path for _, path in find_references(value)]
        try:
            ctx: dict[str, Any] = {}
            for path in paths:
                if not self._add_constant(parse_path(path), ctx):
                    return False, None
            return True, interpolate(value, ctx)
        except McError:
            return False, None

    def _add_constant(self, steps: Steps, ctx: dict[str, Any]) -> bool:
        """Put what a path leads to into a context, if nothing can change it."""
        located = self.locate(steps)
        if located is None:
            return False
        level, place = located
        if place[:2] == ("flow", "data"):
            known = level._knows_data(place)
            container = level.data
        elif place[:2] == ("flow", "tasks") and place[3:4] == ("data",) and len(place) > 4:
            known = level._knows_task_data(place)
            container = dict(level.by_key[str(place[2])].spec.get("data") or {}) if known else {}
        else:
            return False
        if known:
            inner = ctx
            for step in steps[1 : len(steps) - len(place)]:
                inner = inner.setdefault(str(step), {})
            inner = inner.setdefault("flow", {})
            if place[1] == "tasks":
                inner = inner.setdefault("tasks", {}).setdefault(str(place[2]), {})
            inner["data"] = container
        return known

    def _knows_data(self, place: Steps) -> bool:
        if self.unknown_data is None or len(place) < 3 or place[2] in self.unknown_data:
            return False
        return _leads_somewhere(self.data, place[2:]) and not self.is_written(place)

    def _knows_task_data(self, place: Steps) -> bool:
        task = self.by_key.get(str(place[2]))
        if task is None or task_type_of(task.spec) not in OUTPUTS.keys() - {"switch"}:
            return False
        initial = task.spec.get("data") or {}
        written = OUTPUTS[task_type_of(task.spec)] | (names_in_data({**task.spec, "data": {}}) or frozenset())
        return place[4] not in written and _leads_somewhere(initial, place[4:]) and not self.is_written(place)


def make_level(
    spec: Mapping[str, Any],
    pointer: str = "",
    path: tuple[str, ...] = (),
    parent: Level | None = None,
    data: dict[str, Any] | None = None,
    unknown_data: frozenset[str] | None = frozenset(),
) -> Level:
    """Return a flow of a spec with its tasks, edges and wirings found.

    Args:
        spec: the sound flow spec.
        pointer: JSON Pointer to it.
        path: keys of the tasks from the outermost to the one that runs it.
        parent: the flow that the task is in.
        data: what it begins with; the spec's own unless given.
        unknown_data: names of data that it is given too; None: any name.
    """
    level = Level(
        spec=spec,
        pointer=pointer,
        path=path,
        parent=parent,
        data=copy_json(dict(spec.get("data") or {})) if data is None else data,
        unknown_data=unknown_data,
    )
    task_specs: Sequence[Mapping[str, Any]] = spec.get("tasks") or []
    level.keys = assign_task_keys(task_specs)
    level.edges = list_edges(level.keys, task_specs)
    for at, (key, task) in enumerate(zip(level.keys, task_specs, strict=True)):
        placed = PlacedTask(
            spec=task, pointer=f"{pointer}/tasks/{at}", key=key, path=(*path, key), is_proxied=False
        )
        level.by_key[key] = placed
        level.tasks += _with_cases(placed)
    for placed in level.tasks:
        _add_writes(level, placed.spec)
    return level


def _make_item_level(
    skeleton: Mapping[str, Any], pointer: str, path: tuple[str, ...], parent: Level
) -> Level:
    level = Level(spec={}, pointer=pointer, path=path, parent=parent, data={}, is_template=True)
    item = PlacedTask(
        spec=skeleton, pointer=f"{pointer}/skeleton", key="*", path=(*path, "*"), is_proxied=False
    )
    level.keys, level.tasks, level.by_key = ["*"], list(_with_cases(item)), {"*": item}
    return level


def _complete_skeleton(mapping: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the skeleton of a `spread` as its items have it: what wirings write is a reference there.

    Returns:
        None where that is not known, or where wirings write what the item itself runs.
    """
    skeleton = mapping.get("skeleton")
    if not isinstance(skeleton, Mapping):
        return None
    params: dict[str, Any] = dict(params_of(skeleton))
    try:
        wirings = parse_wirings(mapping.get("wirings") or [])
    except ContextError:
        return None
    for wiring in wirings:
        steps = parse_path(wiring.dest)
        if steps[:2] != ("ctx", "skeleton"):
            continue
        if steps[2] == "task_type" or (steps[2] == "task_params" and steps[3:4] != ("data",)):
            if steps[3:4] in ((), ("flow_spec",), ("cases",), ("default_case",), ("mapping_params",)):
                return None
        elif steps[2] == "task_params":
            given = params.get("data")
            if len(steps) == 4 or isinstance(given, str):
                params["data"] = _OF_AN_ITEM
            else:
                params["data"] = {**(given or {}), str(steps[4]): _OF_AN_ITEM}
    return {**skeleton, "task_params": params}


def _with_cases(task: PlacedTask) -> Iterator[PlacedTask]:
    """Yield a task, and if it is a `switch`, what it may choose."""
    waiting = [task]
    while waiting:
        one = waiting.pop()
        yield one
        if task_type_of(one.spec) == "switch":
            waiting += [
                PlacedTask(
                    spec=chosen,
                    pointer=f"{one.pointer}/{steps}",
                    key=one.key,
                    path=_path_inside(one.path, chosen.get("key")),
                    is_proxied=True,
                )
                for steps, chosen in reversed(list(list_cases(one.spec)))
            ]


def _path_inside(path: tuple[str, ...], key: str | None) -> tuple[str, ...]:
    return path if key in (None, path[-1]) else (*path, str(key))


def _add_writes(level: Level, task: Mapping[str, Any]) -> None:
    params = params_of(task)
    name = task_type_of(task)
    if name == "wire":
        wirings = params.get("wirings")
    elif name == "spread":
        mapping = params.get("mapping_params")
        wirings = mapping.get("wirings") if isinstance(mapping, Mapping) else mapping
    else:
        return
    if isinstance(wirings, str):
        level.writes_anywhere = True  # a reference to wirings that only a run can tell
        return
    try:
        parsed = parse_wirings(wirings or [])
    except ContextError:
        return
    for dest in _destinations(parsed):
        if dest[:1] == ("flow",):
            level.writes.add(dest)


def _destinations(wirings: Sequence[Wiring]) -> Iterator[Steps]:
    for wiring in wirings:
        yield parse_path(wiring.dest)[1:]
        yield from _destinations(wiring.wirings)


def _leads_somewhere(value: Any, steps: Steps) -> bool:
    try:
        read_path({"value": value}, format_path(("ctx", "value", *steps)))
    except PathError:
        return False
    return True
