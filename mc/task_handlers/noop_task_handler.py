"""The task type `noop`: completes."""

from __future__ import annotations

from mc.flows.calls.task_call import TaskCall
from mc.flows.handlers.handler_registry import Handler
from mc.flows.state.task_node import Task

__all__ = ["TaskHandler", "tick_noop"]


def tick_noop(task: Task, task_ctx: TaskCall) -> None:
    """Complete."""
    task["status"] = "COMPLETED"


TaskHandler = Handler(tick_noop, has_effects=False, is_plain=True)
