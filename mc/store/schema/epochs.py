"""The epochs of a database: another one begins when a backup was restored."""

from __future__ import annotations

import uuid
from typing import Final

from sqlalchemy import Connection, func, insert, literal, null, select, update

from mc.store.schema.tables import epoch, flow

__all__ = ["PRESENT_EPOCH", "begin_epoch", "read_epoch"]

_NEWEST: Final = select(func.max(epoch.c.number)).correlate(None).scalar_subquery()
_PRESENT: Final = select(epoch.c.id).where(epoch.c.number == _NEWEST).correlate(None).scalar_subquery()
# The id of the present epoch, as an expression; '' in a database that was never restored.
PRESENT_EPOCH: Final = func.coalesce(_PRESENT, literal(""))


def read_epoch(connection: Connection) -> str:
    """Return the id of the present epoch."""
    found: str = connection.scalars(select(PRESENT_EPOCH)).one()
    return found


def begin_epoch(connection: Connection, now: str) -> int:
    """Begin a new epoch: all leases end, and who opened the database before is refused.

    Returns:
        How many leases ended.
    """
    number = (connection.scalar(select(func.max(epoch.c.number))) or 0) + 1
    connection.execute(insert(epoch).values(number=number, id=uuid.uuid4().hex, begun_at=now))
    held = flow.c.lease_owner.is_not(None)
    return connection.execute(
        update(flow).where(held).values(lease_owner=null(), lease_expires_at=null())
    ).rowcount
