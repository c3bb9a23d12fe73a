"""Keeps account of a runner's ticks in the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import Tick

__all__ = ["TickAccount"]

_LONGEST: Final = timedelta(minutes=1)  # for so long ticks that find nothing new to do share a row
_REST: Final = timedelta(seconds=10)  # between two writes of such a row


class TickAccount:
    """The ticks of one runner, a row for each.

    The row of a tick that claims flows is written with the first claim and completed at its end, so that
    one whose process vanished can be seen. Ticks in a row that find nothing to do share one, as do those of
    a loop that only poll tasks; so a loop over an idle database hardly writes.

    Args:
        store: where the ticks are noted.
        owner: the runner.
    """

    def __init__(self, store: FlowStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._idle: Tick | None = None  # the last that claimed nothing
        self._idle_written_at: datetime | None = None

    def begin(self, *, one_flow: bool, open_row: Tick | None = None) -> Tick:
        """Return what is to be handed to the claims of a tick.

        Args:
            one_flow: whether it takes up one flow and its sub-flows only.
            open_row: what `end` returned for the tick before.
        """
        if open_row is not None:
            open_row.ticks += 1
            return open_row
        return Tick(owner=self._owner, started_at=self._store.clock.now(), one_flow=one_flow)

    def end(self, tick: Tick, *, progressed: bool = False, goes_on: bool = False) -> Tick | None:
        """Note what a tick came to.

        Args:
            tick: with its figures.
            progressed: whether any flow made progress.
            goes_on: whether another tick follows soon.

        Returns:
            The tick if its row is left open for the next one.

        Raises:
            StoreUnreachableError: the database cannot be used.
            SchemaVersionError: newer code has changed the tables meanwhile.
        """
        now = self._store.clock.now()
        if not tick.is_stored and not tick.flows:
            self._note_idle(tick, now)
            return None
        if goes_on and not progressed and self._is_young(tick, now):
            return tick
        self._idle = None
        tick.ended_at = now
        self._store.note_tick(tick)
        return None

    def _note_idle(self, tick: Tick, now: datetime) -> None:
        last = self._idle
        if last is None or last.one_flow != tick.one_flow or not self._is_young(last, now):
            self._idle = last = tick
            self._idle_written_at = None
        else:
            last.ticks += 1
        last.ended_at = now
        written_at = self._idle_written_at
        if written_at is None or not written_at <= now < written_at + _REST:
            self._store.note_tick(last)
            self._idle_written_at = now

    @staticmethod
    def _is_young(tick: Tick, now: datetime) -> bool:
        return tick.started_at <= now < tick.started_at + _LONGEST
