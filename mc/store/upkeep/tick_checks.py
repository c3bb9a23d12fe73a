"""Checks of what runners did of late."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from mc.durations import format_duration, format_time
from mc.store.databases.base import Dialect
from mc.store.finding import Finding, Severity
from mc.store.history.tick_log import TickRecord, read_ticks, ticks_query
from mc.store.leases.claims import is_leased
from mc.store.schema.tables import flow

__all__ = ["check_ticks"]

_PERIOD: Final = timedelta(hours=24)
_MOST_ROWS: Final = 10_000
_KILLS: Final = 3  # a tick may be killed now and then; more in a day have a reason
_SHORTEST_GAP: Final = timedelta(minutes=5)
_INTERVALS: Final = 3  # so many times the usual distance between two ticks make a gap
_NEEDS_TIME: Final = ("PENDING", "RUNNING")

_Gap = tuple[datetime, datetime]  # a time without a tick


def check_ticks(connection: Connection, dialect: Dialect, now: datetime) -> Iterator[Finding]:
    """Yield what the ticks of the last 24 hours tell: gaps, overlaps, and those that never ended."""
    rows = read_ticks(connection, ticks_query(now - _PERIOD, _MOST_ROWS))
    alive = {row.id for row in rows if row.ended_at is None and _is_alive(connection, dialect, row)}
    regular = [row for row in reversed(rows) if not row.one_flow]
    gaps, overlaps = _compare(regular, now, alive)
    yield _check_gaps(connection, regular, gaps, now)
    yield from _check_ends([row for row in rows if row.ended_at is None and row.id not in alive])
    if overlaps:
        yield Finding(
            code="overlaps",
            severity=Severity.NOTE,
            message=f"{overlaps} ticks of the last 24 hours began while another one was under way. "
            f"This is safe: each flow is ticked by one of them.",
            advice="If ticks take longer than the interval of cron, give them --max-seconds.",
            details={"overlaps": overlaps},
        )


def _compare(rows: Sequence[TickRecord], now: datetime, alive: Collection[str]) -> tuple[list[_Gap], int]:
    """Return the times without a tick, and how many ticks began before an earlier one had ended."""
    if not rows:
        return [], 0
    usual = (rows[-1].started_at - rows[0].started_at) / len(rows)
    rest = max(_SHORTEST_GAP, usual * _INTERVALS)
    gaps, overlaps, covered = [], 0, rows[0].started_at
    for row in rows:
        if row.started_at - covered > rest:
            gaps.append((covered, row.started_at))
        overlaps += covered > row.started_at
        covered = max(covered, now if row.id in alive else row.ended_at or row.started_at)
    if now - covered > rest:
        gaps.append((covered, now))
    return gaps, overlaps


def _check_gaps(
    connection: Connection, rows: Sequence[TickRecord], gaps: Sequence[_Gap], now: datetime
) -> Finding:
    waits = flow.c.status.in_(_NEEDS_TIME) & flow.c.next_tick_at.is_not(None)
    needed = connection.scalar(select(flow.c.key).where(waits).limit(1)) is not None
    if not rows:
        return Finding(
            code="ticks",
            severity=Severity.PROBLEM if needed else Severity.NOTE,
            message="No tick was made in the last 24 hours"
            + (", and there are flows that need one." if needed else "; no flow needs one."),
            advice="Have houston tick called by cron, or run houston loop." if needed else "",
            details={"ticks": 0},
        )
    stopped = bool(gaps) and gaps[-1][1] == now
    last = max(row.ended_at or row.started_at for row in rows)
    return Finding(
        code="ticks",
        severity=Severity.PROBLEM if stopped and needed else Severity.NOTE if gaps else Severity.OK,
        message=_describe_ticks(rows, last, now, len(gaps) - stopped, stopped),
        advice="Find out whether cron or the loop still runs." if gaps else "",
        details={
            "ticks": sum(row.ticks for row in rows),
            "flows": sum(row.flows for row in rows),
            "tasks": sum(row.tasks for row in rows),
            "errors": sum(row.errors for row in rows),
            "last_tick_at": format_time(last),
            "gaps": [[format_time(begin), format_time(end)] for begin, end in gaps[-20:]],
        },
    )


def _describe_ticks(
    rows: Sequence[TickRecord], last: datetime, now: datetime, gaps: int, stopped: bool
) -> str:
    ago = format_duration(max((now - last).total_seconds(), 0.0))
    count = sum(row.ticks for row in rows)
    parts = [f"{count} {'tick' if count == 1 else 'ticks'} in the last 24 hours, the last {ago} ago"]
    if stopped:
        parts.append("which is much longer than usual")
    if gaps:
        parts.append(f"with {gaps} {'gap' if gaps == 1 else 'gaps'} before it")
    return ", ".join(parts) + "."


def _check_ends(vanished: Sequence[TickRecord]) -> Iterator[Finding]:
    if not vanished:
        return
    newest = vanished[0]
    yield Finding(
        code="vanished-ticks",
        severity=Severity.PROBLEM if len(vanished) >= _KILLS else Severity.NOTE,
        message=f"{len(vanished)} {'tick' if len(vanished) == 1 else 'ticks'} of the last 24 hours never "
        f"ended, the newest of {newest.owner} (process {newest.pid} on {newest.host}), begun at "
        f"{format_time(newest.started_at)}. Their processes were killed or lost the database; what they had "
        f"saved is kept, and later ticks go on with their flows.",
        advice="Look at the system's log of that time: out of memory, a time limit, a restart.",
        details={"vanished": [_describe(row) for row in vanished[:20]]},
    )


def _describe(row: TickRecord) -> dict[str, object]:
    begun_at = format_time(row.started_at)
    return {"owner": row.owner, "host": row.host, "pid": row.pid, "started_at": begun_at}


def _is_alive(connection: Connection, dialect: Dialect, row: TickRecord) -> bool:
    if row.host == os.uname().nodename:
        return _has_process(row.pid)
    query = select(flow.c.key).where(flow.c.lease_owner == row.owner, is_leased(dialect)).limit(1)
    return connection.scalar(query) is not None


def _has_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    return True
