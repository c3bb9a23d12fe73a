"""SIGINT and SIGTERM, which stop a runner between two tasks."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any, Final, Self

from mc.interrupts import INTERRUPTS

__all__ = ["StopSignals"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Within its block the first SIGINT or SIGTERM asks for a stop; a second SIGINT interrupts at once.

    Outside the main thread, where Python handles no signals, it does nothing.

    Args:
        stop: called at the first signal.
        tell: called after that with its number, in the signal handler: it must take no lock, and not log.
    """

    def __init__(self, stop: Callable[[], object], tell: Callable[[int], object] | None = None) -> None:
        self.received: int | None = None
        self._stop = stop
        self._tell = tell
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if current_thread() is main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise INTERRUPTS.note(KeyboardInterrupt())
        is_first, self.received = self.received is None, number
        self._stop()
        if is_first and self._tell is not None:
            self._tell(number)
