"""Named resources in the database: how much there is of each, who has it, and who waits."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from mc.durations import format_time
from mc.errors import ResourceError
from mc.flows.flow import Flow
from mc.flows.resource import Resource, check_resource_name, make_resource
from mc.flows.services import Answer, ResourceRequest
from mc.store.database import Database
from mc.store.lease import Lease, StoredRequest
from mc.store.leases.claims import family_of as family_query
from mc.store.leases.held_leases import keep
from mc.store.leases.refusals import lease_lost
from mc.store.reading.flow_reader import chunks
from mc.store.rows.flow_and_task_rows import flow_priority
from mc.store.rows.request_rows import take_turn
from mc.store.rows.resource_queue import Asker, ResourceQueue, is_held, resource_of, time_to_ask
from mc.store.schema.tables import flow as flow_table
from mc.store.schema.tables import resource, resource_request, resource_use, task
from mc.store.stored_state import StoredState

__all__ = ["ResourceShare", "ResourceStatus", "ResourceStore"]

_MAX_PRIORITY: Final = 2**31 - 1

_request = resource_request.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceShare:
    """What one task holds of a resource, or waits for."""

    flow_key: str
    task_key: str  # the flow's task that it is, or is inside of
    attempt: int
    slots: int
    since: str  # when it asked first, ISO 8601
    granted_at: str | None  # None: it waits
    due_at: str | None  # when it asks again by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """A resource as it stands."""

    name: str
    slots: int | None  # None: no limit
    rate: str | None  # None: no limit
    is_set: bool  # False: nobody said how much there is of it, and tasks wait
    held: int  # slots
    waiting: int  # tasks
    shares: tuple[ResourceShare, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-safe data."""
        return {**asdict(self), "shares": [asdict(share) for share in self.shares]}


class ResourceStore:
    """The named resources of one store.

    Every method that changes something is one transaction. They take turns, so that no two grant the same
    slot and none misses what another gives back.

    Args:
        database: where they are.
        now: the present.
        states: what is stored of each flow that is in memory.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime], states: MutableMapping[Flow, StoredState]
    ) -> None:
        self._database = database
        self._now = now
        self._states = states

    def set(self, name: str, *, slots: int | None = None, rate: str | None = None) -> Resource:
        """Say how much there is of a resource, from now on; what is not given is not limited.

        No task is stopped where more is held than there is now: what is given back is not given out until
        there is room again. Tasks that wait and can have it become due.

        Args:
            name: of the resource: letters, digits, and `_ . : -` between them.
            slots: how many may be held at a time.
            rate: how many may be taken within a time, such as `10/min`.

        Raises:
            ResourceError: one of them cannot be used, or neither slots nor rate are given.
        """
        made = make_resource(name, slots, rate)
        now = self._now()
        columns = {
            "slots": made.slots,
            "rate_count": made.rate.count if made.rate is not None else None,
            "rate_microseconds": round(made.rate.seconds * 1e6) if made.rate is not None else None,
            "set_at": format_time(now),
        }

        def work(connection: Connection) -> None:
            take_turn(connection)
            _add_missing(connection, [name])
            connection.execute(update(resource).where(resource.c.name == name).values(**columns))
            names = _revive(connection, name)
            self._queue(connection, now).wake([name, *names])

        self._database.write(work)
        return made

    def list(self) -> Sequence[ResourceStatus]:
        """Return all resources by name, those included that nobody has set and for which tasks wait."""
        found = self._database.read(self._read_all)
        return [status for status in found if status.is_set or status.waiting]

    def get(self, name: str) -> ResourceStatus:
        """Return one resource, with the tasks that hold it or wait for it, those first that come first.

        Raises:
            ResourceError: there is none of that name.
        """
        check_resource_name(name)

        def work(connection: Connection) -> ResourceStatus | None:
            for status in self._read_all(connection, name):
                return status
            return None

        status = self._database.read(work)
        if status is None or not (status.is_set or status.waiting):
            raise _unknown(name)
        return status

    def delete(self, name: str) -> None:
        """Remove a resource.

        Raises:
            ResourceError: there is none of that name, or tasks hold it or wait for it; nothing was changed.
        """
        check_resource_name(name)

        def work(connection: Connection) -> None:
            take_turn(connection)
            found = list(self._read_all(connection, name))
            if not found or not (found[0].is_set or found[0].waiting):
                raise _unknown(name)
            if found[0].held or found[0].waiting:
                shown = ", ".join(f"{share.flow_key}/{share.task_key}" for share in found[0].shares[:5])
                raise ResourceError(
                    f"The resource {name!r} cannot be deleted: tasks hold {found[0].held} of its slots and "
                    f"{found[0].waiting} tasks wait for it ({shown}). Let them end, or cancel their flows.",
                    name=name,
                )
            connection.execute(delete(resource_request).where(_request.resource == name))
            connection.execute(delete(resource_use).where(resource_use.c.resource == name))
            connection.execute(delete(resource).where(resource.c.name == name))

        self._database.write(work)

    def acquire(self, flow: Flow, lease: Lease, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs, or note that it waits; for a runner.

        What is granted counts as held from this transaction on: as long as the lease is live, and from the
        flow's next save on as long as the task is RUNNING or WAITING.

        Args:
            flow: the outermost flow.
            lease: the claim under which it is ticked.
            requests: of its tasks, the more urgent first.

        Raises:
            LeaseLostError: another runner took the flow over; nothing was granted.
        """
        now = self._now()
        answers = self._database.write(
            lambda connection: self._acquire(connection, flow, lease, requests, now)
        )
        known = self._states[flow].requests
        refused: set[tuple[tuple[str, int], ...]] = set()
        for request, answer in zip(requests, answers, strict=True):
            needs = tuple(sorted(request.needs.items()))
            known.pop(request.id, None)
            if answer.granted or needs not in refused:
                known[request.id] = StoredRequest(
                    task_key=request.task_key, granted=answer.granted, token=lease.token
                )
            if not answer.granted:
                refused.add(needs)
        return answers

    def requests_of(self, flow: Flow) -> dict[str, StoredRequest]:
        """Return what is stored of what a flow's tasks hold or wait for, by id."""
        return self._states[flow].requests

    def are_awaited(self, *, family_of: str) -> bool:
        """Tell whether a task of a flow, or of a stored sub-flow of it, waits for resources it can get."""
        query = (
            select(_request.claim_id)
            .join(flow_table, flow_table.c.key == _request.flow_key)
            .where(_request.granted_at.is_(None), _request.hopeless == 0)
            .where(_request.flow_key.in_(family_query(family_of)))
            .where(flow_table.c.status.in_(("PENDING", "RUNNING")))
            .limit(1)
        )
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def are_held_around(self, key: str) -> bool:
        """Tell whether a stored flow that waits for this one, at any depth, holds resources."""

        def work(connection: Connection) -> bool:
            query = select(flow_table.c.waiter_key).where(flow_table.c.key == bindparam("flow"))
            granted = select(_request.claim_id).where(
                _request.flow_key == bindparam("flow"), _request.granted_at.is_not(None)
            )
            waiter = connection.scalar(query, {"flow": key})
            while waiter is not None:
                if connection.scalar(granted.limit(1), {"flow": waiter}) is not None:
                    return True
                waiter = connection.scalar(query, {"flow": waiter})
            return False

        return self._database.read(work)

    # --- inside ----------------------------------------------------------------------------

    def _queue(self, connection: Connection, now: datetime) -> ResourceQueue:
        return ResourceQueue(connection, self._database.dialect, now)

    def _acquire(
        self,
        connection: Connection,
        flow: Flow,
        lease: Lease,
        requests: Sequence[ResourceRequest],
        now: datetime,
    ) -> Sequence[Answer]:
        take_turn(connection)
        if not keep(connection, lease):
            raise lease_lost(lease)
        names = sorted({name for request in requests for name in request.needs})
        _add_missing(connection, names)
        for chunk in chunks([request.id for request in requests]):
            here = (_request.flow_key == flow.key) & _request.claim_id.in_(chunk)
            connection.execute(delete(resource_request).where(here))
        queue = self._queue(connection, now)
        refused: dict[tuple[tuple[str, int], ...], Answer] = {}
        answers: list[Answer] = []
        for request in requests:
            needs = tuple(sorted(request.needs.items()))
            answer = refused.get(needs)
            if answer is None:
                answer = _decide(connection, queue, flow, lease, request, now)
                if not answer.granted:
                    refused[needs] = answer
            answers.append(answer)
        queue.wake(names)
        return answers

    def _read_all(self, connection: Connection, name: str | None = None) -> Sequence[ResourceStatus]:
        query = select(resource).order_by(resource.c.name)
        if name is not None:
            query = query.where(resource.c.name == name)
        return [
            self._status(connection, row, with_shares=name is not None) for row in connection.execute(query)
        ]

    def _status(self, connection: Connection, row: Any, *, with_shares: bool) -> ResourceStatus:
        found = resource_of(row)
        held = is_held(self._database.dialect)
        joined = (
            select(resource_request)
            .join(flow_table, flow_table.c.key == _request.flow_key)
            .outerjoin(task, and_(task.c.flow_key == _request.flow_key, task.c.key == _request.task_key))
            .where(_request.resource == found.name)
        )
        sums = joined.with_only_columns(func.sum(_request.slots), maintain_column_froms=True).where(held)
        waits = _request.granted_at.is_(None)
        waiting = joined.with_only_columns(func.count(), maintain_column_froms=True).where(waits)
        shares: list[ResourceShare] = []
        if with_shares:
            order = (
                _request.flow_priority.desc(),
                _request.priority.desc(),
                _request.since,
                _request.flow_key,
            )
            holding = joined.where(held).order_by(_request.granted_at, _request.since, _request.flow_key)
            for part in (holding, joined.where(waits).order_by(*order)):
                shares += [_share(each) for each in connection.execute(part.limit(_MOST_SHARES))]
        return ResourceStatus(
            name=found.name,
            slots=found.slots,
            rate=str(found.rate) if found.rate is not None else None,
            is_set=found.is_set,
            held=int(connection.scalar(sums) or 0),
            waiting=connection.scalar(waiting) or 0,
            shares=tuple(shares),
        )


_MOST_SHARES: Final = 1_000


def _decide(
    connection: Connection,
    queue: ResourceQueue,
    flow: Flow,
    lease: Lease,
    request: ResourceRequest,
    now: datetime,
) -> Answer:
    priority = max(-_MAX_PRIORITY, min(_MAX_PRIORITY, request.priority))
    asker = Asker(
        flow_key=flow.key,
        request_id=request.id,
        needs=request.needs,
        flow_priority=flow_priority(flow),
        priority=priority,
        since=request.since,
        begun=request.begun,
    )
    verdicts = queue.judge(asker)
    lacking = [name for name, verdict in verdicts.items() if not verdict.fits]
    answer = Answer(granted=not lacking, lacking=lacking, at=time_to_ask(verdicts))
    row = {
        "flow_key": flow.key,
        "claim_id": request.id,
        "task_key": request.task_key,
        "attempt": request.attempt,
        "flow_priority": asker.flow_priority,
        "priority": priority,
        "since": request.since,
        "begun": int(request.begun),
        "token": lease.token,
        "granted_at": format_time(now) if answer.granted else None,
        "woken_at": None,
        "due_at": answer.at,
        "hopeless": int(any(verdict.is_hopeless for verdict in verdicts.values())),
    }
    rows = [{**row, "resource": name, "slots": slots} for name, slots in request.needs.items()]
    connection.execute(insert(resource_request), rows)
    if answer.granted:
        queue.take(asker)
    return answer


def _add_missing(connection: Connection, names: Sequence[str]) -> None:
    """Write a row for each resource that nobody has set, so that it can be seen that tasks wait for it."""
    known = set(connection.scalars(select(resource.c.name).where(resource.c.name.in_(names))))
    rows = [{"name": name} for name in names if name not in known]
    if rows:
        connection.execute(insert(resource), rows)


def _revive(connection: Connection, name: str) -> set[str]:
    """Let those that others passed ask again, and return the resources that they need."""
    waiting = (_request.resource == name, _request.granted_at.is_(None))
    query = select(_request.flow_key, _request.claim_id).where(*waiting)
    names: set[str] = set()
    for flow_key, claim_id in connection.execute(query).all():
        here = (_request.flow_key == flow_key) & (_request.claim_id == claim_id)
        connection.execute(
            update(resource_request).where(here).values(hopeless=0, woken_at=None, due_at=None)
        )
        names.update(connection.scalars(select(_request.resource).where(here)))
    return names


def _share(row: Any) -> ResourceShare:
    return ResourceShare(
        flow_key=row.flow_key,
        task_key=row.task_key,
        attempt=row.attempt,
        slots=row.slots,
        since=row.since,
        granted_at=row.granted_at,
        due_at=row.due_at,
    )


def _unknown(name: str) -> ResourceError:
    return ResourceError(
        f"There is no resource {name!r}. `houston resource list` shows those that there are.", name=name
    )
