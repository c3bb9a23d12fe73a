"""Jobs as workers take them that reach the database: claimed by lease and token, kept up, and given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from mc.context.json_values import dumps
from mc.durations import format_time
from mc.store.database import Database
from mc.store.job_record import JobRecord
from mc.store.rows.job_rows import (
    in_seconds,
    job_id,
    job_query,
    let_wait,
    next_in_turn,
    record_of,
    take_turn,
)
from mc.store.schema.tables import job as job_table

__all__ = ["JobClaims"]

_jobs = job_table.c


class JobClaims:
    """What workers ask of the jobs of one store. Each method is one transaction.

    Args:
        database: where they are.
        now: the present.
        owner: who takes jobs, for people.
        host: where they run.
        lease_seconds: how long a job is kept for a worker that gives no sign of life.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        *,
        owner: str,
        host: str,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._now = now
        self._owner = owner[:255]
        self._host = host
        self._seconds = lease_seconds

    def take_next(self, executor: str, limit: int, most: int | None = None) -> Sequence[JobRecord]:
        """Take jobs that wait, to be run at once: by priority, then those that wait longest.

        Args:
            executor: whose jobs.
            limit: at most so many.
            most: so many of the executor's jobs may run at a time, whoever runs them; None: no limit.
        """
        running = select(func.count()).where(_jobs.status == "RUNNING", _jobs.executor == executor)

        def work(connection: Connection) -> Sequence[JobRecord]:
            room = limit
            if most is not None:
                take_turn(connection)
                room = min(limit, most - (connection.scalar(running) or 0))
            if room <= 0:
                return []
            query = self._database.dialect.lock_rows(next_in_turn(executor).limit(room))
            return self._take(connection, [*connection.scalars(query)])

        if self._database.read(lambda connection: connection.scalar(next_in_turn(executor).limit(1))) is None:
            return []  # which locks nothing
        return self._database.write(work)

    def take(self, key: str) -> JobRecord | None:
        """Take the job with that key, to be run at once; None: it has ended, or another worker has it."""
        query = select(_jobs.id).where(_jobs.id == job_id(key), _jobs.status.in_(("PENDING", "SUBMITTED")))

        def work(connection: Connection) -> JobRecord | None:
            ids = [*connection.scalars(query.with_for_update())]
            return self._take(connection, ids)[0] if ids else None

        return self._database.write(work)

    def _take(self, connection: Connection, ids: Sequence[str]) -> Sequence[JobRecord]:
        if not ids:
            return []
        dialect, now = self._database.dialect, format_time(self._now())
        values = {
            "status": "RUNNING",
            "place": self._host,
            "owner": self._owner,
            "token": _jobs.token + 1,
            "lease_expires_at": in_seconds(connection, dialect.now(), self._seconds),
            "submitted_at": func.coalesce(_jobs.submitted_at, now),
            "started_at": now,
            "native_id": func.coalesce(
                _jobs.native_id, _jobs.key
            ),  # whoever sent it may be slower to note it
        }
        connection.execute(update(job_table).where(_jobs.id.in_(ids)).values(values))
        found = connection.execute(job_query(dialect).where(_jobs.id.in_(ids)))
        records = {row.id: record_of(row) for row in found}
        return [records[each] for each in ids]

    def keep_up(
        self, records: Sequence[JobRecord], progress: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, str | None]:
        """Prolong the leases of jobs, note how far they are, and see what became of them meanwhile.

        Args:
            records: as they were taken.
            progress: by id of the job, where there is news of it.

        Returns:
            By id, why a job is to be stopped, or None; those that are missing are not this worker's any more.
        """

        def work(connection: Connection) -> Mapping[str, str | None]:
            query = select(_jobs.id, _jobs.token, _jobs.stop_reason).where(
                _jobs.id.in_([record.id for record in records]), _jobs.status == "RUNNING"
            )
            tokens = {record.id: record.token for record in records}
            mine = {
                row.id: row.stop_reason
                for row in connection.execute(query.order_by(_jobs.id).with_for_update())
                if row.token == tokens[row.id]
            }
            expires_at = in_seconds(connection, self._database.dialect.now(), self._seconds)
            connection.execute(
                update(job_table).where(_jobs.id.in_(list(mine))).values(lease_expires_at=expires_at)
            )
            for each in mine.keys() & progress.keys():
                here = update(job_table).where(_jobs.id == each)
                connection.execute(here.values(progress=dumps(progress[each])))
            return mine

        return self._database.write(work) if records else {}

    def see(self, records: Sequence[JobRecord]) -> Mapping[str, str | None]:
        """Return what `keep_up` does, and change nothing."""
        tokens = {record.id: record.token for record in records}
        query = select(_jobs.id, _jobs.token, _jobs.stop_reason).where(
            _jobs.id.in_(list(tokens)), _jobs.status == "RUNNING"
        )

        def work(connection: Connection) -> Mapping[str, str | None]:
            found = connection.execute(query)
            return {row.id: row.stop_reason for row in found if row.token == tokens[row.id]}

        return self._database.read(work) if records else {}

    def give_back(self, records: Sequence[JobRecord], reason: str) -> None:
        """Let others take jobs that were taken, and not begun.

        Args:
            records: as they were taken.
            reason: why, for people.
        """
        if records:
            self._database.write(lambda connection: let_wait(connection, records, "RUNNING", reason))
