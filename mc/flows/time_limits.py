"""The limits of time of a flow and its tasks, and how they are moved after a pause."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mc.durations import format_time

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.state.flow_state import FlowState

__all__ = ["extend_limits"]

FindFlow = Callable[[str], "Flow | None"]


def extend_limits(state: FlowState, by: timedelta, find_flow: FindFlow | None = None) -> None:
    """Move the limits that run: of the flow, of tasks under way, and of waits for signals; inside tasks too.

    What waits for a time (`wait`, the delay of a retry) is due when it was.

    Args:
        state: of the flow, changed in place.
        by: how long it was stopped.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    if state.deadline_at:
        state.deadline_at = _later(state.deadline_at, by)
        state.note_change()
    for node in state.tasks.running:
        _extend_task(node.task, by, state, find_flow)
        state.tasks.touch(node)
        state.tasks.queues.push_due(node)


def _extend_task(task: dict[str, Any], by: timedelta, state: FlowState, find_flow: FindFlow | None) -> None:
    if task.get("deadline_at"):
        task["deadline_at"] = _later(task["deadline_at"], by)
    waits_for, proxied = task.get("waits_for"), task.get("proxied_task")
    if isinstance(waits_for, dict) and waits_for.get("until"):
        if task.get("next_tick_at") == waits_for["until"]:
            task["next_tick_at"] = _later(task["next_tick_at"], by)
        waits_for["until"] = _later(waits_for["until"], by)
    if isinstance(proxied, dict):
        _extend_task(proxied, by, state, find_flow)
    live = state.find_sub_flow(task)
    if live is not None:
        extend_limits(live, by, find_flow)
    elif find_flow is not None and isinstance(task.get("data"), dict):
        below = find_flow(str(task["data"].get("flow_key")))
        if below is not None:
            extend_limits(below.state, by, find_flow)


def _later(time: str, by: timedelta) -> str:
    return format_time(datetime.fromisoformat(time) + by)
