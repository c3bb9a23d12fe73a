"""Upgrade 3: what runners did when."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Integer, MetaData, Table

from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Create the table of ticks."""
    metadata = MetaData()
    Table(
        "mc_tick",
        metadata,
        Column("id", ExactText(32), primary_key=True),
        Column("owner", ExactText(255), nullable=False),
        Column("host", ExactText(255), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("started_at", ExactText(32), nullable=False),
        Column("ended_at", ExactText(32)),
        Column("one_flow", Integer, nullable=False),
        Column("ticks", Integer, nullable=False),
        Column("flows", Integer, nullable=False),
        Column("tasks", Integer, nullable=False),
        Column("errors", Integer, nullable=False),
        Index("mc_tick_started_at", "started_at"),
    )
    create_missing(connection, metadata)
