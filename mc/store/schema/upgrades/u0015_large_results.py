"""Upgrade 15: which flows refer to which large results in files that hosts share."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, ForeignKey, Index, MetaData, Table

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText

__all__ = ["upgrade"]

_KEY: Final = ExactText(255)


def upgrade(connection: Connection) -> None:
    """Create the table; before, there were no such files."""
    metadata = MetaData()
    Table(
        "mc_large_result",
        metadata,
        Column("flow_key", _KEY, ForeignKey(_FLOW.c.key, ondelete="CASCADE"), primary_key=True),
        Column("digest", ExactText(64), primary_key=True),
        Index("mc_large_result_digest", "digest"),
        **SORTED_BY_KEY,
    )
    create_missing(connection, metadata)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
