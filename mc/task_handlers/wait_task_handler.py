"""The task type `wait`: waits for a duration to pass or a time to come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from mc.durations import MAX_DURATION_SECONDS, format_time, parse_duration, parse_time
from mc.errors import DurationError
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["TaskHandler", "WaitTaskHandler"]


class WaitTaskHandler(BaseTaskHandler):
    """Is WAITING until `due_at`, which it works out once per attempt; never sleeps."""

    has_effects: ClassVar[bool] = False

    def initial_tick(self) -> None:
        """Work out `due_at`."""
        due_at = self._find_due_time()
        self.data["due_at"] = format_time(due_at)
        self._settle(due_at)

    def intermediate_tick(self) -> None:
        """Complete if it is time."""
        self._settle(parse_time(self.data.get("due_at")))

    def _find_due_time(self) -> datetime:
        duration, until = self.read_param("duration", object, None), self.read_param("until", object, None)
        if (duration is None) == (until is None):
            found = "neither" if duration is None else "both"
            raise self.spec_error(f"task_params needs either duration or until; found {found}")
        if until is not None:
            return self._check_not_absurd(parse_time(until))
        return self.task_ctx.now() + timedelta(seconds=parse_duration(duration))

    def _check_not_absurd(self, until: datetime) -> datetime:
        """Return a time unless it lies further ahead than any duration may be long."""
        if (until - self.task_ctx.now()).total_seconds() > MAX_DURATION_SECONDS:
            raise DurationError(
                f"task_params.until is {format_time(until)}, which is more than 100 years ahead; expected a "
                f"time before {format_time(self.task_ctx.now() + timedelta(seconds=MAX_DURATION_SECONDS))}."
            )
        return until

    def _settle(self, due_at: datetime) -> None:
        if due_at <= self.task_ctx.now():
            self.task["status"] = "COMPLETED"
        else:
            self.wait_until(due_at)


TaskHandler = WaitTaskHandler
