"""Upgrade 12: large parameters of tasks that have flows inside of them, apart from the tasks' rows."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, ForeignKey, MetaData, Table

from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText

__all__ = ["upgrade"]

_KEY = ExactText(255)
_DIGEST = ExactText(64)


def upgrade(connection: Connection) -> None:
    """Create the tables; what stands in a task's JSON is set apart when the task is saved next."""
    metadata = MetaData()
    for name, owner in (("mc_task_part", _FLOW), ("mc_inner_task_part", _INNER_FLOW)):
        Table(
            name,
            metadata,
            Column(
                "flow_key", owner.c.key.type, ForeignKey(owner.c.key, ondelete="CASCADE"), primary_key=True
            ),
            Column("task_key", _KEY, primary_key=True),
            Column("digest", _DIGEST, primary_key=True),
            Column("text", LongText(), nullable=False),
        )
    create_missing(connection, metadata)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
_INNER_FLOW: Final = Table("mc_inner_flow", MetaData(), Column("key", _DIGEST, primary_key=True))  # by 10
