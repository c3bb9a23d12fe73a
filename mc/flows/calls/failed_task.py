"""The task for which a flow failed, at any depth inside it, and the line of code that its error came from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mc.flows.formats.flow_dict import kept_sub_flow

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task
    from mc.flows.state.flow_state import FlowState

__all__ = ["FailedTask", "failure_place", "find_failed_task", "find_inner_failure", "inner_tasks"]

_FRAME: Final = re.compile(r'^[ |+]*File "([^"\n]+)", line (\d+)', re.MULTILINE)
_OWN_FOLDER: Final = f"{Path(__file__).parents[2]}{os.sep}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTask:
    """What made a flow fail.

    Attributes:
        path: keys of the tasks from the outermost to the one that failed; empty: the flow itself, by a limit.
        error: its record: type, message, traceback where there is one.
        others: how many more of the flow's own tasks failed.
    """

    path: tuple[str, ...]
    error: Mapping[str, Any]
    others: int = 0


def find_failed_task(flow: Flow) -> FailedTask:
    """Return what made a flow fail; of several tasks the first, and inside of it what failed first."""
    failed = flow.state.tasks.failed_nodes()
    if flow.error or not failed:
        return FailedTask(path=(), error=flow.error or {}, others=len(failed))
    path, error = find_inner_failure(flow.state, failed[0].task)
    return FailedTask(path=(failed[0].key, *path), error=error, others=len(failed) - 1)


def find_inner_failure(state: FlowState, task: Task) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return the path from a failed task to the one inside of it that failed first, and that one's error."""
    inside, proxied = _look_into(state, task)
    if inside is not None:
        for node in inside.tasks.nodes_with_status("FAILED"):
            path, error = find_inner_failure(inside, node.task)
            return (node.key, *path), error
    if proxied is not None and proxied.get("status") == "FAILED":
        path, error = find_inner_failure(state, proxied)
        return (path if proxied.get("key") == task.get("key") else (str(proxied.get("key")), *path)), error
    return (), task.get("error") or {}


def inner_tasks(state: FlowState, task: Task) -> dict[str, tuple[FlowState, Task]]:
    """Return the tasks inside of a task, by key, each with its flow; also when it has ended."""
    inside, proxied = _look_into(state, task)
    if inside is not None:
        nodes = inside.tasks.nodes
        return {key: (inside, node.task) for key, node in nodes.items() if key != "ROOT"}
    if proxied is None:
        return {}
    if proxied.get("key") != task.get("key"):
        return {str(proxied.get("key")): (state, proxied)}
    return inner_tasks(state, proxied)


def _look_into(state: FlowState, task: Task) -> tuple[FlowState | None, Task | None]:
    """Return the flow inside of a task, or the task that it proxies; of one that ended what is left of it."""
    status = task.get("status")
    is_retried = status == "PENDING" and ("sub_flow" in task or "proxied_task" in task)
    if status in ("RUNNING", "WAITING") or is_retried:
        proxied = task.get("proxied_task")
        return state.find_sub_flow(task), proxied if isinstance(proxied, dict) else None
    if status == "COMPLETED":
        return state.find_completed_sub_flow(task), None
    proxied = (task.get("kept") or {}).get("proxied_task")
    return kept_sub_flow(state, task), proxied if isinstance(proxied, dict) else None


def failure_place(error: Mapping[str, Any]) -> str | None:
    """Return file and line that an error came from, `tasks.py:12`, by the last line of its traceback.

    None where there is no traceback, and for errors that the engine itself made, which name what to mend.
    """
    text, message = error.get("traceback"), error.get("message")
    if not isinstance(text, str):
        return None
    before = text.rpartition(message)[0] if isinstance(message, str) and message in text else text
    frames = _FRAME.findall(before)
    if not frames or frames[-1][0].startswith(_OWN_FOLDER):
        return None
    return ":".join(frames[-1])
