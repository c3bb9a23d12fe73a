"""The task type `wire`: copies values from task to task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mc.context.interpolation import interpolate
from mc.context.wiring import parse_wirings, run_wirings
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.written_places import note_written_places

__all__ = ["TaskHandler", "WireTaskHandler"]


class WireTaskHandler(BaseTaskHandler):
    """Carries out `wirings` in order, all or none; references in a `value` are replaced before the first."""

    has_effects: ClassVar[bool] = False
    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"wirings"})

    def tick_task(self) -> None:
        """Carry the wirings out and complete."""
        ctx = self.task_ctx.path_ctx()
        written = self.read_param("wirings")
        if isinstance(written, str):  # a reference to a list of wirings; what it brings is data
            written = interpolate(written, ctx)
        elif isinstance(written, list):
            written = [_fill_value(item, ctx) for item in written]
        wirings = parse_wirings(written)
        note_written_places(self.task_ctx.flow, wirings)  # before: one may fail after others were carried out
        run_wirings(wirings, ctx)
        self.task["status"] = "COMPLETED"


def _fill_value(item: Any, ctx: Mapping[str, Any]) -> Any:
    if not isinstance(item, Mapping) or "value" not in item:
        return item
    return {**item, "value": interpolate(item["value"], ctx)}


TaskHandler = WireTaskHandler
