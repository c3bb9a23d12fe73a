"""Upgrade 9: indexes by which flows are chosen: those without sub-flows, by their label, by their end."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, MetaData, Table

from mc.store.schema.upgrades.resumable import add_index, drop_index
from mc.store.sql.column_types import ExactText, LongText
from mc.store.sql.sparse_index import SparseIndex

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Create the indexes, and drop the one that the first of them replaces."""
    flow = Table(
        "mc_flow",
        MetaData(),
        Column("label", LongText()),
        Column("waiter_key", ExactText(255)),
        Column("created_at", ExactText(32)),
        Column("finished_at", ExactText(32)),
    )
    add_index(connection, Index("mc_flow_waiter", flow.c.waiter_key, flow.c.created_at))
    add_index(connection, SparseIndex("mc_flow_label", flow.c.label))
    add_index(connection, SparseIndex("mc_flow_finished_at", flow.c.finished_at))
    drop_index(connection, Index("mc_flow_waiter_key", flow.c.waiter_key))
