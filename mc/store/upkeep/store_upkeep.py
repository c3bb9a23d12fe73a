"""The upkeep of a store: what is removed because it is old, or not wanted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mc.clock import Clock
from mc.durations import format_time
from mc.store.database import Database

if TYPE_CHECKING:
    from mc.store.saving.flow_deleter import Deletion
    from mc.store.upkeep.pruning import PruneReport

__all__ = ["StoreUpkeep"]


class StoreUpkeep:
    """Removes from a store what is old, or not wanted.

    Args:
        database: of the flows.
        clock: how old they are.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def delete(self, key: str) -> list[str]:
        """Delete a flow, whatever its status, with its stored sub-flows and all that belongs to them.

        Returns:
            The keys of the flows that were deleted.

        Raises:
            FlowNotFoundError: there is none with that key.
            StoreError: a runner holds one of them; nothing was deleted.
        """
        from mc.store.saving.flow_deleter import delete_flow

        now = format_time(self._clock.now())
        gone = self._database.write(
            lambda connection: delete_flow(connection, self._database.dialect, key, now)
        )
        return [gone.key, *gone.sub_flows]

    def delete_finished(self, key: str) -> Deletion:
        """Delete a finished flow with its stored sub-flows and all that belongs to them.

        Raises:
            FlowNotFoundError: there is none with that key.
            ControlError: the flow or a sub-flow is unfinished, or held by a runner; nothing was deleted.
        """
        from mc.store.saving.flow_deleter import delete_flow

        now = format_time(self._clock.now())
        return self._database.write(
            lambda connection: delete_flow(
                connection, self._database.dialect, key, now, must_be_finished=True
            )
        )

    def plan_deletion(self, key: str, *, must_be_finished: bool = True) -> Deletion:
        """Return what would be deleted with a flow, or raise what `delete_finished` would.

        Args:
            key: of the flow.
            must_be_finished: False: whatever its status.
        """
        from mc.store.saving.flow_deleter import plan_deletion

        return self._database.read(
            lambda connection: plan_deletion(
                connection, self._database.dialect, key, must_be_finished=must_be_finished
            )
        )

    def find_unfinished(self, key: str) -> list[str]:
        """Return those of a flow and its stored sub-flows that are unfinished, the flow itself first."""
        from mc.store.saving.flow_deleter import find_unfinished

        return self._database.read(
            lambda connection: find_unfinished(connection, self._database.dialect, key)
        )

    def prune(
        self, older_than: timedelta, *, keep_failed: bool = False, dry_run: bool = False
    ) -> PruneReport:
        """Remove what was finished long ago: flows with their stored sub-flows, and the rows of old ticks.

        A sub-flow goes with the flow that started it and never before. What a runner holds, or what has an
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

        before = self._clock.now() - older_than
        return prune(self._database, before, self._clock.now(), keep_failed=keep_failed, dry_run=dry_run)
