"""The tasks of a spec by key, to be compared with those of another spec as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc.context.json_values import json_equal
from mc.spec.problems import join_pointer
from mc.spec.task_graph import assign_task_keys, list_edges
from mc.spec.task_types import canonical_task_type

__all__ = ["WrittenTasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTasks:
    """What a spec says of its tasks.

    Attributes:
        tasks: key -> task as it is written, in the order of the spec; generated keys are assigned.
        precursors: key -> what the task waits for, ROOT where it waits for nothing else.
        places: key -> place in the list.
    """

    tasks: Mapping[str, Mapping[str, Any]]
    precursors: Mapping[str, tuple[str, ...]]
    places: Mapping[str, int]

    @classmethod
    def from_flow_spec(cls, spec: Mapping[str, Any]) -> WrittenTasks:
        """Read a spec that a flow was made from, or could be."""
        task_specs = spec.get("tasks") or []
        keys = assign_task_keys(task_specs)
        precursors: dict[str, list[str]] = {key: [] for key in keys}
        for source, dest in list_edges(keys, task_specs):
            precursors[dest].append(source)
        return cls(
            tasks=dict(zip(keys, task_specs, strict=True)),
            precursors={key: tuple(before) for key, before in precursors.items()},
            places={key: place for place, key in enumerate(keys)},
        )

    def differing_parts(self, other: WrittenTasks, key: str) -> tuple[str, ...]:
        """Return which parts of a task are written in another way there."""
        here, there = self.tasks[key], other.tasks[key]
        found = []
        if here.get("label") != there.get("label"):
            found.append("label")
        if canonical_task_type(here.get("task_type", "")) != canonical_task_type(there.get("task_type", "")):
            found.append("task_type")
        found += [
            name
            for name in ("task_params", "data", "cfg")
            if not json_equal(here.get(name) or {}, there.get(name) or {})
        ]
        if set(self.precursors[key]) != set(other.precursors[key]):
            found.append("precursors")
        return tuple(found)

    def pointer(self, key: str, part: str = "") -> str:
        """Return the JSON Pointer to a task, or to a part of it as far as it is written."""
        pointer = join_pointer("/tasks", self.places[key])
        return join_pointer(pointer, part) if part in self.tasks[key] else pointer
