"""Deletes flows with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, select

from mc.errors import FlowNotFoundError, StoreError
from mc.store.dialects import Dialect
from mc.store.flow_reader import chunks
from mc.store.lease import Wake
from mc.store.leases import family_of, is_leased
from mc.store.tables import flow, spec, wake
from mc.store.wakes import FINISHED, add_wake

__all__ = ["delete_flow"]


def delete_flow(connection: Connection, dialect: Dialect, key: str, now: str) -> list[str]:
    """Delete a flow and its stored sub-flows, and return their keys; see `FlowStore.delete`."""
    top = connection.execute(select(flow.c.waiter_key).where(flow.c.key == key)).one_or_none()
    if top is None:
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
    keys: list[str] = list(connection.scalars(family_of(key)))
    for chunk in chunks(keys):
        _refuse_leased(connection, dialect, chunk)
    digests: set[str | None] = set()
    for chunk in chunks(keys):
        here = flow.c.key.in_(chunk)
        digests.update(connection.scalars(select(flow.c.spec_digest).where(here).distinct()))
        connection.execute(delete(wake).where(wake.c.source_key.in_(chunk)))
        connection.execute(delete(flow).where(here))  # the database deletes tasks and edges with it
    for digest in digests - {None}:
        still_used = exists().where(flow.c.spec_digest == digest)
        connection.execute(delete(spec).where(spec.c.digest == digest, ~still_used))
    if top.waiter_key is not None:
        # The task that waits for the flow finds it gone, instead of waiting for ever.
        add_wake(connection, top.waiter_key, Wake(kind=FINISHED, source_key=key), now)
    return keys


def _refuse_leased(connection: Connection, dialect: Dialect, keys: Sequence[str]) -> None:
    query = select(flow.c.key, flow.c.lease_owner).where(flow.c.key.in_(keys), is_leased(dialect))
    held = connection.execute(query.limit(1)).one_or_none()
    if held is not None:
        raise StoreError(
            f"Flow {held.key!r} is being ticked by {held.lease_owner}; delete it when it has let go.",
            key=held.key,
            owner=held.lease_owner,
        )
