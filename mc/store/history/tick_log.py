"""What drivers did when: a row for each tick of a runner."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from mc.durations import format_time, parse_time
from mc.store.schema.tables import MAX_KEY_LENGTH, schema, tick
from mc.store.schema.upgrade import check_version
from mc.store.sql.prepared import Prepared

__all__ = [
    "LATEST_TURN",
    "Tick",
    "begin_tick",
    "count_ticks",
    "delete_ticks",
    "end_tick",
    "read_ticks",
    "ticks_query",
]


@dataclass(slots=True, kw_only=True)
class Tick:
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


def begin_tick(connection: Connection, begun: Tick) -> None:
    """Write the row of a tick.

    Raises:
        SchemaVersionError: the tables were brought to a version that this code does not know.
    """
    check_version(connection.scalar(_VERSION) or 0)
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


def end_tick(connection: Connection, ended: Tick) -> None:
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


def read_ticks(connection: Connection, query: Select[Any]) -> list[Tick]:
    """Return the ticks that a query finds."""
    found = []
    for row in connection.execute(query).mappings():
        ended_at = parse_time(row["ended_at"]) if row["ended_at"] else None
        started_at = parse_time(row["started_at"])
        read = {"started_at": started_at, "ended_at": ended_at, "one_flow": bool(row["one_flow"])}
        found.append(Tick(**{**row, **read}, is_stored=True))
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


def _figures(one: Tick) -> tuple[Any, ...]:
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
