"""Cuts a process's connection at each statement of an operation; run as a program of its own.

    python -m tests.reliability.outages.cut_connections URL OPERATION FIRST STEP

The server ends the connection, as it does when it is shut down or when a network fails. The process goes
on: it does the transaction again where that is safe, or tells what happened. Of all points it tries each
STEPth, from the one at place FIRST on. Prints as JSON how many points there were, and at how many of those
tried nobody needed to be told.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from contextlib import closing
from functools import partial
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from mc.errors import StoreUnreachableError
from tests.reliability.crash.kill_at_points import Killer
from tests.reliability.crash.operations import OPERATIONS, Operation
from tests.reliability.crash.world import World, fork
from tests.support.databases import connect

__all__ = ["ConnectionCuts", "Cutter", "main"]

TOLD = 3  # the exit code of a process that was told that the database went away
_MAX_LOOKS = 2_000


class ConnectionCuts:
    """Counts the points of an operation from `arm()` on, and has the connection ended at one of them.

    A point lies before each statement, and before and after each COMMIT.

    Args:
        cut_at: the number of the point, from 1.
    """

    def __init__(self, cut_at: int) -> None:
        self._left = cut_at
        self._armed = False
        event.listen(Engine, "before_cursor_execute", self._before_statement)  # type: ignore[no-untyped-call]
        commit = DefaultDialect.do_commit
        points = self

        def do_commit(self: DefaultDialect, dbapi_connection: Any) -> None:
            points.reach(dbapi_connection)
            commit(self, dbapi_connection)
            points.reach(dbapi_connection)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

    def arm(self) -> None:
        """Count from now on."""
        self._armed = True

    def reach(self, connection: Any) -> None:
        """Pass a point, or lose the connection there."""
        if self._armed:
            self._left -= 1
            if self._left == 0:
                end_connection(getattr(connection, "dbapi_connection", connection))

    def _before_statement(self, connection: Any, *_: Any) -> None:
        self.reach(connection.connection)


def end_connection(connection: Any) -> None:
    """Let the server end a connection, and return when it has."""
    if hasattr(connection, "thread_id"):
        number = connection.thread_id()
        end, look = f"KILL {number}", "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {}"
        name = "mariadb"
    else:
        number = connection.info.backend_pid
        end, look = (
            f"SELECT pg_terminate_backend({number})",
            "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {}",
        )
        name = "postgres"
    with closing(connect(name)) as other, closing(other.cursor()) as cursor:
        cursor.execute(end)
        for _ in range(_MAX_LOOKS):
            cursor.execute(look.format(number))
            if cursor.fetchone()[0] == 0:
                return
            time.sleep(0.001)  # the server does it in its own time
    raise TimeoutError(f"the server did not end connection {number}")


class Cutter(Killer):
    """Repeats an operation, each time with the connection lost at another point."""

    def __init__(self, url: str, operation: Operation, first: int, step: int) -> None:
        super().__init__(url, operation, first, step)
        self.unnoticed = 0

    def die_at(self, number: int, not_done: list[str], done: list[str]) -> str:
        """Lose the connection at one point; return what is left, as the method that it replaces does."""
        self.arrange()
        code = fork(partial(self.lose, number))
        assert code in (0, TOLD), f"the process ended otherwise: {code}"
        self.unnoticed += code == 0
        rows = self.rows()
        state = "before" if rows == not_done[0] else "after" if rows == done[0] else "between"
        if code == 0 and self.operation.whole and self.operation.tells:
            assert state != "before", "nothing was said, and nothing was done"
        outcome = self.finish(rows)
        allowed = {"before": [not_done[1]], "after": [done[1]]}.get(state, [not_done[1], done[1]])
        assert outcome in allowed, f"{state}: the flows came to {outcome}, expected {allowed}"
        return state

    def check_moment_of_commit(self, names: list[str], states: dict[int, str]) -> None:
        """Leave it: a transaction may have been done again."""

    def lose(self, number: int) -> None:
        """Do the operation, in a child; what it may raise is that the database went away."""
        cuts = ConnectionCuts(number)
        world = World(self.url)
        if not self.operation.upgrades:
            world.store.query()  # the database is open
        try:
            self.operation.act(world, cuts.arm)
        except StoreUnreachableError as error:
            os._exit(TOLD if error.message.startswith("The database ") else 1)


def main(url: str, name: str, first: str, step: str) -> None:
    """Print what came out."""
    cutter = Cutter(url, OPERATIONS[name], int(first), int(step))
    gc.freeze()  # or each fork copies what the collector touches
    points = cutter.run()
    print(json.dumps({"points": points, "unnoticed": cutter.unnoticed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
