"""Writes of flows, as far as they differ from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, and_, bindparam, not_, null
from sqlalchemy import update as update_of
from sqlalchemy.exc import IntegrityError

from mc.context.json_values import encode_json
from mc.errors import StoreError
from mc.flows.flow import Flow
from mc.flows.formats.flow_rows import collect_changes, mark_saved
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.databases.base import Dialect
from mc.store.history.event_log import EventRow, HistoryDraft, draft_history, write_history
from mc.store.lease import Lease, Wake
from mc.store.leases.claims import is_leased
from mc.store.leases.refusals import tasks_changed
from mc.store.rows.flow_and_task_rows import encode_flow
from mc.store.rows.request_rows import ended_requests
from mc.store.rows.signal_rows import SignalDraft, draft_signals
from mc.store.rows.wakes import (
    FINISHED,
    add_wake,
    due_if_noted,
    put_wake,
    remove_wakes,
    remove_wakes_of_finished,
)
from mc.store.saving.graph_writer import OUTER_GRAPHS, GraphDraft
from mc.store.saving.inner_flow_writer import (
    InnerDraft,
    draft_inner_flows,
    find_gone,
    mark_inner_saved,
    write_inner_flows,
)
from mc.store.schema import tables
from mc.store.schema.epochs import PRESENT_EPOCH
from mc.store.sql.statements import Batch, Count, Prepared
from mc.store.stored_state import StoredState

if TYPE_CHECKING:
    from mc.store.saving.spec_change import SpecChange

__all__ = [
    "SAVED_COLUMNS",
    "FlowDraft",
    "Update",
    "draft_save",
    "save_statement",
    "update_flows",
]

# columns of a flow's row that each save writes; none of them is in an index
_OFTEN_CHANGED: Final = ("modified_at", "task_counts", "body")
_SELDOM_CHANGED: Final = (
    "label",
    "status",
    "blocked_reason",
    "priority",
    "parent_key",
    "parent_task_key",
    "finished_at",
)
SAVED_COLUMNS: Final = (*_SELDOM_CHANGED, *_OFTEN_CHANGED, "next_tick_at")


@dataclass(slots=True, kw_only=True)
class FlowDraft(GraphDraft):
    """What a save of a flow has to write, made before the transaction begins."""

    flow: Flow
    columns: dict[str, Any]  # of the flow's row
    data: str | None  # None: as it was
    inside: list[InnerDraft] = field(default_factory=list)  # flows inside of its tasks, at any depth
    history: HistoryDraft = field(default_factory=HistoryDraft)
    signals: SignalDraft | None = None
    migration: SpecChange | None = None
    ended_requests: list[str] = field(default_factory=list)  # on resources
    checks_row_first: bool = False  # before anything else is sent
    goes_on: bool = False  # as `StoredState.seldom_changed` says, so that these columns are left as they are

    def seldom_changed(self, lease: Lease) -> tuple[Any, ...] | None:
        """Return what `StoredState.seldom_changed` is once this is saved under a lease that goes on."""
        columns = self.columns
        if columns["next_tick_at"] != columns["modified_at"]:
            return None  # it is not due at once, as it was when it was claimed
        return (lease.token, *(columns[name] for name in _SELDOM_CHANGED))

    def mark_saved(self) -> None:
        """Take over into `state` what has been committed."""
        state = self.state
        self.mark_graph_saved()
        state.status = self.flow.status
        state.label = self.flow.label
        state.finished = self.flow.status in FINISHED_FLOW_STATUSES
        if self.migration is not None:
            self.migration.mark_saved(state)
        for request_id in self.ended_requests:
            state.requests.pop(request_id, None)
        if self.data is not None:
            state.data = self.data
        if self.signals is not None:
            self.signals.mark_saved(self.flow)
        mark_saved(self.flow.state, self.changes)
        if self.inside:
            mark_inner_saved(self.inside)


def draft_save(flow: Flow, state: StoredState, now: datetime, lease: Lease | None = None) -> FlowDraft:
    """Compare a flow with what is stored of it.

    Args:
        flow: what is to be saved.
        state: what is stored.
        now: the present.
        lease: under which it is saved, for the history.

    Raises:
        NotJsonError: JSON cannot hold a part of the flow.
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    if lease is not None and state.revision > 0 and flow.key != lease.flow_key:
        raise StoreError(
            f"The flow {lease.flow_key!r} was given another key ({flow.key!r:.100}) while it was ticked; a "
            f"flow's key stays the same for ever. Nothing was saved.",
            key=lease.flow_key,
        )
    changes = collect_changes(flow.state)
    if state.revision == 0:
        edges = [(edge["src_key"], edge["dest_key"]) for edge in flow.get_edges()]
        changes = replace(changes, edges=edges)
    data = state.data
    if not flow.state.are_data_saved or state.revision == 0:
        data = encode_json(flow.state.data, f"data of flow {flow.key!r}", "/data")
    draft = FlowDraft(
        key=flow.key,
        name=flow.key,
        flow=flow,
        state=state,
        changes=changes,
        columns=encode_flow(flow, changes, now, state),
        data=data if data != state.data else None,
    )
    draft.compare()
    if flow.state.changed_sub_flows or (state.revision == 0 and flow.state.list_flows_inside()):
        draft.inside = draft_inner_flows(flow.key, state, flow.state)
    if changes.migrations and state.revision > 0:
        from mc.store.saving.spec_change import SpecChange  # few saves need it

        draft.migration = SpecChange(flow)
    draft.history = draft_history(flow, state, changes, draft.stored, draft.columns["modified_at"], lease)
    if flow.state.mailbox is not None:
        draft.signals = draft_signals(flow)
        draft.history.events += draft.signals.events(EventRow(flow.key, draft.columns["modified_at"], lease))
    if state.requests:
        draft.ended_requests = ended_requests(flow, state.requests)
    return draft


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Update:
    """A draft that is to be written if the flow's row still fulfils a condition."""

    draft: FlowDraft
    lease: Lease | None  # under which it is saved
    holder: tuple[int | str, ...]  # token and id of the lease, or the epoch; see `save_statement`
    acted_upon: Sequence[Wake] = ()  # what the flow need not be woken for again


def update_flows(
    connection: Connection, dialect: Dialect, statement: Prepared, updates: Sequence[Update]
) -> list[Update]:
    """Write drafts of different flows, each if its row still fulfils the condition of the statement.

    Args:
        connection: in a transaction.
        dialect: of the database.
        statement: see `save_statement`.
        updates: what to write.

    Returns:
        Those whose row does not; where there are any, nothing may be committed.

    Raises:
        StoreError: rows of tasks are not as they were read; nothing may be committed.
    """
    batch = Batch(connection)
    drafts = [update.draft for update in updates]
    rows = [_put_row(batch, dialect, statement, update) for update in updates]
    if any(draft.checks_row_first for draft in drafts):
        batch.send()
        if refused := _find_refused(updates, rows):
            return refused
    if not dialect.has_one_writer:
        for update in updates:
            _put_wakes(batch, update)
    _UPDATE_DATA.put(batch, [(draft.data, draft.key) for draft in drafts if draft.data is not None])
    changed = Count()
    expected = _put_tasks(batch, drafts, changed)
    write_history(batch, [draft.history for draft in drafts])
    try:
        batch.send()
    except IntegrityError:
        # Perhaps a flow was deleted meanwhile; the transaction is done again.
        for draft in drafts:
            draft.checks_row_first = True
        raise
    refused = _find_refused(updates, rows)
    if not refused:
        if changed.rows != expected:
            raise tasks_changed([draft.flow.key for draft in drafts], expected, changed.rows)
        for draft in drafts:
            _write_the_rest(connection, draft)
    return refused


def _find_refused(updates: Sequence[Update], rows: Sequence[Count]) -> list[Update]:
    return [update for update, count in zip(updates, rows, strict=True) if count.rows != 1]


def _put_row(batch: Batch, dialect: Dialect, statement: Prepared, update: Update) -> Count:
    draft, columns = update.draft, update.draft.columns
    names = _OFTEN_CHANGED if draft.goes_on else SAVED_COLUMNS
    row = (*(columns[name] for name in names), draft.flow.key, draft.state.revision, *update.holder)
    if dialect.has_one_writer:
        _put_removals(batch, update)
        if not draft.goes_on:
            row = (*row, columns["modified_at"], int(_is_live(draft)))
    return statement.put(batch, [row])


def _put_wakes(batch: Batch, update: Update) -> None:
    """Let a batch, after the row, remove wakes that were acted upon, and see whether others are noted."""
    draft = update.draft
    _put_removals(batch, update)
    if not draft.goes_on:
        put_wake(batch, draft.flow.key, _is_live(draft), draft.columns["modified_at"])


def _put_removals(batch: Batch, update: Update) -> None:
    flow = update.draft.flow
    if flow.status in FINISHED_FLOW_STATUSES:
        remove_wakes_of_finished(batch, flow.key)
    if update.acted_upon:
        remove_wakes(batch, flow.key, update.acted_upon)


def _is_live(draft: FlowDraft) -> bool:
    return draft.flow.status in ("PENDING", "RUNNING")


def _put_tasks(batch: Batch, drafts: Sequence[FlowDraft], changed: Count) -> int:
    """Write or delete the rows of known tasks, each of which must have the status that was known of it."""
    expected = OUTER_GRAPHS.update(batch, drafts, changed)
    inside = [each for draft in drafts for each in draft.inside]
    gone = [key for draft in drafts if draft.gone_inside for key in find_gone(draft.key, (), draft)]
    gone += [key for each in inside for key in find_gone(each.root_key, each.flow.path, each)]
    if inside or gone:
        expected += write_inner_flows(batch, inside, gone, changed)
    return expected


def _write_the_rest(connection: Connection, draft: FlowDraft) -> None:
    """Write what takes more than statements whose parameters are known, which few saves have."""
    if draft.signals is not None:
        draft.signals.write(connection)
    if draft.migration is not None:
        draft.migration.write(connection, draft.columns["body"])
    waiter, finished = draft.state.waiter_key, draft.flow.status in FINISHED_FLOW_STATUSES
    if finished and not draft.state.finished and waiter is not None:
        wake = Wake(kind=FINISHED, source_key=draft.flow.key, reason=str(draft.state.revision + 1))
        add_wake(connection, waiter, wake, draft.columns["modified_at"])


@cache
def save_statement(
    *,
    dialect: Dialect,
    leased: bool,
    release: bool = False,
    keep_lost_leases: bool = False,
    notes_calls: bool = False,
    goes_on: bool = False,
) -> Prepared:
    """Return the statement that writes a flow's row, if nobody has saved it and the lease is the saver's.

    Its parameters are the saved columns, the flow's key, the revision that is known, the token and the id of
    the lease (without one, the epoch), and for a database with one writer those of `due_if_noted`.

    Args:
        dialect: of the database.
        leased: whether the saver names the token that it holds.
        release: whether the lease ends with the save.
        keep_lost_leases: whether the count of vanished runners stays as it is.
        notes_calls: whether the calls under way are written; the text comes after the lease.
        goes_on: whether only the columns are written that change often, with no parameters of `due_if_noted`.
    """
    row = tables.flow.c
    columns = _OFTEN_CHANGED if goes_on else SAVED_COLUMNS
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
    looks_for_wakes = dialect.has_one_writer and not goes_on
    if looks_for_wakes:
        values["next_tick_at"] = due_if_noted(values["next_tick_at"])
    values["revision"] = row.revision + 1
    if not keep_lost_leases:
        values["lost_leases"] = 0
    if notes_calls:
        values["lost_calls"] = bindparam("calls")
    elif not keep_lost_leases:
        values["lost_calls"] = null()
    if release or not leased:
        values["lease_owner"] = values["lease_expires_at"] = null()
    if release:
        values["long_calls"] = null()
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
    if looks_for_wakes:
        names += ["now", "live"]
    is_known = and_(row.key == bindparam("flow"), row.revision == bindparam("known"))
    statement = update_of(tables.flow).where(is_known, condition).values(values)
    return Prepared(statement, (*(f"new_{name}" for name in columns), *names))


_UPDATE_DATA: Final = Prepared(
    update_of(tables.flow).where(tables.flow.c.key == bindparam("flow")).values(data=bindparam("new_data")),
    ("new_data", "flow"),
)
