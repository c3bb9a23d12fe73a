"""The history of flows, written in the transactions of what it tells of, and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from mc.context.json_values import dumps
from mc.store.event import EventKind
from mc.store.lease import Lease
from mc.store.schema.tables import attempt, event, flow
from mc.store.sql.statements import BulkInsert, Prepared, Row

__all__ = [
    "EventRow",
    "HistoryDraft",
    "add_events",
    "insert_events",
    "to_number",
    "write_history",
]

_MAX_ATTEMPT: Final = 2**31 - 1  # that the column holds


class EventRow:
    """Makes rows of `mc_event` that are written together.

    Args:
        flow_key: of the flow.
        now: when they are written, ISO 8601.
        lease: under which; None for a save outside a runner.
    """

    def __init__(self, flow_key: str, now: str, lease: Lease | None = None) -> None:
        self.flow_key = flow_key
        self.now = now
        self.owner = lease.owner if lease is not None else None
        self.token = lease.token if lease is not None else None

    def make(
        self,
        kind: EventKind,
        new: str | None,
        *,
        old: str | None = None,
        task_key: str | None = None,
        number: Any = 0,
        at: str = "",
        error: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> Row:
        """Return a row.

        Args:
            kind: of the event.
            new: status after it.
            old: status before it.
            task_key: of the task; None for the flow itself.
            number: of the attempt, as the task dict has it.
            at: when it happened; now unless given.
            error: JSON text.
            detail: what else there is to say.
        """
        return (
            self.flow_key,
            task_key,
            to_number(number),
            str(kind),
            old,
            new,
            at or self.now,
            self.now,
            self.owner,
            self.token,
            error,
            dumps(detail) if detail is not None else None,
        )


@dataclass(slots=True)
class HistoryDraft:
    """What a save has to add to the history of a flow, made before the transaction begins."""

    events: list[Row] = field(default_factory=list)
    new_attempts: list[Row] = field(default_factory=list)
    ended_attempts: list[Row] = field(default_factory=list)  # that an earlier save had written


def write_history(connection: Connection, drafts: Sequence[HistoryDraft]) -> None:
    """Add the histories of flows that have just been written in the same transaction."""
    insert_events(connection, [row for draft in drafts for row in draft.events])
    _INSERT_ATTEMPTS.run(connection, [row for draft in drafts for row in draft.new_attempts])
    _END_ATTEMPT.run_many(connection, [row for draft in drafts for row in draft.ended_attempts])


def insert_events(connection: Connection, rows: Sequence[Row]) -> None:
    """Add events; the rows of their flows have been written or locked in the same transaction."""
    _INSERT_EVENTS.run(connection, rows)


def add_events(connection: Connection, flow_key: str, rows: Sequence[Row]) -> None:
    """Add events to a flow that others may be writing at this moment; none if it is not stored any more."""
    if connection.scalar(_LOCK_FLOW, {"flow": flow_key}) is not None:
        insert_events(connection, rows)


def to_number(value: Any) -> int:
    """Return the number of an attempt; 0 for what a handler made of it that is none."""
    return value if type(value) is int and 0 <= value <= _MAX_ATTEMPT else 0


_INSERT_EVENTS: Final = BulkInsert(event, ["id"])
_INSERT_ATTEMPTS: Final = BulkInsert(attempt, ["id"])
_END_ATTEMPT: Final = Prepared(
    update(attempt)
    .where(
        attempt.c.flow_key == bindparam("flow"),
        attempt.c.task_key == bindparam("task"),
        attempt.c.attempt == bindparam("number"),
        attempt.c.finished_at.is_(None),
    )
    .values(
        status=bindparam("new_status"),
        finished_at=bindparam("new_finished_at"),
        owner=bindparam("new_owner"),
        error=bindparam("new_error"),
    ),
    ("new_status", "new_finished_at", "new_owner", "new_error", "flow", "task", "number"),
)
_LOCK_FLOW: Final = select(flow.c.key).where(flow.c.key == bindparam("flow")).with_for_update()
