"""Reports of a runner: at each tick of a flow, and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mc.flows.tick_report import TickReport
from mc.json_data import JsonData

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.runners.flow_failure import FlowFailure

__all__ = ["OnProgress", "RunnerReport"]

_MOST_FAILURES: Final = 1_000

OnProgress = Callable[["Flow", TickReport], object]


@dataclass(slots=True, kw_only=True)
class RunnerReport(JsonData):
    """What one tick of a runner, or a whole run, did with how many flows.

    `claimed` is the sum of `completed`, `failed`, `cancelled`, `waiting`, `lost` and the errors.

    Attributes:
        claimed: flows that were taken up; each once for a tick.
        tasks: handler calls that were made.
        completed: flows that are COMPLETED now.
        failed: flows that are FAILED now.
        cancelled: flows that are CANCELLED now.
        waiting: flows that are unfinished: they wait, are polled, or time ran out.
        lost: flows that another runner took over; nothing of what was done was saved.
        next_tick_at: when the next flow is due; None if only an event from outside makes one due.
        seconds: how long it took, by the clock.
        failures: why flows failed that are FAILED now, each a `FlowFailure` as a dict: `flow`, `task`,
            `type`, `message` and more; of the first 1,000.
        errors: flows that could not be ticked and are BLOCKED now, told likewise.
    """

    claimed: int = 0
    tasks: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    lost: int = 0
    next_tick_at: datetime | None = None
    seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add_failure(self, failure: FlowFailure) -> None:
        """Note why a flow failed, unless there are so many that a loop of weeks would fill the memory."""
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(failure.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe data."""
        return {**JsonData.to_dict(self), "seconds": round(self.seconds, 6)}
