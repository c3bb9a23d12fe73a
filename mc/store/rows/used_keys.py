"""The keys that deleted flows had: what refers to one of them must never find another flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Row, bindparam, insert, literal, select, union_all

from mc.store.schema.tables import flow, used_key

__all__ = ["find_taken_keys", "keep_used_keys"]


def keep_used_keys(connection: Connection, keys: Sequence[str], now: str) -> None:
    """Note the keys of stored flows that are about to be deleted, in the same transaction.

    Args:
        connection: in the transaction that deletes the flows.
        keys: not more than one statement can name.
        now: ISO 8601.
    """
    rows = select(flow.c.key, literal(now)).where(flow.c.key.in_(keys))
    connection.execute(insert(used_key).from_select(["flow_key", "deleted_at"], rows))


def find_taken_keys(connection: Connection, keys: Sequence[str]) -> Sequence[Row[Any]]:
    """Return those of the keys that are taken: `key`, and `deleted_at` if its flow is stored no more."""
    return connection.execute(_TAKEN, {"keys": keys}).all()


_NAMED: Final[BindParameter[Any]] = bindparam("keys", expanding=True)
_TAKEN: Final = union_all(
    select(flow.c.key, literal(None).label("deleted_at")).where(flow.c.key.in_(_NAMED)),
    select(used_key.c.flow_key, used_key.c.deleted_at).where(used_key.c.flow_key.in_(_NAMED)),
)
