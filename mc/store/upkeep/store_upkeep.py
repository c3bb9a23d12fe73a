"""The upkeep of a store: the account of ticks, and what is removed when it is old."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mc.clock import Clock
from mc.store.database import Database
from mc.store.history.tick_log import Tick, begin_tick, end_tick, read_ticks, ticks_query

if TYPE_CHECKING:
    from mc.store.upkeep.pruning import PruneReport

__all__ = ["StoreUpkeep"]


class StoreUpkeep:
    """The part of `FlowStore` that keeps account of ticks and removes what is old."""

    clock: Clock
    _database: Database

    def note_tick(self, tick: Tick) -> None:
        """Write what a tick came to; a row that was pruned meanwhile stays away.

        Raises:
            SchemaVersionError: newer code has changed the tables since this store was opened.
        """
        write = end_tick if tick.is_stored else begin_tick
        self._database.write(lambda connection: write(connection, tick))
        tick.is_stored = True

    def ticks(self, *, since: datetime | None = None, limit: int | None = None) -> list[Tick]:
        """Return what drivers did, newest first.

        Args:
            since: ticks that began then or later.
            limit: at most so many.
        """
        query = ticks_query(since, limit)
        return self._database.read(lambda connection: read_ticks(connection, query))

    def tidy(self) -> None:
        """Give room back that work has taken (SQLite's write-ahead log), unless somebody is in the way."""
        self._database.tidy()

    def prune(
        self, older_than: timedelta, *, keep_failed: bool = False, dry_run: bool = False
    ) -> PruneReport:
        """Remove what was finished long ago: flows with their stored sub-flows, and the rows of old ticks.

        A sub-flow goes with the flow that started it and never before. What a driver holds, or what has an
        unfinished or younger sub-flow, stays. It is done in batches, each whole or not at all, so it may be
        interrupted and called again, and others work meanwhile. Keys of flows that are gone are not free.

        Args:
            older_than: how long ago by the store's clock.
            keep_failed: leave flows that are FAILED or have a FAILED sub-flow.
            dry_run: only count.

        Raises:
            StoreError: the age is negative.
        """
        from mc.store.upkeep.pruning import prune

        before = self.clock.now() - older_than
        return prune(self._database, before, self.clock.now(), keep_failed=keep_failed, dry_run=dry_run)
