"""The rows of jobs: written with the save of the task that starts one, and read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, case, select, update
from sqlalchemy import Row as ResultRow

from mc.context.json_values import dumps, loads
from mc.durations import parse_time
from mc.flows.jobs.job import Job, Outcome
from mc.store.databases.base import Dialect
from mc.store.job_record import JobRecord
from mc.store.schema.tables import job as job_table
from mc.store.sql.column_types import storable_text
from mc.store.sql.statements import BulkInsert

__all__ = ["LIVE", "add_jobs", "ask_to_stop", "job_id", "job_query", "record_of"]

LIVE: Final = ("SUBMITTED", "RUNNING")
_MOST_SOUGHT: Final = 500  # in one statement
_INSERT: Final = BulkInsert(job_table)
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
    }
    return [values.get(column.name) for column in job_table.c]
