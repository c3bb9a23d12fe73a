"""Answers of a scheduler about jobs, which is asked no more often than needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Liveness
from mc.jobs.executors.scheduler_tool import ToolError

__all__ = ["Looks"]

_logger = logging.getLogger(__name__)

_DOWN_SECONDS: Final = 30.0  # for which a scheduler is left alone that did not answer


class Looks:
    """What a scheduler said of jobs, asked again when that is old, and for jobs that it was not asked for.

    Args:
        read: asks it about jobs, in one call; those that it leaves out are UNKNOWN.
        seconds: for which an answer is good. Ends of jobs are seen in their folders before.
    """

    def __init__(self, read: Callable[[Sequence[str]], Mapping[str, Liveness]], seconds: Any) -> None:
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= 3600:
            raise ExecutorError(f"`look_seconds` is {seconds!r}; expected a number of seconds, up to 3600.")
        self._read = read
        self._seconds = seconds
        self._seen: dict[str, Liveness] = {}
        self._seen_at = 0.0
        self._ask_again_at = 0.0

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell of jobs whether they live."""
        now = time.monotonic()
        if now - self._seen_at >= self._seconds or any(each not in self._seen for each in native_ids):
            if now < self._ask_again_at:
                return {}
            try:
                seen = self._read(native_ids)
            except ToolError as error:
                self._ask_again_at = time.monotonic() + _DOWN_SECONDS
                warn("it is not known which jobs live", "jobs_not_seen", error)
                return {}
            self._seen = {each: seen.get(each, Liveness.UNKNOWN) for each in native_ids}
            self._seen_at = now
        return {each: self._seen[each] for each in native_ids}


def warn(what: str, action: str, error: ExecutorError, **more: Any) -> None:
    """Tell the log of what a scheduler refused that is tried again."""
    _logger.warning("%s: %s", what, error.message, extra={"action": action, **more})
