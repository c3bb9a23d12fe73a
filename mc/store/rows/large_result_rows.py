"""The rows that tell which flows refer to which large results in files that hosts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, exists, insert, literal, select

from mc.store.schema.tables import flow, large_result

__all__ = ["find_used_results", "note_results"]

_rows = large_result.c


def note_results(connection: Connection, flow_key: str, digests: Iterable[str]) -> None:
    """Note that a flow refers to results, as long as it is stored.

    Args:
        connection: in a transaction that has locked the flow's row.
        flow_key: of the flow; nothing is noted if it is not stored.
        digests: of the results.
    """
    for digest in sorted(set(digests)):
        is_noted = exists().where(_rows.flow_key == flow_key, _rows.digest == digest)
        row = select(flow.c.key, literal(digest, _rows.digest.type)).where(flow.c.key == flow_key, ~is_noted)
        connection.execute(insert(large_result).from_select(["flow_key", "digest"], row))


def find_used_results(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Return those of some digests of results to which stored flows refer; at most 500 at once."""
    return set(connection.scalars(select(_rows.digest).where(_rows.digest.in_(digests)).distinct()))
