"""Upgrade 13: jobs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table

from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Create the table of jobs."""
    key, time = ExactText(255), ExactText(32)
    metadata = MetaData()
    Table(
        "mc_job",
        metadata,
        Column("id", ExactText(64), primary_key=True),
        Column("key", LongText(), nullable=False),
        Column("flow_key", key, nullable=False),
        Column("task_path", LongText(), nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("executor", ExactText(100), nullable=False),
        Column("status", ExactText(16), nullable=False),
        Column("priority", Integer, nullable=False),
        Column("position", Integer, nullable=False),
        Column("place", key),
        Column("owner", key),
        Column("token", BigInteger, nullable=False),
        Column("lease_expires_at", time),
        Column("created_at", time, nullable=False),
        Column("submitted_at", time),
        Column("started_at", time),
        Column("finished_at", time),
        Column("body", LongText(), nullable=False),
        Column("native_id", LongText()),
        Column("progress", LongText()),
        Column("stop_reason", LongText()),
        Column("stop_asked_at", time),
        Column("outcome", LongText()),
        Column("reason", LongText()),
        Index("mc_job_flow_key", "flow_key"),
        Index("mc_job_turn", "status", "executor", "priority", "created_at"),
    )
    create_missing(connection, metadata)
