"""Claims on flows that are due: the most urgent first, and those that runners left when they vanished."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy import Row as ResultRow

from mc.context.json_values import loads
from mc.durations import format_time, parse_time
from mc.errors import McError
from mc.store.databases.base import Dialect
from mc.store.history.tick_log import LATEST_TURN
from mc.store.lease import MAX_LOST_CALLS, NO_LOST_CALLS, Lease, LostCalls
from mc.store.leases.refusals import gone_backwards, new_epoch
from mc.store.schema.epochs import PRESENT_EPOCH
from mc.store.schema.tables import flow
from mc.store.sql.statements import Prepared, Row

__all__ = [
    "FAIR_SHARE",
    "Claimed",
    "Recollection",
    "Search",
    "claim",
    "claim_query",
    "family_of",
    "find_due",
    "held_query",
    "is_leased",
    "live_notes",
    "next_due_query",
]

FAIR_SHARE: Final = 8  # one place in so many goes to the flows that are due longest
_MOST_SEEN: Final = 10_000  # flows of which a store remembers what it saw last
_CANDIDATES: Final = 8  # times as many as wanted are looked at where others may have locked the first


class Recollection:
    """The newest token and revision of each of the flows that a store claimed or saved last.

    They only grow unless a backup was restored.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._lock = Lock()

    def note(self, key: str, token: int, revision: int) -> None:
        """Remember how a flow was saved; without a lease, the token is 0."""
        with self._lock:
            before, _ = self._seen.pop(key, (0, 0))
            self._seen[key] = (max(token, before), revision)
            if len(self._seen) > _MOST_SEEN:
                del self._seen[next(iter(self._seen))]

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen.clear()

    def check(self, rows: Iterable[Any]) -> None:
        """Compare rows of flows with what was seen of them.

        Raises:
            StoreReplacedError: one of them is older.
        """
        for row in rows:
            token, revision = self._seen.get(row.key, (0, 0))
            if row.lease_token < token or row.revision < revision:
                raise gone_backwards(row.key)


class Claimed(NamedTuple):
    """What a claim came to."""

    leases: list[Lease]
    turn: int  # how many flows were claimed, by this and earlier claims
    blocked: dict[str, str]  # flows that were made BLOCKED instead -> why


def claim(
    connection: Connection,
    dialect: Dialect,
    *,
    owner: str,
    limit: int,
    seconds: float,
    due_at: str,
    now: str,
    seen: Recollection,
    epoch: str,
    turn: int | None,
    among: Sequence[ColumnElement[bool]] = (),
) -> Claimed:
    """Claim flows that are due and that nobody holds; see `FlowStore.claim`.

    Args:
        connection: in a transaction that writes.
        dialect: of the database.
        owner: who claims.
        limit: at most so many.
        seconds: how long the leases last.
        due_at: what is due then.
        now: the present.
        seen: what the store knows of flows.
        epoch: in which the store was opened.
        turn: how many flows were claimed before; None: as the latest tick noted it.
        among: conditions that flows fulfil.

    Raises:
        StoreReplacedError: the database is another one than the store was opened with.
    """
    look = select(dialect.now(), PRESENT_EPOCH, LATEST_TURN if turn is None else literal(turn))
    database_now, found_epoch, turn = connection.execute(look).one()
    if found_epoch != epoch:
        raise new_epoch()
    expires_at = parse_time(database_now) + timedelta(seconds=seconds)
    search = Search(due_at=due_at, database_now=database_now, turn=turn, among=tuple(among))
    blocked: dict[str, str] = {}
    while True:
        before = len(blocked)
        rows = find_due(connection, dialect, search, limit)
        seen.check(rows)
        chosen: list[Any] = []
        for row in rows:
            vanished = row.lease_owner is not None
            lost, calls = row.lost_leases + vanished, NO_LOST_CALLS
            if row.lost_calls is not None:
                calls = LostCalls.from_text(row.lost_calls)
                calls = calls.lose() if vanished else calls
            is_suspect = lost > 0 or calls is not NO_LOST_CALLS
            if is_suspect and (culprits := calls.reaching(MAX_LOST_CALLS)):
                from mc.store.leases.blocking import block_after_losses  # few flows are

                blocked[row.key] = block_after_losses(connection, dialect, row.key, culprits, now)
                if row.long_calls:
                    _note_lost_calls(connection, row, now)
            elif is_suspect and chosen:
                break  # a flow that may kill its runner is claimed alone
            else:
                chosen.append((row, lost, calls))
                if is_suspect:
                    break
        if chosen or len(blocked) == before:
            break
    claim_id = uuid.uuid4().hex
    leases = [_lease(row, claim_id, lost, calls, owner, expires_at, seconds) for row, lost, calls in chosen]
    if leases:
        _CLAIM.run_many(connection, [_claim_row(lease) for lease in leases])
        _note_take_overs(connection, leases, [row for row, *_ in chosen], now)
        for (row, *_), lease in zip(chosen, leases, strict=True):
            if row.long_calls:
                _note_lost_calls(connection, row, now, lease)
    # Where one that may kill its runner was taken alone, the others' turn is still to come.
    return Claimed(leases, turn + len(leases) if len(chosen) == len(rows) else turn, blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which flows are looked for; times are ISO 8601."""

    due_at: str
    database_now: str
    turn: int = 0  # how many flows were claimed before
    among: tuple[ColumnElement[bool], ...] = ()


def find_due(connection: Connection, dialect: Dialect, search: Search, limit: int) -> list[ResultRow[Any]]:
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
    oldest: Sequence[ResultRow[Any]] = []
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
        order[:0] = [_IS_SUSPECT, flow.c.priority.desc()]  # what may end its runner comes last
    return _COLUMNS.where(*_is_claimable(search), *search.among).order_by(*order).limit(limit)


def _fetch(
    connection: Connection, dialect: Dialect, query: Select[Any], search: Search, limit: int
) -> Sequence[ResultRow[Any]]:
    if not dialect.locks_what_it_sorts:
        return connection.execute(dialect.lock_rows(query)).all()
    keys = [row.key for row in connection.execute(query.limit(limit * _CANDIDATES))]
    by_key = dialect.lock_named_rows(_BY_KEY.where(*_is_claimable(search)), flow)
    locked: list[ResultRow[Any]] = []
    while keys and len(locked) < limit:
        wanted = limit - len(locked)
        locked += connection.execute(by_key, {"keys": keys[:wanted]})
        del keys[:wanted]
    return locked


def _is_claimable(search: Search) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    nobody_holds = or_(flow.c.lease_owner.is_(None), flow.c.lease_expires_at <= search.database_now)
    return flow.c.next_tick_at <= search.due_at, nobody_holds


def _urgency(row: ResultRow[Any]) -> tuple[bool, int, str, str, str]:
    is_suspect = row.lease_owner is not None or row.lost_leases > 0
    priority = row.priority if isinstance(row.priority, int) else 0  # SQLite keeps whatever was written
    return is_suspect, -priority, row.next_tick_at, row.created_at, row.key


def is_leased(dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that a flow's lease is live."""
    return and_(flow.c.lease_owner.is_not(None), flow.c.lease_expires_at > dialect.now())


def live_notes(dialect: Dialect) -> ColumnElement[str | None]:
    """Return the note of a flow's calls; null where the runner that wrote it holds the flow no more."""
    is_live = and_(flow.c.long_calls.is_not(None), is_leased(dialect))
    return case((is_live, flow.c.long_calls), else_=None)


def family_of(key: str) -> Select[str]:
    """Return a query for a flow's key and the keys of all stored sub-flows below it."""
    family = select(flow.c.key).where(flow.c.key == key).cte("family", recursive=True)
    below = select(flow.c.key).join(family, flow.c.waiter_key == family.c.key)
    family = family.union(below)
    return select(family.c.key)


def next_due_query(dialect: Dialect, family: str | None = None) -> Select[str]:
    """Return a query for the time at which the next flow is due that nobody holds."""
    query = (
        select(flow.c.next_tick_at)
        .where(flow.c.next_tick_at.is_not(None), ~is_leased(dialect))
        .order_by(flow.c.next_tick_at)
        .limit(1)
    )
    return query if family is None else query.where(flow.c.key.in_(family_of(family)))


def held_query(dialect: Dialect, family: str) -> Select[str]:
    """Return a query for one flow of a family that a runner holds."""
    return select(flow.c.key).where(flow.c.key.in_(family_of(family)), is_leased(dialect)).limit(1)


def _lease(
    row: Any, claim_id: str, lost: int, calls: LostCalls, owner: str, expires_at: datetime, seconds: float
) -> Lease:
    return Lease(
        flow_key=row.key,
        token=row.lease_token + 1,
        id=claim_id,
        owner=owner,
        expires_at=expires_at,
        seconds=seconds,
        lost_leases=lost,
        lost_calls=calls,
        is_suspect=lost > 0 or calls is not NO_LOST_CALLS,
        num_tasks=_count_tasks(row.task_counts),
    )


def _count_tasks(text: str) -> int:
    try:
        return sum(loads(text).values())
    except (McError, AttributeError, TypeError):
        return 0  # whoever loads the flow finds what is wrong with it


def _claim_row(lease: Lease) -> Row:
    expires_at = format_time(lease.expires_at)
    calls = lease.lost_calls.to_text() if lease.is_suspect else None
    return (lease.token, lease.id, lease.owner, expires_at, lease.lost_leases, calls, lease.flow_key)


def _note_take_overs(
    connection: Connection, leases: Sequence[Lease], before: Sequence[Any], now: str
) -> None:
    taken_over = [pair for pair in zip(leases, before, strict=True) if pair[1].lease_owner is not None]
    if not taken_over:
        return
    from mc.store.event import EventKind
    from mc.store.history.event_log import EventRow, insert_events

    events = [
        EventRow(lease.flow_key, now, lease).make(
            EventKind.TAKEN_OVER,
            None,
            detail={"from": row.lease_owner, "from_token": row.lease_token, "lost_leases": lease.lost_leases},
        )
        for lease, row in taken_over
    ]
    insert_events(connection, events)


def _note_lost_calls(connection: Connection, row: Any, now: str, lease: Lease | None = None) -> None:
    """Record as lost what the runner that ended was calling; the claim takes the note away."""
    from mc.store.leases.call_notes import record_lost_calls  # few flows have any

    record_lost_calls(connection, row.key, row.long_calls, now, lease)


_CLAIM: Final = Prepared(
    update(flow)
    .where(flow.c.key == bindparam("flow"))
    .values(
        lease_token=bindparam("token"),
        lease_id=bindparam("claim_id"),
        lease_owner=bindparam("owner"),
        lease_expires_at=bindparam("expires_at"),
        lost_leases=bindparam("lost"),
        lost_calls=bindparam("calls"),
        long_calls=null(),
    ),
    ("token", "claim_id", "owner", "expires_at", "lost", "calls", "flow"),
)
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
    flow.c.long_calls,
    flow.c.task_counts,
)
_BY_KEY: Final = _COLUMNS.where(flow.c.key.in_(bindparam("keys", expanding=True)))
