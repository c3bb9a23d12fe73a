"""Upgrade 6: named resources."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Index, Integer, MetaData, Table

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, RowId

__all__ = ["upgrade"]

_KEY = ExactText(255)
_NAME = ExactText(100)
_TIME = ExactText(32)


def upgrade(connection: Connection) -> None:
    """Create the tables of resources, of those that hold them or wait for them, and of what was taken."""
    metadata = MetaData()
    Table(
        "mc_resource",
        metadata,
        Column("name", _NAME, primary_key=True),
        Column("slots", Integer),
        Column("rate_count", Integer),
        Column("rate_microseconds", BigInteger),
        Column("set_at", _TIME),
        **SORTED_BY_KEY,
    )
    Table(
        "mc_resource_claim",
        metadata,
        Column("flow_key", _KEY, ForeignKey(_FLOW.c.key, ondelete="CASCADE"), primary_key=True),
        Column("claim_id", _KEY, primary_key=True),
        Column("resource", _NAME, primary_key=True),
        Column("task_key", _KEY, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("slots", Integer, nullable=False),
        Column("flow_priority", Integer, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("since", _TIME, nullable=False),
        Column("begun", Integer, nullable=False),
        Column("token", BigInteger, nullable=False),
        Column("granted_at", _TIME),
        Column("woken_at", _TIME),
        Column("due_at", _TIME),
        Column("hopeless", Integer, nullable=False),
        Index("mc_resource_claim_resource", "resource", "granted_at"),
        **SORTED_BY_KEY,
    )
    Table(
        "mc_resource_use",
        metadata,
        Column("id", RowId(), primary_key=True),
        Column("resource", _NAME, nullable=False),
        Column("taken_at", _TIME, nullable=False),
        Column("slots", Integer, nullable=False),
        Index("mc_resource_use_taken_at", "resource", "taken_at"),
    )
    create_missing(connection, metadata)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
