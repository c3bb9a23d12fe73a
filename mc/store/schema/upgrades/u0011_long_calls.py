"""Upgrade 11: notes of calls that last."""

from __future__ import annotations

from sqlalchemy import Column, Connection

from mc.store.schema.upgrades.resumable import add_column
from mc.store.sql.column_types import LongText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Add the calls that are under way, as the heartbeats of runners note them."""
    add_column(connection, "mc_flow", Column("long_calls", LongText()))
