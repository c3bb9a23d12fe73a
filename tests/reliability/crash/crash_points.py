"""Numbers each moment at which a process can die while it talks to a database, and dies at one of them.

A point lies before each statement, and before and after each COMMIT; the end of a statement is the point
before the next one.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

__all__ = ["CrashPoints"]


class CrashPoints:
    """Counts points from `arm()` on, and ends the process by SIGKILL at the one it was told.

    Args:
        kill_at: the number of the fatal point, from 1; None to count only.
    """

    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.names: list[str] = []  # of the points passed
        self._armed = False
        event.listen(Engine, "before_cursor_execute", self._before_statement)  # type: ignore[no-untyped-call]
        commit = DefaultDialect.do_commit
        points = self

        def do_commit(self: DefaultDialect, dbapi_connection: Any) -> None:
            points.reach("before COMMIT")
            commit(self, dbapi_connection)
            points.reach("after COMMIT")

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

    def arm(self) -> None:
        """Count from now on."""
        self._armed = True

    def reach(self, name: str) -> None:
        """Pass a point, or die at it."""
        if not self._armed:
            return
        self.names.append(name)
        if len(self.names) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _before_statement(self, *args: Any) -> None:
        self.reach(f"before {_shorten(args[2])}")


def _shorten(statement: str) -> str:
    return " ".join(statement.split())[:60]
