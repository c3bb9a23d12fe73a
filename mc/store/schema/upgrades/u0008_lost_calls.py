"""Upgrade 8: the calls that runners were in when they ended."""

from __future__ import annotations

from sqlalchemy import Column, Connection

from mc.store.schema.upgrades.resumable import add_column
from mc.store.sql.column_types import LongText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Add the calls that were lost."""
    add_column(connection, "mc_flow", Column("lost_calls", LongText()))
