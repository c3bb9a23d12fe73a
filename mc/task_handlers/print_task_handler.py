"""The task type `print`: prints a message."""

from __future__ import annotations

import sys
from typing import ClassVar

from mc.context.json_values import dumps
from mc.printable import printable_lines
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["PrintTaskHandler", "TaskHandler"]


class PrintTaskHandler(BaseTaskHandler):
    """Prints `msg`: text as it is, any other value as JSON; control characters as escapes on a terminal."""

    has_effects: ClassVar[bool] = False  # printed twice does no harm, and a save per line would

    def tick_task(self) -> None:
        """Print and complete."""
        msg = self.read_param("msg")
        text = msg if isinstance(msg, str) else dumps(msg)
        if sys.stdout is not None and sys.stdout.isatty():
            text = printable_lines(text)
        try:
            print(text, flush=True)
        except UnicodeEncodeError:  # a terminal that cannot show a letter is no failure of the flow
            encoding = sys.stdout.encoding or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
        self.task["status"] = "COMPLETED"


TaskHandler = PrintTaskHandler
