"""Tasks that run an item of a spread as a flow, told of as what they stand for: the item's own task."""

from __future__ import annotations

from typing import Any, Final

from mc.context.json_values import copy_json
from mc.flows.state.task_node import Task
from mc.spec.task_types import SPREAD_ITEM

__all__ = ["as_item", "flow_of_item", "holder_of_params", "note_item_call"]

_OF_CALL: Final = ("attempt", "started_at", "finished_at")


def as_item(task: Task) -> Task:
    """Return a task as people know it: the item's task where it runs one as a flow, else itself."""
    if task.get("task_type") != SPREAD_ITEM:
        return task
    item = holder_of_params(task)
    own = {name: item[name] for name in ("task_type", "task_params", "cfg") if name in item}
    call = task.get("item_call") or dict.fromkeys(_OF_CALL)
    data = task.get("data") if task["status"] == "COMPLETED" else {}  # else where the flow is
    return {**task, "task_params": {}, "cfg": {}, **own, "data": data, **call}


def holder_of_params(task: Task) -> Task:
    """Return the dict whose `task_params` are those of a task as people know it."""
    item = task["task_params"].get("task") if task.get("task_type") == SPREAD_ITEM else None
    return item if isinstance(item, dict) else task


def flow_of_item(task: Task) -> str | None:
    """Return the key of the flow that a task runs an item in; None where it runs none, or not yet."""
    if task.get("task_type") != SPREAD_ITEM:
        return None
    places: tuple[Any, ...] = (task.get("item_call"), task.get("data"), task.get("kept"))
    return next((place["flow_key"] for place in places if place and "flow_key" in place), None)


def note_item_call(task: Task, item: Task) -> None:
    """Note in a task which call ended the item's task, and in which flow that is."""
    task["item_call"] = {
        "flow_key": task["data"]["flow_key"],
        **{name: copy_json(item[name]) for name in _OF_CALL if name in item},
    }
