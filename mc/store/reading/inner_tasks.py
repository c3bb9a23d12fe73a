"""Tasks inside of tasks, put into the dicts of these for those who look at dicts alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, func, or_, select

from mc.context.json_values import loads
from mc.flows.state.task_node import Task, with_proxied
from mc.store.reading.flow_reader import chunks
from mc.store.rows.inner_flow_rows import inner_flow_key
from mc.store.schema.tables import inner_task

__all__ = ["mentions", "put_inside", "under_way"]

_TASK = inner_task.c


def put_inside(
    connection: Connection,
    root_key: str,
    tasks: Iterable[Task],
    wanted: ColumnElement[bool],
    limit: int | None = None,
) -> None:
    """Put tasks that are inside of others into their dicts, at any depth, as in a flow dict.

    Args:
        connection: in a transaction.
        root_key: of the flow.
        tasks: of the flow; changed in place.
        wanted: which tasks inside of them.
        limit: of one flow inside of a task, at most.
    """
    level: list[tuple[tuple[str, ...], Task]] = [((), task) for task in tasks]
    while level:
        holders = {
            inner_flow_key(root_key, path, holder["sub_flow"]): ((*path, str(task.get("key"))), holder)
            for path, task in level
            for holder in with_proxied(task)
            if isinstance(holder.get("sub_flow"), str) and holder.get("status") in ("RUNNING", "WAITING")
        }
        found = _read_inside(connection, list(holders), wanted, limit)
        level = []
        for key, (below, holder) in holders.items():
            inside = found.get(key, {})
            holder["flow_dict"] = {"key": holder["sub_flow"], "graph": {"tasks": inside}}
            level += [(below, task) for task in inside.values()]


def _read_inside(
    connection: Connection, keys: Sequence[str], wanted: ColumnElement[bool], limit: int | None
) -> dict[str, dict[str, Task]]:
    """Return tasks by key, by the keys of the rows of their flows."""
    found: dict[str, dict[str, Task]] = {}
    for chunk in chunks(keys):
        query = select(_TASK.flow_key, _TASK.key, _TASK.body).where(_TASK.flow_key.in_(chunk), wanted)
        query = query.order_by(_TASK.flow_key, _TASK.position)
        if limit is not None:
            place = func.row_number().over(partition_by=_TASK.flow_key, order_by=_TASK.position)
            numbered = query.add_columns(place.label("place")).order_by(None).subquery()
            query = select(numbered).where(numbered.c.place <= limit)
            query = query.order_by(numbered.c.flow_key, numbered.c.place)
        for row in connection.execute(query):
            found.setdefault(row.flow_key, {})[row.key] = loads(row.body)
    return found


def under_way() -> ColumnElement[bool]:
    """Return the condition of tasks that have begun, or wait for a time or for resources."""
    return or_(
        _TASK.status.in_(("RUNNING", "WAITING")),
        (_TASK.status == "PENDING") & (_TASK.due_at.is_not(None) | _TASK.body.like('%"resource_claim"%')),
    )


def mentions(task_type: str) -> ColumnElement[bool]:
    """Return the condition of tasks that have a type, or may have a task of it inside of them."""
    return or_(_TASK.body.like(f"%{task_type}%"), _TASK.body.like('%"sub_flow"%'))
