"""The process that the command needs, kept from tasks that change it."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Final, Self

from mc.flows.observer import ChangeEvent

__all__ = ["KeptProcess"]

_STREAMS: Final = {"stdout": 1, "stderr": 2}


class KeptProcess:
    """Puts back the standard streams and the current folder: after each change of a status, and at the end.

    It is an observer, so that what one task does to them is no matter of the next one's.
    """

    def __enter__(self) -> Self:
        self._folder = os.getcwd()  # noqa: PTH109 - as text, which is compared often
        self._streams: dict[str, Any] = {name: getattr(sys, name) for name in _STREAMS}
        self._saved = {name: _duplicate(number) for name, number in _STREAMS.items()}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._put_back()
        for number in self._saved.values():
            if number is not None:
                _close(number)

    def on_change(self, event: ChangeEvent) -> None:
        """Look after what the task that changed may have changed besides."""
        self._put_back()

    def _put_back(self) -> None:
        for name, number in _STREAMS.items():
            stream, saved = self._streams[name], self._saved[name]
            if stream.closed and saved is not None:
                stream = open(os.dup(saved), "w", errors="backslashreplace")  # noqa: SIM115, PTH123 - for good
                self._streams[name] = stream
            elif saved is not None and not _is_open(number):
                os.dup2(saved, number)
            if getattr(sys, name) is None or getattr(sys, name).closed:
                setattr(sys, name, stream)
        if _current_folder() != self._folder and os.path.isdir(self._folder):  # noqa: PTH112 - as above
            os.chdir(self._folder)


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:
        return None


def _close(number: int) -> None:
    try:
        os.close(number)
    except OSError:
        return  # a task has closed it


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None  # a task has removed it
