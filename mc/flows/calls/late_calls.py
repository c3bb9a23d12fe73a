"""Attempts that took longer than their `cfg.timeout`: they have failed, whatever came of them."""

from __future__ import annotations

from typing import Final

from mc.context.json_values import dumps
from mc.flows.calls.failure import shorten
from mc.flows.state.task_node import Task

__all__ = ["find_late", "shorten_output"]

_LONGEST_OUTPUT: Final = 2_000  # characters


def find_late(task: Task, at: str) -> TimeoutError | None:
    """Return the error of a task whose call ended when the time of its attempt was up; None if it was not."""
    if not task["deadline_at"] or at <= task["deadline_at"]:
        return None
    timeout = (task.get("cfg") or {}).get("timeout")
    return TimeoutError(
        f"Task {task.get('key')!r} ended {task['status']} when its cfg.timeout ({timeout}) was over; a call "
        f"is not interrupted by it."
    )


def shorten_output(task: Task) -> str:
    """Return what a late attempt left, as the beginning of its JSON text, to stand in its error."""
    return shorten(dumps(task["data"]), _LONGEST_OUTPUT)
