"""Upgrade 2: the history of flows, the attempts of tasks, and the keys that deleted flows had."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Index, Integer, MetaData, Table, text

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.databases.kinds import dialect_of
from mc.store.schema.upgrades.resumable import create_missing
from mc.store.sql.column_types import ExactText, LongText, RowId

__all__ = ["upgrade"]

_KEY = ExactText(255)
_STATUS = ExactText(16)
_TIME = ExactText(32)


def upgrade(connection: Connection) -> None:
    """Create the tables, and let the history of each stored flow begin with what it is now."""
    metadata = MetaData()
    Table(
        "mc_event",
        metadata,
        _id(),
        _flow_key(),
        Column("task_key", _KEY),
        Column("attempt", Integer, nullable=False),
        Column("kind", _STATUS, nullable=False),
        Column("old_status", _STATUS),
        Column("new_status", _STATUS),
        Column("at", _TIME, nullable=False),
        Column("recorded_at", _TIME, nullable=False),
        Column("owner", _KEY),
        Column("token", BigInteger),
        Column("error", LongText),
        Column("detail", LongText),
        Index("mc_event_flow_key", "flow_key"),
    )
    Table(
        "mc_attempt",
        metadata,
        _id(),
        _flow_key(),
        Column("task_key", _KEY, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("status", _STATUS, nullable=False),
        Column("started_at", _TIME),
        Column("finished_at", _TIME),
        Column("owner", _KEY),
        Column("error", LongText),
        Index("mc_attempt_task", "flow_key", "task_key"),
    )
    Table(
        "mc_used_key",
        metadata,
        Column("flow_key", _KEY, primary_key=True),
        Column("deleted_at", _TIME, nullable=False),
        **SORTED_BY_KEY,
    )
    create_missing(connection, metadata)
    entry = dialect_of(connection).json_entry
    names = {name: entry("t.body", name) for name in ("attempt", "started_at", "finished_at")}
    names["attempt"] = f"COALESCE(CAST({names['attempt']} AS DECIMAL), 0)"
    for statement in _BASELINE:
        connection.execute(text(statement.format(**names)))


def _id() -> Column[int]:
    return Column("id", RowId(), primary_key=True)


def _flow_key() -> Column[str]:
    return Column("flow_key", _KEY, ForeignKey(_FLOW.c.key, ondelete="CASCADE"), nullable=False)


_FLOW: Final = Table("mc_flow", MetaData(), Column("key", _KEY, primary_key=True))  # made by upgrade 1
# A flow that has events is passed over: this was interrupted, and begins anew.
_BASELINE: Final = (
    (
        "INSERT INTO mc_attempt (flow_key, task_key, attempt, status, started_at, finished_at)"
        " SELECT t.flow_key, t.key, {attempt}, t.status, {started_at}, {finished_at}"
        " FROM mc_task t WHERE t.status <> 'PENDING' AND {attempt} > 0"
        " AND NOT EXISTS (SELECT 1 FROM mc_event e WHERE e.flow_key = t.flow_key)"
    ),
    (
        "INSERT INTO mc_event (flow_key, task_key, attempt, kind, new_status, at, recorded_at)"
        " SELECT t.flow_key, t.key, {attempt}, 'created', t.status, f.modified_at, f.modified_at"
        " FROM mc_task t JOIN mc_flow f ON f.key = t.flow_key"
        " WHERE (t.status <> 'PENDING' OR {attempt} > 0)"
        " AND NOT EXISTS (SELECT 1 FROM mc_event e WHERE e.flow_key = t.flow_key)"
        " ORDER BY t.flow_key, t.position"
    ),
    (
        "INSERT INTO mc_event (flow_key, attempt, kind, new_status, at, recorded_at)"
        " SELECT f.key, 0, 'created', f.status, f.modified_at, f.modified_at FROM mc_flow f"
        " WHERE NOT EXISTS (SELECT 1 FROM mc_event e WHERE e.flow_key = f.key AND e.task_key IS NULL)"
    ),
)
