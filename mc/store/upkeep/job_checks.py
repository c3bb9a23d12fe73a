"""Checks of the jobs that are stored: which were lost, wait for nobody, or left a folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from mc.durations import format_duration, format_time
from mc.store.finding import Finding, Severity
from mc.store.reading.flow_reader import chunks
from mc.store.schema.tables import job

__all__ = ["check_jobs"]

_SHOWN: Final = 5
_LATELY: Final = timedelta(hours=24)


def check_jobs(
    connection: Connection,
    now: datetime,
    late_after: timedelta,
    executors: Collection[str] | None,
    folder_ids: Collection[str],
) -> Iterator[Finding]:
    """Yield what the rows of jobs tell.

    Args:
        connection: in a transaction that reads.
        now: the present.
        late_after: for so long a job may wait for its start.
        executors: names of those that this place has; None: they are not known.
        folder_ids: ids of the jobs of which there are folders here.
    """
    yield from _check_lost(connection, now)
    yield from _check_waiting(connection, now, late_after, executors)
    yield from _check_folders(connection, folder_ids)


def _check_lost(connection: Connection, now: datetime) -> Iterator[Finding]:
    lately = (job.c.status == "LOST", job.c.finished_at > format_time(now - _LATELY))
    count = connection.scalar(select(func.count()).select_from(job).where(*lately)) or 0
    if not count:
        return
    query = select(job.c.key, job.c.reason).where(*lately).order_by(job.c.finished_at.desc()).limit(_SHOWN)
    newest = connection.execute(query).all()
    yield Finding(
        code="lost-jobs",
        severity=Severity.NOTE,
        message=f"{_jobs(count)} LOST in the last 24 hours, the newest {newest[0].key}: {newest[0].reason}",
        advice="Look at houston job list --status LOST: were the machines short of memory, or restarted?",
        details={"count": count, "keys": [row.key for row in newest]},
    )


def _check_waiting(
    connection: Connection, now: datetime, late_after: timedelta, executors: Collection[str] | None
) -> Iterator[Finding]:
    late = (job.c.status == "PENDING", job.c.created_at < format_time(now - late_after))
    query = select(job.c.executor, func.count()).where(*late).group_by(job.c.executor)
    counts = Counter({row[0]: row[1] for row in connection.execute(query.order_by(job.c.executor))})
    since = format_duration(late_after.total_seconds())
    for executor, count in counts.items():
        is_unknown = executors is not None and executor not in executors
        message = f"{_jobs(count)} waiting for a worker of {executor} for longer than {since}"
        advice = (
            "See that ticks are made on the host of that executor, or for a queue that `houston work` runs, "
        )
        advice += "and whether it has room."
        if is_unknown:
            message += ", and there is no executor of that name here"
            advice = f"Set it below [executors.{executor}] in mc.toml, or tick where it is set."
        yield Finding(
            code="waiting-jobs",
            severity=Severity.PROBLEM if is_unknown else Severity.NOTE,
            message=f"{message}.",
            advice=advice,
            details={"count": count, "executor": executor},
        )


def _check_folders(connection: Connection, folder_ids: Collection[str]) -> Iterator[Finding]:
    known: set[str] = set()
    for chunk in chunks(sorted(folder_ids)):
        known.update(connection.scalars(select(job.c.id).where(job.c.id.in_(chunk))))
    alone = sorted(set(folder_ids) - known)
    if alone:
        yield Finding(
            code="job-folders",
            severity=Severity.NOTE,
            message=f"{len(alone)} folders of jobs in the data folder belong to no job of this database.",
            advice="If no other database uses this data folder, they are left of flows that are gone, and "
            "can be deleted.",
            details={"count": len(alone), "names": alone[:_SHOWN]},
        )


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"
