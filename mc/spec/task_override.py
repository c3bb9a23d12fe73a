"""Checks of what is laid over the params of a task, or the data of a flow, that exists already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mc.errors import Problem
from mc.spec.schema.params_schema import check_flow_data
from mc.spec.task_graph import assign_task_keys
from mc.spec.validation import find_problems

__all__ = ["find_data_misfits", "find_override_problems"]


_OF_TASK_TYPES: Final = ("MC111 ", "MC112 ")


def find_override_problems(
    spec: Mapping[str, Any] | None, task: Mapping[str, Any], params: Mapping[str, Any]
) -> list[Problem]:
    """Return what is wrong with a task's params once some of them are replaced.

    Args:
        spec: that the flow was made from; None: the flow has none.
        task: the task dict.
        params: entries of `task_params` to lay over those that it has.

    Returns:
        Problems of the params; pointers begin with `/task_params`. Whether there are the task types that are
        named in them is left to whoever ticks the flow, as whoever sets them need not have their handlers.
    """
    tasks = list((spec or {}).get("tasks") or ())
    given = {**(task.get("raw_task_params") or task.get("task_params") or {}), **params}
    keys = assign_task_keys(tasks)
    if task["key"] in keys:
        place = keys.index(task["key"])
        tasks[place] = {**tasks[place], "task_type": task.get("task_type"), "task_params": given}
    else:  # added while the flow ran
        place = len(tasks)
        own = {"key": task["key"], "task_type": task.get("task_type"), "precursors": keys}
        tasks.append({**own, "task_params": given})
    start = f"/tasks/{place}"
    found = find_problems({**(spec or {}), "tasks": tasks})
    return [
        replace(problem, pointer=problem.pointer.removeprefix(start))
        for problem in found
        if problem.pointer.startswith(f"{start}/task_params") and not problem.code.startswith(_OF_TASK_TYPES)
    ]


def find_data_misfits(params: Mapping[str, Any] | None, data: Mapping[str, Any]) -> list[Problem]:
    """Return where data do not keep to a flow's `params`; nothing if it has none."""
    return check_flow_data(params, data) if params is not None else []
