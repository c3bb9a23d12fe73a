"""Statuses of tasks, flows and jobs, and the changes of the first two that are allowed.

Nothing changes a status but through `check_task_change` and `check_flow_change`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from mc.errors import StatusError

__all__ = [
    "FINISHED_FLOW_STATUSES",
    "FINISHED_JOB_STATUSES",
    "FINISHED_TASK_STATUSES",
    "FLOW_CHANGES",
    "TASK_CHANGES",
    "FlowStatus",
    "JobStatus",
    "TaskStatus",
    "check_flow_change",
    "check_task_change",
    "check_written_change",
]


class TaskStatus(StrEnum):
    """What a task is doing."""

    PENDING = "PENDING"  # not started, or to be started again
    RUNNING = "RUNNING"  # ticked at every tick
    WAITING = "WAITING"  # for a time (`next_tick_at`) or for an event from outside
    COMPLETED = "COMPLETED"  # done
    FAILED = "FAILED"  # its handler raised or said so; `error` tells why
    SKIPPED = "SKIPPED"  # could not start any more, or its condition was false
    CANCELLED = "CANCELLED"  # stopped because the flow ended or somebody asked for it


class FlowStatus(StrEnum):
    """What a flow is doing."""

    PENDING = "PENDING"  # never ticked
    RUNNING = "RUNNING"  # has work or waits for some
    PAUSED = "PAUSED"  # by a person; not ticked until resumed
    BLOCKED = "BLOCKED"  # cannot be ticked safely; `blocked_reason` tells why
    COMPLETED = "COMPLETED"  # all tasks finished, no failure that counts
    FAILED = "FAILED"  # a task failed, or the flow ran out of time
    CANCELLED = "CANCELLED"  # by a person or by its parent


class JobStatus(StrEnum):
    """What a job is doing."""

    PENDING = "PENDING"  # to be started
    SUBMITTED = "SUBMITTED"  # handed to its executor
    RUNNING = "RUNNING"  # seen at work
    COMPLETED = "COMPLETED"  # it says so
    FAILED = "FAILED"  # it says so, or it could not be started
    CANCELLED = "CANCELLED"  # its task or its flow ended before it, or a person asked for it
    LOST = "LOST"  # it ended without a word, or gave no sign of life for longer than its lease


TASK_CHANGES: Final[Mapping[str, Mapping[str, str]]] = {
    "PENDING": {
        "RUNNING": "its start rule holds",
        "SKIPPED": "its start rule can no longer hold, its condition is false, or a person skips it",
        "CANCELLED": "the flow ended before its call, or another task decided that it is not to run",
    },
    "RUNNING": {
        "WAITING": "nothing to do until a time or an event",
        "COMPLETED": "the handler is done",
        "FAILED": "the handler raised, said so, or ran out of time",
        "SKIPPED": "the handler or a person decided that it is not needed",
        "CANCELLED": "the flow ended before it",
        "PENDING": "the attempt failed and the policy allows another",
    },
    "WAITING": {
        "RUNNING": "its time or its event has come",
        "COMPLETED": "the event brought the result",
        "FAILED": "it ran out of time, or the event brought a failure",
        "SKIPPED": "a person decided that it is not needed",
        "CANCELLED": "the flow ended before it",
        "PENDING": "it ran out of time and the policy allows another attempt",
    },
    "FAILED": {
        "PENDING": "a person retries it",
        "SKIPPED": "a person skips it",
    },
    "SKIPPED": {"PENDING": "a person retries or skips what it depended on"},
    "CANCELLED": {"PENDING": "a person retries the flow, or what it depended on"},
    "COMPLETED": {"PENDING": "a person retries a failure on which it stood"},
}

FLOW_CHANGES: Final[Mapping[str, Mapping[str, str]]] = {
    "PENDING": {
        "RUNNING": "the first tick",
        "PAUSED": "a person pauses it",
        "BLOCKED": "it cannot be ticked safely",
        "CANCELLED": "a person cancels it",
    },
    "RUNNING": {
        "COMPLETED": "no unfinished task is left and no failure counts",
        "FAILED": "a failure counts, or the flow ran out of time",
        "PAUSED": "a person pauses it",
        "BLOCKED": "it cannot be ticked safely",
        "CANCELLED": "a person or its parent cancels it",
    },
    "PAUSED": {
        "RUNNING": "a person resumes it",
        "PENDING": "a person resumes it before its first tick",
        "CANCELLED": "a person or its parent cancels it",
    },
    "BLOCKED": {
        "RUNNING": "what blocked it is gone",
        "PENDING": "what blocked it before its first tick is gone",
        "PAUSED": "a person pauses it",
        "CANCELLED": "a person or its parent cancels it",
    },
    "FAILED": {"RUNNING": "a person retries it"},
    "CANCELLED": {"RUNNING": "a person retries it"},
    "COMPLETED": {},
}

FINISHED_TASK_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"})
FINISHED_JOB_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "LOST"})
FINISHED_FLOW_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


def check_task_change(task_key: str, old: str, new: str) -> None:
    """Raise `StatusError` unless a task may go from `old` to `new`."""
    _check("Task", task_key, old, new, TASK_CHANGES)


def check_written_change(task_key: str, old: str, new: str) -> None:
    """Raise `StatusError` unless a task may go from `old` to `new` by what was written into its dict."""
    if old == "COMPLETED":
        raise StatusError(
            f"Task {task_key!r} cannot go from COMPLETED to {new}; allowed: nothing; a person's retry may "
            f"set it back.",
            key=task_key,
        )
    check_task_change(task_key, old, new)


def check_flow_change(flow_key: str, old: str, new: str) -> None:
    """Raise `StatusError` unless a flow may go from `old` to `new`."""
    _check("Flow", flow_key, old, new, FLOW_CHANGES)


def _check(kind: str, key: str, old: str, new: str, changes: Mapping[str, Mapping[str, str]]) -> None:
    if new not in changes:
        raise StatusError(
            f"{kind} {key!r}: {new!r} is not a status. Use one of {', '.join(changes)}.",
            key=key,
        )
    allowed = changes.get(old, {})
    if new not in allowed:
        choice = ", ".join(allowed) or "nothing: this status is final"
        raise StatusError(f"{kind} {key!r} cannot go from {old} to {new}; allowed: {choice}.", key=key)
