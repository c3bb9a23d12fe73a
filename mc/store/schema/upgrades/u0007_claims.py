"""Upgrade 7: claims that a restored database does not know, epochs, and whose turn it is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table

from mc.store.schema.upgrades.resumable import add_column, create_missing
from mc.store.sql.column_types import ExactText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Add the ids of claims and the count of turns, and create the table of epochs."""
    add_column(connection, "mc_flow", Column("lease_id", ExactText(32)))
    add_column(connection, "mc_tick", Column("turn", BigInteger))
    metadata = MetaData()
    Table(
        "mc_epoch",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("id", ExactText(32), nullable=False),
        Column("begun_at", ExactText(32), nullable=False),
    )
    create_missing(connection, metadata)
