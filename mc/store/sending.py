"""Sends signals and decisions to stored flows, each in one transaction with what makes the flow due."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, or_, select

from mc.context.json_values import loads
from mc.errors import FlowNotFoundError
from mc.flows.mailbox import Signal
from mc.flows.signalling import (
    check_data,
    decision_signal,
    find_approvals,
    refuse_finished,
    refuse_other_decision,
    same_signal,
)
from mc.flows.task_node import Task
from mc.statuses import FINISHED_TASK_STATUSES
from mc.store.event_log import EventRow, insert_events
from mc.store.signal_rows import find_signal, insert_signal, sent_event
from mc.store.tables import flow, task

__all__ = ["send_decision", "send_signal"]


def send_signal(connection: Connection, flow_key: str, new: Signal) -> bool:
    """Send a signal; False if it was sent before; see `FlowStore.signal`."""
    status = _lock(connection, flow_key)
    known = find_signal(connection, flow_key, new.id)
    if known is not None:
        same_signal(flow_key, new, known.name, known.data)
        return False
    refuse_finished(flow_key, status)
    check_data(flow_key, _read_tasks(connection, flow_key, "wait_for_signal"), new)
    _send(connection, flow_key, new)
    return True


def send_decision(
    connection: Connection,
    flow_key: str,
    task_name: str,
    *,
    approved: bool,
    by: str,
    comment: str | None,
    now: str,
) -> bool:
    """Send a decision on an approval; False if it was decided so before; see `FlowStore.decide`."""
    status = _lock(connection, flow_key)
    found = [
        entry
        for body in _read_tasks(connection, flow_key, "approval", task_name.partition("/")[0])
        for entry in find_approvals(body, (body["key"],))
    ]
    new = decision_signal(flow_key, found, task_name, approved=approved, by=by, comment=comment, at=now)
    if new is None:
        return False
    known = find_signal(connection, flow_key, new.id)
    if known is not None:
        refuse_other_decision(flow_key, task_name, new.data, by, known.data, known.sent_by, known.sent_at)
        return False
    refuse_finished(flow_key, status)
    _send(connection, flow_key, new)
    return True


def _lock(connection: Connection, flow_key: str) -> str:
    """Return a flow's status; signals to it come one after the other, and no save in between."""
    status: str | None = connection.scalar(_LOCK, {"flow": flow_key})
    if status is None:
        raise FlowNotFoundError(f"No flow with the key {flow_key!r} is stored.", key=flow_key)
    return status


def _send(connection: Connection, flow_key: str, new: Signal) -> None:
    insert_signal(connection, flow_key, new, new.sent_at)
    insert_events(connection, [sent_event(EventRow(flow_key, new.sent_at), new)])


def _read_tasks(connection: Connection, flow_key: str, task_type: str, named: str = "") -> list[Task]:
    """Return the unfinished tasks in which there is a task of a type, and the task that is named."""
    params = {"flow": flow_key, "pattern": f"%{task_type}%", "named": named, "finished": _FINISHED}
    return [loads(body) for body in connection.scalars(_TASKS, params)]


_FINISHED: Final = sorted(map(str, FINISHED_TASK_STATUSES))
_LOCK: Final = select(flow.c.status).where(flow.c.key == bindparam("flow")).with_for_update()
_TASKS: Final = (
    select(task.c.body)
    .where(
        task.c.flow_key == bindparam("flow"),
        task.c.body.like(bindparam("pattern")),
        or_(task.c.status.not_in(bindparam("finished", expanding=True)), task.c.key == bindparam("named")),
    )
    .order_by(task.c.position)
)
