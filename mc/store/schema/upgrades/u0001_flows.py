"""Upgrade 1: flows, their tasks and edges, their specs, and what wakes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
)

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText

__all__ = ["upgrade"]

_KEY = ExactText(255)
_STATUS = ExactText(16)
_TIME = ExactText(32)
_JSON = LongText()


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
        "mc_spec",
        metadata,
        Column("digest", ExactText(64), primary_key=True),
        _required("text", _JSON),
    )
    _flow_table(metadata)
    Table(
        "mc_task",
        metadata,
        _flow_key(),
        Column("key", _KEY, primary_key=True),
        _required("position", Integer()),
        _required("rank", BigInteger()),
        _required("status", _STATUS),
        _required("unmet", Integer()),
        Column("due_at", _TIME),
        _required("body", _JSON),
        Index("mc_task_status", "flow_key", "status"),
    )
    Table(
        "mc_edge",
        metadata,
        _flow_key(),
        Column("src_key", _KEY, primary_key=True),
        Column("dest_key", _KEY, primary_key=True),
        _required("position", Integer()),
        **SORTED_BY_KEY,
    )
    Table(
        "mc_wake",
        metadata,
        _flow_key(),
        Column("kind", _STATUS, primary_key=True),
        Column("source_key", _KEY, primary_key=True),
        Column("reason", LongText),
        **SORTED_BY_KEY,
    )
    create_missing(connection, metadata)


def _flow_table(metadata: MetaData) -> None:
    Table(
        "mc_flow",
        metadata,
        Column("key", _KEY, primary_key=True),
        Column("label", LongText),
        _required("status", _STATUS),
        Column("blocked_reason", LongText),
        _required("priority", Integer()),
        Column("next_tick_at", _TIME),
        Column("lease_owner", _KEY),
        Column("lease_expires_at", _TIME),
        _required("lease_token", BigInteger()),
        _required("lost_leases", Integer()),
        _required("revision", BigInteger()),
        Column("parent_key", _KEY),
        Column("parent_task_key", _KEY),
        Column("waiter_key", _KEY),
        Column("spec_digest", ExactText(64), ForeignKey("mc_spec.digest")),
        _required("created_at", _TIME),
        _required("modified_at", _TIME),
        Column("finished_at", _TIME),
        _required("task_counts", LongText()),
        _required("data", _JSON),
        _required("body", _JSON),
        Index("mc_flow_next_tick_at", "next_tick_at"),
        Index("mc_flow_created_at", "created_at"),
        Index("mc_flow_status", "status", "created_at"),
        Index("mc_flow_waiter_key", "waiter_key"),
        Index("mc_flow_spec_digest", "spec_digest"),
    )


def _flow_key() -> Column[str]:
    return Column("flow_key", _KEY, ForeignKey("mc_flow.key", ondelete="CASCADE"), primary_key=True)


def _required(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)
