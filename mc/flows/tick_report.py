"""What a tick did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = ["TickReport"]


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
        next_tick_at: when the next tick can do something; None: when an event from outside
            arrives, or never.
    """

    __slots__ = (
        "calls",
        "cancelled",
        "completed",
        "failed",
        "next_tick_at",
        "progressed",
        "retried",
        "skipped",
        "started",
    )

    def __init__(self) -> None:
        self.started: list[str] = []
        self.completed: list[str] = []
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self.cancelled: list[str] = []
        self.retried: list[str] = []
        self.calls = 0
        self.progressed = False
        self.next_tick_at: datetime | None = None

    def merge(self, other: TickReport) -> None:
        """Add what a later tick of the same flow did."""
        self.started += other.started
        self.completed += other.completed
        self.failed += other.failed
        self.skipped += other.skipped
        self.cancelled += other.cancelled
        self.retried += other.retried
        self.calls += other.calls
        self.progressed = self.progressed or other.progressed
        self.next_tick_at = other.next_tick_at

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe data."""
        return {
            "started": self.started,
            "completed": self.completed,
            "failed": self.failed,
            "skipped": self.skipped,
            "cancelled": self.cancelled,
            "retried": self.retried,
            "calls": self.calls,
            "next_tick_at": self.next_tick_at.isoformat() if self.next_tick_at else None,
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items() if value)
        return f"TickReport({shown})"
