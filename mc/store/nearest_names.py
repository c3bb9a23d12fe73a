"""Stored names that are nearest to one that is not stored."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from sqlalchemy import Connection, select

from mc.store.schema.tables import flow, resource

__all__ = ["find_nearest_names"]

_COMPARED: Final = 5_000  # in a fraction of a second


def find_nearest_names(
    connection: Connection, *, key: str | None = None, name: str | None = None
) -> list[str]:
    """Return the names nearest to a flow's (among the newest), or to a resource's."""
    if key is not None:
        query = select(flow.c.key).order_by(flow.c.created_at.desc())
    else:
        query = select(resource.c.name)
    stored: list[str] = list(connection.scalars(query.limit(_COMPARED)))
    return get_close_matches(key or name or "", stored, n=3)
