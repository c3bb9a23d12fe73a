"""The task type `wire`: copies values from task to task."""

from __future__ import annotations

from typing import ClassVar

from mc.context.interpolation import interpolate
from mc.context.wiring import parse_wirings, run_wirings
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.written_places import note_written_places

__all__ = ["TaskHandler", "WireTaskHandler"]


class WireTaskHandler(BaseTaskHandler):
    """Carries out `wirings` in order, all or none."""

    has_effects: ClassVar[bool] = False
    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"wirings"})

    def tick_task(self) -> None:
        """Carry the wirings out and complete."""
        ctx = self.task_ctx.path_ctx()
        written = self.read_param("wirings")
        if isinstance(written, str):  # a reference to a list of wirings
            written = interpolate(written, ctx)
        wirings = parse_wirings(written)
        run_wirings(wirings, ctx)
        note_written_places(self.task_ctx.flow, wirings)
        self.task["status"] = "COMPLETED"


TaskHandler = WireTaskHandler
