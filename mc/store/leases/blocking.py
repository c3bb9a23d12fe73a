"""Flows that are BLOCKED because they cannot be ticked, or because runners vanish while they tick them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from shlex import quote
from typing import Final

from sqlalchemy import Connection, bindparam, case, null, select, update

from mc.context.json_values import dumps, loads
from mc.durations import format_time, parse_time
from mc.errors import McError
from mc.statuses import FLOW_CHANGES
from mc.store.databases.base import Dialect
from mc.store.event import EventKind
from mc.store.history.event_log import EventRow, insert_events
from mc.store.lease import MAX_LOST_CALLS, Lease
from mc.store.leases.held_leases import IS_HELD, names_of
from mc.store.rows.request_rows import lend
from mc.store.rows.wakes import wake_if_noted
from mc.store.schema.tables import flow
from mc.store.sql.column_types import LongText, storable_text

__all__ = ["block", "block_after_losses"]


def block(connection: Connection, dialect: Dialect, lease: Lease, reason: str, now: str) -> bool:
    """Make a flow BLOCKED and give its lease back; return False if it was taken over."""
    params = names_of(lease)
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


def block_after_losses(
    connection: Connection, dialect: Dialect, key: str, calls: Sequence[str], now: str
) -> str:
    """Make a flow BLOCKED in which too many runners in a row made the same calls and vanished; return why.

    Args:
        connection: in a transaction that has locked the flow's row.
        dialect: of the database.
        key: of the flow.
        calls: which these are.
        now: ISO 8601.
    """
    tasks = ", ".join(call.rpartition("/")[0] for call in calls)
    reason = (
        f"{MAX_LOST_CALLS} runners in a row vanished while they made the same call (killed, crashed, out of "
        f"memory, interrupted, or cut off from the database); tasks that were running: {tasks}. Find out why "
        f"they end their process, then let the flow go on by `houston resume {quote(key)}`, or end it: "
        f"`houston cancel {quote(key)}`."
    )
    status = connection.scalar(_STATUS, {"flow": key})
    connection.execute(_BLOCK, {"flow": key, "reason": reason, "now": now})
    _forget_missing_handlers(connection, key)
    _note_blocked(connection, EventRow(key, now), status, reason)
    lend(connection, dialect, key, parse_time(now))
    wake_if_noted(connection, key, False, _after_a_while(now))
    return reason


def _forget_missing_handlers(connection: Connection, key: str) -> None:
    """Let no runner carry the flow on by itself, as if it were blocked for want of a handler still."""
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


def _after_a_while(now: str) -> str:
    """Return when to do what a person asks of a flow that has just made a runner stumble: not at once."""
    return format_time(parse_time(now) + _PAUSE)


_PAUSE: Final = timedelta(seconds=60)
# What cannot be ticked becomes BLOCKED, but what has ended or was stopped, whatever is wrong with it.
_LEFT_ALONE: Final = sorted(FLOW_CHANGES.keys() - {"PENDING", "RUNNING"})
_BODY: Final = select(flow.c.body).where(flow.c.key == bindparam("flow"))
_WRITE_BODY: Final = (
    update(flow).where(flow.c.key == bindparam("flow")).values(body=bindparam("text", type_=LongText()))
)
_STATUS: Final = select(flow.c.status).where(flow.c.key == bindparam("flow"))
_HELD_STATUS: Final = select(flow.c.status).where(IS_HELD).with_for_update()
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
        long_calls=null(),
        revision=flow.c.revision + 1,
        modified_at=bindparam("now"),
    )
)
_BLOCK_HELD: Final = _BLOCK.where(IS_HELD)
