"""Claims on flows: taken, renewed, given back, taken over from drivers that vanished."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, null, or_, select, update

from mc.context.json_values import loads
from mc.durations import format_time, parse_time
from mc.store.dialects import Dialect
from mc.store.lease import MAX_LOST_LEASES, Lease
from mc.store.prepared import Prepared, Row
from mc.store.tables import flow, task

__all__ = [
    "block",
    "claim",
    "claim_query",
    "family_of",
    "held_query",
    "is_leased",
    "next_due_query",
    "release",
    "renew",
]


def claim(
    connection: Connection,
    dialect: Dialect,
    *,
    owner: str,
    limit: int,
    seconds: float,
    due_at: str,
    now: str,
    among: Sequence[ColumnElement[bool]] = (),
) -> list[Lease]:
    """Claim flows that are due and that nobody holds; see `FlowStore.claim`."""
    database_now: str = connection.scalars(select(dialect.now())).one()
    expires_at = parse_time(database_now) + timedelta(seconds=seconds)
    query = dialect.lock_rows(claim_query(due_at, database_now, limit, among))
    while True:
        rows = connection.execute(query).all()
        chosen: list[Any] = []
        blocked = False
        for row in rows:
            lost = row.lost_leases + (row.lease_owner is not None)
            if lost >= MAX_LOST_LEASES:
                _block_after_losses(connection, row.key, lost, now)
                blocked = True
            elif lost and chosen:
                break  # a flow that may kill its driver is claimed alone
            else:
                chosen.append((row, lost))
                if lost:
                    break
        if chosen or not blocked:
            break
    leases = [_lease(row, lost, owner, expires_at, seconds) for row, lost in chosen]
    if leases:
        _CLAIM.run_many(connection, [_claim_row(lease) for lease in leases])
    return leases


def renew(connection: Connection, dialect: Dialect, lease: Lease) -> datetime | None:
    """Return the time until which a lease was prolonged; None if it was taken over or given back."""
    database_now: str = connection.scalars(select(dialect.now())).one()
    expires_at = parse_time(database_now) + timedelta(seconds=lease.seconds)
    params = {"flow": lease.flow_key, "held": lease.token, "new_expires_at": format_time(expires_at)}
    return expires_at if connection.execute(_RENEW, params).rowcount == 1 else None


def release(connection: Connection, leases: Sequence[Lease]) -> None:
    """Give leases back; those that were taken over are left alone."""
    params = [{"flow": lease.flow_key, "held": lease.token} for lease in leases]
    if params:
        connection.execute(_RELEASE, params)


def block(connection: Connection, lease: Lease, reason: str, now: str) -> bool:
    """Make a flow BLOCKED and give its lease back; return False if it was taken over."""
    params = {"flow": lease.flow_key, "held": lease.token, "reason": reason, "now": now}
    return connection.execute(_BLOCK_HELD, params).rowcount == 1


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


def claim_query(
    due_at: str, database_now: str, limit: int, among: Sequence[ColumnElement[bool]] = ()
) -> Select[Any]:
    """Return a query for the flows that are due and that nobody holds, the most urgent first."""
    return (
        select(
            flow.c.key,
            flow.c.lease_owner,
            flow.c.lease_token,
            flow.c.lost_leases,
            flow.c.task_counts,
        )
        .where(
            flow.c.next_tick_at <= due_at,
            or_(flow.c.lease_owner.is_(None), flow.c.lease_expires_at <= database_now),
            *among,
        )
        .order_by(flow.c.priority.desc(), flow.c.next_tick_at, flow.c.created_at, flow.c.key)
        .limit(limit)
    )


def _lease(row: Any, lost: int, owner: str, expires_at: datetime, seconds: float) -> Lease:
    return Lease(
        flow_key=row.key,
        token=row.lease_token + 1,
        owner=owner,
        expires_at=expires_at,
        seconds=seconds,
        lost_leases=lost,
        num_tasks=sum(loads(row.task_counts).values()),
    )


def _claim_row(lease: Lease) -> Row:
    expires_at = format_time(lease.expires_at)
    return (lease.token, lease.owner, expires_at, lease.lost_leases, lease.flow_key)


def _block_after_losses(connection: Connection, key: str, lost: int, now: str) -> None:
    running = (
        connection.scalars(_RUNNING, {"flow": key}).all() or connection.scalars(_READY, {"flow": key}).all()
    )
    shown = ", ".join(running) or "none that is known"
    reason = (
        f"{lost} drivers in a row vanished while they ticked this flow (killed, crashed or out of memory); "
        f"tasks that were running: {shown}. Find out why they end their process before the flow is resumed."
    )
    connection.execute(_BLOCK, {"flow": key, "reason": reason, "now": now})


_TICKABLE: Final = ("PENDING", "RUNNING")
_CLAIM: Final = Prepared(
    update(flow)
    .where(flow.c.key == bindparam("flow"))
    .values(
        lease_token=bindparam("token"),
        lease_owner=bindparam("owner"),
        lease_expires_at=bindparam("expires_at"),
        lost_leases=bindparam("lost"),
    ),
    ("token", "owner", "expires_at", "lost", "flow"),
)
_HELD: Final = (
    (flow.c.key == bindparam("flow"))
    & (flow.c.lease_token == bindparam("held"))
    & flow.c.lease_owner.is_not(None)
)
_RENEW: Final = update(flow).where(_HELD).values(lease_expires_at=bindparam("new_expires_at"))
_RELEASE: Final = update(flow).where(_HELD).values(lease_owner=null(), lease_expires_at=null())
_BLOCK: Final = (
    update(flow)
    .where(flow.c.key == bindparam("flow"))
    .values(
        status=case((flow.c.status.in_(_TICKABLE), "BLOCKED"), else_=flow.c.status),
        blocked_reason=bindparam("reason"),
        next_tick_at=null(),
        lease_owner=null(),
        lease_expires_at=null(),
        lease_token=flow.c.lease_token + 1,
        lost_leases=0,
        revision=flow.c.revision + 1,
        modified_at=bindparam("now"),
    )
)
_BLOCK_HELD: Final = _BLOCK.where(
    flow.c.lease_token == bindparam("held"),
    flow.c.lease_owner.is_not(None),
)
_RUNNING: Final = (
    select(task.c.key)
    .where(task.c.flow_key == bindparam("flow"), task.c.status == "RUNNING")
    .order_by(task.c.position)
    .limit(10)
)
_READY: Final = (
    select(task.c.key)
    .where(task.c.flow_key == bindparam("flow"), task.c.status == "PENDING", task.c.unmet == 0)
    .order_by(task.c.position)
    .limit(10)
)
