"""Stored flows whose runner is interrupted after a save, and finished by others that load them anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

from sqlalchemy import Connection, update

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.database import Database
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.random_specs import Act

__all__ = ["MANNERS", "MAX_ROUNDS", "Run", "comparable", "engine_of", "run_in_memory", "run_stored"]

LONG_AGO = "2000-01-01T00:00:00.000000+00:00"
MANNERS = ("kill", "stop")
MAX_ROUNDS = 400

Changes = list[tuple[str | None, int, str | None, str | None]]  # task or its path, attempt, old status, new
Run = tuple[dict[str, Any], Changes, int]  # the flow dict at the end, the history, how many writes there were


class Calm(Act):
    """Does the same without effects, so that it is saved together with what comes after it."""

    has_effects: ClassVar[bool] = False


class AsyncAct(Act):
    """Does so while other calls of its tick are under way, too."""

    async def tick_task(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().tick_task()


class _KilledError(BaseException):
    """Ends a runner as SIGKILL does: nothing more reaches its database."""


class _Interruptions:
    """Counts writes, and interrupts the runner after some of them."""

    def __init__(self, manner: str, points: Sequence[int]) -> None:
        self.manner = manner
        self.points = set(points)
        self.writes = 0
        self.is_dead = False
        self.runner: FlowRunner | None = None

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Count what is written meanwhile."""
        read, write, hold = Database.read, Database.write, Database.hold

        def counted(call: Callable[..., Any], counts: bool) -> Callable[..., Any]:
            def transact(database: Database, work: Any) -> Any:
                if self.is_dead:
                    raise _KilledError
                result = call(database, work)
                if counts:
                    self._count()
                return result

            return transact

        with (
            patch.object(Database, "read", counted(read, False)),
            patch.object(Database, "write", counted(write, True)),
            patch.object(Database, "hold", counted(hold, False)),
        ):
            yield

    def _count(self) -> None:
        self.writes += 1
        if self.writes not in self.points:
            return
        if self.manner == "kill":
            self.is_dead = True
            raise _KilledError
        assert self.runner is not None
        self.runner.stop()


def engine_of(clock: ManualClock, *, awaits: bool = False) -> FlowEngine:
    return FlowEngine(task_handlers={"act": AsyncAct if awaits else Act, "calm": Calm}, clock=clock)


def run_in_memory(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the flow dict of a flow that one engine ticks to its end."""
    clock = ManualClock()
    engine = engine_of(clock)
    flow = engine.flow_spec_to_flow(spec)
    for _ in range(MAX_ROUNDS):
        report = engine.tick_flow(flow)
        if flow.status in FINISHED_FLOW_STATUSES:
            return comparable(flow.to_flow_dict())
        assert report.next_tick_at is not None
        clock.advance(max((report.next_tick_at - clock.now()).total_seconds(), 0))
    raise AssertionError("the flow did not end")


def run_stored(
    store: FlowStore,
    clock: ManualClock,
    spec: dict[str, Any],
    manner: str = "kill",
    points: Sequence[int] = (),
    *,
    awaits: bool = False,
) -> Run:
    """Run a flow in a store, interrupted after some writes, each time gone on with by another runner.

    Args:
        store: which may hold a flow of an earlier run.
        clock: of the store.
        spec: of the flow.
        manner: how the runner is interrupted.
        points: after which writes, counted from 1.
        awaits: the runner awaits calls, side by side.
    """
    engine = engine_of(clock, awaits=awaits)
    _wipe(store)
    clock.set(ManualClock().now())
    flow = engine.flow_spec_to_flow(spec)
    key = flow.key
    store.create(flow)
    interruptions = _Interruptions(manner, points)
    for _ in range(MAX_ROUNDS):
        interruptions.runner = FlowRunner(store, engine)
        try:
            with interruptions.armed():
                if awaits:
                    asyncio.run(interruptions.runner.atick())
                else:
                    interruptions.runner.tick()
        except _KilledError:
            interruptions.is_dead = False
            _expire_leases(store)
            continue
        if store.load(key).status in FINISHED_FLOW_STATUSES:
            return *_end_of(store, key), interruptions.writes
        due_at = store.next_due_at()
        assert due_at is not None
        clock.advance(max((due_at - clock.now()).total_seconds(), 0))
    raise AssertionError("the flow did not end")


def _end_of(store: FlowStore, key: str) -> tuple[dict[str, Any], Changes]:
    flow: Flow = store.load(key)
    flow.check_invariants()
    events = store.history.events(key)
    changes = [
        (event.task_key, event.attempt, event.old_status, event.new_status)
        for event in events
        if event.kind in ("changed", "inside")
    ]
    return comparable(flow.to_flow_dict()), changes


def comparable(value: Any) -> Any:
    """Return a flow dict without what tells of the callers, and without what a store alone keeps."""
    if isinstance(value, list):
        return [comparable(part) for part in value]
    if not isinstance(value, dict):
        return value
    gone = {"traceback", "flow_dict"} if value.get("status") == "COMPLETED" else {"traceback"}
    return {name: comparable(part) for name, part in value.items() if name not in gone}


def _wipe(store: FlowStore) -> None:
    """Delete all rows: the next run uses the same key, of which delays of retries depend."""

    def delete_all(connection: Connection) -> None:
        for table in reversed(tables.metadata.sorted_tables):
            if table is not tables.schema:
                connection.execute(table.delete())

    store._database.write(delete_all)
    store._seen.forget()  # what it took for a backup that was restored


def _expire_leases(store: FlowStore) -> None:
    held = update(tables.flow).where(tables.flow.c.lease_owner.is_not(None))
    store._database.write(lambda connection: connection.execute(held.values(lease_expires_at=LONG_AGO)))
