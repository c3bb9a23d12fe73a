"""Controls that people asked for, kept until a runner has done them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, exists, or_, select

from mc.context.json_values import loads
from mc.errors import FlowNotFoundError
from mc.flows.controls.control import Control, ControlKind, check_control
from mc.store.event import EventKind
from mc.store.history.event_log import EventRow, insert_events, shorten_path
from mc.store.lease import Lease, Wake
from mc.store.rows.wakes import CANCEL, CONTROL, add_wake, has_controls
from mc.store.schema.tables import flow, task, wake
from mc.store.sql.statements import Row

__all__ = [
    "add_control",
    "cancel_sub_flow",
    "control_of",
    "find_controlled",
    "hand_on_to_sub_flows",
    "refused_event",
    "rerun_events",
    "send_control",
    "try_control",
]


def send_control(connection: Connection, flow_key: str, control: Control) -> str:
    """Keep what is asked of a flow, which becomes due; see `FlowStore.control`.

    Returns:
        The number under which it is kept.
    """
    _, waiting = _check(connection, _LOCK, flow_key, control)
    insert_events(connection, [_event(flow_key, control)])
    return _add(connection, flow_key, control, waiting)


def try_control(connection: Connection, flow_key: str, control: Control) -> str:
    """Return the status of a flow of which something could be asked, or raise what forbids it."""
    return _check(connection, _LOOK, flow_key, control)[0]


def _check(connection: Connection, query: Select[Any], flow_key: str, control: Control) -> tuple[str, int]:
    """Return the status of a flow, and the highest number of what is asked of it already."""
    row = connection.execute(query, {"flow": flow_key}).one_or_none()
    if row is None:
        raise FlowNotFoundError(f"No flow with the key {flow_key!r} is stored.", key=flow_key)
    found = connection.execute(_TASKS, {"flow": flow_key, "keys": _with_outer_keys(control.tasks)})
    statuses = {each.key: each.status for each in found}
    waiting = _waiting(connection, flow_key)
    if not waiting:  # else they decide what state it will be in
        check_control(
            flow_key,
            control,
            row.status,
            statuses,
            loads(row.task_counts),
            lambda: connection.scalars(_KEYS, {"flow": flow_key}),
        )
    return row.status, waiting


def _with_outer_keys(paths: Iterable[str]) -> list[str]:
    """Return paths, with each part of them that may be the key of the task into which they lead."""
    parts = [str(path).split("/") for path in paths]
    return list(dict.fromkeys("/".join(each[:end]) for each in parts for end in range(len(each), 0, -1)))


def add_control(connection: Connection, flow_key: str, control: Control) -> None:
    """Ask of a stored sub-flow what its flow asks for; it finds out itself whether it can be done."""
    if connection.execute(_LOCK, {"flow": flow_key}).one_or_none() is not None:
        insert_events(connection, [_event(flow_key, control)])
        _add(connection, flow_key, control, _waiting(connection, flow_key))


def cancel_sub_flow(connection: Connection, key: str, waiter_key: str, reason: str, now: str) -> None:
    """Note that a stored sub-flow is to end, after what was asked of it before: its retry, perhaps.

    Args:
        connection: in the transaction of the save of the flow that waited for it.
        key: of the sub-flow.
        waiter_key: of the flow that waited for it.
        reason: why.
        now: ISO 8601.
    """
    connection.execute(_LOCK, {"flow": key})
    if has_controls(connection, key):
        control = Control(kind=ControlKind.CANCEL, by=f"flow {waiter_key}", reason=reason, at=now)
        add_control(connection, key, control)
    else:
        add_wake(connection, key, Wake(kind=CANCEL, source_key=waiter_key, reason=reason), now)


def hand_on_to_sub_flows(connection: Connection, flow_key: str, control: Control) -> None:
    """Ask the same of the stored sub-flows that a flow waits for, where it concerns them."""
    resumes = control.kind is ControlKind.RESUME
    query = _SUB_FLOWS.where(or_(_HAS_STATUS, _IS_ASKED) if resumes else _HAS_STATUS)
    wanted = ("PAUSED",) if resumes else ("PENDING", "RUNNING", "BLOCKED")
    for key in connection.scalars(query, {"flow": flow_key, "statuses": wanted}).all():
        add_control(connection, key, control)


def find_controlled(connection: Connection, family: Sequence[str]) -> list[str]:
    """Return those of the flows of which something is asked, or is cancelled, that was not done yet."""
    return list(connection.scalars(_CONTROLLED, {"keys": family, "kinds": [CANCEL, CONTROL]}))


def control_of(noted: Wake) -> Control:
    """Return what was asked."""
    return Control.from_text(noted.reason or "")


def refused_event(flow_key: str, control: Control, why: str, now: str, lease: Lease | None) -> Row:
    """Return the event that tells why something could not be done when its turn came."""
    detail = {**control.describe(), "why": why}
    return EventRow(flow_key, now, lease).make(EventKind.CONTROL_REFUSED, None, detail=detail)


def rerun_events(old_key: str, new_key: str, by: str, reason: str | None, now: str) -> list[Row]:
    """Return the events that tell of a flow which was made from the spec of another one."""
    told = {"control": "rerun", "by": by, "reason": reason}
    return [
        EventRow(old_key, now).make(EventKind.CONTROL, None, detail={**told, "new_flow": new_key}),
        EventRow(new_key, now).make(EventKind.CONTROL, None, detail={**told, "of_flow": old_key}),
    ]


def _event(flow_key: str, control: Control) -> Row:
    row = EventRow(flow_key, control.at)
    task_key = shorten_path(control.tasks[0]) if len(control.tasks) == 1 else None
    return row.make(EventKind.CONTROL, None, task_key=task_key, detail=control.describe())


def _waiting(connection: Connection, flow_key: str) -> int:
    """Return the highest number of what is asked of a flow already; 0 if nothing is."""
    params = {"flow": flow_key, "kind": CONTROL}
    return max((int(number) for number in connection.scalars(_NUMBERS, params)), default=0)


def _add(connection: Connection, flow_key: str, control: Control, waiting: int) -> str:
    number = f"{waiting + 1:08d}"  # in order, as text too
    noted = Wake(kind=CONTROL, source_key=number, reason=control.to_text())
    add_wake(connection, flow_key, noted, control.at)
    return number


_LOOK: Final = select(flow.c.status, flow.c.task_counts).where(flow.c.key == bindparam("flow"))
_LOCK: Final = _LOOK.with_for_update()
_TASKS: Final = select(task.c.key, task.c.status).where(
    task.c.flow_key == bindparam("flow"), task.c.key.in_(bindparam("keys", expanding=True))
)
_KEYS: Final = select(task.c.key).where(task.c.flow_key == bindparam("flow")).limit(5_000)
_NUMBERS: Final = select(wake.c.source_key).where(
    wake.c.flow_key == bindparam("flow"), wake.c.kind == bindparam("kind")
)
_CONTROLLED: Final = (
    select(wake.c.flow_key)
    .where(
        wake.c.flow_key.in_(bindparam("keys", expanding=True)),
        wake.c.kind.in_(bindparam("kinds", expanding=True)),
    )
    .distinct()
)
_SUB_FLOWS: Final = select(flow.c.key).where(flow.c.waiter_key == bindparam("flow")).order_by(flow.c.key)
_HAS_STATUS: Final = flow.c.status.in_(bindparam("statuses", expanding=True))
# It may be paused still by what it has not heard of.
_IS_ASKED: Final = exists().where(wake.c.flow_key == flow.c.key, wake.c.kind == CONTROL)
