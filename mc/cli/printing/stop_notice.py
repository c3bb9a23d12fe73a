"""Answer to the first Ctrl-C, or SIGTERM: what is waited for, and what a second one does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mc.cli.printing.output import format_time_short, printable

if TYPE_CHECKING:
    from mc.runners.flow_runner import FlowRunner

__all__ = ["StopNotice", "write_to_stderr"]

_STDERR: Final = 2
_SHOWN: Final = 3  # calls that are under way at the same time


def write_to_stderr(text: str) -> None:
    """Write a line past all buffers and locks, as a signal handler must."""
    with suppress(OSError):  # nobody listens, or a task closed it
        os.write(_STDERR, f"{text}\n".encode("utf-8", "backslashreplace"))


class StopNotice:
    """Tells at the first signal which calls are waited for; where none is under way, nothing is.

    Args:
        runner: that is stopped.
        say: shows a line; called in a signal handler.
    """

    def __init__(self, runner: FlowRunner, say: Callable[[str], object] = write_to_stderr) -> None:
        self._runner = runner
        self._say = say

    def __call__(self, number: int) -> None:
        calls = self._runner.calls_under_way()
        if not calls:
            return
        tasks = [
            f"task {call.task_key} of flow {call.flow_key} (called at {format_time_short(call.since)} UTC)"
            for call in calls[:_SHOWN]
        ]
        if len(calls) > _SHOWN:
            tasks.append(f"{len(calls) - _SHOWN} more")
        again = "Another Ctrl-C" if number == signal.SIGINT else "Ctrl-C (SIGINT)"
        self._say(
            printable(
                f"{signal.Signals(number).name}: waiting for {' and '.join(tasks)} to end and be saved. "
                f"{again} ends it at once; what is not saved is called again by a later tick."
            )
        )
