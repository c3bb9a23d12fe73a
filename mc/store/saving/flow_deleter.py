"""Deletions of flows, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from mc.durations import parse_time
from mc.errors import FlowNotFoundError, StoreError
from mc.store.databases.base import Dialect
from mc.store.lease import Wake
from mc.store.leases.claims import family_of, is_leased
from mc.store.reading.flow_reader import chunks
from mc.store.rows.request_rows import give_back_all
from mc.store.rows.spec_rows import delete_unused_spec
from mc.store.rows.used_keys import keep_used_keys
from mc.store.rows.wakes import CANCEL, FINISHED, add_wake
from mc.store.schema.tables import flow, wake

__all__ = ["delete_flow", "remove_flows"]


def delete_flow(connection: Connection, dialect: Dialect, key: str, now: str) -> list[str]:
    """Delete a flow and its stored sub-flows, and return their keys; see `FlowStore.delete`."""
    top = connection.execute(select(flow.c.waiter_key).where(flow.c.key == key)).one_or_none()
    if top is None:
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
    keys: list[str] = []
    while set(found := list(connection.scalars(family_of(key)))) - set(keys):
        keys = found  # until no runner can have started another sub-flow meanwhile
        for chunk in chunks(keys):
            _refuse_leased(connection, dialect, chunk)
    give_back_all(connection, dialect, keys, parse_time(now))
    remove_flows(connection, keys, now)
    if top.waiter_key is not None:
        # The task that waits for the flow finds it gone, instead of waiting for ever.
        add_wake(connection, top.waiter_key, Wake(kind=FINISHED, source_key=key), now)
    return keys


def remove_flows(connection: Connection, keys: Sequence[str], now: str) -> int:
    """Delete flows with all that belongs to them, and the specs that no flow uses any more.

    Args:
        connection: in a transaction that has made sure that nobody works on them.
        keys: of flows of which no other flow waits for one.
        now: ISO 8601.

    Returns:
        How many specs were deleted.
    """
    digests: set[str] = set()
    for chunk in chunks(keys):
        here = flow.c.key.in_(chunk)
        known = flow.c.spec_digest.is_not(None)
        digests.update(connection.scalars(select(flow.c.spec_digest).where(here, known).distinct()))
        of_flows = wake.c.kind.in_((FINISHED, CANCEL))
        connection.execute(delete(wake).where(wake.c.source_key.in_(chunk), of_flows))
        keep_used_keys(connection, chunk, now)
        connection.execute(delete(flow).where(here))  # the database deletes what belongs to it
    return sum(delete_unused_spec(connection, digest) for digest in sorted(digests))


def _refuse_leased(connection: Connection, dialect: Dialect, keys: Sequence[str]) -> None:
    here = flow.c.key.in_(keys)
    # locked first, so that nobody claims one between the look and the deletion
    connection.execute(select(flow.c.key).where(here).order_by(flow.c.key).with_for_update())
    query = select(flow.c.key, flow.c.lease_owner).where(here, is_leased(dialect))
    held = connection.execute(query.limit(1)).one_or_none()
    if held is not None:
        raise StoreError(
            f"Flow {held.key!r} is being ticked by {held.lease_owner}; delete it when it has let go.",
            key=held.key,
            owner=held.lease_owner,
        )
