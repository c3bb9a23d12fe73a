"""Upgrade 10: flows that live inside of tasks, as rows of their own."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Index, Integer, MetaData, Table

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText

__all__ = ["upgrade"]

_KEY = ExactText(255)
_DIGEST = ExactText(64)
_STATUS = ExactText(16)


def upgrade(connection: Connection) -> None:
    """Create the tables; a flow that stands in a task's JSON becomes rows when it is saved next."""
    metadata = MetaData()
    inner_flow = Table(
        "mc_inner_flow",
        metadata,
        Column("key", _DIGEST, primary_key=True),
        Column("root_key", _KEY, ForeignKey(_FLOW.c.key, ondelete="CASCADE"), nullable=False),
        Column("place", _DIGEST, nullable=False),
        Column("path", LongText(), nullable=False),
        Column("status", _STATUS, nullable=False),
        Column("task_counts", LongText(), nullable=False),
        Column("data", LongText(), nullable=False),
        Column("body", LongText(), nullable=False),
        Index("mc_inner_flow_place", "root_key", "place"),
    )
    Table(
        "mc_inner_task",
        metadata,
        Column("flow_key", _DIGEST, ForeignKey(inner_flow.c.key, ondelete="CASCADE"), primary_key=True),
        Column("key", _KEY, primary_key=True),
        Column("position", Integer, nullable=False),
        Column("rank", BigInteger, nullable=False),
        Column("status", _STATUS, nullable=False),
        Column("unmet", Integer, nullable=False),
        Column("due_at", ExactText(32)),
        Column("body", LongText(), nullable=False),
        Index("mc_inner_task_frontier", "flow_key", "status", "unmet"),
    )
    Table(
        "mc_inner_edge",
        metadata,
        Column("flow_key", _DIGEST, ForeignKey(inner_flow.c.key, ondelete="CASCADE"), primary_key=True),
        Column("src_key", _KEY, primary_key=True),
        Column("dest_key", _KEY, primary_key=True),
        Column("position", Integer, nullable=False),
        Index("mc_inner_edge_dest", "flow_key", "dest_key"),
        **SORTED_BY_KEY,
    )
    create_missing(connection, metadata)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
