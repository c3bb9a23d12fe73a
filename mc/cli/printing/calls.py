"""Calls that last, as `houston show` tells of them: their tasks are shown as RUNNING before that is saved."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from mc.cli.printing.output import format_time_short, show_seconds
from mc.durations import format_time
from mc.errors import GraphError
from mc.flows.calls.task_paths import find_task
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.calls.call_note import CallNote
    from mc.flows.flow import Flow

__all__ = ["call_row", "describe_call", "lay_over"]


def lay_over(flow: Flow, calls: Iterable[CallNote]) -> None:
    """Let a flow that was loaded to be shown look as it does where its tasks are called."""
    for call in calls:
        if flow.status == "PENDING":
            flow.state.started_at = format_time(call.since)
            flow.change_status("RUNNING")
        with suppress(GraphError):  # what it is inside of was not saved yet
            state, task = find_task(flow, call.task)
            node = state.tasks.nodes.get(str(task.get("key")))
            if task["status"] == "RUNNING" or task["status"] in FINISHED_TASK_STATUSES:
                continue  # as it was saved, perhaps meanwhile
            if task["status"] == "PENDING":
                task["started_at"], task["attempt"] = format_time(call.since), call.attempt
            if node is not None and node.task is task:
                state.tasks.change(node, "RUNNING")
            else:
                task["status"] = "RUNNING"  # proxied by another one


def describe_call(call: CallNote) -> str:
    """Return who makes a call, and since when, in a phrase."""
    return f"called since {format_time_short(format_time(call.since))} by {call.describe_runner()}"


def call_row(call: CallNote, now: datetime) -> tuple[str, ...]:
    """Return the row of a task that is called in the table of tasks."""
    seconds = max((now - call.since).total_seconds(), 0.0)
    number = str(call.attempt or "")
    return call.task, call.task_type, "RUNNING", number, show_seconds(seconds), describe_call(call)
