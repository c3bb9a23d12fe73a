"""New tasks: what a task dict brings along when a flow takes it up."""

from __future__ import annotations

from datetime import datetime

from mc.durations import format_time, parse_time
from mc.errors import DurationError, GraphError
from mc.flows.state.task_node import Task

__all__ = ["named_keys", "normalise_task"]


def named_keys(task: Task, name: str) -> list[str]:
    """Return the task keys that a task names as its `precursors` or `successors`.

    Raises:
        GraphError: they are not a list of keys.
    """
    named = task.get(name) or []
    if not isinstance(named, (list, tuple)) or not all(isinstance(key, str) for key in named):
        raise GraphError(f"Task {task['key']!r}: {name} must be a list of task keys.", key=task["key"])
    return list(named)


def normalise_task(task: Task) -> Task:
    """Give a task dict the entries that every task has; its edges live in the graph.

    Raises:
        GraphError: one of its times is none.
    """
    task.pop("precursors", None)
    task.pop("successors", None)
    if task.get("task_params") is None:
        task["task_params"] = {}
    if task.get("data") is None:
        task["data"] = {}
    task["status"] = str(task.get("status") or "PENDING")
    if "attempt" not in task:
        task["attempt"] = 0
    for name in ("cfg", "next_tick_at", "deadline_at"):
        if name in task and not task[name]:
            del task[name]
        elif name in task and name != "cfg":
            task[name] = _read_time(task, name)
    return task


def _read_time(task: Task, name: str) -> str:
    try:
        value = task[name]
        return format_time(value if isinstance(value, datetime) else parse_time(value))
    except DurationError as error:
        raise GraphError(f"Task {task.get('key')!r}: {name}: {error.message}", key=task.get("key")) from error
