"""Refusals of saves, and why."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from mc.errors import FlowNotFoundError, LeaseLostError, StaleFlowError, StoreError, StoreReplacedError
from mc.store.lease import Lease
from mc.store.schema.epochs import read_epoch
from mc.store.schema.tables import flow, used_key

__all__ = ["explain_refusal", "gone_backwards", "lease_lost", "new_epoch", "tasks_changed"]


def explain_refusal(
    connection: Connection, key: str, revision: int, lease: Lease | None, epoch: str
) -> StoreError:
    """Return the error for a save whose condition did not hold.

    Args:
        connection: in the transaction of the save.
        key: of the flow.
        revision: that the saver had read.
        lease: that the saver named, if any.
        epoch: in which the saver opened the database.
    """
    if read_epoch(connection) != epoch:
        return new_epoch()
    columns = (flow.c.revision, flow.c.lease_owner, flow.c.lease_token, flow.c.lease_id)
    row = connection.execute(select(*columns).where(flow.c.key == key)).one_or_none()
    if row is not None and row.revision < revision:
        return gone_backwards(key)
    if lease is not None:
        if row is None:
            was_deleted = connection.scalar(select(used_key.c.flow_key).where(used_key.c.flow_key == key))
            return lease_lost(lease) if was_deleted else gone_backwards(key)
        if row.lease_token < lease.token or (row.lease_token == lease.token and row.lease_id != lease.id):
            return gone_backwards(key)
        if row.lease_token != lease.token or row.lease_owner is None:
            return lease_lost(lease)
    if row is None:
        return FlowNotFoundError(f"Flow {key!r} is not stored any more; nothing was saved.", key=key)
    if row.revision == revision:
        return StaleFlowError(
            f"Flow {key!r} is being ticked by {row.lease_owner}; nothing was saved. Load it again when "
            f"that runner has let go of it.",
            key=key,
            owner=row.lease_owner,
        )
    return StaleFlowError(
        f"Flow {key!r} was saved by somebody else since it was loaded (revision {row.revision}, loaded "
        f"was {revision}); nothing was saved. Load it again and repeat the change.",
        key=key,
    )


def gone_backwards(key: str) -> StoreReplacedError:
    """Return the error for who finds that the database has forgotten what it said of a flow before."""
    return StoreReplacedError(
        f"What the database says of flow {key!r} is older than what it said before: a backup was restored in "
        f"its place. Nothing was saved. End all runners, call houston db restored, and start them anew.",
        key=key,
    )


def new_epoch() -> StoreReplacedError:
    """Return the error for who opened the database before it was restored."""
    return StoreReplacedError(
        "The database was restored from a backup since this process opened it (houston db restored); nothing "
        "was saved. End this process and start it anew."
    )


def tasks_changed(keys: Sequence[str], expected: int, found: int) -> StoreError:
    """Return the error for a save that did not find the rows of tasks as they had been read.

    Args:
        keys: of the flows that were saved together.
        expected: rows that the save was to change.
        found: rows that were as they had been read.
    """
    return StoreError(
        f"Of {expected} tasks to be saved of {', '.join(map(repr, keys[:5]))}, only {found} are stored with "
        f"the status that was read; nothing was saved. The flow itself is as it was: somebody changed rows "
        f"of mc_task past the store. Load the flow again and compare it with its history.",
        keys=list(keys),
    )


def lease_lost(lease: Lease, *others: Lease) -> LeaseLostError:
    """Return the error for a runner that names a lease which is not the flow's any more."""
    more = f" So were those on {len(others)} more flows." if others else ""
    return LeaseLostError(
        f"The lease of {lease.owner} on flow {lease.flow_key!r} (token {lease.token}) was taken over or "
        f"given back; nothing was saved. Another runner goes on with the flow.{more}",
        key=lease.flow_key,
        token=lease.token,
        lost=(lease, *others),
    )
