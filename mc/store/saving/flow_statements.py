"""The statements by which flows are written; parameters are named in the order in which rows hold them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, insert, not_, null, update

from mc.store.databases.base import Dialect
from mc.store.leases.claims import is_leased
from mc.store.schema import tables
from mc.store.schema.epochs import PRESENT_EPOCH
from mc.store.sql.bulk_update import BulkUpdate
from mc.store.sql.prepared import Prepared

__all__ = [
    "DELETE_EDGES",
    "DELETE_TASK",
    "INSERT_EDGE",
    "INSERT_FLOW",
    "INSERT_TASK",
    "NEW_FLOW_COLUMNS",
    "SAVED_COLUMNS",
    "UPDATE_DATA",
    "UPDATE_TASKS",
    "UPDATE_TASKS_WITH_POSITIONS",
    "UPDATE_TASK_STATUSES",
    "save_statement",
]

# columns of a flow's row that each save writes
SAVED_COLUMNS: Final = (
    "label",
    "status",
    "blocked_reason",
    "priority",
    "parent_key",
    "parent_task_key",
    "modified_at",
    "finished_at",
    "task_counts",
    "body",
    "next_tick_at",
)
NEW_FLOW_COLUMNS: Final = (
    "key",
    *SAVED_COLUMNS,
    "data",
    "waiter_key",
    "spec_digest",
    "created_at",
    "lease_token",
    "lost_leases",
    "revision",
)

INSERT_FLOW: Final = Prepared(insert(tables.flow), NEW_FLOW_COLUMNS)
INSERT_TASK: Final = Prepared(
    insert(tables.task), ("flow_key", "key", "position", "rank", "status", "unmet", "due_at", "body")
)
INSERT_EDGE: Final = Prepared(insert(tables.edge), ("flow_key", "src_key", "dest_key", "position"))
UPDATE_DATA: Final = Prepared(
    update(tables.flow).where(tables.flow.c.key == bindparam("flow")).values(data=bindparam("new_data")),
    ("new_data", "flow"),
)


UPDATE_TASK_STATUSES: Final = BulkUpdate(tables.task, ("rank", "status", "unmet", "due_at"), guard="status")
UPDATE_TASKS: Final = BulkUpdate(tables.task, ("rank", "status", "unmet", "due_at", "body"), guard="status")
UPDATE_TASKS_WITH_POSITIONS: Final = BulkUpdate(
    tables.task, ("position", "rank", "status", "unmet", "due_at", "body"), guard="status"
)
DELETE_TASK: Final = Prepared(
    delete(tables.task).where(
        tables.task.c.flow_key == bindparam("flow"),
        tables.task.c.key == bindparam("task"),
        tables.task.c.status == bindparam("known_status"),
    ),
    ("flow", "task", "known_status"),
)
DELETE_EDGES: Final = Prepared(
    delete(tables.edge).where(tables.edge.c.flow_key == bindparam("flow")), ("flow",)
)


@cache
def save_statement(
    *,
    dialect: Dialect,
    leased: bool,
    release: bool = False,
    keep_lost_leases: bool = False,
    notes_calls: bool = False,
) -> Prepared:
    """Return the statement that writes a flow's row, if nobody has saved it and the lease is the saver's.

    Its parameters are the saved columns, the flow's key, the revision that is known, and the token and the id
    of the lease; without one, the epoch.

    Args:
        dialect: of the database.
        leased: whether the saver names the token that it holds.
        release: whether the lease ends with the save.
        keep_lost_leases: whether the count of vanished runners stays as it is.
        notes_calls: whether the calls under way are written; the text is the last parameter.
    """
    row = tables.flow.c
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in SAVED_COLUMNS}
    values["revision"] = row.revision + 1
    if not keep_lost_leases:
        values["lost_leases"] = 0
    if notes_calls:
        values["lost_calls"] = bindparam("calls")
    elif not keep_lost_leases:
        values["lost_calls"] = null()
    if release or not leased:
        values["lease_owner"] = values["lease_expires_at"] = null()
    names = ["flow", "known"]
    if leased:
        names += ["token", "id"]
        condition = and_(
            row.lease_token == bindparam("token"),
            row.lease_id == bindparam("id"),
            row.lease_owner.is_not(None),
        )
    else:
        names += ["epoch"]
        # what a runner does at this moment would overwrite the save
        condition = and_(not_(is_leased(dialect)), bindparam("epoch") == PRESENT_EPOCH)
        values["lease_token"] = row.lease_token + 1  # a runner whose lease ran out is shut out
    if notes_calls:
        names += ["calls"]
    is_known = and_(row.key == bindparam("flow"), row.revision == bindparam("known"))
    statement = update(tables.flow).where(is_known, condition).values(values)
    return Prepared(statement, (*(f"new_{name}" for name in SAVED_COLUMNS), *names))
