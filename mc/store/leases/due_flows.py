"""Finds the flows that a driver may claim, the most urgent first, and locks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, case, or_, select

from mc.store.databases.sqlite import Dialect
from mc.store.schema.tables import flow

__all__ = ["FAIR_SHARE", "Search", "claim_query", "find_due"]

FAIR_SHARE: Final = 8  # one place in so many goes to the flows that are due longest
_CANDIDATES: Final = 8  # times as many as wanted are looked at where others may have locked the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which flows are looked for; times are ISO 8601."""

    due_at: str
    database_now: str
    turn: int = 0  # how many flows were claimed before
    among: tuple[ColumnElement[bool], ...] = ()


def find_due(connection: Connection, dialect: Dialect, search: Search, limit: int) -> list[Row[Any]]:
    """Return and lock flows that are due and that nobody holds: by priority, then those due longest.

    Each eighth place, counted over all claims, is given to the flow that is due longest whatever its
    priority, so that each has its turn however many urgent ones there are, and however few are claimed at a
    time.

    Args:
        connection: in a transaction that writes.
        dialect: of the database. Flows that another transaction has locked are passed over.
        search: what to look for.
        limit: at most so many.
    """
    oldest: Sequence[Row[Any]] = []
    share = (search.turn + limit) // FAIR_SHARE - search.turn // FAIR_SHARE
    if share:
        oldest = _fetch(connection, dialect, claim_query(search, share, by_priority=False), search, share)
        if len(oldest) < share:
            return sorted(oldest, key=_urgency)  # these are all
        if share == limit:
            return sorted(oldest, key=_urgency)
    query = claim_query(search, limit - len(oldest))
    if oldest:
        query = query.where(flow.c.key.not_in([row.key for row in oldest]))
    urgent = _fetch(connection, dialect, query, search, limit - len(oldest))
    return sorted([*oldest, *urgent], key=_urgency)


def claim_query(search: Search, limit: int, *, by_priority: bool = True) -> Select[Any]:
    """Return a query for flows that are due and that nobody holds."""
    order: list[Any] = [flow.c.next_tick_at, flow.c.created_at, flow.c.key]
    if by_priority:
        order[:0] = [_IS_SUSPECT, flow.c.priority.desc()]  # what may end its driver comes last
    return _COLUMNS.where(*_is_claimable(search), *search.among).order_by(*order).limit(limit)


def _fetch(
    connection: Connection, dialect: Dialect, query: Select[Any], search: Search, limit: int
) -> Sequence[Row[Any]]:
    if not dialect.locks_what_it_sorts:
        return connection.execute(dialect.lock_rows(query)).all()
    keys = [row.key for row in connection.execute(query.limit(limit * _CANDIDATES))]
    by_key = dialect.lock_rows(_BY_KEY.where(*_is_claimable(search)))
    locked: list[Row[Any]] = []
    while keys and len(locked) < limit:
        wanted = limit - len(locked)
        locked += connection.execute(by_key, {"keys": keys[:wanted]})
        del keys[:wanted]
    return locked


def _is_claimable(search: Search) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    nobody_holds = or_(flow.c.lease_owner.is_(None), flow.c.lease_expires_at <= search.database_now)
    return flow.c.next_tick_at <= search.due_at, nobody_holds


def _urgency(row: Row[Any]) -> tuple[bool, int, str, str, str]:
    is_suspect = row.lease_owner is not None or row.lost_leases > 0
    priority = row.priority if isinstance(row.priority, int) else 0  # SQLite keeps whatever was written
    return is_suspect, -priority, row.next_tick_at, row.created_at, row.key


_IS_SUSPECT: Final = case((or_(flow.c.lease_owner.is_not(None), flow.c.lost_leases > 0), 1), else_=0)
_COLUMNS: Final = select(
    flow.c.key,
    flow.c.priority,
    flow.c.next_tick_at,
    flow.c.created_at,
    flow.c.lease_owner,
    flow.c.lease_token,
    flow.c.lease_id,
    flow.c.revision,
    flow.c.lost_leases,
    flow.c.lost_calls,
    flow.c.task_counts,
)
# By the primary key alone, because each row that another index leads to would be locked too.
_BY_KEY: Final = (
    _COLUMNS.where(flow.c.key.in_(bindparam("keys", expanding=True)))
    .with_hint(flow, "FORCE INDEX (PRIMARY)", "mysql")
    .with_hint(flow, "FORCE INDEX (PRIMARY)", "mariadb")
)
