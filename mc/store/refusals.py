"""Why a save was refused."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from mc.errors import FlowNotFoundError, LeaseLostError, StaleFlowError, StoreError
from mc.store.lease import Lease
from mc.store.tables import flow

__all__ = ["explain_refusal", "lease_lost", "tasks_changed"]


def explain_refusal(connection: Connection, key: str, revision: int, lease: Lease | None) -> StoreError:
    """Return the error for a save whose condition did not hold.

    Args:
        connection: in the transaction of the save.
        key: of the flow.
        revision: that the saver had read.
        lease: that the saver named, if any.
    """
    if lease is not None:
        return lease_lost(lease)
    columns = (flow.c.revision, flow.c.lease_owner)
    row = connection.execute(select(*columns).where(flow.c.key == key)).one_or_none()
    if row is None:
        return FlowNotFoundError(f"Flow {key!r} is not stored any more; nothing was saved.", key=key)
    if row.revision == revision:
        return StaleFlowError(
            f"Flow {key!r} is being ticked by {row.lease_owner}; nothing was saved. Load it again when "
            f"that driver has let go of it.",
            key=key,
            owner=row.lease_owner,
        )
    return StaleFlowError(
        f"Flow {key!r} was saved by somebody else since it was loaded (revision {row.revision}, loaded "
        f"was {revision}); nothing was saved. Load it again and repeat the change.",
        key=key,
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
    """Return the error for a driver that names a lease which is not the flow's any more."""
    more = f" So were those on {len(others)} more flows." if others else ""
    return LeaseLostError(
        f"The lease of {lease.owner} on flow {lease.flow_key!r} (token {lease.token}) was taken over or "
        f"given back; nothing was saved. Another driver goes on with the flow.{more}",
        key=lease.flow_key,
        token=lease.token,
        lost=(lease, *others),
    )
