"""Facts of a flow, read in one transaction, by which it is explained why it does not move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, case, func, select

from mc.context.json_values import loads
from mc.durations import parse_time
from mc.errors import FlowNotFoundError
from mc.explanation.facts import (
    ChangeFacts,
    FlowFacts,
    JobFacts,
    LeaseFacts,
    RunnerFacts,
    ShortageFacts,
    TaskFacts,
)
from mc.flows.controls.control import ControlKind
from mc.flows.signals.signal_rules import RESERVED_PREFIX
from mc.flows.state.mailbox import Signal
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.databases.base import Dialect
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import read_ticks, ticks_query
from mc.store.leases.call_notes import notes_from_text
from mc.store.leases.claims import is_leased, live_notes
from mc.store.reading.awaited_flows import find_awaited, find_awaited_jobs
from mc.store.reading.flow_reader import chunks
from mc.store.reading.inner_tasks import put_inside, under_way
from mc.store.rows.flow_and_task_rows import explained, read_failures
from mc.store.rows.job_rows import job_id, job_query, record_of
from mc.store.rows.pending_controls import control_of
from mc.store.rows.resource_queue import resource_of
from mc.store.rows.signal_rows import list_signals
from mc.store.rows.wakes import CANCEL, CONTROL, list_wakes
from mc.store.schema.tables import edge, event, flow, job, resource, resource_request, task, tick

__all__ = ["MOST_TASKS", "read_facts"]

MOST_TASKS: Final = 20  # of one flow
_MOST_SUB_FLOWS: Final = 20  # of all depths together
_MOST_PRECURSORS: Final = 5
_MOST_FAILED: Final = 5
_MOST_SIGNALS: Final = 5  # names
_MOST_CONTROLS: Final = 10  # that are looked through for the last pause


def read_facts(
    store: FlowStore,
    key: str,
    *,
    max_tasks: int = MOST_TASKS,
    folder_of: Callable[[str], str | None] = lambda key: None,
    starter_of: Callable[[str], str | None] = lambda executor: None,
) -> FlowFacts:
    """Return what is stored of a flow, and of the sub-flows that it waits for, at one moment.

    Of a large flow so many tasks are read as are asked for, and none besides.

    Args:
        store: where it is.
        key: the flow.
        max_tasks: unfinished tasks of each flow, at most.
        folder_of: returns where the files of the job with a key are; None: it is not known.
        starter_of: returns who starts the jobs of an executor; see `JobFacts.started_by`.

    Raises:
        FlowNotFoundError: there is none with that key.
        StoreError: its rows cannot be read.
    """
    database, now = store._database, store.clock.now()
    found = database.read(
        lambda connection: _Reader(
            connection, database.dialect, now, max_tasks, folder_of, starter_of
        ).read_flow(key)
    )
    if found is None:
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
    return found


class _Reader:
    """Reads within one transaction."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        now: datetime,
        max_tasks: int,
        folder_of: Callable[[str], str | None],
        starter_of: Callable[[str], str | None],
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._folder_of = folder_of
        self._starter_of = starter_of
        self._now = now
        self._max_tasks = max_tasks
        self._is_live = is_leased(dialect)
        self._calls = live_notes(dialect).label("calls")
        self._sub_flows_left = _MOST_SUB_FLOWS
        self._last_runner = self._read_last_runner()

    def read_flow(self, key: str) -> FlowFacts | None:
        """Return what is stored of one flow; None if it is not stored."""
        more = case((self._is_live, 1), else_=0).label("is_live"), self._calls
        query = select(*_FLOW, *more).where(flow.c.key == key)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        with explained(key):
            return self._make(row)

    def _make(self, row: Any) -> FlowFacts:
        key, status = row["key"], row["status"]
        body = loads(row["body"])
        calls = notes_from_text(row["calls"]) if row["calls"] else ()
        if calls and status == "PENDING":
            status = "RUNNING"  # as will be seen when it is saved
        finished = status in FINISHED_FLOW_STATUSES
        tasks = () if finished else self._read_tasks(key)
        wakes = list_wakes(self._connection, [key]).get(key, [])
        cancel = [wake.reason or "" for wake in wakes if wake.kind == CANCEL]
        signals = list_signals(self._connection, [key]).get(key, [])
        return FlowFacts(
            key=key,
            status=status,
            now=self._now,
            counts=loads(row["task_counts"]),
            tasks=tasks,
            failed=self._read_failed(key) if status == "FAILED" else (),
            cfg=body.get("cfg") or {},
            error=body.get("error"),
            blocked_reason=row["blocked_reason"],
            missing_handlers=tuple(body.get("missing_handlers") or ()),
            next_tick_at=_time(row["next_tick_at"]),
            finished_at=_time(row["finished_at"]),
            deadline_at=_time(body.get("deadline_at")),
            parent_key=row["parent_key"],
            failures=read_failures(body),
            lease=_lease(row),
            calls=calls,
            last_change=self._read_last_change(key, status) if status in _CHANGED_BY_PERSONS else None,
            controls=tuple(control_of(wake) for wake in wakes if wake.kind == CONTROL),
            cancel=cancel[0] if cancel and not finished else None,
            free_signals=_names(signals),
            shortages={} if finished else self._read_shortages(key),
            sub_flows=self._read_sub_flows(tasks),
            jobs=self._read_jobs(tasks),
            last_runner=self._last_runner,
        )

    def _read_tasks(self, key: str) -> tuple[TaskFacts, ...]:
        found: list[TaskFacts] = []
        for query in (_ACTIVE, _STARTABLE, _OTHERS):
            left = self._max_tasks - len(found)
            if left > 0:
                rows = self._connection.execute(query.limit(left), {"flow": key}).all()
                found += [self._make_task(key, *row[1:]) for row in sorted(rows)]
        begun = [each.task for each in found if each.status in ("RUNNING", "WAITING")]
        put_inside(self._connection, key, begun, under_way(), self._max_tasks)
        return tuple(found)

    def _make_task(self, flow_key: str, key: str, status: str, unmet: int, body: str) -> TaskFacts:
        waits = status == "PENDING" and unmet > 0
        return TaskFacts(
            key=key,
            status=status,
            task=loads(body),
            unmet=unmet,
            precursors=self._read_precursors(flow_key, key) if waits else (),
        )

    def _read_precursors(self, flow_key: str, key: str) -> tuple[tuple[str, str], ...]:
        rows = self._connection.execute(_PRECURSORS, {"flow": flow_key, "dest": key})
        return tuple((row.key, row.status) for row in rows)

    def _read_failed(self, key: str) -> tuple[TaskFacts, ...]:
        rows = self._connection.execute(_FAILED, {"flow": key}).all()
        return tuple(self._make_task(key, *row[1:]) for row in sorted(rows))

    def _read_shortages(self, key: str) -> dict[str, ShortageFacts]:
        found: dict[str, ShortageFacts] = {}
        for row in self._connection.execute(_SHORTAGES, {"flow": key}):
            there = resource_of(row)
            if row.asked > there.most:
                found[there.name] = ShortageFacts(asked=row.asked, most=there.most, is_set=there.is_set)
        return found

    def _read_sub_flows(self, tasks: Sequence[TaskFacts]) -> dict[str, FlowFacts | None]:
        found: dict[str, FlowFacts | None] = {}
        for facts in tasks:
            if facts.status in ("RUNNING", "WAITING"):
                for key in find_awaited(facts.task):
                    if self._sub_flows_left > 0:
                        self._sub_flows_left -= 1
                        found[key] = self.read_flow(key)
        return found

    def _read_jobs(self, tasks: Sequence[TaskFacts]) -> dict[str, JobFacts]:
        keys = [key for facts in tasks for key in find_awaited_jobs(facts.task)]
        found: dict[str, JobFacts] = {}
        for chunk in chunks([job_id(key) for key in keys]):
            query = job_query(self._dialect).where(job.c.id.in_(chunk))
            for record in map(record_of, self._connection.execute(query)):
                found[record.job.key] = JobFacts(
                    key=record.job.key,
                    status=record.status,
                    executor=record.job.executor,
                    place=record.place,
                    since=record.since,
                    reason=record.reason,
                    stop_reason=record.stop_reason,
                    progress=record.told_progress,
                    folder=self._folder_of(record.job.key),
                    started_by=self._starter_of(record.job.executor) if record.status == "PENDING" else None,
                    native_id=record.native_id,
                )
        return found

    def _read_last_change(self, key: str, status: str) -> ChangeFacts | None:
        row = self._connection.execute(_LAST_CHANGE, {"flow": key, "status": status}).one_or_none()
        if row is None:
            return None
        detail = loads(row.detail) if row.detail else {}
        found = self._connection.scalars(_LAST_CONTROLS, {"flow": key}).all()
        for control in map(loads, filter(None, found)):
            if control.get("control") == _CONTROLS.get(status):
                detail = control
                break
        return ChangeFacts(at=parse_time(row.at), by=detail.get("by"), reason=detail.get("reason"))

    def _read_last_runner(self) -> RunnerFacts | None:
        query = ticks_query(limit=1).where(_OF_ALL_FLOWS)
        for last in read_ticks(self._connection, query):
            return RunnerFacts(
                owner=last.owner, host=last.host, began_at=last.started_at, ended_at=last.ended_at
            )
        return None


def _lease(row: Any) -> LeaseFacts | None:
    if row["lease_owner"] is None:
        return None
    return LeaseFacts(
        owner=row["lease_owner"],
        expires_at=parse_time(row["lease_expires_at"]),
        is_live=bool(row["is_live"]),
        lost_leases=row["lost_leases"],
    )


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _names(signals: Sequence[Signal]) -> tuple[str, ...]:
    names = dict.fromkeys(signal.name for signal in signals if not signal.name.startswith(RESERVED_PREFIX))
    return tuple(list(names)[:_MOST_SIGNALS])


_CHANGED_BY_PERSONS: Final = frozenset({"PAUSED", "BLOCKED", "CANCELLED"})
_CONTROLS: Final = {"PAUSED": str(ControlKind.PAUSE), "CANCELLED": str(ControlKind.CANCEL)}  # that led there
_FLOW: Final = (
    flow.c.key,
    flow.c.status,
    flow.c.blocked_reason,
    flow.c.next_tick_at,
    flow.c.lease_owner,
    flow.c.lease_expires_at,
    flow.c.lost_leases,
    flow.c.parent_key,
    flow.c.finished_at,
    flow.c.task_counts,
    flow.c.body,
)
# The order is that of the index, so that of a large flow no more rows are looked at than are wanted.
_TASKS: Final = select(task.c.position, task.c.key, task.c.status, task.c.unmet, task.c.body).where(
    task.c.flow_key == bindparam("flow")
)
_ACTIVE: Final = _TASKS.where(task.c.status.in_(("RUNNING", "WAITING"))).order_by(task.c.status)
_PENDING: Final = _TASKS.where(task.c.status == "PENDING")
_STARTABLE: Final = _PENDING.where(task.c.unmet <= 0).order_by(task.c.unmet)
_OTHERS: Final = _PENDING.where(task.c.unmet > 0).order_by(task.c.unmet)  # the nearest to their start first
_FAILED: Final = _TASKS.where(task.c.status == "FAILED").limit(_MOST_FAILED)
_PRECURSORS: Final = (
    select(task.c.key, task.c.status)
    .join(edge, (edge.c.flow_key == task.c.flow_key) & (edge.c.src_key == task.c.key))
    .where(
        edge.c.flow_key == bindparam("flow"),
        edge.c.dest_key == bindparam("dest"),
        task.c.status.in_(("PENDING", "RUNNING", "WAITING")),
    )
    .order_by(task.c.position)
    .limit(_MOST_PRECURSORS)
)
_LAST_CHANGE: Final = (
    select(event.c.at, event.c.detail)
    .where(
        event.c.flow_key == bindparam("flow"),
        event.c.task_key.is_(None),
        event.c.kind == str(EventKind.CHANGED),
        event.c.new_status == bindparam("status"),
    )
    .order_by(event.c.id.desc())
    .limit(1)
)
_LAST_CONTROLS: Final = (
    select(event.c.detail)
    .where(
        event.c.flow_key == bindparam("flow"),
        event.c.task_key.is_(None),
        event.c.kind == str(EventKind.CONTROL),
    )
    .order_by(event.c.id.desc())
    .limit(_MOST_CONTROLS)
)
_HOPELESS: Final = (
    select(resource_request.c.resource, func.max(resource_request.c.slots).label("asked"))
    .where(resource_request.c.flow_key == bindparam("flow"), resource_request.c.hopeless == 1)
    .group_by(resource_request.c.resource)
    .subquery()
)
_SHORTAGES: Final = select(resource, _HOPELESS.c.asked).join(
    _HOPELESS, _HOPELESS.c.resource == resource.c.name
)
_OF_ALL_FLOWS: Final = tick.c.one_flow == 0
