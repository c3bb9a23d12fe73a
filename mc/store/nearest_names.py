"""Stored names that are nearest to one that is not stored."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from sqlalchemy import Connection, Select, select

from mc.store.schema import tables

__all__ = ["nearest_flows", "nearest_resources", "nearest_tasks"]

_COMPARED: Final = 5_000  # in a fraction of a second


def nearest_flows(connection: Connection, key: str) -> list[str]:
    """Return the keys nearest to one, among those of the newest flows."""
    return _nearest(connection, key, select(tables.flow.c.key).order_by(tables.flow.c.created_at.desc()))


def nearest_tasks(connection: Connection, flow_key: str, key: str) -> list[str]:
    """Return the keys of a flow's tasks that are nearest to one."""
    column = tables.task.c
    return _nearest(connection, key, select(column.key).where(column.flow_key == flow_key))


def nearest_resources(connection: Connection, name: str) -> list[str]:
    """Return the names of resources that are nearest to one."""
    return _nearest(connection, name, select(tables.resource.c.name))


def _nearest(connection: Connection, name: str, names: Select[tuple[str]]) -> list[str]:
    stored: list[str] = list(connection.scalars(names.limit(_COMPARED)))
    return get_close_matches(name, stored, n=3)
