"""The specs that flows share, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, bindparam, delete, exists, insert, select

from mc.store.schema.tables import flow, spec

__all__ = ["delete_unused_spec", "keep_spec", "keep_specs"]


def keep_spec(connection: Connection, digest: str, text: str) -> bool:
    """Store a spec unless it is; False if it is stored in another order, and its flow has to keep its own."""
    return keep_specs(connection, {digest: text})[digest] == text


def keep_specs(connection: Connection, texts: Mapping[str, str]) -> dict[str, str]:
    """Store specs unless they are, and return the texts that are stored, maybe in another order.

    Args:
        connection: in a transaction.
        texts: by digest, as many as one statement can name.
    """
    stored = {row.digest: row.text for row in connection.execute(_FIND, {"specs": list(texts)})}
    missing = [{"digest": digest, "text": text} for digest, text in texts.items() if digest not in stored]
    if missing:
        connection.execute(_INSERT, missing)
    return {**texts, **stored}


def delete_unused_spec(connection: Connection, digest: str) -> int:
    """Delete a spec if no flow uses it any more, and return how many were deleted."""
    is_used = exists().where(flow.c.spec_digest == digest)
    if connection.scalar(select(is_used)):
        return 0
    # Whoever stores a flow with that spec at this moment has locked it, or waits and finds it gone.
    connection.execute(select(spec.c.digest).where(spec.c.digest == digest).with_for_update())
    return connection.execute(delete(spec).where(spec.c.digest == digest, ~is_used)).rowcount


_INSERT: Final = insert(spec)
_FIND: Final = select(spec.c.digest, spec.c.text).where(spec.c.digest.in_(bindparam("specs", expanding=True)))
