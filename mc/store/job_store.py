"""Jobs in the database: taken to be started, looked after, and ended once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from mc.context.json_values import dumps
from mc.durations import format_time, parse_time
from mc.errors import JobNotFoundError
from mc.statuses import FINISHED_JOB_STATUSES
from mc.store.database import Database
from mc.store.job_claims import JobClaims
from mc.store.job_record import JobEnding, JobRecord
from mc.store.lease import Wake
from mc.store.leases.claims import family_of as family_query
from mc.store.rows.job_rows import (
    LIVE,
    ask_to_stop,
    in_seconds,
    is_as,
    job_id,
    job_query,
    let_wait,
    lock_as_read,
    next_in_turn,
    note_starts,
    record_of,
    take_turn,
    write_ends,
)
from mc.store.rows.large_result_rows import find_used_results, note_results
from mc.store.rows.wakes import JOB, add_wakes, lock_flow
from mc.store.schema.tables import flow
from mc.store.schema.tables import job as job_table
from mc.store.sql.column_types import storable_text

__all__ = ["JobStore"]

_MOST_ENDED: Final = 100  # in one transaction, which keeps their flows' rows locked
_MOST_REMOVED: Final = 500  # likewise
_UNFINISHED: Final = ("PENDING", *LIVE)

_jobs = job_table.c
_Conditions = list[ColumnElement[bool]]  # in the class, `list` is a method
_JobEndings = list[JobEnding]
_Wakes = list[Wake]


class JobStore:
    """The jobs of one store. Every method that changes something is one transaction, or several short ones.

    Args:
        database: where they are.
        now: the present.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    # --- reading ---------------------------------------------------------------------------

    def get(self, key: str) -> JobRecord:
        """Return one job by its key.

        Raises:
            JobNotFoundError: there is none with that key.
        """
        found = self._list(_jobs.id == job_id(key))
        if not found:
            raise JobNotFoundError(
                f"No job with the key {key!r} is stored. `houston job list` lists them.", key=key
            )
        return found[0]

    def list(
        self,
        *,
        flow_key: str | None = None,
        task_path: str | None = None,
        attempt: int | None = None,
        statuses: Collection[str] = (),
        executor: str | None = None,
        limit: int | None = None,
    ) -> Sequence[JobRecord]:
        """Return jobs, newest first.

        Args:
            flow_key: of this stored flow.
            task_path: of this task.
            attempt: of this attempt of a task.
            statuses: with one of these; all unless given.
            executor: of this executor.
            limit: at most so many.
        """
        where: _Conditions = []
        if flow_key is not None:
            where.append(_jobs.flow_key == flow_key)
        if task_path is not None:
            where.append(_jobs.task_path == task_path)
        if attempt is not None:
            where.append(_jobs.attempt == attempt)
        if statuses:
            where.append(_jobs.status.in_(sorted(statuses)))
        if executor is not None:
            where.append(_jobs.executor == executor)
        return self._list(*where, limit=limit)

    def task_paths(self, flow_key: str) -> Sequence[str]:
        """Return the paths of the tasks of a flow that have jobs."""
        query = select(_jobs.task_path).where(_jobs.flow_key == flow_key).distinct().order_by(_jobs.task_path)
        return self._database.read(lambda connection: [*connection.scalars(query)])

    def flows_with_jobs(self, family_of: str) -> Sequence[str]:
        """Return the keys of those of a flow and its stored sub-flows that have jobs."""
        of_family = _jobs.flow_key.in_(family_query(family_of))
        query = select(_jobs.flow_key).where(of_family).distinct().order_by(_jobs.flow_key)
        return self._database.read(lambda connection: [*connection.scalars(query)])

    def find_done(self, work_digest: str) -> JobRecord | None:
        """Return the last COMPLETED job with that digest whose flow is stored; None: there is none."""
        query = (
            job_query(self._database.dialect)
            .join(flow, flow.c.key == _jobs.flow_key)
            .where(_jobs.work_digest == work_digest, _jobs.status == "COMPLETED")
            .order_by(_jobs.finished_at.desc(), _jobs.id)
            .limit(1)
        )

        def read(connection: Connection) -> JobRecord | None:
            row = connection.execute(query).one_or_none()
            return record_of(row) if row is not None else None

        return self._database.read(read)

    def has_unfinished(self, family_of: str) -> bool:
        """Tell whether a flow, or a stored sub-flow of it, has a job that has not ended."""
        query = select(_jobs.id).where(
            _jobs.flow_key.in_(family_query(family_of)), _jobs.status.in_(_UNFINISHED)
        )
        return self._database.read(lambda connection: connection.scalar(query.limit(1))) is not None

    def list_running(self, family_of: str, limit: int) -> Sequence[JobRecord]:
        """Return jobs that run of a flow and its stored sub-flows, the newest ones."""
        of_family = _jobs.flow_key.in_(family_query(family_of))
        return self._list(_jobs.status == "RUNNING", of_family, limit=limit)

    def list_live(self, places: Sequence[str], of_workers: Sequence[str] = ()) -> Sequence[JobRecord]:
        """Return the jobs that were handed to an executor, have not ended, and are to be looked after.

        Args:
            places: hosts whose jobs are seen, besides those that are seen from anywhere.
            of_workers: executors whose workers tell of their jobs themselves: of these, only what is overdue,
                and what is to be stopped before a worker has it.
        """
        found = self._list(_jobs.status.in_(LIVE), _jobs.executor.not_in(of_workers), self._is_seen(places))
        if of_workers:
            is_unheard = _jobs.lease_expires_at <= self._database.dialect.now()
            is_unwanted = (_jobs.status == "SUBMITTED") & _jobs.stop_reason.is_not(None)
            of_these = (_jobs.status.in_(LIVE), _jobs.executor.in_(of_workers))
            found = [*found, *self._list(*of_these, or_(is_unheard, is_unwanted))]
        return found

    def newest_unfinished(self, executors: Sequence[str]) -> datetime | None:
        """Return when the youngest unfinished job of these executors was stored; None: there is none."""
        query = select(func.max(_jobs.created_at)).where(
            _jobs.executor.in_(executors), _jobs.status.in_(_UNFINISHED)
        )
        found = self._database.read(lambda connection: connection.scalar(query))
        return parse_time(found) if found else None

    def _is_seen(self, places: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a job is seen from these places, or that nobody has seen it for long."""
        is_overdue = _jobs.lease_expires_at <= self._database.dialect.now()
        return or_(_jobs.place.is_(None), _jobs.place.in_(places), is_overdue)

    def _list(self, *where: ColumnElement[bool], limit: int | None = None) -> Sequence[JobRecord]:
        query = (
            job_query(self._database.dialect)
            .where(*where)
            .order_by(_jobs.created_at.desc(), _jobs.position.desc(), _jobs.id)
        )
        if limit is not None:
            query = query.limit(limit)
        return self._database.read(lambda connection: [record_of(row) for row in connection.execute(query)])

    def get_many(self, keys: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return those of some jobs that are stored, by key; at most 500."""
        found = self._list(_jobs.id.in_([job_id(key) for key in keys]))
        return {record.job.key: record for record in found}

    # --- starting --------------------------------------------------------------------------

    def executors_with_work(self) -> Sequence[str]:
        """Return the names of the executors for which jobs wait to be started, and that may be tried now."""
        waits = (_jobs.status == "PENDING", _jobs.lease_expires_at > self._database.dialect.now())
        return self._executors_with(["PENDING"], _jobs.executor.not_in(select(_jobs.executor).where(*waits)))

    def executors_at_work(self) -> Sequence[str]:
        """Return the names of the executors that have unfinished jobs."""
        return self._executors_with(_UNFINISHED)

    def _executors_with(self, statuses: Collection[str], *where: ColumnElement[bool]) -> Sequence[str]:
        query = select(_jobs.executor).where(_jobs.status.in_(statuses), *where).distinct()
        query = query.order_by(_jobs.executor)
        return self._database.read(lambda connection: [*connection.scalars(query)])

    def take_pending(
        self,
        executor: str,
        *,
        owner: str,
        seconds: float,
        limit: int,
        most: int | None = None,
        place: str | None = None,
    ) -> Sequence[JobRecord]:
        """Take jobs that wait to be started: by priority, then those that wait longest.

        They are SUBMITTED then; if nothing is heard of them before the lease ends, they are looked for on
        their executor, and started where they are not found there.

        Args:
            executor: whose jobs.
            owner: who takes them.
            seconds: how long the lease lasts.
            limit: at most so many.
            most: so many of the executor's jobs may be under way in that place; None: no limit.
            place: the host that alone sees them; None: any does.
        """
        query = next_in_turn(executor)
        same_place = _jobs.place == place if place is not None else _jobs.place.is_(None)
        under_way = select(func.count()).where(_jobs.status.in_(LIVE), _jobs.executor == executor, same_place)
        dialect, now = self._database.dialect, format_time(self._now())

        def work(connection: Connection) -> Sequence[JobRecord]:
            room = limit
            if most is not None:
                take_turn(connection)
                room = min(limit, most - (connection.scalar(under_way) or 0))
            ids = [*connection.scalars(dialect.lock_rows(query.limit(room)))] if room > 0 else []
            if not ids:
                return []
            values = {
                "status": "SUBMITTED",
                "place": place,
                "owner": owner[:255],
                "token": _jobs.token + 1,
                "lease_expires_at": in_seconds(connection, dialect.now(), seconds),
                "submitted_at": now,
            }
            connection.execute(update(job_table).where(_jobs.id.in_(ids)).values(values))
            found = connection.execute(job_query(dialect).where(_jobs.id.in_(ids)))
            records = {row.id: record_of(row) for row in found}
            return [records[each] for each in ids]

        return self._database.write(work)

    def note_started(
        self, native_ids: Mapping[str, str], records: Sequence[JobRecord], seconds: float
    ) -> None:
        """Note what an executor calls jobs that it has taken.

        Args:
            native_ids: by key of the job.
            records: of the jobs, as they were taken; what was taken by others since is left as it is.
            seconds: how long their leases last from now on.
        """
        if not native_ids:
            return

        def work(connection: Connection) -> None:
            expires_at = in_seconds(connection, self._database.dialect.now(), seconds)
            known = lock_as_read(connection, records, LIVE)
            note_starts(
                connection,
                [
                    (native_ids[record.job.key], expires_at, record.id, record.token)
                    for record in records
                    if record.id in known and record.job.key in native_ids
                ],
            )

        self._database.write(work)

    def give_back(self, records: Sequence[JobRecord], reason: str, seconds: float | None = None) -> None:
        """Let jobs wait again that were taken, and were not started.

        Args:
            records: as they were taken.
            reason: why, for people.
            seconds: for so long nobody tries to start jobs of their executors.
        """

        def work(connection: Connection) -> None:
            now = self._database.dialect.now()
            until = in_seconds(connection, now, seconds) if seconds is not None else None
            let_wait(connection, records, "SUBMITTED", reason, until)

        if records:
            self._database.write(work)

    def claims(self, *, owner: str, host: str, lease_seconds: float) -> JobClaims:
        """Return what a worker asks of these jobs; see `JobClaims`."""
        return JobClaims(self._database, self._now, owner=owner, host=host, lease_seconds=lease_seconds)

    # --- looking after them ----------------------------------------------------------------

    def note_look(self, looks: Sequence[tuple[JobRecord, Mapping[str, Any]]], seconds: float) -> None:
        """Note how far jobs are that are under way.

        Args:
            looks: each job, and what is new of it: `status`, `started_at`, `progress` (a mapping),
                `is_alive`: whether it gave a sign of life, which prolongs its lease.
            seconds: how long a lease lasts from a sign of life on.
        """
        dialect = self._database.dialect

        def work(connection: Connection) -> None:
            expires_at = in_seconds(connection, dialect.now(), seconds)
            for record, news in sorted(looks, key=lambda look: look[0].id):
                values: dict[str, Any] = {
                    name: news[name] for name in ("status", "started_at") if name in news
                }
                if news.get("progress"):
                    values["progress"] = dumps(news["progress"])
                if news.get("is_alive"):
                    values["lease_expires_at"] = expires_at
                here = is_as(record) & _jobs.status.in_(LIVE)
                connection.execute(update(job_table).where(here).values(values))

        self._database.write(work)

    def end(self, endings: Sequence[JobEnding]) -> Sequence[JobEnding]:
        """End jobs, once each, and make their flows due in the same transaction.

        Args:
            endings: how they ended. A job that has ended already, or that somebody has taken since, is left
                as it is.

        Returns:
            Those that were ended by this.
        """
        done: _JobEndings = []
        ordered = sorted(endings, key=lambda ending: (ending.record.job.flow_key, ending.record.id))
        for begin in range(0, len(ordered), _MOST_ENDED):
            part = ordered[begin : begin + _MOST_ENDED]
            done += self._database.write(lambda connection, part=part: self._end(connection, part))  # type: ignore[misc]
        return done

    def _end(self, connection: Connection, endings: Sequence[JobEnding]) -> Sequence[JobEnding]:
        now = format_time(self._now())
        for flow_key in dict.fromkeys(ending.record.job.flow_key for ending in endings):
            lock_flow(connection, flow_key)  # before rows of jobs, as saves of flows do
        known = lock_as_read(connection, [ending.record for ending in endings], _UNFINISHED)
        done: dict[str, JobEnding] = {}
        for ending in endings:
            if ending.record.id in known:
                done.setdefault(ending.record.id, ending)
        rows = [_row_of_end(known[each], ending, now) for each, ending in done.items()]
        write_ends(connection, rows)
        wakes: dict[str, _Wakes] = {}
        for each, ending in done.items():
            job = ending.record.job
            wakes.setdefault(job.flow_key, []).append(Wake(kind=JOB, source_key=each, reason=job.key))
        for flow_key, found in wakes.items():
            add_wakes(connection, flow_key, found, now)
        for ending in done.values():
            apart = ending.outcome.result_apart if ending.outcome is not None else None
            if apart is not None and apart.get("is_shared"):
                note_results(connection, ending.record.job.flow_key, [apart["sha256"]])
        return [*done.values()]

    # --- people ----------------------------------------------------------------------------

    def stop(self, key: str, reason: str) -> JobRecord:
        """Have a job stopped that is unfinished, and return it as it is then; its task finds it CANCELLED.

        Raises:
            JobNotFoundError: there is none with that key.
        """
        record = self.get(key)
        if record.status == "PENDING":
            self.end([JobEnding(record=record, status="CANCELLED", reason=reason)])
        now = format_time(self._now())
        self._database.write(lambda connection: ask_to_stop(connection, {record.id: reason}, now))
        return self.get(key)

    # --- what is left of flows that are gone -------------------------------------------------

    def list_left(
        self, *, after: str = "", flow_keys: Sequence[str] | None = None
    ) -> Sequence[tuple[str, str]]:
        """Return id and key of jobs that have ended, and whose flows are not stored any more, sorted by id.

        Args:
            after: only those with a later id.
            flow_keys: only of these flows; at most 500.
        """
        is_stored = select(flow.c.key).where(flow.c.key == _jobs.flow_key).exists()
        query = select(_jobs.id, _jobs.key).where(
            _jobs.id > after, _jobs.status.in_(sorted(FINISHED_JOB_STATUSES)), ~is_stored
        )
        if flow_keys is not None:
            query = query.where(_jobs.flow_key.in_(flow_keys))
        query = query.order_by(_jobs.id).limit(_MOST_REMOVED)
        return self._database.read(
            lambda connection: [(row.id, row.key) for row in connection.execute(query)]
        )

    def remove(self, ids: Sequence[str]) -> int:
        """Delete the rows of jobs that have ended; return how many there were."""
        gone = delete(job_table).where(_jobs.id.in_(ids), _jobs.status.in_(sorted(FINISHED_JOB_STATUSES)))
        return self._database.write(lambda connection: connection.execute(gone).rowcount) if ids else 0

    def find_used_results(self, digests: Sequence[str]) -> Collection[str]:
        """Return those of some digests of large results, at most 500, to which stored flows refer."""
        return self._database.read(lambda connection: find_used_results(connection, digests))


def _row_of_end(known: Any, ending: JobEnding, now: str) -> Sequence[Any]:
    """Return what `write_ends` writes of a job."""
    outcome = ending.outcome
    return (
        ending.status,
        (outcome.finished_at if outcome is not None else None) or now,
        dumps(outcome.to_dict()) if outcome is not None else None,
        (outcome.started_at if outcome is not None else None) or known.started_at,
        storable_text(ending.reason) if ending.reason is not None else None,
        ending.record.id,
        ending.record.token,
    )
