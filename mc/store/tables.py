"""The tables as the newest migration leaves them; times are ISO 8601 UTC text with microseconds."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
)

from mc.store.column_types import ExactText, LongText

__all__ = ["MAX_KEY_LENGTH", "edge", "flow", "metadata", "schema", "spec", "task", "wake"]

MAX_KEY_LENGTH = 255  # characters of a key or an owner

metadata = MetaData()

_KEY = ExactText(MAX_KEY_LENGTH)
_STATUS = ExactText(16)
_TIME = ExactText(32)
_JSON = LongText()


def _flow_key() -> Column[str]:
    return Column("flow_key", _KEY, ForeignKey("mc_flow.key", ondelete="CASCADE"), primary_key=True)


schema = Table(
    "mc_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),  # number of a migration
    Column("applied_at", _TIME, nullable=False),
)

spec = Table(
    "mc_spec",
    metadata,
    Column("digest", ExactText(64), primary_key=True),  # SHA-256 of the canonical text
    Column("text", _JSON, nullable=False),  # in the order in which it was written
)

flow = Table(
    "mc_flow",
    metadata,
    Column("key", _KEY, primary_key=True),
    Column("label", LongText),
    Column("status", _STATUS, nullable=False),
    Column("blocked_reason", LongText),
    Column("priority", Integer, nullable=False),  # higher first
    Column("next_tick_at", _TIME),  # null: nothing to do until an event from outside, or never
    Column("lease_owner", _KEY),  # who ticks it; null: nobody
    Column("lease_expires_at", _TIME),  # by the database's clock
    Column("lease_token", BigInteger, nullable=False),  # grows with each claim
    Column("lost_leases", Integer, nullable=False),  # drivers in a row that vanished without progress
    Column("revision", BigInteger, nullable=False),  # grows with each save
    Column("parent_key", _KEY),  # the flow that it is inside of, which may itself be inside a task
    Column("parent_task_key", _KEY),
    Column("waiter_key", _KEY),  # the stored flow that is made due when this one is finished
    Column("spec_digest", ExactText(64), ForeignKey("mc_spec.digest")),
    Column("created_at", _TIME, nullable=False),
    Column("modified_at", _TIME, nullable=False),
    Column("finished_at", _TIME),
    Column("task_counts", _JSON, nullable=False),  # JSON: status -> number of tasks
    Column("data", _JSON, nullable=False),  # JSON: the flow's data
    Column("body", _JSON, nullable=False),  # JSON: its other attributes
    Index("mc_flow_next_tick_at", "next_tick_at"),
    Index("mc_flow_created_at", "created_at"),
    Index("mc_flow_status", "status", "created_at"),
    Index("mc_flow_waiter_key", "waiter_key"),
    Index("mc_flow_spec_digest", "spec_digest"),
)

task = Table(
    "mc_task",
    metadata,
    _flow_key(),
    Column("key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # place in the order of the spec, from 1
    Column("rank", BigInteger, nullable=False),  # grows along every edge
    Column("status", _STATUS, nullable=False),
    Column("unmet", Integer, nullable=False),  # unfinished precursors; 0: may start
    Column("due_at", _TIME),  # when a task that waits can be ticked next
    Column("body", _JSON, nullable=False),  # JSON: the task dict
    Index("mc_task_status", "flow_key", "status"),
)

edge = Table(
    "mc_edge",
    metadata,
    _flow_key(),
    Column("src_key", _KEY, primary_key=True),
    Column("dest_key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # the order in which edges were added, from 0
    sqlite_with_rowid=False,
)

# What happened elsewhere and concerns a flow; taken out by the save of the tick that acted upon it.
wake = Table(
    "mc_wake",
    metadata,
    _flow_key(),
    Column("kind", _STATUS, primary_key=True),  # finished: a sub-flow ended; cancel: end this flow
    Column("source_key", _KEY, primary_key=True),  # the flow that caused it
    Column("reason", LongText),
    sqlite_with_rowid=False,
)
