"""Upgrade 4: indexes by which a tick finds the tasks that it begins with, and what a task waits for."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Integer, MetaData, Table

from mc.store.schema.upgrades.resumable import add_index, drop_index
from mc.store.sql.column_types import ExactText

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Create the indexes, and drop the one that the first of them replaces."""
    metadata = MetaData()
    key, status = ExactText(255), ExactText(16)
    task = Table(
        "mc_task", metadata, Column("flow_key", key), Column("status", status), Column("unmet", Integer)
    )
    edge = Table("mc_edge", metadata, Column("flow_key", key), Column("dest_key", key))
    add_index(connection, Index("mc_task_frontier", task.c.flow_key, task.c.status, task.c.unmet))
    add_index(connection, Index("mc_edge_dest", edge.c.flow_key, edge.c.dest_key))
    drop_index(connection, Index("mc_task_status", task.c.flow_key, task.c.status))
