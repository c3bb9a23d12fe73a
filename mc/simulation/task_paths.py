"""The path of a task that is called: the keys of the tasks around it, and its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mc.flows.services import graph_task_key
from mc.spec.task_types import canonical_task_type

__all__ = ["RoundStep", "TaskPaths"]

Path = tuple[str, ...]


class RoundStep(str):
    """A step that is no task but a round of a `loop`: `round_0`, `round_1`, ..."""

    __slots__ = ()


class TaskPaths:
    """Finds the paths of tasks at their calls, and remembers which flow is where.

    Attributes:
        flows: key of a flow -> path of the task that runs it; the rounds of a `loop` have steps of their own.
    """

    __slots__ = ("flows",)

    def __init__(self) -> None:
        self.flows: dict[str, Path] = {}

    def of_call(self, task_ctx: Mapping[str, Any]) -> Path:
        """Return the path of the task that a call is for."""
        flow = task_ctx.get("flow")
        if flow is None:
            return tuple(_keys_of(task_ctx))
        place = self.flows.get(flow.key)
        if place is None:
            place = self.flows[flow.key] = tuple(_steps_around(task_ctx))
        return (*place, *_keys_of(task_ctx))

    def of_flow(self, key: str) -> Path | None:
        """Return the path of the task that runs a flow; None if no task of the flow was ever called."""
        return self.flows.get(key)


def _steps_around(task_ctx: Mapping[str, Any]) -> Iterator[str]:
    parent = task_ctx.get("parent")
    task = parent.get("task") if isinstance(parent, Mapping) else None
    if not isinstance(parent, Mapping) or not isinstance(task, Mapping):
        return  # the outermost flow, or one whose parent was deleted
    yield from _steps_around(parent)
    yield from _keys_of(parent)
    rounds = task_ctx.get("loop")  # which a stored flow inside the loop is not told
    if rounds is not None and canonical_task_type(str(task.get("task_type"))) == "loop":
        yield RoundStep(f"round_{rounds['idx']}")


def _keys_of(task_ctx: Mapping[str, Any]) -> Iterator[str]:
    """Yield the key of the task, after that of the task in whose place it is ticked."""
    outer, key = graph_task_key(task_ctx), str(task_ctx["task"].get("key"))
    if outer != key:
        yield outer
    yield key
