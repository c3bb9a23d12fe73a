"""Checks for rows that no runner can read, and that it therefore passes over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from mc.statuses import FINISHED_FLOW_STATUSES, FLOW_CHANGES, TASK_CHANGES
from mc.store.finding import Finding, Severity
from mc.store.schema.tables import flow, task

__all__ = ["check_rows", "unreadable"]

_SHOWN: Final = 5
_TIME: Final = "____-__-__T__:__:__.______+00:00"
_OBJECT: Final = "{%}"


def check_rows(connection: Connection) -> Iterator[Finding]:
    """Yield which rows of flows, and of the tasks of unfinished ones, hold what mc never writes.

    Args:
        connection: in a transaction that reads.
    """
    row = flow.c
    wrong_flow = or_(
        row.status.not_in(FLOW_CHANGES),
        *(_is_no_time(column) for column in (row.created_at, row.modified_at)),
        *(_is_no_time(column) for column in (row.next_tick_at, row.finished_at, row.lease_expires_at)),
        *(column.not_like(_OBJECT) for column in (row.task_counts, row.data, row.body)),
    )
    keys = connection.scalars(select(row.key).where(wrong_flow).order_by(row.key).limit(_SHOWN)).all()
    if keys:
        yield unreadable("flows", ", ".join(keys), keys)
    is_open = task.c.flow_key.in_(select(row.key).where(row.status.not_in(FINISHED_FLOW_STATUSES)))
    wrong_task = or_(
        task.c.status.not_in(TASK_CHANGES),
        and_(is_open, or_(_is_no_time(task.c.due_at), task.c.body.not_like(_OBJECT))),
    )
    query = select(task.c.flow_key, task.c.key).where(wrong_task).limit(_SHOWN)
    paths = [f"{each.flow_key}: {each.key}" for each in connection.execute(query)]
    if paths:
        yield unreadable("tasks", ", ".join(paths), paths)


def unreadable(what: str, shown: str, keys: Any = ()) -> Finding:
    """Return the finding for rows that cannot be read.

    Args:
        what: of what they are.
        shown: which, or what is wrong with them.
        keys: of what they belong to.
    """
    return Finding(
        code="unreadable-rows",
        severity=Severity.PROBLEM,
        message=f"Rows of {what} hold what mc never writes, and runners may pass over them: {shown}. They "
        f"were changed by something else, or the database is damaged.",
        advice="Find out what wrote to the tables of mc; restore a backup, or mend the rows by hand.",
        details={"rows": what, "keys": list(keys)},
    )


def _is_no_time(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.not_like(_TIME)  # null is neither
