"""Why a save was refused."""

from __future__ import annotations

from sqlalchemy import Connection, select

from mc.errors import FlowNotFoundError, LeaseLostError, StaleFlowError, StoreError
from mc.store.lease import Lease
from mc.store.tables import flow

__all__ = ["explain_refusal", "lease_lost"]


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
