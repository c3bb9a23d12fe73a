"""The tables as the newest upgrade leaves them; times are ISO 8601 UTC text with microseconds."""

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

from mc.store.databases.base import SORTED_BY_KEY
from mc.store.sql.column_types import ExactText, LongText, RowId
from mc.store.sql.sparse_index import SparseIndex

__all__ = [
    "MAX_KEY_LENGTH",
    "attempt",
    "edge",
    "epoch",
    "event",
    "flow",
    "inner_edge",
    "inner_flow",
    "inner_task",
    "inner_task_part",
    "job",
    "large_result",
    "metadata",
    "resource",
    "resource_request",
    "resource_use",
    "schema",
    "signal",
    "spec",
    "task",
    "task_part",
    "tick",
    "used_key",
    "wake",
]

MAX_KEY_LENGTH = 255  # characters of a key or an owner

metadata = MetaData()

_KEY = ExactText(MAX_KEY_LENGTH)
_NAME = ExactText(100)
_DIGEST = ExactText(64)
_STATUS = ExactText(16)
_TIME = ExactText(32)
_JSON = LongText()


def _flow_key() -> Column[str]:
    return Column("flow_key", _KEY, ForeignKey("mc_flow.key", ondelete="CASCADE"), primary_key=True)


def _inner_flow_key() -> Column[str]:
    return Column("flow_key", _DIGEST, ForeignKey("mc_inner_flow.key", ondelete="CASCADE"), primary_key=True)


def _row_id() -> Column[int]:
    return Column("id", RowId(), primary_key=True)


def _belongs_to_flow() -> Column[str]:
    return Column("flow_key", _KEY, ForeignKey("mc_flow.key", ondelete="CASCADE"), nullable=False)


schema = Table(
    "mc_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),  # number of an upgrade
    Column("applied_at", _TIME, nullable=False),
)

# A row for each time that the database was restored from a backup.
epoch = Table(
    "mc_epoch",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", ExactText(32), nullable=False),  # random; runners of other epochs are refused
    Column("begun_at", _TIME, nullable=False),
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
    Column("lost_leases", Integer, nullable=False),  # runners in a row that vanished without progress
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
    Column("lease_id", ExactText(32)),  # random, of each claim: tokens come again where a backup is restored
    Column("lost_calls", LongText),  # JSON: the calls in which runners ended, and those under way
    Column("long_calls", LongText),  # JSON: the calls that last, as the heartbeat of their runner noted them
    Index("mc_flow_next_tick_at", "next_tick_at"),
    Index("mc_flow_created_at", "created_at"),
    Index("mc_flow_status", "status", "created_at"),
    Index("mc_flow_waiter", "waiter_key", "created_at"),
    Index("mc_flow_spec_digest", "spec_digest"),
    SparseIndex("mc_flow_label", "label"),
    SparseIndex("mc_flow_finished_at", "finished_at"),
)

task = Table(
    "mc_task",
    metadata,
    _flow_key(),
    Column("key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # place in the order of the spec, from 1
    Column("rank", BigInteger, nullable=False),  # grows along every edge
    Column("status", _STATUS, nullable=False),
    Column("unmet", Integer, nullable=False),  # unfinished precursors; 0: may start; -1: can never start
    Column("due_at", _TIME),  # when a task that waits can be ticked next
    Column("body", _JSON, nullable=False),  # JSON: the task dict
    Index("mc_task_frontier", "flow_key", "status", "unmet"),
)

# A large parameter of a task that has a flow inside of it, which is read when it is needed.
task_part = Table(
    "mc_task_part",
    metadata,
    _flow_key(),
    Column("task_key", _KEY, primary_key=True),
    Column("digest", _DIGEST, primary_key=True),  # SHA-256 of the text, by which the task's row names it
    Column("text", _JSON, nullable=False),
)

edge = Table(
    "mc_edge",
    metadata,
    _flow_key(),
    Column("src_key", _KEY, primary_key=True),
    Column("dest_key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # the order in which edges were added, from 0
    Index("mc_edge_dest", "flow_key", "dest_key"),
    **SORTED_BY_KEY,
)

# The flow that lives inside of a task, or was the last to do so; saved under the lease of the outermost flow.
inner_flow = Table(
    "mc_inner_flow",
    metadata,
    Column("key", _DIGEST, primary_key=True),  # see mc.store.rows.inner_flow_rows
    Column("root_key", _KEY, ForeignKey("mc_flow.key", ondelete="CASCADE"), nullable=False),  # outermost flow
    Column("place", _DIGEST, nullable=False),  # of the path, by which the one before it is found
    Column("path", _JSON, nullable=False),  # JSON: keys of the tasks that it is inside of
    Column("status", _STATUS, nullable=False),
    Column("task_counts", _JSON, nullable=False),  # JSON: status -> number of tasks
    Column("data", _JSON, nullable=False),  # JSON: the flow's data
    Column("body", _JSON, nullable=False),  # JSON: its other attributes
    Index("mc_inner_flow_place", "root_key", "place"),
)

inner_task = Table(
    "mc_inner_task",
    metadata,
    _inner_flow_key(),
    Column("key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # these as in mc_task
    Column("rank", BigInteger, nullable=False),
    Column("status", _STATUS, nullable=False),
    Column("unmet", Integer, nullable=False),
    Column("due_at", _TIME),
    Column("body", _JSON, nullable=False),
    Index("mc_inner_task_frontier", "flow_key", "status", "unmet"),
)

# As mc_task_part.
inner_task_part = Table(
    "mc_inner_task_part",
    metadata,
    _inner_flow_key(),
    Column("task_key", _KEY, primary_key=True),
    Column("digest", _DIGEST, primary_key=True),  # SHA-256 of the text, by which the task's row names it
    Column("text", _JSON, nullable=False),
)

inner_edge = Table(
    "mc_inner_edge",
    metadata,
    _inner_flow_key(),
    Column("src_key", _KEY, primary_key=True),
    Column("dest_key", _KEY, primary_key=True),
    Column("position", Integer, nullable=False),  # as in mc_edge
    Index("mc_inner_edge_dest", "flow_key", "dest_key"),
    **SORTED_BY_KEY,
)

# What happened elsewhere and concerns a flow; taken out by the save of the tick that acted upon it.
wake = Table(
    "mc_wake",
    metadata,
    _flow_key(),
    Column("kind", _STATUS, primary_key=True),  # see mc.store.rows.wakes
    Column("source_key", _KEY, primary_key=True),  # the flow, the signal, the control or the resource
    Column("reason", LongText),  # text; of a control: JSON
    **SORTED_BY_KEY,
)

# Messages to a flow, in order of `id`; tasks take them.
signal = Table(
    "mc_signal",
    metadata,
    _row_id(),
    _belongs_to_flow(),
    Column("signal_id", _KEY, nullable=False),  # unique in the flow: sent twice, it counts once
    Column("name", _KEY, nullable=False),
    Column("data", _JSON, nullable=False),
    Column("sent_at", _TIME, nullable=False),
    Column("sent_by", _KEY),
    Column("taken_by", LongText),  # idempotency key of the task's attempt; null: not taken
    Column("taken_at", _TIME),
    Index("mc_signal_id", "flow_key", "signal_id", unique=True),
    Index("mc_signal_taken_at", "flow_key", "taken_at"),
)

# Work that is done outside of ticks: a row for each attempt of a task that starts some. A job may outlast its
# flow's row, until it has ended.
job = Table(
    "mc_job",
    metadata,
    Column("id", _DIGEST, primary_key=True),  # SHA-256 of the key
    Column("key", LongText, nullable=False),  # idempotency key of the attempt
    Column("flow_key", _KEY, nullable=False),  # of the stored flow
    Column("task_path", LongText, nullable=False),  # `outer/inner` inside of tasks
    Column("attempt", Integer, nullable=False),
    Column("executor", _NAME, nullable=False),
    Column("status", _STATUS, nullable=False),
    Column("priority", Integer, nullable=False),  # of the task; higher first
    Column("position", Integer, nullable=False),  # among those that were asked for at the same time
    Column("place", _KEY),  # the host that alone sees it; null: any
    Column("owner", _KEY),  # who took it last
    Column("token", BigInteger, nullable=False),  # grows each time that it is taken
    Column("lease_expires_at", _TIME),  # by the database's clock; a later sign of life is none
    Column("created_at", _TIME, nullable=False),
    Column("submitted_at", _TIME),
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    Column("body", _JSON, nullable=False),  # JSON: its work, requests and timeout
    Column("native_id", LongText),  # what its executor calls it
    Column("progress", LongText),  # JSON
    Column("stop_reason", LongText),  # why it is to be stopped
    Column("stop_asked_at", _TIME),
    Column("outcome", LongText),  # JSON: what it said of its end
    Column("reason", LongText),  # why it is LOST or was not started
    Column("work_digest", _DIGEST),  # of what it does, and by which code; null: nobody may take its result
    Index("mc_job_flow_key", "flow_key"),
    Index("mc_job_turn", "status", "executor", "priority", "created_at"),
    SparseIndex("mc_job_work_digest", "work_digest"),
)

# Which flows refer to which results in files that hosts share: a file without a row is left over.
large_result = Table(
    "mc_large_result",
    metadata,
    _flow_key(),
    Column("digest", _DIGEST, primary_key=True),  # SHA-256 of the text, by which its file is named
    Index("mc_large_result_digest", "digest"),
    **SORTED_BY_KEY,
)

# How much there is of each named resource.
resource = Table(
    "mc_resource",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("slots", Integer),  # how many may be held at a time; null: no limit
    Column("rate_count", Integer),  # how many may be taken within the time below; null: no limit
    Column("rate_microseconds", BigInteger),
    Column("set_at", _TIME),  # null: nobody has said how much there is; tasks have asked for it
    **SORTED_BY_KEY,
)

# What attempts of tasks ask of resources: a row for each resource that one needs; what was granted is held.
# The table and `claim_id` keep the names that they had when requests were called claims: to rename them
# would be an upgrade that shuts out all older runners for the sake of a word.
resource_request = Table(
    "mc_resource_claim",
    metadata,
    _flow_key(),
    Column("claim_id", _KEY, primary_key=True),  # of the attempt
    Column("resource", _NAME, primary_key=True),
    Column("task_key", _KEY, nullable=False),  # the flow's task that it is, or is inside of
    Column("attempt", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("flow_priority", Integer, nullable=False),  # higher ones come first
    Column("priority", Integer, nullable=False),  # of the task; then those that wait longest
    Column("since", _TIME, nullable=False),  # when it asked first
    Column("begun", Integer, nullable=False),  # 1: it ran already, and takes nothing of a rate
    Column("token", BigInteger, nullable=False),  # of the lease under which it asked last
    Column("granted_at", _TIME),  # null: it waits
    Column("woken_at", _TIME),  # when its flow was woken to take it; null: it is not its turn
    Column("due_at", _TIME),  # when it asks again by itself
    Column("hopeless", Integer, nullable=False),  # 1: not as the resources are set; others pass it
    Index("mc_resource_claim_resource", "resource", "granted_at"),
    **SORTED_BY_KEY,
)

# When how much was taken of resources with a rate; older rows are deleted by the way.
resource_use = Table(
    "mc_resource_use",
    metadata,
    _row_id(),
    Column("resource", _NAME, nullable=False),
    Column("taken_at", _TIME, nullable=False),
    Column("slots", Integer, nullable=False),
    Index("mc_resource_use_taken_at", "resource", "taken_at"),
)

# What runners did when: a row for each tick of a runner.
tick = Table(
    "mc_tick",
    metadata,
    Column("id", ExactText(32), primary_key=True),
    Column("owner", _KEY, nullable=False),  # the runner, as in leases
    Column("host", _KEY, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("ended_at", _TIME),  # null: under way, or its process vanished
    Column("one_flow", Integer, nullable=False),  # 1: took up one flow and its sub-flows only
    Column("ticks", Integer, nullable=False),  # more than one where ticks found nothing new to do
    Column("flows", Integer, nullable=False),  # that were claimed
    Column("tasks", Integer, nullable=False),  # calls of handlers
    Column("errors", Integer, nullable=False),  # flows that could not be ticked
    Column(
        "turn", BigInteger
    ),  # flows that were claimed in this and earlier ticks; see mc.store.leases.claims
    Index("mc_tick_started_at", "started_at"),
)

# What happened to a flow, in order of `id`; rows are only ever added.
event = Table(
    "mc_event",
    metadata,
    _row_id(),
    _belongs_to_flow(),
    Column("task_key", _KEY),  # null: the flow itself
    Column("attempt", Integer, nullable=False),  # of the task, from 1; 0 before the first and for flows
    Column("kind", _STATUS, nullable=False),  # see mc.store.event
    Column("old_status", _STATUS),
    Column("new_status", _STATUS),
    Column("at", _TIME, nullable=False),  # when it happened, by the engine's clock
    Column("recorded_at", _TIME, nullable=False),  # when it was saved
    Column("owner", _KEY),  # the runner; null: saved without a lease
    Column("token", BigInteger),  # of its lease
    Column("error", LongText),  # JSON: type, message, traceback
    Column("detail", LongText),  # JSON: what else there is to say
    Index("mc_event_flow_key", "flow_key"),
)

# Each try of each task; a later one leaves the earlier ones as they are.
attempt = Table(
    "mc_attempt",
    metadata,
    _row_id(),
    _belongs_to_flow(),
    Column("task_key", _KEY, nullable=False),
    Column("attempt", Integer, nullable=False),  # from 1
    Column("status", _STATUS, nullable=False),  # RUNNING until it is finished
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    Column("owner", _KEY),  # the runner that began it, or ended it
    Column("error", LongText),  # JSON: type, message, traceback
    Index("mc_attempt_task", "flow_key", "task_key"),
)

# The keys of flows that were deleted; none is given out again.
used_key = Table(
    "mc_used_key",
    metadata,
    Column("flow_key", _KEY, primary_key=True),
    Column("deleted_at", _TIME, nullable=False),
    **SORTED_BY_KEY,
)
