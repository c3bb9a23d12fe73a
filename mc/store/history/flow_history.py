"""The history of flows as it is read: what happened to them, and each try of their tasks."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from mc.context.json_values import loads
from mc.durations import parse_time
from mc.errors import FlowNotFoundError
from mc.store.database import Database
from mc.store.event import Attempt, Event, EventKind
from mc.store.schema.tables import attempt, event, flow

__all__ = ["FlowHistory", "read_attempts", "read_events"]


class FlowHistory:
    """Tells what happened to the flows of a store.

    Args:
        database: of the flows.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def events(self, key: str) -> list[Event]:
        """Return all that happened to a flow, in order.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self._database.read(
            lambda connection: read_events(connection, key) or _nothing(connection, key)
        )

    def attempts(self, key: str) -> list[Attempt]:
        """Return each try of each task of a flow, in the order in which they were recorded.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self._database.read(
            lambda connection: read_attempts(connection, key) or _nothing(connection, key)
        )


def _nothing(connection: Connection, key: str) -> list[Any]:
    if connection.scalar(_FIND_FLOW, {"flow": key}) is None:
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
    return []


def read_events(connection: Connection, flow_key: str) -> list[Event]:
    """Return the events of a flow in the order in which they were recorded."""
    found = connection.execute(_EVENTS, {"flow": flow_key})
    return [
        Event(
            flow_key=flow_key,
            number=number,
            kind=EventKind(row.kind),
            task_key=row.task_key,
            attempt=row.attempt,
            old_status=row.old_status,
            new_status=row.new_status,
            at=parse_time(row.at),
            recorded_at=parse_time(row.recorded_at),
            owner=row.owner,
            token=row.token,
            error=loads(row.error) if row.error else None,
            detail=loads(row.detail) if row.detail else None,
        )
        for number, row in enumerate(found, 1)
    ]


def read_attempts(connection: Connection, flow_key: str) -> list[Attempt]:
    """Return the attempts of all tasks of a flow in the order in which they were recorded."""
    return [
        Attempt(
            task_key=row.task_key,
            attempt=row.attempt,
            status=row.status,
            started_at=parse_time(row.started_at) if row.started_at else None,
            finished_at=parse_time(row.finished_at) if row.finished_at else None,
            owner=row.owner,
            error=loads(row.error) if row.error else None,
        )
        for row in connection.execute(_ATTEMPTS, {"flow": flow_key})
    ]


_FIND_FLOW: Final = select(flow.c.key).where(flow.c.key == bindparam("flow"))
_EVENTS: Final = select(event).where(event.c.flow_key == bindparam("flow")).order_by(event.c.id)
_ATTEMPTS: Final = select(attempt).where(attempt.c.flow_key == bindparam("flow")).order_by(attempt.c.id)
