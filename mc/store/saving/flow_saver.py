"""Saves of flows: what changed in them, with what belongs into the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, MutableMapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mc.context.gc_pause import MANY_TASKS, gc_paused
from mc.durations import format_time
from mc.errors import (
    FlowExistsError,
    LeaseLostError,
    McError,
    StoreError,
    StoreReplacedError,
)
from mc.flows.flow import Flow
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.database import Database
from mc.store.databases.held_transaction import HeldTransaction
from mc.store.history.event_log import add_events, draft_lost_result, taken_events
from mc.store.lease import Lease, LostCalls, Wake
from mc.store.leases.call_notes import lose_noted_calls, write_notes
from mc.store.leases.claims import Recollection
from mc.store.leases.refusals import explain_refusal
from mc.store.rows.large_result_rows import note_results
from mc.store.rows.request_rows import give_back, take_turn
from mc.store.saving.flow_writer import FlowDraft, Update, draft_save, save_statement, update_flows
from mc.store.saving.new_flow import NewFlow, draft_new_flow, insert_flows
from mc.store.saving.shared_commits import SharedCommits
from mc.store.sql.statements import Prepared, Row
from mc.store.stored_state import StoredState

if TYPE_CHECKING:
    from mc.flows.calls.call_note import FindNotes
    from mc.flows.controls.control import Control
    from mc.flows.jobs.job import Job

__all__ = ["FinalSave", "FlowSaver", "Outbox"]

_MOST_TASKS: Final = 2_000  # in one transaction, which keeps the rows locked


@dataclass(slots=True)
class Outbox:
    """What a flow's tasks want done to other stored flows, and what the tick acted upon."""

    started: dict[str, Flow] = field(default_factory=dict)  # new sub-flows by key
    cancelled: dict[str, str] = field(default_factory=dict)  # sub-flows to be cancelled: key -> reason
    asked: dict[str, Control] = field(default_factory=dict)  # of stored sub-flows by key
    jobs: dict[str, Job] = field(default_factory=dict)  # to be started, by key
    stopped: dict[str, str] = field(default_factory=dict)  # jobs to be stopped: key -> reason
    taken: list[tuple[Job, str]] = field(default_factory=list)  # not started: key of the job that did it
    results: set[str] = field(default_factory=set)  # digests of large ones to which tasks refer now
    passed_on: list[Control] = field(default_factory=list)  # to all stored sub-flows that it concerns
    refused: list[tuple[Control, str]] = field(default_factory=list)  # what a person asked in vain, and why
    acted_upon: tuple[Wake, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done to other flows, and nothing to be told."""
        asked = self.started or self.cancelled or self.asked or self.passed_on or self.refused
        return not (asked or self.jobs or self.stopped or self.taken)

    def clear(self) -> None:
        """Forget what has been committed."""
        self.started.clear()
        self.cancelled.clear()
        self.asked.clear()
        self.jobs.clear()
        self.stopped.clear()
        self.taken.clear()
        self.results.clear()
        self.passed_on.clear()
        self.refused.clear()
        self.acted_upon = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSave:
    """A flow that was ticked under a lease and is to be saved and let go."""

    flow: Flow
    lease: Lease
    acted_upon: tuple[Wake, ...] = ()  # what the flow need not be woken for again


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Takes the transaction back in which some of several flows could not be saved.

    Attributes:
        errors: why, by flow.
    """

    def __init__(self, errors: dict[str, StoreError]) -> None:
        super().__init__()
        self.errors = errors


class FlowSaver:
    """The saves of one store.

    Args:
        database: to write to.
        now: the present, for the times that are written.
        states: what is stored of each flow that is in memory.
        seen: what was seen of flows.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        states: MutableMapping[Flow, StoredState],
        seen: Recollection,
    ) -> None:
        self._database = database
        self._shared = SharedCommits(database) if database.dialect.has_one_writer else database
        self._now = now
        self._states = states
        self._seen = seen

    def state_of(self, flow: Flow) -> StoredState:
        """Return what is stored of a flow.

        Raises:
            StoreError: the flow is not of this store.
        """
        state = self._states.get(flow)
        if state is None:
            raise StoreError(
                f"Flow {flow.key!r} was neither loaded from this store nor created in it. Load or create it.",
                key=flow.key,
            )
        return state

    def save(
        self,
        flow: Flow,
        *,
        lease: Lease | None,
        release: bool,
        keep_lost_leases: bool,
        lost_calls: LostCalls | None,
        outbox: Outbox | None,
        within: HeldTransaction | None,
        note: FindNotes | None,
    ) -> None:
        """Save one flow; see `FlowStore.save`."""
        outbox = outbox or Outbox()
        state = self.state_of(flow)
        now = self._now()
        with gc_paused() if len(flow.state.tasks.touched) >= MANY_TASKS else nullcontext():
            draft = draft_save(flow, state, now, lease)
        seldom_changed = draft.seldom_changed(lease) if lease is not None and not release else None
        draft.goes_on = seldom_changed is not None and seldom_changed == state.seldom_changed
        started = [_draft_sub_flow(child, flow.key, now, lease) for child in outbox.started.values()]
        statement = save_statement(
            leased=lease is not None,
            release=release,
            keep_lost_leases=keep_lost_leases,
            notes_calls=lost_calls is not None,
            goes_on=draft.goes_on,
            dialect=self._database.dialect,
        )
        update = self._update(draft, lease, outbox.acted_upon, lost_calls)
        if outbox.refused:
            draft.history.events += _refusals(flow.key, outbox, format_time(now), lease)
        if outbox.taken:
            draft.history.events += taken_events(flow.key, outbox.taken, format_time(now), lease)

        def write(connection: Connection) -> None:
            if self._write(connection, statement, [update], now):
                raise self._why(connection, update)
            if started:
                try:
                    insert_flows(connection, started)
                except FlowExistsError as error:
                    error.details["sub_flow"] = error.key
                    raise
            if note is not None:
                write_notes(connection, flow.key, note())
            if lease is None:
                lose_noted_calls(connection, flow.key, format_time(now))
            if outbox.jobs or outbox.stopped:
                _write_jobs(connection, outbox, format_time(now))
            if outbox.results:
                note_results(connection, flow.key, outbox.results)
            if outbox.cancelled or outbox.asked or outbox.passed_on:
                _write_controls(connection, flow.key, outbox, format_time(now))

        is_shared = lease is not None and outbox.is_empty and _changes_no_other(draft)
        try:
            (within or (self._shared if is_shared else self._database)).write(write)
        except LeaseLostError as error:
            self._keep_lost_result(draft, lease, error)
            raise
        self._mark_saved(draft, lease)
        state.seldom_changed = seldom_changed
        outbox.clear()

    def save_many(self, saves: Sequence[FinalSave]) -> dict[str, McError]:
        """Save flows and end their leases; see `FlowStore.save_many`."""
        errors: dict[str, McError] = {}
        updates: dict[str, Update] = {}
        now = self._now()
        with gc_paused() if sum(each.lease.num_tasks for each in saves) >= MANY_TASKS else nullcontext():
            for each in saves:
                try:
                    draft = draft_save(each.flow, self.state_of(each.flow), now, each.lease)
                except McError as error:
                    errors[each.flow.key] = error
                else:
                    updates[each.flow.key] = self._update(draft, each.lease, each.acted_upon)
        statement = save_statement(leased=True, release=True, dialect=self._database.dialect)
        waiting = {key for key, update in updates.items() if update.draft.state.waiter_key is not None}
        for group in _group_saves((each for each in saves if each.flow.key in updates), waiting):
            errors |= self._save_group(statement, group, [updates[each.flow.key] for each in group])
        return errors

    def _save_group(
        self, statement: Prepared, group: Sequence[FinalSave], updates: Sequence[Update]
    ) -> dict[str, McError]:
        def write(connection: Connection) -> None:
            refused = self._write(connection, statement, updates, self._now())
            if refused:
                raise _Refused({update.draft.key: self._why(connection, update) for update in refused})

        if not group:
            return {}
        try:
            self._database.write(write)
        except _Refused as refused:
            errors = refused.errors
        else:
            for each, update in zip(group, updates, strict=True):
                self._mark_saved(update.draft, each.lease)
            return {}
        left: list[FinalSave] = []
        for each, update in zip(group, updates, strict=True):
            error = errors.get(each.flow.key)
            if isinstance(error, StoreReplacedError):
                raise error
            if isinstance(error, LeaseLostError):
                self._keep_lost_result(update.draft, each.lease, error)
            if error is None:
                left.append(each)
        kept = [update for update in updates if update.draft.key not in errors]
        return {**errors, **self._save_group(statement, left, kept)}

    def _update(
        self,
        draft: FlowDraft,
        lease: Lease | None,
        acted_upon: Sequence[Wake],
        lost_calls: LostCalls | None = None,
    ) -> Update:
        holder: tuple[Any, ...] = (self._database.epoch,) if lease is None else (lease.token, lease.id)
        if lost_calls is not None:
            holder = (*holder, lost_calls.to_text())
        return Update(draft=draft, lease=lease, holder=holder, acted_upon=acted_upon)

    def _mark_saved(self, draft: FlowDraft, lease: Lease | None) -> None:
        draft.mark_saved()
        self._seen.note(draft.flow.key, lease.token if lease is not None else 0, draft.state.revision)

    def _write(
        self, connection: Connection, statement: Prepared, updates: Sequence[Update], now: datetime
    ) -> list[Update]:
        """Write what changed, with what goes back of named resources, or return what is refused of it."""
        if any(update.draft.ended_requests for update in updates):
            take_turn(connection)
        refused = update_flows(connection, self._database.dialect, statement, updates)
        for update in () if refused else updates:
            draft = update.draft
            if draft.ended_requests:
                give_back(connection, self._database.dialect, draft.flow.key, draft.ended_requests, now)
        return refused

    def _why(self, connection: Connection, update: Update) -> StoreError:
        """Return why the row of a flow was not as its saver knew it."""
        draft, lease = update.draft, update.lease
        return explain_refusal(connection, draft.flow.key, draft.state.revision, lease, self._database.epoch)

    def _keep_lost_result(self, draft: FlowDraft, lease: Lease | None, error: LeaseLostError) -> None:
        """Keep as evidence, in a transaction of its own, what could not be saved."""
        if lease is None:
            return
        state, now = draft.state, format_time(self._now())
        try:
            rows = draft_lost_result(draft.flow, state, draft.stored, now, lease)
            self._database.write(lambda connection: add_events(connection, draft.flow.key, rows))
        except McError as problem:
            error.add_note(f"What it wanted to save could not be kept in the history: {problem}")


def _group_saves(saves: Iterable[FinalSave], waiting: Collection[str]) -> list[list[FinalSave]]:
    """Return saves in groups that can share a transaction.

    Args:
        saves: of different flows.
        waiting: keys of flows whose end changes another flow, too. Each is saved alone, because
            two transactions might change the same two flows in different order.
    """
    groups: list[list[FinalSave]] = [[]]
    tasks = 0
    for save in saves:
        if save.flow.key in waiting:
            groups.insert(0, [save])
            continue
        tasks += save.lease.num_tasks
        if groups[-1] and tasks > _MOST_TASKS:
            groups.append([])
            tasks = save.lease.num_tasks
        groups[-1].append(save)
    return [group for group in groups if group]


def _changes_no_other(draft: FlowDraft) -> bool:
    """Tell whether a save changes nothing that belongs to other flows, too."""
    ends = draft.flow.status in FINISHED_FLOW_STATUSES and draft.state.waiter_key is not None
    return not ends and not draft.ended_requests


def _draft_sub_flow(child: Flow, waiter_key: str, now: datetime, lease: Lease | None) -> NewFlow:
    try:
        return draft_new_flow(child, now, waiter_key=waiter_key, lease=lease)
    except McError as error:
        error.details["sub_flow"] = child.key
        raise


def _refusals(flow_key: str, outbox: Outbox, now: str, lease: Lease | None) -> list[Row]:
    from mc.store.rows.pending_controls import refused_event  # few saves need it

    return [refused_event(flow_key, control, why, now, lease) for control, why in outbox.refused]


def _write_jobs(connection: Connection, outbox: Outbox, now: str) -> None:
    from mc.store.rows.job_rows import add_jobs, ask_to_stop, job_id  # many flows have none

    add_jobs(connection, outbox.jobs.values(), now)
    ask_to_stop(connection, {job_id(key): reason for key, reason in outbox.stopped.items()}, now)


def _write_controls(connection: Connection, flow_key: str, outbox: Outbox, now: str) -> None:
    from mc.store.rows.pending_controls import (  # few saves need it
        add_control,
        cancel_sub_flow,
        hand_on_to_sub_flows,
    )

    for key, reason in outbox.cancelled.items():
        cancel_sub_flow(connection, key, flow_key, reason, now)
    for key, control in outbox.asked.items():
        add_control(connection, key, control)
    for control in outbox.passed_on:
        hand_on_to_sub_flows(connection, flow_key, control)
