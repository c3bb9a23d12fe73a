"""What a tick did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

__all__ = ["TickReport"]


_NONE: Final[Sequence[str]] = ()  # shared by all reports: most ticks have nothing to say of a kind


class TickReport:
    """What one tick, or several of one flow, did: keys of tasks by what became of them.

    Attributes:
        started: tasks that began an attempt.
        completed: tasks that are done.
        failed: tasks whose last attempt failed.
        skipped: tasks that will not run.
        cancelled: tasks that were stopped because the flow ended.
        retried: tasks whose attempt failed and that will be tried again.
        calls: how many handler calls were made, those inside sub-flows included.
        progressed: whether anything but polling happened, also inside a sub-flow.
        next_tick_time: when the next tick can do something, ISO 8601; None: when an event from
            outside arrives, or never.
    """

    __slots__ = (
        "calls",
        "cancelled",
        "completed",
        "failed",
        "next_tick_time",
        "progressed",
        "retried",
        "skipped",
        "started",
    )

    def __init__(self) -> None:
        self.started: list[str] = []
        self.completed: list[str] = []
        self.failed = self.skipped = self.cancelled = self.retried = _NONE
        self.calls = 0
        self.progressed = False
        self.next_tick_time: str | None = None

    @property
    def next_tick_at(self) -> datetime | None:
        """When the next tick can do something."""
        return datetime.fromisoformat(self.next_tick_time) if self.next_tick_time else None

    def add(self, kind: str, key: str) -> None:
        """Note what rarely becomes of a task: `failed`, `skipped`, `cancelled` or `retried`."""
        keys = getattr(self, kind)
        if keys is _NONE:
            keys = []
            setattr(self, kind, keys)
        keys.append(key)

    def merge(self, other: TickReport) -> None:
        """Add what a later tick of the same flow did."""
        self.started += other.started
        self.completed += other.completed
        self.failed = [*self.failed, *other.failed]
        self.skipped = [*self.skipped, *other.skipped]
        self.cancelled = [*self.cancelled, *other.cancelled]
        self.retried = [*self.retried, *other.retried]
        self.calls += other.calls
        self.progressed = self.progressed or other.progressed
        self.next_tick_time = other.next_tick_time

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe data."""
        return {
            "started": list(self.started),
            "completed": list(self.completed),
            "failed": list(self.failed),
            "skipped": list(self.skipped),
            "cancelled": list(self.cancelled),
            "retried": list(self.retried),
            "calls": self.calls,
            "next_tick_at": self.next_tick_time,
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items() if value)
        return f"TickReport({shown})"
