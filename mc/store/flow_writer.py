"""Writes flows: a new one whole, a known one as far as it differs from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    case,
    exists,
    insert,
    not_,
    null,
    or_,
    select,
    update,
)

from mc.context.json_values import dumps, loads
from mc.durations import format_time
from mc.errors import FlowExistsError
from mc.flows.flow import Flow
from mc.flows.flow_rows import FlowChanges, collect_changes, mark_saved
from mc.spec.digest import spec_digest
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store import tables
from mc.store.dialects import Dialect
from mc.store.flow_reader import chunks
from mc.store.lease import Wake
from mc.store.leases import is_leased
from mc.store.row_format import StoredState, StoredTask, check_key, encode_flow, encode_json, encode_task
from mc.store.wakes import CANCEL, FINISHED, add_wake, remove_wakes

__all__ = [
    "FlowDraft",
    "NewFlow",
    "draft_new_flow",
    "draft_save",
    "insert_flows",
    "save_statement",
    "update_flow",
]


@dataclass(slots=True, kw_only=True)
class FlowDraft:
    """What a save of a flow has to write, made before the transaction begins."""

    flow: Flow
    state: StoredState  # as the database stands now
    changes: FlowChanges
    columns: dict[str, Any]  # of the flow's row
    data: str | None  # None: as it was
    new_tasks: list[dict[str, Any]] = field(default_factory=list)
    changed_tasks: list[dict[str, Any]] = field(default_factory=list)
    moved_tasks: list[dict[str, Any]] = field(default_factory=list)  # whose dict is as it was
    new_edges: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, StoredTask] = field(default_factory=dict)  # rows as the save leaves them

    def mark_saved(self) -> None:
        """Take over into `state` what has been committed."""
        state = self.state
        state.revision += 1
        state.finished = self.flow.status in FINISHED_FLOW_STATUSES
        state.num_edges += len(self.new_edges)
        state.tasks.update(self.stored)
        if self.data is not None:
            state.data = self.data
        mark_saved(self.flow, self.changes)


def draft_save(
    flow: Flow,
    state: StoredState,
    now: datetime,
    *,
    leave_out: Iterable[str] = (),
) -> FlowDraft:
    """Compare a flow with what is stored of it.

    Args:
        flow: the flow.
        state: what is stored.
        now: the time of the save.
        leave_out: tasks whose handlers are at work; their rows stay as they are.

    Raises:
        NotJsonError: JSON cannot hold a part of the flow.
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    changes = collect_changes(flow)
    if state.revision == 0:
        edges = [(edge["src_key"], edge["dest_key"]) for edge in flow.get_edges()]
        changes = replace(changes, edges=edges)
    left_out = frozenset(leave_out)
    if left_out:
        changes = replace(
            changes,
            task_rows=[row for row in changes.task_rows if row.key not in left_out],
            nodes=tuple(node for node in changes.nodes if node.key not in left_out),
        )
    data = encode_json(changes.attributes["data"], f"data of flow {flow.key!r}", "/data")
    draft = FlowDraft(
        flow=flow,
        state=state,
        changes=changes,
        columns=encode_flow(flow, changes, now, state),
        data=data if data != state.data else None,
    )
    known = state.tasks
    for row in changes.task_rows:
        key = row.key
        stored = encode_task(flow.key, row)
        before = known.get(key)
        if before == stored:
            continue
        draft.stored[key] = stored
        if before is None:
            check_key(key, f"task key of flow {flow.key!r}")
            draft.new_tasks.append(_task_row(flow.key, key, stored))
        elif before.body == stored.body:
            draft.moved_tasks.append(_moved_row(flow.key, key, stored))
        else:
            draft.changed_tasks.append({**_moved_row(flow.key, key, stored), "new_body": stored.body})
    draft.new_edges = [
        {"flow_key": flow.key, "src_key": source, "dest_key": dest, "position": position}
        for position, (source, dest) in enumerate(changes.edges, state.num_edges)
    ]
    return draft


def update_flow(
    connection: Connection,
    statement: Update,
    draft: FlowDraft,
    params: dict[str, Any],
    acted_upon: Sequence[Wake],
) -> bool:
    """Write a draft, if the flow's row still fulfils the condition of the statement.

    Returns:
        False if it does not, or there is none; then nothing of it may be committed.
    """
    flow, key = draft.flow, draft.flow.key
    finished = flow.status in FINISHED_FLOW_STATUSES
    now = draft.columns["modified_at"]
    if finished:
        remove_wakes(connection, key)
    elif acted_upon:
        remove_wakes(connection, key, acted_upon)
    columns = {f"new_{name}": value for name, value in draft.columns.items() if name != "key"}
    live = int(flow.status in ("PENDING", "RUNNING"))
    found = connection.execute(statement, {**columns, **params, "flow": key, "now": now, "live": live})
    if found.rowcount != 1:
        return False
    if draft.data is not None:
        connection.execute(_UPDATE_DATA, {"flow": key, "new_data": draft.data})
    _write_tasks(connection, draft)
    waiter = draft.state.waiter_key
    if finished and not draft.state.finished and waiter is not None:
        add_wake(connection, waiter, Wake(kind=FINISHED, source_key=key), now)
    return True


@cache
def save_statement(
    *, dialect: Dialect, leased: bool, release: bool = False, keep_lost_leases: bool = False
) -> Update:
    """Return the statement that writes a flow's row; its condition names the token, or else the revision.

    Args:
        dialect: of the database.
        leased: whether the saver names the token that it holds.
        release: whether the lease ends with the save.
        keep_lost_leases: whether the count of vanished drivers stays as it is.
    """
    row = tables.flow.c
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _UPDATED}
    woken = exists().where(
        tables.wake.c.flow_key == row.key, or_(tables.wake.c.kind == CANCEL, bindparam("live") == 1)
    )
    values["next_tick_at"] = case((woken, bindparam("now")), else_=bindparam("new_next_tick_at"))
    values["revision"] = row.revision + 1
    if not keep_lost_leases:
        values["lost_leases"] = 0
    if release or not leased:
        values["lease_owner"] = values["lease_expires_at"] = null()
    if leased:
        condition = and_(row.lease_token == bindparam("token"), row.lease_owner.is_not(None))
    else:
        # what a driver does at this moment would overwrite the save
        condition = and_(row.revision == bindparam("seen_revision"), not_(is_leased(dialect)))
        values["lease_token"] = row.lease_token + 1  # a driver whose lease ran out is shut out
    return update(tables.flow).where(row.key == bindparam("flow"), condition).values(values)


@dataclass(slots=True, kw_only=True)
class NewFlow:
    """A flow that is to be stored for the first time."""

    draft: FlowDraft
    row: dict[str, Any]
    spec_text: str | None


def draft_new_flow(flow: Flow, now: datetime, waiter_key: str | None = None) -> NewFlow:
    """Return all rows of a flow.

    Raises:
        StoreError: a key is too long.
        NotJsonError: JSON cannot hold a part of the flow.
    """
    check_key(flow.key, "flow key")
    flow.filter_tasks()  # what is handed out is written; the flow may have been saved elsewhere
    state = StoredState(data="", waiter_key=waiter_key)
    draft = draft_save(flow, state, now)
    digest = spec_digest(flow.spec) if flow.spec is not None else None
    row = {
        **draft.columns,
        "data": draft.data,
        "waiter_key": waiter_key,
        "spec_digest": digest,
        "created_at": format_time(now),
        "lease_token": 0,
        "lost_leases": 0,
        "revision": 1,
    }
    text = encode_json(flow.spec, f"spec of flow {flow.key!r}") if digest is not None else None
    return NewFlow(draft=draft, row=row, spec_text=text)


def insert_flows(connection: Connection, flows: Sequence[NewFlow]) -> None:
    """Write new flows.

    Raises:
        FlowExistsError: one of the keys is taken; nothing may be committed.
    """
    keys = [new.row["key"] for new in flows]
    taken = [key for key, count in Counter(keys).items() if count > 1]
    for chunk in chunks(keys):
        taken += connection.scalars(_FIND_FLOWS, {"keys": chunk})
    if taken:
        raise FlowExistsError(
            f"A flow with the key {taken[0]!r} is stored already. Choose another key, or delete that flow.",
            key=taken[0],
        )
    for new in flows:
        if new.spec_text is not None:
            _insert_spec(connection, new)
    connection.execute(_INSERT_FLOW, [new.row for new in flows])
    _write_drafts(connection, [new.draft for new in flows])


def _write_drafts(connection: Connection, drafts: Sequence[FlowDraft]) -> None:
    """Write the task rows and the edges of several new flows."""
    tasks = [row for draft in drafts for row in draft.new_tasks]
    edges = [row for draft in drafts for row in draft.new_edges]
    if tasks:
        connection.execute(_INSERT_TASK, tasks)
    if edges:
        connection.execute(_INSERT_EDGE, edges)


def _write_tasks(connection: Connection, draft: FlowDraft) -> None:
    if draft.changed_tasks:
        connection.execute(_UPDATE_TASK, draft.changed_tasks)
    if draft.moved_tasks:
        connection.execute(_MOVE_TASK, draft.moved_tasks)
    _write_drafts(connection, [draft])


def _insert_spec(connection: Connection, new: NewFlow) -> None:
    digest = new.row["spec_digest"]
    stored = connection.scalar(_FIND_SPEC, {"spec": digest})
    if stored is None:
        connection.execute(_INSERT_SPEC, {"digest": digest, "text": new.spec_text})
    elif stored != new.spec_text:
        # Equal, but written in another order, and a flow keeps its own.
        new.draft.state.own_spec = new.draft.flow.spec
        new.row["body"] = dumps({**loads(new.row["body"]), "spec": new.draft.flow.spec})


def _task_row(flow_key: str, key: str, stored: StoredTask) -> dict[str, Any]:
    return {"flow_key": flow_key, "key": key, **stored._asdict()}


def _moved_row(flow_key: str, key: str, stored: StoredTask) -> dict[str, Any]:
    return {
        "flow": flow_key,
        "task": key,
        "new_rank": stored.rank,
        "new_status": stored.status,
        "new_unmet": stored.unmet,
        "new_due_at": stored.due_at,
    }


_UPDATED: Final = (
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
)
_INSERT_SPEC: Final = insert(tables.spec)
_INSERT_FLOW: Final = insert(tables.flow)
_INSERT_TASK: Final = insert(tables.task)
_INSERT_EDGE: Final = insert(tables.edge)
_FIND_SPEC: Final = select(tables.spec.c.text).where(tables.spec.c.digest == bindparam("spec"))
_FIND_FLOWS: Final = select(tables.flow.c.key).where(tables.flow.c.key.in_(bindparam("keys", expanding=True)))
_UPDATE_DATA: Final = (
    update(tables.flow).where(tables.flow.c.key == bindparam("flow")).values(data=bindparam("new_data"))
)
_MOVE_TASK: Final = (
    update(tables.task)
    .where(tables.task.c.flow_key == bindparam("flow"), tables.task.c.key == bindparam("task"))
    .values({name: bindparam(f"new_{name}") for name in ("rank", "status", "unmet", "due_at")})
)
_UPDATE_TASK: Final = _MOVE_TASK.values(body=bindparam("new_body"))
