"""Tasks inside of tasks, put into the dicts of these for those who look at dicts alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select

from mc.context.json_values import loads
from mc.flows.state.task_node import Task
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
    path: tuple[str, ...] = (),
) -> None:
    """Put tasks that are inside of others into their dicts, at any depth, as in a flow dict.

    Args:
        connection: in a transaction.
        root_key: of the outermost flow.
        tasks: of one flow; changed in place.
        wanted: which tasks inside of them.
        limit: of one flow inside of a task, at most.
        path: keys of the tasks that they are inside of.
    """
    for task in tasks:
        holder: Any = task
        while isinstance(holder, dict):
            key = holder.get("sub_flow")
            if isinstance(key, str) and holder.get("status") in ("RUNNING", "WAITING"):
                query = select(_TASK.key, _TASK.body).where(
                    _TASK.flow_key == inner_flow_key(root_key, path, key), wanted
                )
                rows = connection.execute(query.order_by(_TASK.position).limit(limit))
                inside = {row.key: loads(row.body) for row in rows}
                below = (*path, str(task.get("key")))
                put_inside(connection, root_key, inside.values(), wanted, limit, below)
                holder["flow_dict"] = {"key": key, "graph": {"tasks": inside}}
            holder = holder.get("proxied_task")


def under_way() -> ColumnElement[bool]:
    """Return the condition of tasks that have begun, or wait for a time or for resources."""
    return or_(
        _TASK.status.in_(("RUNNING", "WAITING")),
        (_TASK.status == "PENDING") & (_TASK.due_at.is_not(None) | _TASK.body.like('%"resource_claim"%')),
    )


def mentions(task_type: str) -> ColumnElement[bool]:
    """Return the condition of tasks that have a type, or may have a task of it inside of them."""
    return or_(_TASK.body.like(f"%{task_type}%"), _TASK.body.like('%"sub_flow"%'))
