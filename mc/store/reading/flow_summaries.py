"""Flows at a glance: which there are, and how each stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, case, select

from mc.context.json_values import loads
from mc.durations import parse_time
from mc.errors import StoreError
from mc.statuses import FLOW_CHANGES
from mc.store.flow_summary import FlowSummary
from mc.store.schema.tables import flow

__all__ = ["read_summaries", "summary_query"]

_MOST_ROWS: Final = 2**31 - 1


def summary_query(status: str | Iterable[str] | None, label: str | None, limit: int | None) -> Select[Any]:
    """Return the query for a list of flows, newest first.

    Raises:
        StoreError: a status is none, or the limit is negative.
    """
    query = _SUMMARIES.order_by(flow.c.created_at.desc(), flow.c.key)
    if status is not None:
        statuses = [str(status)] if isinstance(status, str) else [str(each) for each in status]
        for each in statuses:
            if each not in FLOW_CHANGES:
                known = ", ".join(FLOW_CHANGES)
                raise StoreError(f"{each!r} is not a flow status; use one of {known}.", found=each)
        query = query.where(flow.c.status.in_(statuses))
    if label is not None:
        query = query.where(flow.c.label == label)
    if limit is not None:
        if limit < 0:
            raise StoreError(f"A limit of {limit} flows makes no sense; use 0 or more.", found=limit)
        query = query.limit(min(limit, _MOST_ROWS))
    return query


def read_summaries(connection: Connection, query: Select[Any]) -> list[FlowSummary]:
    """Return what a query for a list of flows finds."""
    from mc.store.rows.flow_and_task_rows import explained

    found = []
    for row in connection.execute(query):
        with explained(row.key):
            found.append(_summary(row))
    return found


def _summary(row: Any) -> FlowSummary:
    return FlowSummary(
        key=row.key,
        label=row.label,
        status=row.status,
        created_at=parse_time(row.created_at),
        modified_at=parse_time(row.modified_at),
        next_tick_at=parse_time(row.next_tick_at) if row.next_tick_at else None,
        tasks=loads(row.task_counts),
        seconds=_seconds_of(row) if row.finished_at else None,
    )


def _seconds_of(row: Any) -> float | None:
    started_at = loads(row.body).get("started_at")
    if not started_at:  # it ended before its first tick
        return None
    return max((parse_time(row.finished_at) - parse_time(started_at)).total_seconds(), 0.0)


_SUMMARIES: Final = select(
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
