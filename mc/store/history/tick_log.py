"""The log of ticks: a row for each tick of a runner."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from mc.clock import Clock
from mc.durations import format_time, parse_time
from mc.store.database import Database
from mc.store.schema.tables import MAX_KEY_LENGTH, schema, tick
from mc.store.schema.upgrade import NEWEST_VERSION, newer_schema
from mc.store.sql.statements import Prepared

__all__ = [
    "LATEST_TURN",
    "TickAccount",
    "TickLog",
    "TickRecord",
    "begin_tick",
    "count_ticks",
    "delete_ticks",
    "end_tick",
    "read_ticks",
    "ticks_query",
]

_LONGEST: Final = timedelta(minutes=1)  # for so long ticks that find nothing new to do share a row
_REST: Final = timedelta(seconds=10)  # between two writes of such a row


@dataclass(slots=True, kw_only=True)
class TickRecord:
    """One tick of a runner; or several in a row that found nothing new to do.

    Attributes:
        owner: the runner, as its leases name it.
        started_at: by the runner's clock.
        ended_at: None while it is under way, and for ever if its process vanished.
        one_flow: whether it took up one flow and its sub-flows only, as `run_flow` does.
        ticks: how many ticks it stands for.
        flows: how many were claimed.
        tasks: calls of handlers.
        errors: flows that could not be ticked.
        turn: how many flows were claimed in this and in earlier ticks; None: it did not look.
        is_stored: whether its row has been written.
        was_sent: whether its row was sent to the database, and perhaps written without an answer.
    """

    owner: str
    started_at: datetime
    ended_at: datetime | None = None
    one_flow: bool = False
    ticks: int = 1
    flows: int = 0
    tasks: int = 0
    errors: int = 0
    turn: int | None = None
    host: str = field(default_factory=lambda: os.uname().nodename)
    pid: int = field(default_factory=os.getpid)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_stored: bool = False
    was_sent: bool = False


class TickLog:
    """The ticks of all runners, as they are noted and read.

    Args:
        database: where they are noted.
        clock: of the runners.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.clock = clock
        self._database = database

    def note(self, tick: TickRecord) -> None:
        """Write what a tick came to; a row that was pruned meanwhile stays away.

        Raises:
            SchemaVersionError: newer code has changed the tables since this store was opened.
        """
        write = end_tick if tick.is_stored else begin_tick
        self._database.write(lambda connection: write(connection, tick))
        tick.is_stored = True

    def list(self, *, since: datetime | None = None, limit: int | None = None) -> list[TickRecord]:
        """Return what runners did, newest first.

        Args:
            since: ticks that began then or later.
            limit: at most so many.
        """
        query = ticks_query(since, limit)
        return self._database.read(lambda connection: read_ticks(connection, query))


class TickAccount:
    """The ticks of one runner, a row for each.

    The row of a tick that claims flows is written with the first claim and completed at its end, so that
    one whose process vanished can be seen. Ticks in a row that find nothing to do share one, as do those of
    a loop that only poll tasks; so a loop over an idle database hardly writes.

    Args:
        log: where the ticks are noted.
        owner: the runner.
    """

    def __init__(self, log: TickLog, owner: str) -> None:
        self._log = log
        self._owner = owner
        self._idle: TickRecord | None = None  # the last that claimed nothing
        self._idle_written_at: datetime | None = None

    def begin(self, *, one_flow: bool, open_row: TickRecord | None = None) -> TickRecord:
        """Return what is to be handed to the claims of a tick.

        Args:
            one_flow: whether it takes up one flow and its sub-flows only.
            open_row: what `end` returned for the tick before.
        """
        if open_row is not None:
            open_row.ticks += 1
            return open_row
        return TickRecord(owner=self._owner, started_at=self._log.clock.now(), one_flow=one_flow)

    def end(self, tick: TickRecord, *, progressed: bool = False, goes_on: bool = False) -> TickRecord | None:
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
        now = self._log.clock.now()
        if not tick.is_stored and not tick.flows:
            self._note_idle(tick, now)
            return None
        if goes_on and not progressed and self._is_young(tick, now):
            return tick
        self._idle = None
        tick.ended_at = now
        self._log.note(tick)
        return None

    def _note_idle(self, tick: TickRecord, now: datetime) -> None:
        last = self._idle
        if last is None or last.one_flow != tick.one_flow or not self._is_young(last, now):
            self._idle = last = tick
            self._idle_written_at = None
        else:
            last.ticks += 1
        last.ended_at = now
        written_at = self._idle_written_at
        if written_at is None or not written_at <= now < written_at + _REST:
            self._log.note(last)
            self._idle_written_at = now

    @staticmethod
    def _is_young(tick: TickRecord, now: datetime) -> bool:
        return tick.started_at <= now < tick.started_at + _LONGEST


def begin_tick(connection: Connection, begun: TickRecord) -> None:
    """Write the row of a tick.

    Raises:
        SchemaVersionError: the tables were brought to a version that this code does not know.
    """
    version = connection.scalar(_VERSION) or 0
    if version > NEWEST_VERSION:
        raise newer_schema(version)
    if begun.turn is None:
        begun.turn = connection.scalars(select(LATEST_TURN)).one()
    if begun.was_sent:
        connection.execute(delete(tick).where(tick.c.id == begun.id))
    begun.was_sent = True
    row = (
        begun.id,
        begun.owner[:MAX_KEY_LENGTH],
        begun.host[:MAX_KEY_LENGTH],
        begun.pid,
        format_time(begun.started_at),
        int(begun.one_flow),
        *_figures(begun),
    )
    _INSERT.run(connection, row)


def end_tick(connection: Connection, ended: TickRecord) -> None:
    """Write what a tick came to; a row that was pruned meanwhile stays away."""
    _UPDATE.run(connection, (*_figures(ended), ended.id))


def ticks_query(since: datetime | None = None, limit: int | None = None) -> Select[Any]:
    """Return a query for ticks, newest first.

    Args:
        since: those that began then or later.
        limit: at most so many.
    """
    query = select(tick).order_by(tick.c.started_at.desc(), tick.c.id)
    if since is not None:
        query = query.where(tick.c.started_at >= format_time(since))
    return query if limit is None else query.limit(limit)


def read_ticks(connection: Connection, query: Select[Any]) -> list[TickRecord]:
    """Return the ticks that a query finds."""
    found = []
    for row in connection.execute(query).mappings():
        ended_at = parse_time(row["ended_at"]) if row["ended_at"] else None
        started_at = parse_time(row["started_at"])
        read = {"started_at": started_at, "ended_at": ended_at, "one_flow": bool(row["one_flow"])}
        found.append(TickRecord(**{**row, **read}, is_stored=True))
    return found


def count_ticks(connection: Connection, before: str) -> int:
    """Return how many ticks began before a time."""
    query = select(func.count()).select_from(tick).where(tick.c.started_at < before)
    return connection.scalars(query).one()


def delete_ticks(connection: Connection, before: str, limit: int) -> int:
    """Delete the rows of ticks that began before a time, at most so many, and return how many these were."""
    ids = connection.scalars(select(tick.c.id).where(tick.c.started_at < before).limit(limit)).all()
    connection.execute(delete(tick).where(tick.c.id.in_(ids)))
    return len(ids)


def _figures(one: TickRecord) -> tuple[Any, ...]:
    ended_at = format_time(one.ended_at) if one.ended_at is not None else None
    return (ended_at, one.ticks, one.flows, one.tasks, one.errors, one.turn)


_VERSION: Final = select(func.max(schema.c.version))
_LATEST: Final = select(func.max(tick.c.started_at)).correlate(None).scalar_subquery()
_TURN: Final = select(func.max(tick.c.turn)).where(tick.c.started_at == _LATEST).correlate(None)
# How many flows were claimed so far, as an expression.
LATEST_TURN: Final = func.coalesce(_TURN.scalar_subquery(), 0)
_FIGURES: Final = ("ended_at", "ticks", "flows", "tasks", "errors", "turn")
_COLUMNS: Final = ("id", "owner", "host", "pid", "started_at", "one_flow", *_FIGURES)
_INSERT: Final = Prepared(insert(tick).values({name: bindparam(name) for name in _COLUMNS}), _COLUMNS)
_UPDATE: Final = Prepared(
    update(tick).where(tick.c.id == bindparam("tick")).values({name: bindparam(name) for name in _FIGURES}),
    (*_FIGURES, "tick"),
)
