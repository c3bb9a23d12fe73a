"""The log of what happened to flows: events and attempts, drafted and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from mc.context.json_values import dumps, encode_json, loads
from mc.flows.flow import Flow
from mc.flows.formats.flow_rows import FlowChanges
from mc.flows.jobs.job import Job
from mc.flows.observer import ChangeEvent
from mc.flows.state.task_row import TaskRow
from mc.store.event import ACTIVE_STATUSES, EventKind
from mc.store.lease import Lease
from mc.store.schema import tables
from mc.store.schema.tables import MAX_KEY_LENGTH
from mc.store.sql.column_types import storable_text
from mc.store.sql.statements import Batch, BulkInsert, Prepared, Row
from mc.store.stored_state import StoredState, TaskColumns

__all__ = [
    "EventRow",
    "HistoryDraft",
    "add_events",
    "draft_history",
    "draft_lost_result",
    "insert_attempts",
    "insert_events",
    "shorten_path",
    "taken_events",
    "write_history",
]

_MAX_ATTEMPT: Final = 2**31 - 1  # that the column holds
_CHANGED: Final = str(EventKind.CHANGED)
_INSIDE: Final = str(EventKind.INSIDE)
_MAX_LOST_TASKS: Final = 100  # of one lost save that are kept as evidence
_MAX_LOST_DATA: Final = 2_000  # characters of the JSON text of a task's data
_TIME_LENGTH: Final = 32  # characters that the columns hold


class EventRow:
    """Makes rows of `mc_event` that are written together.

    Args:
        flow_key: of the flow.
        now: when they are written, ISO 8601.
        lease: under which; None for a save outside a runner.
    """

    def __init__(self, flow_key: str, now: str, lease: Lease | None = None) -> None:
        self.flow_key = flow_key
        self.now = now
        self.owner = lease.owner if lease is not None else None
        self.token = lease.token if lease is not None else None

    def make(
        self,
        kind: EventKind,
        new: str | None,
        *,
        old: str | None = None,
        task_key: str | None = None,
        number: Any = 0,
        at: str = "",
        error: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> Row:
        """Return a row.

        Args:
            kind: of the event.
            new: status after it.
            old: status before it.
            task_key: of the task; None for the flow itself.
            number: of the attempt, as the task dict has it.
            at: when it happened; now unless given.
            error: JSON text.
            detail: what else there is to say.
        """
        return (
            self.flow_key,
            task_key,
            _to_number(number),
            str(kind),
            old,
            new,
            at or self.now,
            self.now,
            self.owner,
            self.token,
            error,
            dumps(detail) if detail is not None else None,
        )


@dataclass(slots=True)
class HistoryDraft:
    """What a save has to add to the history of a flow, made before the transaction begins."""

    events: list[Row] = field(default_factory=list)
    new_attempts: list[Row] = field(default_factory=list)
    ended_attempts: list[Row] = field(default_factory=list)  # that an earlier save had written


def draft_history(
    flow: Flow,
    state: StoredState,
    changes: FlowChanges,
    stored: Mapping[str, TaskColumns],
    now: str,
    lease: Lease | None,
) -> HistoryDraft:
    """Return the events and attempts that belong to a save.

    Args:
        flow: what is saved.
        state: what is stored of it.
        changes: what may have changed, with the flow's journal.
        stored: the rows of tasks that differ from what is stored, by key.
        now: when it is saved, ISO 8601.
        lease: under which; None for a save outside a runner.
    """
    rows = EventRow(flow.key, now, lease)
    if state.revision == 0:
        return _draft_beginning(rows, flow.status, changes.task_rows)
    draft, last = _draft_journal(rows, changes.journal)
    added: list[Row] = []
    for row in changes.task_rows:
        key, status = row.key, row.status
        if key not in stored:
            continue
        before = state.tasks.get(key)
        if before is None:
            number, first, at = _first_of(flow.key, row, changes.journal)
            added.append(rows.make(EventKind.ADDED, first, task_key=key, number=number, at=at))
        known = last.get(key) or (before.status if before is not None else status)
        if known != status:  # changed past the journal
            number = row.task.get("attempt")
            draft.events.append(rows.make(EventKind.CHANGED, status, old=known, task_key=key, number=number))
    begun = _insert_migrations(rows, draft, changes)
    if added:
        draft.events[begun:begun] = added
    known = last.get(None, state.status)
    if known != flow.status:  # assigned to the attribute
        draft.events.append(rows.make(EventKind.CHANGED, flow.status, old=known))
    return draft


def draft_lost_result(
    flow: Flow, state: StoredState, stored: Mapping[str, TaskColumns], now: str, lease: Lease
) -> list[Row]:
    """Return events that keep what a runner wanted to save when its lease had been taken over.

    Args:
        flow: what it wanted to save.
        state: what was stored when it began.
        stored: the rows of tasks that differ from that, by key.
        now: ISO 8601.
        lease: that was lost.
    """
    rows = EventRow(flow.key, now, lease)
    differ = [(key, row) for key, row in stored.items() if not _is_same_dict(state.tasks.get(key), row)]
    kept = differ[:_MAX_LOST_TASKS]
    detail = {"tasks": len(differ), "kept_tasks": len(kept)}
    error = encode_json(flow.error, "error") if flow.error and flow.status != state.status else None
    kind = EventKind.LOST_RESULT
    events = [rows.make(kind, flow.status, old=state.status, error=error, detail=detail)]
    for key, row in kept:
        task, before = loads(row.body), state.tasks.get(key)
        error = dumps(task["error"]) if isinstance(task.get("error"), dict) else None
        events.append(
            rows.make(
                kind,
                row.status,
                old=before.status if before is not None else None,
                task_key=key,
                number=task.get("attempt"),
                error=error,
                detail=_shorten(task.get("data")),
            )
        )
    return events


def taken_events(flow_key: str, taken: Iterable[tuple[Job, str]], now: str, lease: Lease | None) -> list[Row]:
    """Return events that tell whose results were taken.

    Args:
        flow_key: of the flow whose tasks took them.
        taken: jobs that were not started, each with the key of the job that had done the same.
        now: ISO 8601.
        lease: under which it is saved.
    """
    rows = EventRow(flow_key, now, lease)
    return [
        rows.make(
            EventKind.RESULT_TAKEN,
            None,
            task_key=shorten_path(job.task_path),
            number=job.attempt,
            detail={"job_key": key},
        )
        for job, key in taken
    ]


def _is_same_dict(before: TaskColumns | None, row: TaskColumns) -> bool:
    return before is not None and before.body == row.body


def _shorten(data: Any) -> dict[str, Any]:
    text = dumps(data)
    if len(text) <= _MAX_LOST_DATA:
        return {"data": data}
    return {"data_begins": text[:_MAX_LOST_DATA], "data_length": len(text)}


def _draft_beginning(rows: EventRow, status: str, tasks: Iterable[TaskRow]) -> HistoryDraft:
    """Return the history of a flow that is stored for the first time, and may have begun already."""
    draft = HistoryDraft(events=[rows.make(EventKind.CREATED, status)])
    for row in tasks:
        number = _to_number(row.task.get("attempt"))
        if row.status != "PENDING" or number:
            draft.events.append(rows.make(EventKind.CREATED, row.status, task_key=row.key, number=number))
            draft.new_attempts += _earlier_attempts(rows.flow_key, row)
    return draft


def _earlier_attempts(flow_key: str, row: TaskRow) -> list[Row]:
    """Return the attempts that a task dict tells of, which may come from anywhere."""
    task = row.task
    found: list[Row] = []
    ended = task.get("attempts")
    tries = [("FAILED", entry) for entry in (ended if isinstance(ended, list) else [])]
    if row.status != "PENDING":
        tries.append(("RUNNING" if row.status in ACTIVE_STATUSES else row.status, task))
    for status, entry in tries:
        number = _to_number(entry.get("attempt")) if isinstance(entry, dict) else 0
        if number:
            times = [_to_time(entry.get(name)) for name in ("started_at", "finished_at")]
            error = _encode_error(flow_key, entry.get("error"))
            found.append((flow_key, row.key, number, status, *times, None, error))
    return found


def _draft_journal(
    rows: EventRow, journal: Iterable[ChangeEvent]
) -> tuple[HistoryDraft, dict[str | None, str]]:
    """Return what a journal adds, and the last status that it knows by task; None stands for the flow."""
    flow_key, now, owner, token = rows.flow_key, rows.now, rows.owner, rows.token
    draft = HistoryDraft()
    last: dict[str | None, str] = {}
    begun: dict[tuple[str, int], list[Any]] = {}
    for source, path, attempt, old, new, time, error, _ in journal:
        key = shorten_path(path) if path is not None else None
        text = _encode_error(flow_key, error) if error else None
        detail = None
        if new == "BLOCKED" and error:
            text, detail = None, dumps({"reason": storable_text(str(error.get("message")))})
        at, number = time or now, _to_number(attempt)
        kind = _CHANGED if source == flow_key else _INSIDE
        draft.events.append((flow_key, key, number, kind, old, new, at, now, owner, token, text, detail))
        if source == flow_key:
            last[key] = new
        if key is None:
            continue
        if old == "PENDING":
            if new == "RUNNING":
                row = begun[key, number] = [flow_key, key, number, new, at, None, owner, None]
                draft.new_attempts.append(row)
        elif old in ACTIVE_STATUSES and new not in ACTIVE_STATUSES:
            ended = begun.pop((key, number), None)
            status = "FAILED" if new == "PENDING" else new
            if ended is not None:
                ended[3], ended[5], ended[7] = status, at, text
            else:
                draft.ended_attempts.append((status, at, owner, text, flow_key, key, number))
    return draft, last


def _insert_migrations(rows: EventRow, draft: HistoryDraft, changes: FlowChanges) -> int:
    """Put migrations between the events of the journal; return how many events stand before all of those."""
    begun = 0
    for record in reversed(changes.migrations):
        events = [rows.make(EventKind.MIGRATED, None, detail=record.detail)]
        events += [
            rows.make(EventKind.REMOVED, None, old=status, task_key=key) for key, status in record.removed
        ]
        at = record.journal_length
        draft.events[at:at] = events
        if at == 0:
            begun += len(events)
    return begun


def _first_of(flow_key: str, row: TaskRow, journal: Sequence[ChangeEvent]) -> tuple[Any, str, str]:
    """Return the attempt and the status with which a task was added, and when it began to change."""
    for change in journal:
        if change.task_key == row.key and change.flow_key == flow_key:
            number = change.attempt - (change.new_status == "RUNNING")
            return number, change.old_status, change.at
    return row.task.get("attempt"), row.status, ""


def shorten_path(path: str) -> str:
    """Return a path, or what stands for it in columns that cannot hold it; each has another one."""
    if len(path) <= MAX_KEY_LENGTH:
        return path
    digest = sha256(path.encode()).hexdigest()[:32]
    return f"{path[: MAX_KEY_LENGTH - 33]}~{digest}"


def _encode_error(flow_key: str, error: Any) -> str | None:
    return encode_json(error, f"error of flow {flow_key!r}") if isinstance(error, dict) else None


def _to_time(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _TIME_LENGTH else None


def _to_number(value: Any) -> int:
    """Return the number of an attempt; 0 for what a handler made of it that is none."""
    return value if type(value) is int and 0 <= value <= _MAX_ATTEMPT else 0


def write_history(batch: Batch, drafts: Sequence[HistoryDraft]) -> None:
    """Let a batch add the histories of flows, whose rows it has written before."""
    _INSERT_EVENTS.put(batch, [row for draft in drafts for row in draft.events])
    # First those that ended: inside of a task that began anew, another attempt has the number of one of them.
    _END_ATTEMPT.put(batch, [row for draft in drafts for row in draft.ended_attempts])
    _INSERT_ATTEMPTS.put(batch, [row for draft in drafts for row in draft.new_attempts])


def insert_events(connection: Connection, rows: Sequence[Row]) -> None:
    """Add events; the rows of their flows have been written or locked in the same transaction."""
    _INSERT_EVENTS.run(connection, rows)


def insert_attempts(connection: Connection, rows: Sequence[Row]) -> None:
    """Add attempts, likewise."""
    _INSERT_ATTEMPTS.run(connection, rows)


def add_events(connection: Connection, flow_key: str, rows: Sequence[Row]) -> None:
    """Add events to a flow that others may be writing at this moment; none if it is not stored any more."""
    if connection.scalar(_LOCK_FLOW, {"flow": flow_key}) is not None:
        insert_events(connection, rows)


_INSERT_EVENTS: Final = BulkInsert(tables.event, ["id"])
_INSERT_ATTEMPTS: Final = BulkInsert(tables.attempt, ["id"])
_END_ATTEMPT: Final = Prepared(
    update(tables.attempt)
    .where(
        tables.attempt.c.flow_key == bindparam("flow"),
        tables.attempt.c.task_key == bindparam("task"),
        tables.attempt.c.attempt == bindparam("number"),
        tables.attempt.c.finished_at.is_(None),
    )
    .values(
        status=bindparam("new_status"),
        finished_at=bindparam("new_finished_at"),
        owner=bindparam("new_owner"),
        error=bindparam("new_error"),
    ),
    ("new_status", "new_finished_at", "new_owner", "new_error", "flow", "task", "number"),
)
_LOCK_FLOW: Final = select(tables.flow.c.key).where(tables.flow.c.key == bindparam("flow")).with_for_update()
