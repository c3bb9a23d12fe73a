"""The examination of a store: what is wrong with it, what it means, what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mc.clock import Clock, SystemClock
from mc.errors import DurationError, NotJsonError
from mc.explanation.flow_reasons import LATE_AFTER
from mc.store.database import BUSY_SECONDS, Database
from mc.store.finding import Finding, Severity
from mc.store.schema.upgrade import NEWEST_VERSION, read_version
from mc.store.upkeep.flow_checks import check_flows
from mc.store.upkeep.job_checks import check_jobs
from mc.store.upkeep.row_checks import check_rows, unreadable
from mc.store.upkeep.tick_checks import check_ticks

__all__ = ["LATE_AFTER", "examine", "open_existing"]


def examine(
    url: str,
    *,
    clock: Clock | None = None,
    late_after: timedelta = LATE_AFTER,
    busy_seconds: float = BUSY_SECONDS,
    executors: Collection[str] | None = None,
    folder_ids: Collection[str] = (),
) -> list[Finding]:
    """Return what there is to say of a store, worst first; nothing is changed.

    Args:
        url: of the database.
        clock: of the runners; the machine's unless given.
        late_after: for so long a flow may be due, or its lease be over, before it is called late.
        busy_seconds: how long to wait for a lock.
        executors: names of those that this place has; None: they are not known.
        folder_ids: ids of the jobs of which there are folders here.

    Raises:
        StoreUnreachableError: there is no such database, or it cannot be used.
        SchemaVersionError: its tables are newer than this code.
    """
    clock = clock or SystemClock()
    database = open_existing(url, clock, busy_seconds)
    now = clock.now()

    def look(connection: Connection) -> list[Finding]:
        jobs = check_jobs(connection, now, late_after, executors, folder_ids)
        return list(_examine(connection, database, now, late_after, jobs))

    try:
        findings = database.read(look)
    finally:
        database.close()
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity))


def open_existing(url: str, clock: Clock, busy_seconds: float = BUSY_SECONDS) -> Database:
    """Return a database whose tables are left as they are.

    Raises:
        StoreUnreachableError: there is no such database, and opening it would make one.
    """
    database = Database(url, clock, busy_seconds, upgrades=False)
    database.dialect.check_existence(database.url)
    return database


_ORDER: Final = (Severity.PROBLEM, Severity.NOTE, Severity.OK)


def _examine(
    connection: Connection,
    database: Database,
    now: datetime,
    late_after: timedelta,
    jobs: Iterator[Finding],
) -> Iterator[Finding]:
    version = read_version(connection)
    yield _judge_version(version)
    yield database.dialect.check_durability(connection)
    if not database.dialect.is_private(database.url):
        yield from database.dialect.check_place(connection, database.url, now)
    if version == NEWEST_VERSION:
        yield from check_rows(connection)
        for what, checks in {
            "flows": check_flows(connection, database.dialect, now, late_after),
            "ticks": check_ticks(connection, database.dialect, now),
            "jobs": jobs,
        }.items():
            try:
                yield from checks
            except (DurationError, NotJsonError) as error:
                yield unreadable(what, str(error))


def _judge_version(version: int) -> Finding:
    details = {"version": version, "newest": NEWEST_VERSION}
    if version == NEWEST_VERSION:
        message = f"The tables are of version {version}, the newest that this code knows."
        return Finding(code="schema", severity=Severity.OK, message=message, details=details)
    return Finding(
        code="schema",
        severity=Severity.PROBLEM,
        message=f"The tables are of version {version}, this code needs version {NEWEST_VERSION}; flows and "
        f"ticks were not looked at."
        if version
        else "The database has no tables of mc yet.",
        advice="Run houston db upgrade, or any command that opens the store."
        if version
        else "Run houston db init.",
        details=details,
    )
