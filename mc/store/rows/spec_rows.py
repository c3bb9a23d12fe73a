"""The specs that flows share, by digest."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, exists, insert, select

from mc.store.schema.tables import flow, spec

__all__ = ["delete_unused_spec", "keep_spec"]


def keep_spec(connection: Connection, digest: str, text: str) -> bool:
    """Store a spec unless it is; False if it is stored in another order, and its flow has to keep its own."""
    stored = connection.scalar(_FIND, {"spec": digest})
    if stored is None:
        connection.execute(_INSERT, {"digest": digest, "text": text})
        return True
    return bool(stored == text)


def delete_unused_spec(connection: Connection, digest: str) -> int:
    """Delete a spec if no flow uses it any more, and return how many were deleted."""
    is_used = exists().where(flow.c.spec_digest == digest)
    if connection.scalar(select(is_used)):
        return 0
    # Whoever stores a flow with that spec at this moment has locked it, or waits and finds it gone.
    connection.execute(select(spec.c.digest).where(spec.c.digest == digest).with_for_update())
    return connection.execute(delete(spec).where(spec.c.digest == digest, ~is_used)).rowcount


_INSERT: Final = insert(spec)
_FIND: Final = select(spec.c.text).where(spec.c.digest == bindparam("spec"))
