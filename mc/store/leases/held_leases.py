"""Leases that a runner holds: renewed, given back, and asked whether they still are the flow's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, bindparam, null, select, update

from mc.durations import format_time, parse_time
from mc.store.databases.base import Dialect
from mc.store.lease import Lease, LostCalls
from mc.store.schema.tables import flow
from mc.store.sql.statements import Batch, Prepared

if TYPE_CHECKING:
    from mc.flows.calls.call_note import FindNotes

__all__ = ["IS_HELD", "is_held_by", "keep", "names_of", "release", "renew", "set_aside"]


def renew(
    connection: Connection,
    dialect: Dialect,
    lease: Lease,
    note: FindNotes | None = None,
) -> datetime | None:
    """Return the time until which a lease was prolonged; None if it was taken over or given back.

    Where a transaction has locked the flow's row, the lease is left as it is: nobody can take it over
    meanwhile, and that of a transactional task may last.

    Args:
        connection: in a transaction that writes.
        dialect: of the database.
        lease: what is to be prolonged.
        note: returns the calls of the flow that last, to be told of in its row; asked when that is locked.
    """
    database_now: str = connection.scalars(select(dialect.now())).one()
    if connection.execute(dialect.lock_rows(_FIND_HELD), names_of(lease)).first() is None:
        return lease.expires_at if is_held_by(connection, lease) else None
    expires_at = parse_time(database_now) + timedelta(seconds=lease.seconds)
    params = {**names_of(lease), "new_expires_at": format_time(expires_at)}
    connection.execute(_RENEW, params)
    if note is not None:
        from mc.store.leases.call_notes import write_notes  # most calls are short

        write_notes(connection, lease.flow_key, note())
    return expires_at


def keep(connection: Connection, lease: Lease) -> bool:
    """Lock a flow's row until the transaction ends; False if the lease was taken over or given back."""
    return connection.scalar(_KEEP, names_of(lease)) is not None


def is_held_by(connection: Connection, lease: Lease) -> bool:
    """Tell whether a lease is the flow's: nobody took it over, and it was not given back."""
    return connection.scalar(_FIND_HELD, names_of(lease)) is not None


def release(
    connection: Connection, leases: Sequence[Lease], lost_calls: LostCalls | None = None
) -> list[Lease]:
    """Give leases back, and return those that were taken over or given back before.

    Args:
        connection: in a transaction that writes.
        leases: of different flows.
        lost_calls: in which their runner ended; they are counted with those of runners that vanished.
    """
    more: tuple[str | None, ...] = ()
    statement = _RELEASE
    if lost_calls is not None:
        statement = _RELEASE_AS_LOST
        more = (lost_calls.lose().to_text(),)
    batch = Batch(connection)
    in_order = sorted(leases, key=lambda lease: lease.flow_key)  # lest two runners wait for each other
    counts = [statement.put(batch, [(*more, *names_of(lease).values())]) for lease in in_order]
    batch.send()
    return [lease for lease, count in zip(in_order, counts, strict=True) if count.rows != 1]


def set_aside(connection: Connection, dialect: Dialect, lease: Lease, until: str, now: str) -> bool:
    """Give a lease back and make the flow due later; return False if it was taken over.

    What a person has asked for meanwhile makes it due at once.
    """
    from mc.store.rows.request_rows import withdraw  # few flows are
    from mc.store.rows.wakes import wake_if_noted

    statement = _GIVE_BACK.values(next_tick_at=until)
    if connection.execute(statement, names_of(lease)).rowcount != 1:
        return False
    withdraw(connection, dialect, lease.flow_key, parse_time(now))
    wake_if_noted(connection, lease.flow_key, False, now)
    return True


def names_of(lease: Lease) -> dict[str, Any]:
    """Return the parameters of `IS_HELD`, in the order of its names."""
    return {"flow": lease.flow_key, "held": lease.token, "held_id": lease.id}


IS_HELD: Final = (
    (flow.c.key == bindparam("flow"))
    & (flow.c.lease_token == bindparam("held"))
    & (flow.c.lease_id == bindparam("held_id"))
    & flow.c.lease_owner.is_not(None)
)
_NAMES: Final = ("flow", "held", "held_id")
_FIND_HELD: Final = select(flow.c.key).where(IS_HELD)
_KEEP: Final = select(flow.c.key).where(IS_HELD).with_for_update()
_RENEW: Final = update(flow).where(IS_HELD).values(lease_expires_at=bindparam("new_expires_at"))
_GIVE_BACK: Final = (
    update(flow).where(IS_HELD).values(lease_owner=null(), lease_expires_at=null(), long_calls=null())
)
_RELEASE: Final = Prepared(_GIVE_BACK, _NAMES)
_RELEASE_AS_LOST: Final = Prepared(
    update(flow)
    .where(IS_HELD)
    .values(
        lease_owner=null(),
        lease_expires_at=null(),
        lost_leases=flow.c.lost_leases + 1,
        lost_calls=bindparam("calls"),
    ),
    ("calls", *_NAMES),
)
