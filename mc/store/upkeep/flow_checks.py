"""Checks of the flows that are stored: which are late, held by nobody, blocked or waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from mc.durations import format_duration, format_time, parse_time
from mc.store.databases.base import Dialect
from mc.store.finding import Finding, Severity
from mc.store.lease import MAX_LOST_CALLS, LostCalls
from mc.store.leases.claims import is_leased
from mc.store.schema.tables import flow

__all__ = ["check_flows"]

_SHOWN: Final = 5
_TICKABLE: Final = ("PENDING", "RUNNING")


def check_flows(
    connection: Connection, dialect: Dialect, now: datetime, late_after: timedelta
) -> Iterator[Finding]:
    """Yield what the rows of flows tell.

    Args:
        connection: in a transaction that reads.
        dialect: its kind of database.
        now: the present.
        late_after: for so long a flow may be due, or its lease be over, before it is called late.
    """
    yield _count_flows(connection)
    yield from _check_late(connection, dialect, now, late_after)
    yield from _check_leases(connection, dialect, late_after)
    yield from _check_suspects(connection)
    yield from _check_blocked(connection)
    yield from _check_waiting(connection, now)


def _count_flows(connection: Connection) -> Finding:
    query = select(flow.c.status, func.count()).group_by(flow.c.status).order_by(flow.c.status)
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    shown = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    return Finding(code="flows", severity=Severity.OK, message=f"Flows: {shown}.", details=counts)


def _check_late(
    connection: Connection, dialect: Dialect, now: datetime, late_after: timedelta
) -> Iterator[Finding]:
    late = and_(flow.c.next_tick_at < format_time(now - late_after), ~is_leased(dialect))
    count, oldest = _count(connection, late, flow.c.next_tick_at)
    if not count:
        return
    since = format_duration((now - parse_time(oldest)).total_seconds())
    yield Finding(
        code="late-flows",
        severity=Severity.PROBLEM,
        message=f"{_flows(count)} due for longer than {format_duration(late_after.total_seconds())}, the "
        f"oldest since {since}: no runner takes them up, or the runners cannot keep up.",
        advice="Check that houston tick or houston loop runs on this database; let more of them run.",
        details={"count": count, "oldest": oldest, "keys": _keys(connection, late, flow.c.next_tick_at)},
    )


def _check_leases(connection: Connection, dialect: Dialect, late_after: timedelta) -> Iterator[Finding]:
    expired = and_(flow.c.status.in_(_TICKABLE), flow.c.lease_owner.is_not(None), ~is_leased(dialect))
    count, oldest = _count(connection, expired, flow.c.lease_expires_at)
    if not count:
        return
    database_now = parse_time(connection.scalars(select(dialect.now())).one())
    is_old = database_now - parse_time(oldest) > late_after
    yield Finding(
        code="expired-leases",
        severity=Severity.PROBLEM if is_old else Severity.NOTE,
        message=f"{_flows(count)} held by a runner that vanished; the oldest lease ended at {oldest}. The "
        f"next tick takes them over.",
        advice="Check that houston tick or houston loop runs on this database." if is_old else "",
        details={
            "count": count,
            "oldest": oldest,
            "keys": _keys(connection, expired, flow.c.lease_expires_at),
        },
    )


def _check_suspects(connection: Connection) -> Iterator[Finding]:
    suspect = and_(flow.c.status.in_(_TICKABLE), or_(flow.c.lost_leases > 0, flow.c.lost_calls.is_not(None)))
    count, oldest = _count(connection, suspect, flow.c.modified_at)
    if not count:
        return
    query = select(flow.c.key, flow.c.lost_leases, flow.c.lost_calls).where(suspect)
    found = connection.execute(query.order_by(flow.c.modified_at).limit(_SHOWN)).all()
    shown = "; ".join(_describe_suspect(*row) for row in found)
    yield Finding(
        code="suspect-flows",
        severity=Severity.NOTE,
        message=f"{_flows(count)} under suspicion, because runners ended while they held them: {shown}. Each "
        f"is ticked alone and after the others, and saved before each call; it becomes BLOCKED when "
        f"{MAX_LOST_CALLS} runners in a row have ended in the same call.",
        advice="Find out why the runners ended: the system's log, a limit of memory or time, a person.",
        details={"count": count, "oldest": oldest, "keys": [row.key for row in found]},
    )


def _describe_suspect(key: str, lost: int, calls: str | None) -> str:
    counts = LostCalls.from_text(calls).counts
    told = [f"{count} while it called task {call.rpartition('/')[0]!r}" for call, count in counts.items()]
    return f"{key}: {', '.join(told) or f'{lost} in a row'}"


def _check_blocked(connection: Connection) -> Iterator[Finding]:
    for code, is_meant, until, advice in _BLOCKED:
        blocked = and_(flow.c.status == "BLOCKED", is_meant)
        count, oldest = _count(connection, blocked, flow.c.modified_at)
        if count:
            reasons = _reasons(connection, blocked)
            shown = "; ".join(f"{key}: {reason}" for key, reason in reasons.items())
            yield Finding(
                code=code,
                severity=Severity.PROBLEM,
                message=f"{_flows(count)} BLOCKED {until}. {shown}",
                advice=advice,
                details={"count": count, "oldest": oldest, "reasons": reasons},
            )


_BLOCKED: Final = (
    (
        "blocked-flows",
        flow.c.next_tick_at.is_(None),
        "and not ticked until somebody decides",
        "Read houston show KEY, mend the cause, then houston resume KEY, or houston cancel KEY.",
    ),
    (
        "missing-handlers",
        flow.c.next_tick_at.is_not(None),
        "until a runner has their handlers",
        "Let a runner run that has them (--handlers MODULE); the flows then carry on by themselves.",
    ),
)


def _reasons(connection: Connection, where: ColumnElement[bool]) -> dict[str, str]:
    query = select(flow.c.key, flow.c.blocked_reason).where(where).order_by(flow.c.modified_at).limit(_SHOWN)
    return {row[0]: row[1] for row in connection.execute(query)}


def _check_waiting(connection: Connection, now: datetime) -> Iterator[Finding]:
    waiting = and_(flow.c.status.in_(_TICKABLE), flow.c.next_tick_at.is_(None), flow.c.lease_owner.is_(None))
    count, oldest = _count(connection, waiting, flow.c.modified_at)
    if not count:
        return
    since = format_duration(max((now - parse_time(oldest)).total_seconds(), 0.0))
    yield Finding(
        code="waiting-flows",
        severity=Severity.NOTE,
        message=f"{_flows(count)} waiting for an event from outside or for a sub-flow, the oldest since "
        f"{since}.",
        advice="Look at the oldest with houston show KEY if that is longer than you expect.",
        details={"count": count, "oldest": oldest, "keys": _keys(connection, waiting, flow.c.modified_at)},
    )


def _count(connection: Connection, where: ColumnElement[bool], at: ColumnElement[Any]) -> tuple[int, str]:
    count, oldest = connection.execute(select(func.count(), func.min(at)).where(where)).one()
    return count, oldest


def _keys(connection: Connection, where: ColumnElement[bool], at: ColumnElement[Any]) -> Sequence[str]:
    return connection.scalars(select(flow.c.key).where(where).order_by(at).limit(_SHOWN)).all()


def _flows(count: int) -> str:
    return "1 flow is" if count == 1 else f"{count} flows are"
