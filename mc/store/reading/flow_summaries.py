"""Flows at a glance: how each stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, case, select

from mc.context.json_values import loads
from mc.durations import parse_time
from mc.flows.calls.call_note import CallNote
from mc.store.databases.base import Dialect
from mc.store.flow_summary import FlowSummary
from mc.store.leases.call_notes import notes_from_text
from mc.store.leases.claims import live_notes
from mc.store.schema.tables import flow

__all__ = ["SUMMARIES", "read_summaries", "summaries_query"]


def summaries_query(dialect: Dialect) -> Select[Any]:
    """Return a query for flows at a glance, with the calls that last."""
    return SUMMARIES.add_columns(live_notes(dialect).label("calls"))


def read_summaries(connection: Connection, query: Select[Any]) -> list[FlowSummary]:
    """Return what a query that was made of `summaries_query` finds."""
    from mc.store.rows.flow_and_task_rows import explained

    found = []
    for row in connection.execute(query):
        with explained(row.key):
            found.append(_summary(row))
    return found


def _summary(row: Any) -> FlowSummary:
    calls = notes_from_text(row.calls) if row.calls else ()
    tasks = loads(row.task_counts)
    if calls:
        _count_called(tasks, calls)
    return FlowSummary(
        key=row.key,
        label=row.label,
        status="RUNNING" if calls and row.status == "PENDING" else row.status,
        created_at=parse_time(row.created_at),
        modified_at=parse_time(row.modified_at),
        finished_at=_time_of(row.finished_at),
        next_tick_at=_time_of(row.next_tick_at),
        tasks=tasks,
        seconds=_seconds_of(row) if row.finished_at else None,
        calls=calls,
    )


def _count_called(tasks: dict[str, int], calls: Sequence[CallNote]) -> None:
    """Count tasks that are called as RUNNING which were PENDING when their flow was saved last."""
    paths = [call.task for call in calls]
    outermost = sum(not any(path.startswith(f"{around}/") for around in paths) for path in paths)
    more = min(outermost - tasks.get("RUNNING", 0) - tasks.get("WAITING", 0), tasks.get("PENDING", 0))
    if more > 0:
        tasks["PENDING"] -= more
        tasks["RUNNING"] = tasks.get("RUNNING", 0) + more


def _time_of(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _seconds_of(row: Any) -> float | None:
    started_at = loads(row.body).get("started_at")
    if not started_at:  # it ended before its first tick
        return None
    return max((parse_time(row.finished_at) - parse_time(started_at)).total_seconds(), 0.0)


SUMMARIES: Final = select(
    flow.c.key,
    flow.c.label,
    flow.c.status,
    flow.c.created_at,
    flow.c.modified_at,
    flow.c.next_tick_at,
    flow.c.task_counts,
    flow.c.finished_at,
    case((flow.c.finished_at.is_not(None), flow.c.body)).label("body"),  # which has the start
)
