"""One store in memory with virtual time, on which processes act that fail wherever they can."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from unittest.mock import patch

from sqlalchemy import Connection, Engine, event, func
from sqlalchemy.engine import URL

from mc.clock import SystemClock
from mc.durations import format_time
from mc.errors import StoreBusyError, StoreUnreachableError
from mc.store import flow_store
from mc.store.database import Database
from mc.store.databases.held_transaction import HeldTransaction
from mc.store.databases.sqlite import SqliteDialect
from mc.store.flow_store import PARTIAL_FROM, FlowStore
from mc.store.schema import tables
from tests.reliability.simulation.stage import Actor, Process, Stage, staged_heartbeats
from tests.support.invariants import OF_INNER_FLOWS, Seen, Snapshot, check_store, find_violations
from tests.support.resource_invariants import ResourceRows

__all__ = ["BEGINNING", "MARKERS", "Faults", "VirtualClock", "World", "open_world"]

T = TypeVar("T")
Work = Callable[[Connection], T]

BEGINNING = datetime(2026, 1, 2, tzinfo=UTC)
MARKERS = "simulated_marker"  # where transactional tasks note that they were done
_URL = "sqlite://"


class Faults:
    """Decides what goes wrong; by itself, nothing does."""

    def draw(self, process: Process, writes: bool) -> str | None:
        """Return what happens to a store call.

        before: the database cannot be reached. rolled_back: it goes away in the transaction. busy: so does
        it, for a lock. repeated: the transaction is tried a second time. after: it goes away when all is
        committed, before the caller hears of it. None: nothing.
        """
        return None


class VirtualClock:
    """The clock of one process, which may be wrong."""

    def __init__(self, stage: Stage) -> None:
        self.skew = 0.0  # seconds
        self._stage = stage

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._stage.now + self.skew)

    def timestamp(self) -> float:
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self._stage.sleep("sleep", max(seconds, 0.001))

    async def asleep(self, seconds: float) -> None:
        raise NotImplementedError


class World:
    """A store, the stage around it, and what was seen of it.

    Attributes:
        effects: what handlers did outside: (flow, task, attempt) -> how often.
        database_skew: seconds by which the database's clock is wrong.
        replays: whether each check compares the history with the rows, too.
    """

    def __init__(self, database: Database, faults: Faults, *, checks: bool = True) -> None:
        self.stage = Stage()
        self.database = database
        self.faults = faults
        self.checks = checks
        self.replays = False
        self.partial_from = PARTIAL_FROM
        self.database_skew = 0.0
        self.effects: Counter[tuple[str, str, int]] = Counter()
        self.calls: Counter[str] = Counter()
        self.trace: list[str] = []
        self.seen = Seen()
        self.transactions = 0
        self._changes = -1
        self._shown: dict[str, str] = {}
        self._clocks: dict[str, VirtualClock] = {}

    def clock(self, process: Process) -> VirtualClock:
        """Return the clock of a process."""
        return self._clocks.setdefault(process.name, VirtualClock(self.stage))

    def store(self, process: Process) -> FlowStore:
        """Return a store object of a process, on the one database of all."""
        with patch.object(flow_store, "Database", lambda *_, **__: _ProcessDatabase(self, process)):
            return FlowStore(_URL, clock=self.clock(process), partial_from=self.partial_from)

    def note(self, text: str) -> None:
        """Write a line into the trace."""
        self.trace.append(f"{self.stage.now:10.3f}  {text}")

    def database_time(self) -> str:
        return format_time(BEGINNING + timedelta(seconds=self.stage.now + self.database_skew))

    def check(self) -> None:
        """Check the invariants, if a row was changed since the last time."""
        if self.database.read(self._check) and self.replays:
            self.check_whole()

    def _check(self, connection: Connection) -> bool:
        raw = connection.connection.dbapi_connection
        if raw.total_changes == self._changes:  # type: ignore[union-attr]
            return False
        self._changes = raw.total_changes  # type: ignore[union-attr]
        snapshot = _snapshot(raw)
        self._note_changes(snapshot)
        violations = list(find_violations(snapshot, self.seen))
        assert not violations, "\n".join(["these invariants do not hold:", *violations])
        return True

    def _note_changes(self, snapshot: Snapshot) -> None:
        """Write into the trace what changed since the last check."""
        shown = {
            key: f"{row['status']} held by {row['lease_owner']} ({row['lease_token']}), "
            f"due {row['next_tick_at']}"
            for key, row in snapshot.flows.items()
        }
        for flow_key, tasks in snapshot.tasks.items():
            for key, row in tasks.items():
                shown[f"{flow_key} {key}"] = row["status"]
        for wake in snapshot.wakes:
            shown[f"{wake['flow_key']} wake by {wake['source_key']}"] = wake["kind"]
        for place in sorted(set(shown) | set(self._shown)):
            if shown.get(place) != self._shown.get(place):
                self.trace.append(f"{'':14}{place}: {shown.get(place, 'gone')}")
        self._shown = shown

    def check_whole(self) -> None:
        """Check the rows as every other suite does, history included."""
        with patch.object(flow_store, "Database", lambda *_, **__: self.database):
            check_store(FlowStore(_URL), self.seen, markers=MARKERS)


def _snapshot(raw: Any) -> Snapshot:
    """Read all rows as `take_snapshot` does, in a tenth of the time."""
    cursor = raw.cursor()

    def rows(table: str) -> list[dict[str, Any]]:
        found = cursor.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    snapshot = Snapshot(
        flows={row["key"]: row for row in rows("mc_flow")},
        tasks=defaultdict(dict),
        edges=defaultdict(list),
        wakes=rows("mc_wake"),
        signals=rows("mc_signal"),
        specs={row[0] for row in cursor.execute("SELECT digest FROM mc_spec")},
        others={},
        controlled_events=rows(_CONTROLLED_EVENTS),
        resources=ResourceRows({row["name"]: row for row in rows("mc_resource")}, rows("mc_resource_claim")),
    )
    for row in rows("mc_task"):
        snapshot.tasks[row["flow_key"]][row["key"]] = row
    for row in rows("mc_edge"):
        snapshot.edges[row["flow_key"]].append(row)
    snapshot.take_inside(rows("mc_inner_flow"), rows("mc_inner_task"), rows("mc_inner_edge"))
    for table in _NAME_FLOWS:
        snapshot.others[table] = [row[0] for row in cursor.execute(f"SELECT DISTINCT flow_key FROM {table}")]
    snapshot.markers = set(cursor.execute(f"SELECT flow_key, task_key FROM {MARKERS}"))
    return snapshot


_CONTROLLED_EVENTS = (
    "mc_event WHERE flow_key IN (SELECT flow_key FROM mc_event WHERE kind = 'control') ORDER BY id"
)
_NAME_FLOWS = [
    name
    for name, table in tables.metadata.tables.items()
    if "flow_key" in table.c and name not in OF_INNER_FLOWS | {"mc_used_key"}
]


class _ProcessDatabase:
    """The database as one process reaches it: each transaction is a cue for somebody else, and may fail."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.database, name)

    def read(self, work: Work[T]) -> T:
        return self._call(work, self._world.database.read, writes=False)

    def write(self, work: Work[T]) -> T:
        return self._call(work, self._world.database.write, writes=True)

    def hold(self, work: Callable[[Connection], object]) -> HeldTransaction:
        """Begin a transaction that nobody else can interrupt: it keeps all other writers out."""
        return self._call(work, self._world.database.hold, writes=False, ends=False)

    def close(self) -> None:
        """Leave the database to the others."""

    def _call(
        self, work: Work[Any], transact: Callable[[Work[Any]], T], *, writes: bool, ends: bool = True
    ) -> T:
        world = self._world
        if world.database.is_held:
            return transact(work)  # inside the transaction that nobody else can interrupt
        name = _name_of_caller()
        world.stage.pause(name)
        actor = world.stage.current
        fault = world.faults.draw(self._process, writes) if actor is not None else None
        if not ends and fault is not None:
            fault = "before"
        _set_world(world)
        world.transactions += 1
        world.calls[name] += 1
        if world.checks or fault:
            world.note(f"{actor.name if actor else 'director'} {name}{f' -- {fault}' if fault else ''}")
        if fault == "before":
            raise StoreUnreachableError("The database went away before the call.")
        if fault in ("rolled_back", "busy", "repeated"):
            _roll_back(transact, work)
            if fault == "rolled_back":
                raise StoreUnreachableError("The database went away in the transaction.")
            if fault == "busy":
                raise StoreBusyError("Others held the lock.")
        try:
            return self._after(fault, transact(work))
        finally:
            if ends and world.checks:
                world.check()

    def _after(self, fault: str | None, result: T) -> T:
        if fault == "after":
            raise StoreUnreachableError("The database went away after the commit.")
        return result


class _UndoError(Exception):
    """Rolls a transaction back."""


def _roll_back(transact: Callable[[Work[Any]], Any], work: Work[Any]) -> None:
    def spoil(connection: Connection) -> None:
        work(connection)
        raise _UndoError

    try:
        transact(spoil)
    except _UndoError:
        pass
    except Exception:
        pass  # the caller's own refusal: the repetition raises it again


def _name_of_caller() -> str:
    frame = sys._getframe(3)
    while frame.f_code.co_name.startswith(("<", "_")) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name


# --- the one database of all worlds ----------------------------------------------------------

_present: list[World] = []


def _set_world(world: World) -> None:
    _present[:] = [world]


class _VirtualSqlite(SqliteDialect):
    """SQLite whose clock is that of the world."""

    def open(self, url: URL, busy_seconds: float, file_mode: int | None, connections: int) -> Engine:
        engine: Engine = super().open(url, busy_seconds, file_mode, connections)

        @event.listens_for(engine, "connect")
        def _set_clock(connection: Any, _record: Any) -> None:
            # the world of the moment of the call, not of the connection
            connection.create_function("mc_virtual_now", 0, lambda: _present[0].database_time())  # noqa: PLW0108

        return engine

    def now(self) -> Any:
        return func.mc_virtual_now()


@cache
def _shared_database() -> Database:
    database = Database(_URL, SystemClock())
    database.dialect = _VirtualSqlite()
    table = f"CREATE TABLE {MARKERS} (flow_key TEXT, task_key TEXT, PRIMARY KEY (flow_key, task_key))"
    database.write(lambda connection: connection.exec_driver_sql(table))
    return database


def _empty(connection: Connection) -> None:
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    for name in names:
        if name != "mc_schema":
            connection.exec_driver_sql(f"DELETE FROM {name}")


@contextmanager
def open_world(faults: Faults | None = None, *, checks: bool = True) -> Iterator[World]:
    """Yield a world with an empty store; who is still on the stage at the end is killed."""
    world = World(_shared_database(), faults or Faults(), checks=checks)
    _set_world(world)
    world.database.write(_empty)
    with staged_heartbeats(world.stage):
        try:
            yield world
        finally:
            for actor in list(world.stage.actors):
                _end(world.stage, actor)


def _end(stage: Stage, actor: Actor) -> None:
    actor.process.killed = True
    while not actor.done:
        try:
            stage.step(actor)
        except Exception:  # what it was doing when it was ended is of no interest
            stage.current = None
