"""Pruning: what was finished long ago is removed, in batches that are done whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, func, or_, select

from mc.context.json_values import loads
from mc.durations import format_time
from mc.errors import StoreError
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.database import Database
from mc.store.databases.base import Dialect
from mc.store.history.tick_log import count_ticks, delete_ticks
from mc.store.leases.claims import is_leased
from mc.store.reading.flow_reader import chunks
from mc.store.saving.flow_deleter import remove_flows
from mc.store.schema.tables import flow

__all__ = ["PruneReport", "prune"]

_PAGE: Final = 100  # flows that are looked at together
_TASKS: Final = 20_000  # of flows that are removed in one transaction, unless a single one has more
_TICKS: Final = 500


@dataclass(slots=True, kw_only=True)
class PruneReport:
    """What was removed, or would be.

    Attributes:
        flows: sub-flows included.
        tasks: of these flows.
        specs: that no flow uses any more; not counted by a dry run.
        ticks: rows on what runners did.
        passed_over: flows that are old enough, but are held by a runner, or have a sub-flow that must stay.
        dry_run: whether it was only counted.
    """

    flows: int = 0
    tasks: int = 0
    specs: int | None = None
    ticks: int = 0
    passed_over: int = 0
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe data."""
        return asdict(self)


def prune(
    database: Database, before: datetime, now: datetime, *, keep_failed: bool, dry_run: bool
) -> PruneReport:
    """Remove what was finished before a time; see `FlowStore.prune`."""
    if before > now:
        raise StoreError(f"Nothing can be older than {now - before}; give an age of zero or more.")
    limit = format_time(before)
    pruning = _Pruning(database, limit, format_time(now), keep_failed, dry_run)
    for status in sorted(FINISHED_FLOW_STATUSES):
        if status != "FAILED" or not keep_failed:
            pruning.remove_flows(status)
    pruning.remove_ticks()
    return pruning.report


class _Pruning:
    def __init__(self, database: Database, before: str, now: str, keep_failed: bool, dry_run: bool) -> None:
        self.report = PruneReport(dry_run=dry_run, specs=None if dry_run else 0)
        self._database = database
        self._before = before
        self._now = now
        self._keep_failed = keep_failed

    def remove_flows(self, status: str) -> None:
        position: Any = None
        while True:
            query = _candidates_query(status, self._before, position)
            page = self._database.read(partial(_fetch, query))
            if not page:
                return
            position = page[-1]
            for batch in _batches(page):
                self._remove_batch(batch)

    def _remove_batch(self, tops: Sequence[str]) -> None:
        report, database = self.report, self._database
        if report.dry_run:
            counts, specs = database.read(lambda connection: self._choose(connection, tops)), 0
        else:
            counts, specs = database.write(lambda connection: self._remove(connection, tops))
        gone = set(tops) & counts.keys()
        report.flows += len(counts)
        report.tasks += sum(counts.values())
        report.passed_over += len(tops) - len(gone)
        if report.specs is not None:
            report.specs += specs

    def _remove(self, connection: Connection, tops: Sequence[str]) -> tuple[dict[str, int], int]:
        counts = self._choose(connection, tops, self._database.dialect)
        return counts, remove_flows(connection, list(counts), self._now)

    def _choose(
        self, connection: Connection, tops: Sequence[str], locks: Dialect | None = None
    ) -> dict[str, int]:
        """Return the flows that may go, with the number of their tasks: whole families only."""
        top_of = _families(connection, tops)
        may_go: dict[str, int] = {}
        query = self._may_go_query()
        if locks is not None:
            query = locks.lock_rows(query)
        for chunk in chunks(sorted(top_of)):
            for key, counts in connection.execute(query.where(flow.c.key.in_(chunk))):
                may_go[key] = sum(loads(counts).values())
        stays = {top for key, top in top_of.items() if key not in may_go}
        return {key: count for key, count in may_go.items() if top_of[key] not in stays}

    def _may_go_query(self) -> Select[Any]:
        statuses = FINISHED_FLOW_STATUSES - ({"FAILED"} if self._keep_failed else set())
        return select(flow.c.key, flow.c.task_counts).where(
            flow.c.status.in_(statuses), _finished_at < self._before, ~is_leased(self._database.dialect)
        )

    def remove_ticks(self) -> None:
        if self.report.dry_run:
            self.report.ticks = self._database.read(lambda connection: count_ticks(connection, self._before))
            return
        while True:
            gone = self._database.write(lambda connection: delete_ticks(connection, self._before, _TICKS))
            self.report.ticks += gone
            if gone < _TICKS:
                return


_finished_at: Final = func.coalesce(flow.c.finished_at, flow.c.modified_at)


def _fetch(query: Select[Any], connection: Connection) -> Sequence[Any]:
    return connection.execute(query).all()


def _candidates_query(status: str, before: str, position: Any) -> Select[Any]:
    """Return a query for flows, after one that was seen, that no stored flow waits for."""
    waiter = flow.alias()
    has_waiter = select(waiter.c.key).where(waiter.c.key == flow.c.waiter_key).exists()
    query = (
        select(flow.c.key, flow.c.created_at, flow.c.task_counts)
        .where(
            flow.c.status == status,
            flow.c.created_at < before,
            _finished_at < before,
            or_(flow.c.waiter_key.is_(None), ~has_waiter),
        )
        .order_by(flow.c.created_at, flow.c.key)
        .limit(_PAGE)
    )
    if position is None:
        return query
    seen_at = position.created_at
    later = or_(flow.c.created_at > seen_at, flow.c.key > position.key)
    return query.where(and_(flow.c.created_at >= seen_at, later))


def _batches(page: Sequence[Any]) -> Iterator[list[str]]:
    """Cut a page of flows where a transaction would get too long."""
    batch: list[str] = []
    tasks = 0
    for row in page:
        count = sum(loads(row.task_counts).values())
        if batch and tasks + count > _TASKS:
            yield batch
            batch, tasks = [], 0
        batch.append(row.key)
        tasks += count
    yield batch


def _families(connection: Connection, tops: Sequence[str]) -> dict[str, str]:
    """Return flows and all stored sub-flows below them, each with the one on top of it."""
    top_of = {key: key for key in tops}
    level = list(tops)
    while level:
        below: list[str] = []
        for chunk in chunks(level):
            query = select(flow.c.key, flow.c.waiter_key).where(flow.c.waiter_key.in_(chunk))
            for key, waiter_key in connection.execute(query):
                top_of[key] = top_of[waiter_key]
                below.append(key)
        level = below
    return top_of
