"""The rows of jobs: written with the save of the task that starts one, and read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, case, select, update
from sqlalchemy import Row as ResultRow

from mc.context.json_values import dumps, loads
from mc.durations import format_time, parse_time
from mc.flows.jobs.job import Job, Outcome
from mc.store.databases.base import Dialect
from mc.store.job_record import JobRecord
from mc.store.schema.tables import job as job_table
from mc.store.schema.tables import schema
from mc.store.sql.column_types import storable_text
from mc.store.sql.statements import Batch, BulkInsert, BulkUpdate

__all__ = [
    "LIVE",
    "add_jobs",
    "ask_to_stop",
    "in_seconds",
    "is_as",
    "job_id",
    "job_query",
    "let_wait",
    "lock_as_read",
    "next_in_turn",
    "note_starts",
    "record_of",
    "take_turn",
    "write_ends",
]

LIVE: Final = ("SUBMITTED", "RUNNING")
_TURN: Final = 13  # number of the upgrade that made the table
_MOST_SOUGHT: Final = 500  # in one statement
_INSERT: Final = BulkInsert(job_table)
_ENDS: Final = BulkUpdate(
    job_table,
    ["status", "lease_expires_at", "finished_at", "outcome", "started_at", "reason"],
    guard="token",
)
_STARTS: Final = BulkUpdate(job_table, ["native_id", "lease_expires_at"], guard="token")
_jobs = job_table.c


def job_id(key: str) -> str:
    """Return the id of the job with this key."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_jobs(connection: Connection, jobs: Iterable[Job], now: str) -> None:
    """Add jobs that are to be started; one that is there already, in a restored database, is left as it is.

    Args:
        connection: in the transaction that saves their tasks.
        jobs: of one flow.
        now: ISO 8601.
    """
    new = {job_id(job.key): job for job in jobs}
    known: set[str] = set()
    ids = list(new)
    for begin in range(0, len(ids), _MOST_SOUGHT):
        part = ids[begin : begin + _MOST_SOUGHT]
        known.update(connection.scalars(select(_jobs.id).where(_jobs.id.in_(part))))
    rows = [_row(each, job, at, now) for at, (each, job) in enumerate(new.items()) if each not in known]
    _INSERT.run(connection, rows)


def ask_to_stop(connection: Connection, reasons: Mapping[str, str], now: str) -> None:
    """Have jobs stopped that are unfinished; those that were not started are CANCELLED.

    Args:
        connection: in a transaction that writes.
        reasons: why, by id of the job.
        now: ISO 8601.
    """
    for each, reason in sorted(reasons.items()):
        text = storable_text(reason)
        here = update(job_table).where(_jobs.id == each)
        ended = {"status": "CANCELLED", "reason": text, "finished_at": now}
        connection.execute(here.where(_jobs.status == "PENDING").values(ended))
        live = here.where(_jobs.status.in_(LIVE), _jobs.stop_reason.is_(None))
        connection.execute(live.values(stop_reason=text, stop_asked_at=now))


def job_query(dialect: Dialect) -> Select[Any]:
    """Return a query of whole jobs; see `record_of`."""
    overdue = case((_jobs.lease_expires_at <= dialect.now(), 1), else_=0)
    return select(job_table, overdue.label("is_overdue"))


def record_of(row: ResultRow[Any]) -> JobRecord:
    """Return the job that a row of `job_query` holds."""
    body = loads(row.body)
    job = Job(
        key=row.key,
        flow_key=row.flow_key,
        task_path=row.task_path,
        attempt=row.attempt,
        executor=row.executor,
        work=body["work"],
        requests=body.get("requests", {}),
        timeout_seconds=body.get("timeout_seconds"),
        priority=row.priority,
        work_digest=row.work_digest,
    )
    times = ("created_at", "submitted_at", "started_at", "stop_asked_at", "finished_at")
    found: dict[str, Any] = {
        name: parse_time(getattr(row, name)) if getattr(row, name) else None for name in times
    }
    return JobRecord(
        id=row.id,
        job=job,
        status=row.status,
        place=row.place,
        owner=row.owner,
        token=row.token,
        native_id=row.native_id,
        progress=loads(row.progress) if row.progress else {},
        stop_reason=row.stop_reason,
        outcome=Outcome.from_dict(loads(row.outcome)) if row.outcome else None,
        reason=row.reason,
        is_overdue=bool(row.is_overdue),
        **found,
    )


def next_in_turn(executor: str) -> Select[Any]:
    """Return a query of the ids of jobs that wait: by priority, then those that wait longest."""
    return (
        select(_jobs.id)
        .where(_jobs.status == "PENDING", _jobs.executor == executor)
        .order_by(_jobs.priority.desc(), _jobs.created_at, _jobs.position, _jobs.id)
    )


def is_as(record: JobRecord) -> ColumnElement[bool]:
    """Return the condition that nobody has taken a job since it was read."""
    return (_jobs.id == record.id) & (_jobs.token == record.token)


def lock_as_read(
    connection: Connection, records: Sequence[JobRecord], statuses: Sequence[str]
) -> Mapping[str, ResultRow[Any]]:
    """Keep others from changing jobs, and return those, by id, that nobody has taken since they were read.

    Args:
        connection: in a transaction that writes.
        records: as they were read.
        statuses: that the jobs have.

    Returns:
        Their `started_at` and `native_id`.
    """
    tokens = {record.id: record.token for record in records}
    ids = sorted(tokens)
    found: dict[str, ResultRow[Any]] = {}
    for begin in range(0, len(ids), _MOST_SOUGHT):
        query = select(_jobs.id, _jobs.token, _jobs.started_at, _jobs.native_id).where(
            _jobs.id.in_(ids[begin : begin + _MOST_SOUGHT]), _jobs.status.in_(statuses)
        )
        rows = connection.execute(query.order_by(_jobs.id).with_for_update())
        found |= {row.id: row for row in rows if row.token == tokens[row.id]}
    return found


def let_wait(
    connection: Connection,
    records: Sequence[JobRecord],
    status: str,
    reason: str,
    until: str | None = None,
) -> None:
    """Let jobs wait again that were taken, unless somebody else has noted something of them since.

    Args:
        connection: in a transaction that writes.
        records: as they were read.
        status: that they have.
        reason: why, for people.
        until: before which nobody tries to start jobs of their executors.
    """
    known = lock_as_read(connection, records, [status])
    ids = [each.id for each in records if each.id in known and known[each.id].native_id == each.native_id]
    values: dict[str, Any] = {
        **dict.fromkeys(("place", "owner", "submitted_at", "started_at", "native_id")),
        "status": "PENDING",
        "token": _jobs.token + 1,  # whoever hears late of its start is told nothing
        "lease_expires_at": until,
        "reason": storable_text(reason),
    }
    for begin in range(0, len(ids), _MOST_SOUGHT):
        part = ids[begin : begin + _MOST_SOUGHT]
        connection.execute(update(job_table).where(_jobs.id.in_(part)).values(values))


def write_ends(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write how jobs ended that `lock_as_read` found.

    Args:
        connection: in a transaction that writes.
        rows: of each `status`, `finished_at`, `outcome`, `started_at`, `reason`, `id`, `token`.
    """
    batch = Batch(connection)
    _ENDS.put(batch, [(status, None, *rest) for status, *rest in rows])
    batch.send()


def note_starts(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write what executors call jobs that `lock_as_read` found.

    Args:
        connection: in a transaction that writes.
        rows: of each `native_id`, `lease_expires_at`, `id`, `token`.
    """
    batch = Batch(connection)
    _STARTS.put(batch, rows)
    batch.send()


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction counts the jobs under way in order to take more."""
    connection.execute(select(schema.c.version).where(schema.c.version == _TURN).with_for_update())


def in_seconds(connection: Connection, now: ColumnElement[str], seconds: float) -> str:
    """Return when so many seconds have passed by the database's clock."""
    found: str = connection.scalars(select(now)).one()
    return format_time(parse_time(found) + timedelta(seconds=seconds))


def _row(row_id: str, job: Job, position: int, now: str) -> Sequence[Any]:
    body: dict[str, Any] = {"work": job.work}
    if job.requests:
        body["requests"] = job.requests
    if job.timeout_seconds is not None:
        body["timeout_seconds"] = job.timeout_seconds
    values = {
        "id": row_id,
        "key": job.key,
        "flow_key": job.flow_key,
        "task_path": job.task_path,
        "attempt": job.attempt,
        "executor": job.executor,
        "status": "PENDING",
        "priority": job.priority,
        "position": position,
        "token": 0,
        "created_at": now,
        "body": dumps(body),
        "work_digest": job.work_digest,
    }
    return [values.get(column.name) for column in job_table.c]
