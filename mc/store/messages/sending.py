"""Signals and decisions sent to stored flows, written together with what makes the flow due."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, or_, select

from mc.context.json_values import loads
from mc.errors import FlowNotFoundError
from mc.flows.signals.signal_rules import (
    DataCheck,
    decision_signal,
    find_approvals,
    find_schemas,
    refuse_finished,
    refuse_other_decision,
    same_signal,
)
from mc.flows.state.mailbox import Signal
from mc.flows.state.task_node import Task
from mc.statuses import FINISHED_TASK_STATUSES
from mc.store.database import Database
from mc.store.history.event_log import EventRow, insert_events
from mc.store.reading.inner_tasks import mentions, put_inside
from mc.store.rows.signal_rows import find_signal, insert_signal, sent_event
from mc.store.schema.tables import flow, task

__all__ = ["send_decision", "send_signal"]


@dataclass(frozen=True, slots=True)
class _Receiver:
    """What a flow has to do with a signal that is sent to it."""

    status: str
    revision: int
    known: Signal | None  # that was sent with the same id before
    schemas: list[str]  # see `find_schemas`

    def takes(self, flow_key: str, new: Signal) -> bool:
        """Tell whether the signal is new to the flow; raise `SignalError` if it cannot be sent."""
        if self.known is not None:
            same_signal(flow_key, new, self.known.name, self.known.data)
            return False
        refuse_finished(flow_key, self.status)
        return True


def send_signal(database: Database, flow_key: str, new: Signal) -> bool:
    """Send a signal; False if it was sent before; see `FlowStore.signal`.

    What a sender sends is checked with no transaction open, for as long as that takes: the flow is read, and
    what was read is compared when the signal is written.
    """
    check = DataCheck(flow_key, new)
    while True:
        receiver = database.read(lambda connection: _read_receiver(connection, _LOOK, flow_key, new))
        if not receiver.takes(flow_key, new):
            return False
        check.make(receiver.schemas)
        sent = database.write(
            partial(_send_checked, flow_key=flow_key, new=new, checked=receiver, check=check)
        )
        if sent is not None:
            return sent


def _send_checked(
    connection: Connection, *, flow_key: str, new: Signal, checked: _Receiver, check: DataCheck
) -> bool | None:
    """Write a signal; None: the flow waits for something else by now, against which it was not checked."""
    receiver = _read_receiver(connection, _LOCK, flow_key, new, checked)
    if not receiver.takes(flow_key, new):
        return False
    if not check.is_made(receiver.schemas):
        return None
    check.make(receiver.schemas)
    _send(connection, flow_key, new)
    return True


def _read_receiver(
    connection: Connection, query: Select[Any], flow_key: str, new: Signal, before: _Receiver | None = None
) -> _Receiver:
    status, revision = _find_flow(connection, query, flow_key)
    known = find_signal(connection, flow_key, new.id)
    if before is not None and before.revision == revision:
        schemas = before.schemas
    else:
        schemas = find_schemas(_read_tasks(connection, flow_key, "wait_for_signal"), new.name)
    return _Receiver(status, revision, known, schemas)


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
    status, _ = _find_flow(connection, _LOCK, flow_key)
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


def _find_flow(connection: Connection, query: Select[Any], flow_key: str) -> tuple[str, int]:
    """Return a flow's status and revision; with `_LOCK` no other sender and no save comes in between."""
    row = connection.execute(query, {"flow": flow_key}).one_or_none()
    if row is None:
        raise FlowNotFoundError(f"No flow with the key {flow_key!r} is stored.", key=flow_key)
    return row.status, row.revision


def _send(connection: Connection, flow_key: str, new: Signal) -> None:
    insert_signal(connection, flow_key, new, new.sent_at)
    insert_events(connection, [sent_event(EventRow(flow_key, new.sent_at), new)])


def _read_tasks(connection: Connection, flow_key: str, task_type: str, named: str = "") -> list[Task]:
    """Return the unfinished tasks in which there is a task of a type, and the task that is named."""
    params = {"flow": flow_key, "pattern": f"%{task_type}%", "named": named, "finished": _FINISHED}
    tasks: list[Task] = [loads(body) for body in connection.scalars(_TASKS, params)]
    put_inside(connection, flow_key, tasks, mentions(task_type))
    return tasks


_FINISHED: Final = sorted(map(str, FINISHED_TASK_STATUSES))
_LOOK: Final = select(flow.c.status, flow.c.revision).where(flow.c.key == bindparam("flow"))
_LOCK: Final = _LOOK.with_for_update()
_TASKS: Final = (
    select(task.c.body)
    .where(
        task.c.flow_key == bindparam("flow"),
        or_(task.c.body.like(bindparam("pattern")), task.c.body.like('%"sub_flow"%')),
        or_(task.c.status.not_in(bindparam("finished", expanding=True)), task.c.key == bindparam("named")),
    )
    .order_by(task.c.position)
)
