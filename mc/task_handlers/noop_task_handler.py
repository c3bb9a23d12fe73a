"""The task type `noop`: completes."""

from __future__ import annotations

from typing import ClassVar

from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["NoopTaskHandler", "TaskHandler"]


class NoopTaskHandler(BaseTaskHandler):
    """Completes."""

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        """Complete."""
        self.task["status"] = "COMPLETED"


TaskHandler = NoopTaskHandler
