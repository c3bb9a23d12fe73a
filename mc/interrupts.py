"""Interruptions by a signal, told from whatever else a task's code raises."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Thread, get_ident, main_thread
from types import FrameType, TracebackType
from typing import Any, Final

__all__ = ["INTERRUPTS", "Interrupts", "TurnThread"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within its block it is known what the handlers of SIGINT and SIGTERM raise; they do as before.

    Only that way a `KeyboardInterrupt` of a person can be told from one that a task raises, who may raise
    whatever it likes. Blocks may be inside of each other and overlap. Outside the main thread, where Python
    handles no signals, a block does nothing. There is one such object, as there is one set of handlers.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._raised: BaseException | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._own = self._handle  # always the same object, to be recognised

    def __enter__(self) -> None:
        if get_ident() != main_thread().ident:
            return
        self._depth += 1
        if self._depth == 1:
            self._raised = None
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if callable(before):
                    self._before[number] = before
                    signal.signal(number, self._own)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if get_ident() != main_thread().ident:
            return
        self._depth -= 1
        if self._depth == 0:
            while self._before:
                number, before = self._before.popitem()
                if signal.getsignal(number) is self._own:  # or somebody set another one meanwhile
                    signal.signal(number, before)

    def note(self, error: BaseException) -> BaseException:
        """Take note of what the handler of a signal is about to raise, and return it."""
        self._raised = error
        return error

    def caused(self, error: BaseException) -> bool:
        """Tell whether a signal raised an error that left a task's code, itself or as what that made of it.

        Where no block watches, a `KeyboardInterrupt` in the main thread is taken for a person's.
        """
        if get_ident() != main_thread().ident:
            return False
        if self._depth == 0:
            return isinstance(error, KeyboardInterrupt)
        return self._raised is not None and (
            error is self._raised or not isinstance(error, Exception)  # asyncio.run raises it anew
        )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before[number](number, frame)
        except BaseException as error:
            self.note(error)
            raise


INTERRUPTS: Final = Interrupts()


class TurnThread(Thread):
    """A thread in which turns of flows are made; an interruption does not wait for the call it is in."""

    def __init__(self, *, target: Callable[[], object], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
