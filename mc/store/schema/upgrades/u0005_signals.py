"""Upgrade 5: signals to flows."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, ForeignKey, Index, MetaData, Table

from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText, RowId

__all__ = ["upgrade"]

_KEY = ExactText(255)
_TIME = ExactText(32)


def upgrade(connection: Connection) -> None:
    """Create the table of signals."""
    metadata = MetaData()
    Table(
        "mc_signal",
        metadata,
        Column("id", RowId(), primary_key=True),
        Column("flow_key", _KEY, ForeignKey(_FLOW.c.key, ondelete="CASCADE"), nullable=False),
        Column("signal_id", _KEY, nullable=False),
        Column("name", _KEY, nullable=False),
        Column("data", LongText, nullable=False),
        Column("sent_at", _TIME, nullable=False),
        Column("sent_by", _KEY),
        Column("taken_by", LongText),
        Column("taken_at", _TIME),
        Index("mc_signal_id", "flow_key", "signal_id", unique=True),
        Index("mc_signal_taken_at", "flow_key", "taken_at"),
    )
    create_missing(connection, metadata)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
