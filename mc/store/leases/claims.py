"""Claims on flows: taken, renewed, given back, taken over from drivers that vanished."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from shlex import quote
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, literal, null, select, update

from mc.context.json_values import dumps, loads
from mc.durations import format_time, parse_time
from mc.errors import McError
from mc.statuses import FLOW_CHANGES
from mc.store.databases.sqlite import Dialect
from mc.store.event import EventKind
from mc.store.history.event_log import EventRow, insert_events
from mc.store.history.tick_log import LATEST_TURN
from mc.store.lease import MAX_LOST_CALLS, Lease
from mc.store.leases.due_flows import Search, find_due
from mc.store.leases.recollection import Recollection
from mc.store.leases.refusals import new_epoch
from mc.store.lost_calls import LostCalls
from mc.store.rows.claim_rows import lend, withdraw
from mc.store.rows.wakes import wake_if_noted
from mc.store.schema.epochs import PRESENT_EPOCH
from mc.store.schema.tables import flow
from mc.store.sql.column_types import LongText, storable_text
from mc.store.sql.prepared import Prepared, Row

__all__ = [
    "Claimed",
    "block",
    "claim",
    "family_of",
    "held_query",
    "is_held_by",
    "is_leased",
    "keep",
    "next_due_query",
    "release",
    "release_as_lost",
    "renew",
]


class Claimed(NamedTuple):
    """What a claim came to."""

    leases: list[Lease]
    turn: int  # how many flows were claimed, by this and earlier claims


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
    while True:
        rows = find_due(connection, dialect, search, limit)
        seen.check(rows)
        chosen: list[Any] = []
        blocked = False
        for row in rows:
            vanished = row.lease_owner is not None
            lost, calls = row.lost_leases + vanished, LostCalls.from_text(row.lost_calls)
            if vanished:
                calls = calls.lose()
            if culprits := calls.reaching(MAX_LOST_CALLS):
                _block_after_losses(connection, row.key, culprits, now)
                lend(connection, dialect, row.key, parse_time(now))
                blocked = True
            elif (lost or calls) and chosen:
                break  # a flow that may kill its driver is claimed alone
            else:
                chosen.append((row, lost, calls))
                if lost or calls:
                    break
        if chosen or not blocked:
            break
    claim_id = uuid.uuid4().hex
    leases = [_lease(row, claim_id, lost, calls, owner, expires_at, seconds) for row, lost, calls in chosen]
    if leases:
        _CLAIM.run_many(connection, [_claim_row(lease) for lease in leases])
        _note_take_overs(connection, leases, [row for row, *_ in chosen], now)
    # Where one that may kill its driver was taken alone, the others' turn is still to come.
    return Claimed(leases, turn + len(leases) if len(chosen) == len(rows) else turn)


def renew(connection: Connection, dialect: Dialect, lease: Lease) -> datetime | None:
    """Return the time until which a lease was prolonged; None if it was taken over or given back."""
    database_now: str = connection.scalars(select(dialect.now())).one()
    expires_at = parse_time(database_now) + timedelta(seconds=lease.seconds)
    params = {**_name(lease), "new_expires_at": format_time(expires_at)}
    return expires_at if connection.execute(_RENEW, params).rowcount == 1 else None


def keep(connection: Connection, lease: Lease) -> bool:
    """Lock a flow's row until the transaction ends; False if the lease was taken over or given back."""
    return connection.scalar(_KEEP, _name(lease)) is not None


def is_held_by(connection: Connection, lease: Lease) -> bool:
    """Tell whether a lease is the flow's: nobody took it over, and it was not given back."""
    return connection.scalar(_FIND_HELD, _name(lease)) is not None


def release(connection: Connection, leases: Sequence[Lease]) -> list[Lease]:
    """Give leases back, and return those that were taken over or given back before.

    Args:
        connection: in a transaction that writes.
        leases: of different flows.
    """
    in_order = sorted(leases, key=lambda lease: lease.flow_key)  # lest two drivers wait for each other
    return [lease for lease in in_order if _RELEASE.run(connection, tuple(_name(lease).values())) != 1]


def release_as_lost(connection: Connection, lease: Lease, calls: LostCalls) -> bool:
    """Give a lease back and count it with those of drivers that vanished; False if it was taken over."""
    return _RELEASE_AS_LOST.run(connection, (calls.lose().to_text(), *_name(lease).values())) == 1


def block(connection: Connection, dialect: Dialect, lease: Lease, reason: str, now: str) -> bool:
    """Make a flow BLOCKED and give its lease back; return False if it was taken over."""
    params = _name(lease)
    status = connection.scalar(_HELD_STATUS, params)
    if status is None:
        return False
    text = storable_text(reason)
    connection.execute(_BLOCK_HELD, {**params, "reason": text, "now": now})
    _forget_missing_handlers(connection, lease.flow_key)
    _note_blocked(connection, EventRow(lease.flow_key, now, lease), status, text)
    lend(connection, dialect, lease.flow_key, parse_time(now))
    wake_if_noted(connection, lease.flow_key, False, _after_a_while(now))
    return True


def set_aside(connection: Connection, dialect: Dialect, lease: Lease, until: str, now: str) -> bool:
    """Give a lease back and make the flow due later; return False if it was taken over.

    What a person has asked for meanwhile makes it due at once.
    """
    statement = update(flow).where(_HELD).values(next_tick_at=until, lease_owner=None, lease_expires_at=None)
    if connection.execute(statement, _name(lease)).rowcount != 1:
        return False
    withdraw(connection, dialect, lease.flow_key, parse_time(now))
    wake_if_noted(connection, lease.flow_key, False, now)
    return True


def is_leased(dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that a flow's lease is live."""
    return and_(flow.c.lease_owner.is_not(None), flow.c.lease_expires_at > dialect.now())


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
    """Return a query for one flow of a family that a driver holds."""
    return select(flow.c.key).where(flow.c.key.in_(family_of(family)), is_leased(dialect)).limit(1)


def _name(lease: Lease) -> dict[str, Any]:
    """Return the parameters of `_HELD`, in the order of its names."""
    return {"flow": lease.flow_key, "held": lease.token, "held_id": lease.id}


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
        num_tasks=_count_tasks(row.task_counts),
    )


def _count_tasks(text: str) -> int:
    try:
        return sum(loads(text).values())
    except (McError, AttributeError, TypeError):
        return 0  # whoever loads the flow finds what is wrong with it


def _claim_row(lease: Lease) -> Row:
    expires_at, calls = format_time(lease.expires_at), lease.lost_calls.to_text()
    return (lease.token, lease.id, lease.owner, expires_at, lease.lost_leases, calls, lease.flow_key)


def _block_after_losses(connection: Connection, key: str, calls: Sequence[str], now: str) -> None:
    tasks = ", ".join(call.rpartition("/")[0] for call in calls)
    reason = (
        f"{MAX_LOST_CALLS} drivers in a row vanished while they made the same call (killed, crashed, out of "
        f"memory, interrupted, or cut off from the database); tasks that were running: {tasks}. Find out why "
        f"they end their process, then let the flow go on by `houston resume {quote(key)}`, or end it: "
        f"`houston cancel {quote(key)}`."
    )
    status = connection.scalar(_STATUS, {"flow": key})
    connection.execute(_BLOCK, {"flow": key, "reason": reason, "now": now})
    _forget_missing_handlers(connection, key)
    _note_blocked(connection, EventRow(key, now), status, reason)
    wake_if_noted(connection, key, False, _after_a_while(now))


def _forget_missing_handlers(connection: Connection, key: str) -> None:
    """Let no driver carry the flow on by itself, as if it were blocked for want of a handler still."""
    try:
        body = loads(connection.scalar(_BODY, {"flow": key}) or "null")
    except McError:
        return  # who reads the flow will find that
    if isinstance(body, dict) and body.get("missing_handlers"):
        text = dumps({**body, "missing_handlers": None})
        connection.execute(_WRITE_BODY, {"flow": key, "text": text})


def _note_blocked(connection: Connection, rows: EventRow, status: str | None, reason: str) -> None:
    if status not in _LEFT_ALONE:
        event = rows.make(EventKind.CHANGED, "BLOCKED", old=status, detail={"reason": reason})
        insert_events(connection, [event])


def _note_take_overs(
    connection: Connection, leases: Sequence[Lease], before: Sequence[Any], now: str
) -> None:
    events = [
        EventRow(lease.flow_key, now, lease).make(
            EventKind.TAKEN_OVER,
            None,
            detail={"from": row.lease_owner, "from_token": row.lease_token, "lost_leases": lease.lost_leases},
        )
        for lease, row in zip(leases, before, strict=True)
        if row.lease_owner is not None
    ]
    insert_events(connection, events)


def _after_a_while(now: str) -> str:
    """Return when to do what a person asks of a flow that has just made a driver stumble: not at once."""
    return format_time(parse_time(now) + _PAUSE)


_PAUSE: Final = timedelta(seconds=60)
# What cannot be ticked becomes BLOCKED, but what has ended or was stopped, whatever is wrong with it.
_LEFT_ALONE: Final = sorted(FLOW_CHANGES.keys() - {"PENDING", "RUNNING"})
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
    ),
    ("token", "claim_id", "owner", "expires_at", "lost", "calls", "flow"),
)
_HELD: Final = (
    (flow.c.key == bindparam("flow"))
    & (flow.c.lease_token == bindparam("held"))
    & (flow.c.lease_id == bindparam("held_id"))
    & flow.c.lease_owner.is_not(None)
)
_NAMES: Final = ("flow", "held", "held_id")
_FIND_HELD: Final = select(flow.c.key).where(_HELD)
_KEEP: Final = select(flow.c.key).where(_HELD).with_for_update()
_RENEW: Final = update(flow).where(_HELD).values(lease_expires_at=bindparam("new_expires_at"))
_RELEASE: Final = Prepared(
    update(flow).where(_HELD).values(lease_owner=null(), lease_expires_at=null()), _NAMES
)
_RELEASE_AS_LOST: Final = Prepared(
    update(flow)
    .where(_HELD)
    .values(
        lease_owner=null(),
        lease_expires_at=null(),
        lost_leases=flow.c.lost_leases + 1,
        lost_calls=bindparam("calls"),
    ),
    ("calls", *_NAMES),
)
_BODY: Final = select(flow.c.body).where(flow.c.key == bindparam("flow"))
_WRITE_BODY: Final = (
    update(flow).where(flow.c.key == bindparam("flow")).values(body=bindparam("text", type_=LongText()))
)
_STATUS: Final = select(flow.c.status).where(flow.c.key == bindparam("flow"))
_HELD_STATUS: Final = select(flow.c.status).where(_HELD).with_for_update()
_BLOCK: Final = (
    update(flow)
    .where(flow.c.key == bindparam("flow"))
    .values(
        status=case((flow.c.status.in_(_LEFT_ALONE), flow.c.status), else_="BLOCKED"),
        blocked_reason=bindparam("reason"),
        next_tick_at=null(),
        lease_owner=null(),
        lease_expires_at=null(),
        lease_token=flow.c.lease_token + 1,
        lost_leases=0,
        lost_calls=null(),
        revision=flow.c.revision + 1,
        modified_at=bindparam("now"),
    )
)
_BLOCK_HELD: Final = _BLOCK.where(_HELD)
