"""The rows of what tasks hold of resources or wait for: read with their flow, given back with its saves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, bindparam, delete, select

from mc.flows.resources.requests import has_sub_flow, request_ids_in_task
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.databases.base import Dialect
from mc.store.lease import StoredRequest
from mc.store.schema.tables import flow as flow_table
from mc.store.schema.tables import resource_request, schema

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["ended_requests", "give_back", "give_back_all", "lend", "list_requests", "take_turn", "withdraw"]

_TURN: Final = 6  # number of the upgrade that made the tables
_LIVE: Final = ("PENDING", "RUNNING")


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction grants or takes back resources, and keep others waiting.

    What fits depends on several rows, and all who look at them must see what the others have done. It is
    taken before any flow's row is locked, lest two transactions wait for each other.
    """
    connection.execute(select(schema.c.version).where(schema.c.version == _TURN).with_for_update())


def list_requests(connection: Connection, flow_keys: Sequence[str]) -> dict[str, dict[str, StoredRequest]]:
    """Return by flow and id what its tasks hold or wait for; flows without are left out."""
    found: dict[str, dict[str, StoredRequest]] = {}
    for row in connection.execute(_LIST, {"flow_keys": flow_keys}):
        found.setdefault(row.flow_key, {})[row.claim_id] = StoredRequest(
            task_key=row.task_key, granted=row.granted_at is not None, token=row.token
        )
    return found


def ended_requests(flow: Flow, requests: dict[str, StoredRequest]) -> list[str]:
    """Return the ids of those requests of a flow that its tasks have no use for any more.

    A flow that is finished has no use for any. What one that is PAUSED or BLOCKED held goes to others, and it
    asks again before its tasks go on; but what has a stored sub-flow keeps what it holds, since whoever is at
    work there goes on, or is in the middle of a call.
    """
    if flow.status in FINISHED_FLOW_STATUSES:
        return list(requests)
    wanted: dict[str, set[str]] = {}
    for request in requests.values():
        if request.task_key not in wanted:
            wanted[request.task_key] = request_ids_in_task(flow, request.task_key)
    lends = {key: flow.status not in _LIVE and not has_sub_flow(flow, key) for key in wanted}
    return [
        request_id
        for request_id, request in requests.items()
        if request_id not in wanted[request.task_key]
        or lends[request.task_key]
        or (flow.status not in _LIVE and not request.granted)
    ]


def give_back(
    connection: Connection, dialect: Dialect, flow_key: str, request_ids: Collection[str], now: datetime
) -> None:
    """Delete requests of a flow and wake those whose turn it is.

    Args:
        connection: in a transaction that has taken its turn, and written the flow's tasks.
        dialect: of the database.
        flow_key: the flow.
        request_ids: of the requests.
        now: the present.
    """
    here = (resource_request.c.flow_key == flow_key) & (resource_request.c.claim_id.in_(request_ids))
    names = connection.scalars(select(resource_request.c.resource).where(here).distinct()).all()
    connection.execute(delete(resource_request).where(here))
    _wake(connection, dialect, names, now)


def give_back_all(connection: Connection, dialect: Dialect, flow_keys: Sequence[str], now: datetime) -> None:
    """Delete all requests of flows that are not to be ticked any more, and wake those whose turn it is."""
    here = resource_request.c.flow_key.in_(flow_keys)
    names = connection.scalars(select(resource_request.c.resource).where(here).distinct()).all()
    if not names:
        return
    take_turn(connection)
    connection.execute(delete(resource_request).where(here))
    _wake(connection, dialect, names, now)


def lend(connection: Connection, dialect: Dialect, flow_key: str, now: datetime) -> None:
    """Delete the requests of a flow that is BLOCKED unseen; where sub-flows go on, it keeps what it holds."""
    if connection.scalar(_GOES_ON, {"flow": flow_key}) is None:
        give_back_all(connection, dialect, [flow_key], now)
    else:
        withdraw(connection, dialect, flow_key, now)


def withdraw(connection: Connection, dialect: Dialect, flow_key: str, now: datetime) -> None:
    """Delete the requests with which a flow waits, because nobody may tick it for a while, and wake others.

    Its tasks know since when they wait, and have their old place when they ask again.
    """
    here = (resource_request.c.flow_key == flow_key) & resource_request.c.granted_at.is_(None)
    names = connection.scalars(select(resource_request.c.resource).where(here).distinct()).all()
    if names:
        take_turn(connection)
        connection.execute(delete(resource_request).where(here))
        _wake(connection, dialect, names, now)


def _wake(connection: Connection, dialect: Dialect, names: Sequence[str], now: datetime) -> None:
    from mc.store.rows.resource_queue import ResourceQueue  # few flows need resources

    ResourceQueue(connection, dialect, now).wake(names)


_GOES_ON: Final = (
    select(flow_table.c.key)
    .where(flow_table.c.waiter_key == bindparam("flow"))
    .where(flow_table.c.status.not_in(sorted(FINISHED_FLOW_STATUSES)))
    .limit(1)
)
_LIST: Final = select(
    resource_request.c.flow_key,
    resource_request.c.claim_id,
    resource_request.c.task_key,
    resource_request.c.granted_at,
    resource_request.c.token,
).where(resource_request.c.flow_key.in_(bindparam("flow_keys", expanding=True)))
