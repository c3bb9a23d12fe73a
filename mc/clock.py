"""The clock that the engine is told the time by."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """Where the engine and the runner get the time from, and how they wait."""

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""

    def timestamp(self) -> float:
        """Return the same time in seconds since 1970-01-01, UTC."""

    def sleep(self, seconds: float) -> None:
        """Block the caller for that many seconds."""

    async def asleep(self, seconds: float) -> None:
        """Let other coroutines run for that many seconds."""


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)

    def timestamp(self) -> float:
        """Return the machine's time in seconds since 1970; four times as quick as `now`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Sleep without blocking the event loop."""
        import asyncio  # 100 ms to import, and only an async runner needs it

        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when it is told to; for tests and simulations."""

    __slots__ = ("_now",)

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2000, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time that the clock was set to."""
        return self._now

    def timestamp(self) -> float:
        """Return the same in seconds since 1970."""
        return self._now.timestamp()

    def advance(self, duration: float | str) -> datetime:
        """Move forward (or, with a negative number, back) and return the new time.

        Args:
            duration: seconds, or a text such as `"3d"` or `"PT15M"`.

        Raises:
            DurationError: the text is not a duration.
        """
        if isinstance(duration, str):
            from mc.durations import parse_duration

            duration = parse_duration(duration)
        self._now += timedelta(seconds=duration)
        return self._now

    def set(self, time: datetime | str) -> datetime:
        """Move to a time, which may be earlier, and return it.

        Args:
            time: an aware datetime, or ISO 8601 with a time zone.

        Raises:
            DurationError: it is not a time, or names no time zone.
        """
        from mc.durations import format_time, parse_time

        self._now = parse_time(format_time(time) if isinstance(time, datetime) else time)
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move forward at once instead of blocking."""
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Move forward at once."""
        import asyncio

        self.advance(seconds)
        await asyncio.sleep(0)
