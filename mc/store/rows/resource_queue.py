"""The queue for named resources: who gets what, by the rows of those that hold them or wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from mc.durations import format_time, parse_time
from mc.flows.resource import Rate, Resource
from mc.flows.resources.rules import PATIENCE, Availability, Situation, judge
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.databases.base import Dialect
from mc.store.lease import Wake
from mc.store.rows.wakes import RESOURCE, add_wake
from mc.store.schema.tables import flow, resource, resource_request, resource_use, task

__all__ = [
    "Asker",
    "ResourceQueue",
    "is_held",
    "is_live_wait",
    "resource_of",
    "time_to_ask",
]

_CHUNK: Final = 100  # waiting requests that are looked at together

_request = resource_request.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """An attempt that needs resources, and its place among those that wait."""

    flow_key: str
    request_id: str
    needs: Mapping[str, int]
    flow_priority: int
    priority: int
    since: str
    begun: bool


class ResourceQueue:
    """The resources as they stand in one transaction, which has taken its turn.

    Args:
        connection: in the transaction.
        dialect: of the database.
        now: the present.
    """

    def __init__(self, connection: Connection, dialect: Dialect, now: datetime) -> None:
        self._connection = connection
        self._dialect = dialect
        self._now = now
        self._resources: dict[str, Resource] = {}
        self._held: dict[str, int] = {}
        self._taken: dict[str, list[tuple[datetime, int]]] = {}

    def judge(self, asker: Asker) -> dict[str, Availability]:
        """Return for each resource that an attempt needs whether it can have that now."""
        verdicts = {}
        for name, slots in asker.needs.items():
            found = self._resource(name)
            ahead, kept_until = self._ahead(name, asker)
            situation = Situation(
                held=self._held_of(name), ahead=ahead, kept_until=kept_until, taken=self._taken_of(found)
            )
            verdicts[name] = judge(found, slots, situation, self._now, begun=asker.begun)
        return verdicts

    def take(self, asker: Asker) -> None:
        """Note that an attempt was granted what it needs; its rows are the caller's business."""
        for name, slots in asker.needs.items():
            self._held[name] = self._held_of(name) + slots
            found = self._resource(name)
            if found.rate is not None and not asker.begun:
                self._taken_of(found).append((self._now, slots))
                row = {"resource": name, "taken_at": format_time(self._now), "slots": slots}
                self._connection.execute(insert(resource_use), row)
                self._forget_uses(found.name, found.rate)

    def wake(self, names: Iterable[str]) -> None:
        """Make the flows due whose turn it is, after something changed about these resources."""
        for name in sorted(set(names)):
            self._wake_for(name)

    def _wake_for(self, name: str) -> None:
        start, only_begun = 0, False
        while True:
            query = (
                select(resource_request)
                .join(flow, flow.c.key == _request.flow_key)
                .where(_request.resource == name, *is_live_wait(self._passed_before))
            )
            if only_begun:
                query = query.where(_request.begun == 1)
            rows = self._connection.execute(query.order_by(*_ORDER).limit(_CHUNK).offset(start)).all()
            for row in rows:
                if row.woken_at is not None:
                    continue
                verdict = self._wake_one(name, row)
                if verdict.is_hopeless:
                    start -= 1  # the row is none of the query's any more
                elif not verdict.fits:
                    if row.begun or self._resource(name).rate is None:
                        return
                    # of a rate that is used up nothing is left for those behind, unless they took it already
                    start, only_begun = 0, True
                    break
            else:
                if len(rows) < _CHUNK:
                    return
                start += _CHUNK

    def _wake_one(self, name: str, row: Any) -> Availability:
        """Wake the flow of a request if it can have all that it needs, and say whether it can have `name`.

        Where it cannot have `name`, nobody behind it can. Where it lacks another resource, they may.
        """
        here = (_request.flow_key == row.flow_key) & (_request.claim_id == row.claim_id)
        rows = self._connection.execute(select(_request.resource, _request.slots).where(here))
        needs = {found.resource: found.slots for found in rows}
        verdicts = self.judge(
            Asker(
                flow_key=row.flow_key,
                request_id=row.claim_id,
                needs=needs,
                flow_priority=row.flow_priority,
                priority=row.priority,
                since=row.since,
                begun=bool(row.begun),
            )
        )
        now = format_time(self._now)
        if all(verdict.fits for verdict in verdicts.values()):
            self._connection.execute(update(resource_request).where(here).values(woken_at=now))
            self._tell(row.flow_key, name, now)
            return verdicts[name]
        if any(verdict.is_hopeless for verdict in verdicts.values()):
            self._connection.execute(update(resource_request).where(here).values(hopeless=1))
            return Availability(fits=False, is_hopeless=True)
        at = time_to_ask(verdicts)
        if at is not None and (row.due_at is None or at < row.due_at):
            self._connection.execute(update(resource_request).where(here).values(due_at=at))
            self._make_due(row.flow_key, name, at)
        return verdicts[name]

    def _make_due(self, flow_key: str, name: str, at: str) -> None:
        """Let a flow ask again at a time; one that is being ticked, whose save would not keep it, at once."""
        statement = (
            update(flow)
            .where(flow.c.key == flow_key, flow.c.lease_owner.is_(None), flow.c.status.in_(_LIVE))
            .values(next_tick_at=case((flow.c.next_tick_at < at, flow.c.next_tick_at), else_=at))
        )
        if self._connection.execute(statement).rowcount != 1:
            self._tell(flow_key, name, format_time(self._now))

    def _tell(self, flow_key: str, name: str, now: str) -> None:
        add_wake(self._connection, flow_key, Wake(kind=RESOURCE, source_key=name, reason=uuid4().hex), now)

    # --- how a resource stands -------------------------------------------------------------

    def _resource(self, name: str) -> Resource:
        if name not in self._resources:
            row = self._connection.execute(select(resource).where(resource.c.name == name)).one_or_none()
            self._resources[name] = resource_of(row) if row is not None else Resource(name=name)
        return self._resources[name]

    def _held_of(self, name: str) -> int:
        if name not in self._held:
            self._held[name] = int(
                self._connection.scalar(
                    select(func.sum(_request.slots))
                    .select_from(resource_request)
                    .join(flow, flow.c.key == _request.flow_key)
                    .outerjoin(
                        task, and_(task.c.flow_key == _request.flow_key, task.c.key == _request.task_key)
                    )
                    .where(_request.resource == name, is_held(self._dialect))
                )
                or 0
            )
        return self._held[name]

    def _ahead(self, name: str, asker: Asker) -> tuple[int, datetime | None]:
        """Return for how many slots others wait before an attempt, and when the first is passed over."""
        row = self._connection.execute(
            select(func.sum(_request.slots), func.min(_request.woken_at))
            .select_from(resource_request)
            .join(flow, flow.c.key == _request.flow_key)
            .where(_request.resource == name, *is_live_wait(self._passed_before), _is_before(asker))
        ).one()
        return int(row[0] or 0), parse_time(row[1]) + PATIENCE if row[1] else None

    def _taken_of(self, found: Resource) -> list[tuple[datetime, int]]:
        if found.rate is None:
            return []
        if found.name not in self._taken:
            since = format_time(self._now - timedelta(seconds=found.rate.seconds))
            rows = self._connection.execute(
                select(resource_use.c.taken_at, resource_use.c.slots)
                .where(resource_use.c.resource == found.name, resource_use.c.taken_at > since)
                .order_by(resource_use.c.taken_at)
            )
            self._taken[found.name] = [(parse_time(at), slots) for at, slots in rows]
        return self._taken[found.name]

    def _forget_uses(self, name: str, rate: Rate) -> None:
        before = format_time(self._now - timedelta(seconds=rate.seconds))
        self._connection.execute(
            delete(resource_use).where(resource_use.c.resource == name, resource_use.c.taken_at <= before)
        )

    @property
    def _passed_before(self) -> str:
        return format_time(self._now - PATIENCE)


def resource_of(row: Any) -> Resource:
    """Return a resource as its row says."""
    rate = None
    if row.rate_count is not None:
        rate = Rate(count=row.rate_count, seconds=row.rate_microseconds / 1e6)
    return Resource(name=row.name, slots=row.slots, rate=rate)


def time_to_ask(verdicts: Mapping[str, Availability]) -> str | None:
    """Return when an attempt that was refused can have all that it needs, if time alone decides."""
    lacking = [verdict for verdict in verdicts.values() if not verdict.fits]
    times = [verdict.at for verdict in lacking if verdict.at is not None]
    return format_time(max(times)) if times and len(times) == len(lacking) else None


def is_held(dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that a request counts as held; the query joins its flow, and its task if there is.

    Its task is RUNNING or WAITING as it was saved last, also where its flow is PAUSED or BLOCKED and has
    kept the request; or its runner, whose lease is live, has just been granted it and is going to save that.
    """
    is_being_begun = and_(
        flow.c.lease_owner.is_not(None),
        flow.c.lease_token == _request.token,
        flow.c.lease_expires_at > dialect.now(),
    )
    return and_(
        _request.granted_at.is_not(None),
        flow.c.status.not_in(sorted(FINISHED_FLOW_STATUSES)),
        or_(task.c.status.in_(_ACTIVE), is_being_begun),
    )


def is_live_wait(passed_before: str) -> Sequence[ColumnElement[bool]]:
    """Return the conditions that a request waits and others wait for it; the query joins its flow."""
    return (
        _request.granted_at.is_(None),
        _request.hopeless == 0,
        flow.c.status.in_(_LIVE),
        or_(_request.woken_at.is_(None), _request.woken_at > passed_before),
    )


def _is_before(asker: Asker) -> ColumnElement[bool]:
    """Return the condition that a request comes before an attempt: the more urgent, then the older."""
    steps = (
        (_request.flow_priority, -1, asker.flow_priority),
        (_request.priority, -1, asker.priority),
        (_request.since, 1, asker.since),
        (_request.flow_key, 1, asker.flow_key),
        (_request.claim_id, 1, asker.request_id),
    )
    condition: ColumnElement[bool] = literal(1) == 0
    for column, direction, value in reversed(steps):
        first = column < value if direction > 0 else column > value
        condition = or_(first, and_(column == value, condition))
    return condition


_LIVE: Final = ("PENDING", "RUNNING")
_ACTIVE: Final = ("RUNNING", "WAITING")
_ORDER: Final = (
    _request.flow_priority.desc(),
    _request.priority.desc(),
    _request.since,
    _request.flow_key,
    _request.claim_id,
)
