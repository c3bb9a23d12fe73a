"""A stored flow at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mc.durations import format_time

__all__ = ["FlowSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSummary:
    """What a list of flows shows of each."""

    key: str
    label: str | None
    status: str
    created_at: datetime
    modified_at: datetime  # of the last save
    next_tick_at: datetime | None  # None: nothing to do until an event from outside, or never
    tasks: dict[str, int]  # status -> number of tasks

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-safe data."""
        return {
            "key": self.key,
            "label": self.label,
            "status": self.status,
            "created_at": format_time(self.created_at),
            "modified_at": format_time(self.modified_at),
            "next_tick_at": format_time(self.next_tick_at) if self.next_tick_at else None,
            "tasks": self.tasks,
        }
