"""The report of a tick."""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = ["TickReport"]


class TickReport:
    """What one tick, or several of one flow, did: keys of tasks by what became of them.

    Attributes:
        started: tasks that began an attempt.
        completed: tasks that are done.
        rarer: tasks of which something else became, by what; None where there are none.
        calls: how many handler calls were made, those inside sub-flows included.
        progressed: whether anything but polling happened, also inside a sub-flow.
        retried_at_once: whether a task is to be tried again without a delay, also inside a sub-flow.
        next_tick_time: when the next tick can do something, ISO 8601; None: when an event from
            outside arrives, or never.
    """

    __slots__ = (
        "calls",
        "completed",
        "next_tick_time",
        "progressed",
        "rarer",
        "retried_at_once",
        "started",
    )

    def __init__(self) -> None:
        self.started: list[str] = []
        self.completed: list[str] = []
        self.rarer: dict[str, list[str]] | None = None  # most ticks have nothing to say of these kinds
        self.calls = 0
        self.progressed = False
        self.retried_at_once = False
        self.next_tick_time: str | None = None

    @property
    def next_tick_at(self) -> datetime | None:
        """When the next tick can do something."""
        return datetime.fromisoformat(self.next_tick_time) if self.next_tick_time else None

    @property
    def failed(self) -> list[str]:
        """Tasks whose last attempt failed."""
        return self._get("failed")

    @property
    def skipped(self) -> list[str]:
        """Tasks that will not run."""
        return self._get("skipped")

    @property
    def cancelled(self) -> list[str]:
        """Tasks that were stopped because the flow ended."""
        return self._get("cancelled")

    @property
    def retried(self) -> list[str]:
        """Tasks whose attempt failed and that will be tried again."""
        return self._get("retried")

    def add(self, kind: str, *keys: str) -> None:
        """Note what rarely becomes of tasks: `failed`, `skipped`, `cancelled` or `retried`."""
        if self.rarer is None:
            self.rarer = {}
        self.rarer.setdefault(kind, []).extend(keys)

    def _get(self, kind: str) -> list[str]:
        return self.rarer.get(kind, []) if self.rarer else []

    def merge(self, other: TickReport) -> None:
        """Add what a later tick of the same flow did."""
        self.started += other.started
        self.completed += other.completed
        for kind, keys in (other.rarer or {}).items():
            self.add(kind, *keys)
        self.calls += other.calls
        self.progressed = self.progressed or other.progressed
        self.retried_at_once = self.retried_at_once or other.retried_at_once
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
