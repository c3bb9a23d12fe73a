"""Wakes, which tell a stored flow of what happened elsewhere: a sub-flow ended, a signal came, ...

A row stays until the save of a tick that acted upon it, so that nothing is missed while a runner
holds the flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.lease import Wake
from mc.store.schema.tables import flow, wake
from mc.store.sql.column_types import storable_text
from mc.store.sql.statements import Batch, Prepared

__all__ = [
    "CANCEL",
    "CONTROL",
    "FINISHED",
    "JOB",
    "RESOURCE",
    "SIGNAL",
    "add_wake",
    "add_wakes",
    "due_if_noted",
    "has_controls",
    "list_wakes",
    "lock_flow",
    "put_wake",
    "remove_wakes",
    "remove_wakes_of_finished",
    "wake_if_noted",
]

FINISHED: Final = "finished"  # `reason` tells one end of a sub-flow from the next
CANCEL: Final = "cancel"
SIGNAL: Final = "signal"
JOB: Final = "job"  # a job ended; `reason` is its key
CONTROL: Final = "control"  # what a person asks for, in `reason`; for flows with any status
RESOURCE: Final = (
    "resource"  # there may be something for tasks that wait for it; `reason` tells it from the next
)


def add_wake(connection: Connection, flow_key: str, found: Wake, now: str) -> None:
    """Note what happened for a flow, and make it due; see `add_wakes`."""
    add_wakes(connection, flow_key, [found], now)


def add_wakes(connection: Connection, flow_key: str, found: Sequence[Wake], now: str) -> None:
    """Note what happened for a flow, if it is stored and unfinished, and make it due.

    A paused or blocked flow becomes due only to be cancelled or for what a person asks for; the rest waits
    until it is resumed. A person may ask for something of a finished flow too.
    """
    # A save of that flow which is under way is over before anything is looked at, or waits until this
    # transaction is over and finds its wakes.
    status = connection.scalar(_LOCK, {"flow": flow_key})
    if status is None:
        return
    if status in FINISHED_FLOW_STATUSES:
        found = [each for each in found if each.kind == CONTROL]
    if not found:
        return
    places = [{"flow": flow_key, "what": each.kind, "source": each.source_key} for each in found]
    connection.execute(_FORGET, places)
    connection.execute(
        insert(wake),
        [
            {
                "flow_key": flow_key,
                "kind": each.kind,
                "source_key": each.source_key,
                "reason": storable_text(each.reason) if each.reason is not None else None,
            }
            for each in found
        ],
    )
    if status in ("PENDING", "RUNNING") or any(each.kind in (CANCEL, CONTROL) for each in found):
        is_later = or_(flow.c.next_tick_at.is_(None), flow.c.next_tick_at > now)
        connection.execute(update(flow).where(flow.c.key == flow_key, is_later).values(next_tick_at=now))


def lock_flow(connection: Connection, flow_key: str) -> None:
    """Keep others from saving or claiming a flow until the transaction ends."""
    connection.execute(_LOCK, {"flow": flow_key})


def wake_if_noted(connection: Connection, flow_key: str, live: bool, now: str) -> None:
    """Make a flow due if something is noted for it; see `put_wake`."""
    batch = Batch(connection)
    put_wake(batch, flow_key, live, now)
    batch.send()


def put_wake(batch: Batch, flow_key: str, live: bool, now: str) -> None:
    """Let a batch make a flow due if something is noted for it.

    Args:
        batch: in which, or before which, the flow's row is written: what others noted before that is seen by
            this statement, and not by the one that waited for them.
        flow_key: the flow's key.
        live: whether it can be ticked; if not, only a cancellation or what a person asks for makes it due.
        now: ISO 8601.
    """
    _WAKE.put(batch, [(now, flow_key, now, int(live))])


def list_wakes(connection: Connection, flow_keys: Sequence[str]) -> dict[str, list[Wake]]:
    """Return what is noted for flows, by flow; those with nothing are left out."""
    found: dict[str, list[Wake]] = {}
    for flow_key, kind, source_key, reason in connection.execute(_LIST, {"flow_keys": flow_keys}):
        found.setdefault(flow_key, []).append(Wake(kind=kind, source_key=source_key, reason=reason))
    return found


def remove_wakes(batch: Batch, flow_key: str, wakes: Iterable[Wake]) -> None:
    """Let a batch remove what was acted upon; not what was noted since, such as a sub-flow's second end."""
    _REMOVE.put(batch, [(flow_key, found.kind, found.source_key, found.reason or "") for found in wakes])


def remove_wakes_of_finished(batch: Batch, flow_key: str) -> None:
    """Let a batch remove what a finished flow need not know any more; what a person asks for stays."""
    _REMOVE_BUT_CONTROLS.put(batch, [(flow_key,)])


def has_controls(connection: Connection, flow_key: str) -> bool:
    """Tell whether a person asks for something that was not done yet."""
    return connection.scalar(_FIND_CONTROL, {"flow": flow_key}) is not None


_LIST: Final = (
    select(wake.c.flow_key, wake.c.kind, wake.c.source_key, wake.c.reason)
    .where(wake.c.flow_key.in_(bindparam("flow_keys", expanding=True)))
    .order_by(wake.c.flow_key, wake.c.kind, wake.c.source_key)
)
_LOCK: Final = select(flow.c.status).where(flow.c.key == bindparam("flow")).with_for_update()
_NOTED = exists().where(
    wake.c.flow_key == flow.c.key,
    or_(wake.c.kind == CANCEL, wake.c.kind == CONTROL, bindparam("live") == 1),
)


def due_if_noted(next_tick_at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return when a flow is due whose row is written: at `now` if something is noted for it.

    It is for databases with one writer at a time, where nobody notes anything meanwhile.

    Args:
        next_tick_at: when else; the other parameters are `now` and `live`.
    """
    is_later = or_(next_tick_at.is_(None), next_tick_at > bindparam("now"))
    return case((and_(_NOTED, is_later), bindparam("now")), else_=next_tick_at)


_WAKE: Final = Prepared(
    update(flow)
    .where(
        flow.c.key == bindparam("flow"),
        or_(flow.c.next_tick_at.is_(None), flow.c.next_tick_at > bindparam("now")),
        _NOTED,
    )
    .values(next_tick_at=bindparam("due_at")),
    ("due_at", "flow", "now", "live"),
)
_OF_FLOW = delete(wake).where(wake.c.flow_key == bindparam("flow"))
_FORGET: Final = _OF_FLOW.where(wake.c.kind == bindparam("what"), wake.c.source_key == bindparam("source"))
_REMOVE_BUT_CONTROLS: Final = Prepared(_OF_FLOW.where(wake.c.kind != CONTROL), ("flow",))
_FIND_CONTROL: Final = (
    select(wake.c.flow_key).where(wake.c.flow_key == bindparam("flow"), wake.c.kind == CONTROL).limit(1)
)
_REMOVE: Final = Prepared(
    _OF_FLOW.where(
        wake.c.kind == bindparam("what"),
        wake.c.source_key == bindparam("source"),
        or_(
            and_(wake.c.kind != FINISHED, wake.c.kind != RESOURCE),
            func.coalesce(wake.c.reason, "") == bindparam("reason"),
        ),
    ),
    ("flow", "what", "source", "reason"),
)
