"""The times in which a runner's database cannot be used, and how long it waits for the end of one."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from mc.clock import Clock
from mc.errors import StoreReplacedError, StoreUnreachableError

__all__ = ["DEFAULT_OUTAGE_SECONDS", "Outage"]

_logger = logging.getLogger(__name__)

DEFAULT_OUTAGE_SECONDS: Final = 600.0
_FIRST_PAUSE: Final = 0.1  # seconds; doubled up to
_LONGEST_PAUSE: Final = 5.0


class Outage:
    """What a runner knows of its database's being there.

    Args:
        clock: for how long an outage lasts.
        owner: the runner.
        longest: seconds after which an outage is an error.
    """

    def __init__(self, clock: Clock, owner: str, longest: float) -> None:
        self._clock = clock
        self._owner = owner
        self._longest = timedelta(seconds=longest)
        self._was_reached = False
        self._began_at: datetime | None = None
        self._pause = _FIRST_PAUSE

    @property
    def is_on(self) -> bool:
        """Whether the database could not be used when it was tried last."""
        return self._began_at is not None

    def end(self) -> None:
        """Take note that the database can be used."""
        self._was_reached = True
        if self._began_at is not None:
            seconds = (self._clock.now() - self._began_at).total_seconds()
            self._began_at = None
            _logger.warning(
                "the database can be used again, after %.1f s",
                seconds,
                extra={"action": "outage_ended", "owner": self._owner, "seconds": seconds},
            )

    def meet(self, error: StoreUnreachableError) -> float:
        """Return how many seconds to wait before the database is tried again.

        Args:
            error: what it answered.

        Raises:
            StoreUnreachableError: `error`, because the outage has lasted for too long, or the database was
                never there, or it is another one than before.
        """
        if isinstance(error, StoreReplacedError):
            self._tell("database_replaced", "the runner ends: %s", error)
        if isinstance(error, StoreReplacedError) or not self._was_reached:
            raise error
        now = self._clock.now()
        if self._began_at is None:
            self._began_at, self._pause = now, _FIRST_PAUSE
            if self._longest:
                self._tell("outage_began", "the database cannot be used; waiting for it: %s", error)
        left = (self._began_at + self._longest - now).total_seconds()
        if left <= 0:
            self._tell("outage_too_long", "the database cannot be used, and the runner gives up: %s", error)
            raise error
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return min(pause, left)

    def _tell(self, action: str, text: str, error: StoreUnreachableError) -> None:
        level = logging.WARNING if action == "outage_began" else logging.ERROR
        _logger.log(level, text, error, extra={"action": action, "owner": self._owner})
