"""What a transactional task writes is there exactly if the task is COMPLETED, whatever happens in between."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from mc.errors import StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import task_handler
from mc.runners.flow_runner import FlowRunner, RunnerReport
from mc.store.flow_store import FlowStore
from tests.support.databases import DATABASES, fresh_url
from tests.support.invariants import check_store

ROOT = Path(__file__).resolve().parents[2]
MODULE = "transactional_functions"
TABLE = "marker"
FUNCTIONS = """
import os, signal
from sqlalchemy import text

calls = []

def put(connection, flow, task):
    statement = text("INSERT INTO marker (flow_key, task_key) VALUES (:flow, :task)")
    connection.execute(statement, {"flow": flow, "task": task})

def write(connection, task_ctx):
    calls.append(task_ctx["idempotency_key"])
    put(connection, task_ctx["flow"].key, task_ctx["task"]["key"])
    return "written"

def write_on_runner(connection, task_ctx):
    cursor = connection.connection.cursor()
    cursor.execute(f"INSERT INTO marker VALUES ('{task_ctx['flow'].key}', '{task_ctx['task']['key']}')")
    cursor.close()

def fail(connection, task_ctx):
    write(connection, task_ctx)
    raise ValueError("no luck")

def fail_once(connection, task_ctx):
    write(connection, task_ctx)
    if task_ctx["task"]["attempt"] == 1:
        raise ValueError("no luck")

def odd(connection, task_ctx):
    write(connection, task_ctx)
    return {1, 2}

def two_in_one_text(connection, task_ctx):
    row = f"('{task_ctx['flow'].key}', '{task_ctx['task']['key']}')"
    connection.exec_driver_sql(f"INSERT INTO marker VALUES {row}; INSERT INTO nowhere VALUES {row}")

def commit(connection, task_ctx):
    write(connection, task_ctx)
    connection.commit()

def commit_on_runner(connection, task_ctx):
    write(connection, task_ctx)
    connection.connection.dbapi_connection.commit()

def hide_commit(connection, task_ctx):
    write(connection, task_ctx)
    try:
        connection.commit()
    except Exception:
        pass

def roll_back(connection, task_ctx):
    write(connection, task_ctx)
    connection.rollback()

def roll_back_and_write(connection, task_ctx):
    connection.rollback()
    write(connection, task_ctx)

def hide_error(connection, task_ctx):
    write(connection, task_ctx)
    try:
        connection.execute(text("SELECT nothing FROM nowhere"))
    except Exception:
        pass

def nested(connection, task_ctx):
    write(connection, task_ctx)
    try:
        with connection.begin_nested():
            put(connection, "another", "one")
            raise ValueError
    except ValueError:
        pass

def delete_own_flow(connection, task_ctx):
    write(connection, task_ctx)
    connection.execute(text("DELETE FROM mc_flow WHERE mc_flow.key = 'f'"))

def die(connection, task_ctx):
    write(connection, task_ctx)
    os.kill(os.getpid(), signal.SIGKILL)

def interrupt_once(connection, task_ctx):
    write(connection, task_ctx)
    if len(calls) == 1:
        signal.raise_signal(signal.SIGINT)

async def wait(connection):
    pass

def meet(connection, task_ctx):
    write(connection, task_ctx)
    together.wait(60)
"""


class World:
    """A store with a table of the application in the same database."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.store = FlowStore(url)
        self.engine = FlowEngine(handler_modules=[MODULE])
        self.sql(f"CREATE TABLE {TABLE} (flow_key VARCHAR(99), task_key VARCHAR(99))")
        self.seen = check_store(self.store, markers=TABLE)

    def sql(self, statement: str) -> list[Any]:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows

    def submit(self, *functions: str, key: str = "f", **rest: Any) -> None:
        tasks = [make_call(function, f"t{number}", **rest) for number, function in enumerate(functions)]
        self.store.create(Flow.from_flow_spec({"tasks": tasks}, key=key))

    def expire_leases(self) -> None:
        self.sql(
            "UPDATE mc_flow SET lease_expires_at = '2000-01-01T00:00:00.000000+00:00' WHERE lease_owner > ''"
        )

    def runner(self, **options: Any) -> FlowRunner:
        return FlowRunner(self.store, self.engine, **options)

    def tick(self, **options: Any) -> RunnerReport:
        try:
            return self.runner(**options).tick()
        finally:
            self.check()

    def check(self) -> None:
        check_store(self.store, self.seen, markers=TABLE)

    def markers(self) -> list[Any]:
        return self.sql(f"SELECT flow_key, task_key FROM {TABLE} ORDER BY flow_key, task_key")

    def task(self, key: str = "t0") -> dict[str, Any]:
        found: dict[str, Any] = self.store.load("f").tasks[key]
        return found


def make_call(function: str, key: str, **rest: Any) -> dict[str, Any]:
    params = {"function": f"{MODULE}:{function}", "transactional": True}
    return {"key": key, "task_type": "call", "task_params": params, **rest}


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / f"{MODULE}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop(MODULE, None)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, functions: ModuleType) -> Iterator[World]:
    with fresh_url(request.param) as url:
        made = World(request.param, url)
        yield made
        made.store.close()


def test_a_function_that_deletes_its_own_flow_is_told_what_it_did(world: World) -> None:
    world.submit("delete_own_flow")
    world.tick()
    task = world.task()
    assert (task["status"], world.markers()) == ("FAILED", [])
    assert "its function deleted or changed rows of its own flow" in task["error"]["message"]
    assert "`houston delete`" in task["error"]["message"]


def test_what_it_writes_is_committed_with_its_status(world: World) -> None:
    world.submit("write", "write_on_runner", "nested")
    assert world.tick().completed == 1
    assert world.markers() == [("f", "t0"), ("f", "t1"), ("f", "t2")]
    assert world.task()["data"] == {"result": "written"}


def test_nothing_is_seen_of_it_before_it_is_completed(world: World, functions: Any) -> None:
    seen: list[Any] = []

    def look(connection: Connection, task_ctx: Any) -> None:
        functions.write(connection, task_ctx)
        with FlowStore(world.url) as other:
            seen.append((other.load("f").tasks["t0"]["status"], world.markers()))

    functions.write_and_look = look
    look.__module__ = MODULE
    world.submit("write_and_look")
    assert world.tick().completed == 1
    assert seen == [("PENDING", [])]
    assert world.markers() == [("f", "t0")]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("fail", "no luck"),
        ("odd", "/data/result"),
        ("commit", "must not commit"),
        ("roll_back", "ended the transaction"),
        ("roll_back_and_write", "ended the transaction"),
        ("wait", "coroutine function"),
        ("two_in_one_text", ""),
    ],
)
def test_what_a_failing_function_wrote_is_gone_and_the_failure_is_saved(
    world: World, function: str, problem: str
) -> None:
    world.submit(function)
    report = world.tick()
    assert (report.failed, report.errors) == (1, [])
    assert problem in world.task()["error"]["message"]
    assert world.markers() == []


def test_a_commit_by_the_function_is_refused_before_it_happens(world: World) -> None:
    world.submit("hide_commit")
    assert world.tick().completed == 1  # it swallowed the error, and nothing was committed by it
    assert world.markers() == [("f", "t0")]


def test_a_commit_past_the_connection_is_noticed(world: World) -> None:
    world.submit("commit_on_runner")
    assert world.runner().tick().failed == 1
    assert "ended the transaction" in world.task()["error"]["message"]


def test_an_error_of_the_database_that_is_not_passed_on_cannot_lose_half(world: World) -> None:
    world.submit("hide_error")
    world.tick()
    status = "FAILED" if world.name == "postgres" else "COMPLETED"  # PostgreSQL gives the transaction up
    assert world.task()["status"] == status


def test_a_further_attempt_writes_once(world: World, functions: Any) -> None:
    world.submit("fail_once", cfg={"retry": {"max_attempts": 2}})
    assert world.tick().completed == 1
    assert world.markers() == [("f", "t0")]
    assert functions.calls == ["f/t0/1", "f/t0/2"]


def test_an_interrupted_call_leaves_nothing_and_is_made_again(world: World, functions: Any) -> None:
    world.submit("interrupt_once")
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    assert (world.markers(), world.task()["status"]) == ([], "PENDING")
    assert world.tick().completed == 1
    assert functions.calls == ["f/t0/1", "f/t0/1"]
    assert world.markers() == [("f", "t0")]


def test_a_runner_that_was_overtaken_does_not_even_call_the_function(world: World, functions: Any) -> None:
    def be_overtaken(task: dict[str, Any]) -> None:
        world.expire_leases()
        with FlowStore(world.url) as other:
            assert other.claim(owner="rival")

    def be_quiet(task: dict[str, Any]) -> None:
        be_overtaken(task)

    handler = task_handler("overtake", has_effects=False)(be_quiet)  # not saved before the next call
    world.engine = FlowEngine(task_handlers=[handler], handler_modules=[MODULE])
    tasks = [{"key": "lose", "task_type": "overtake"}, make_call("write", "t0", precursors=[])]
    world.store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
    assert world.tick().lost == 1
    assert functions.calls == []
    assert world.task()["status"] == "PENDING"


def test_a_rival_waits_or_passes_by_while_the_function_runs(world: World, functions: Any) -> None:
    claimed: list[Any] = []

    def overstay(connection: Connection, task_ctx: Any) -> None:
        functions.write(connection, task_ctx)
        connection.execute(text("UPDATE mc_flow SET lease_expires_at = '2000-01-01T00:00:00.000000+00:00'"))
        with FlowStore(world.url, busy_seconds=0.05) as rival:
            try:
                claimed.extend(rival.claim(owner="rival"))
            except StoreUnreachableError:
                claimed.append("busy")

    functions.overstay = overstay
    overstay.__module__ = MODULE
    world.submit("overstay")
    assert world.tick().completed == 1
    assert claimed == (["busy"] if world.name == "sqlite" else [])
    assert world.markers() == [("f", "t0")]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_it_may_be_inside_other_tasks(world: World, way: str) -> None:
    case = {"condition": {"op": "eq", "arg": 1}, "task": make_call("write", "chosen")}
    switch = {"key": "s", "task_type": "switch", "task_params": {"control_value": 1, "cases": [case]}}
    inner = {
        "tasks": [make_call("write", "a"), make_call("fail_once", "b", cfg={"retry": {"max_attempts": 2}})]
    }
    outer = {"key": "i", "task_type": "inline_flow", "task_params": {"flow_spec": inner}}
    items = {"items": [1, 2], "mapping_params": {"skeleton": make_call("write", "each")}}
    spread = {"key": "many", "task_type": "spread", "task_params": items}
    world.store.create(Flow.from_flow_spec({"tasks": [switch, outer, spread]}, key="f"))
    runner = world.runner()
    report = runner.tick() if way == "sync" else asyncio.run(runner.atick())
    assert report.completed == 1, world.store.load("f").describe_failure()
    keys = [task_key for _, task_key in world.markers()]
    assert sorted(keys) == ["a", "b", "chosen", "item_0", "item_1"]


@pytest.mark.parametrize("world", [name for name in DATABASES if name != "sqlite"], indirect=True)
def test_a_lost_connection_is_no_failure_of_the_task(world: World, functions: Any) -> None:
    def cut(connection: Connection, task_ctx: Any) -> None:
        functions.write(connection, task_ctx)
        if len(functions.calls) == 1:
            connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
            connection.execute(text("SELECT 1"))

    functions.cut = cut
    cut.__module__ = MODULE
    world.submit("cut")
    with pytest.raises(StoreUnreachableError):
        world.tick()
    assert (world.markers(), world.task()["status"]) == ([], "PENDING")
    assert world.tick().completed == 1
    assert functions.calls == ["f/t0/1", "f/t0/1"]


@pytest.mark.parametrize(
    ("world", "statement"),
    [
        ("postgres", "SELECT pg_cancel_backend(pg_backend_pid())"),
        ("postgres", "SET LOCAL ROLE pg_monitor; SELECT * FROM pg_authid"),
        ("postgres", "CREATE TABLE nowhere.at_all (x int)"),
        ("mariadb", "KILL QUERY connection_id()"),
        ("mariadb", "USE nowhere_at_all"),
    ],
    indirect=["world"],
)
def test_a_statement_that_is_at_fault_itself_fails_its_task_and_stops_no_other_flow(
    world: World, functions: Any, statement: str
) -> None:
    def blunder(connection: Connection, task_ctx: Any) -> None:
        functions.write(connection, task_ctx)
        for part in statement.split("; "):
            connection.execute(text(part))

    functions.blunder = blunder
    blunder.__module__ = MODULE
    world.submit("blunder")
    world.submit("write", key="g")
    report = world.tick()
    assert (report.failed, report.completed) == (1, 1)
    assert world.markers() == [("g", "t0")]


@pytest.mark.parametrize("world", ["postgres", "mariadb"], indirect=True)
def test_a_task_that_breaks_each_connection_cannot_stop_the_others_for_ever(
    world: World, functions: Any
) -> None:
    def cut(connection: Connection, task_ctx: Any) -> None:
        functions.write(connection, task_ctx)
        connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
        connection.execute(text("SELECT 1"))

    functions.cut = cut
    cut.__module__ = MODULE
    world.submit("write", "cut")
    world.submit("write", key="g")
    for _ in range(3):
        with pytest.raises(StoreUnreachableError):
            world.tick()
    world.tick()
    assert world.store.summary("f").status == "BLOCKED"
    assert "t1" in (world.store.load("f").blocked_reason or "")
    assert world.store.summary("g").status == "COMPLETED"
    assert world.markers() == [("f", "t0"), ("g", "t0")]


RUNNER = """
import sys
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

url, module = sys.argv[1:]
with FlowStore(url) as store:
    FlowRunner(store, FlowEngine(handler_modules=[module])).tick()
"""


def start_runner(script: str, folder: Path, *arguments: str) -> int:
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, timeout=60)
    return done.returncode


def test_a_runner_killed_in_the_function_leaves_nothing(world: World, functions: Any, tmp_path: Path) -> None:
    world.submit("die")
    assert start_runner(RUNNER, tmp_path, world.url, MODULE) == -signal.SIGKILL
    world.check()
    assert (world.markers(), world.task()["status"]) == ([], "PENDING")
    functions.die = functions.write
    world.expire_leases()
    assert world.runner().run_flow("f", interval=0.05).status == "COMPLETED"
    assert world.markers() == [("f", "t0")]


COMMIT_RUNNER = """
import os, signal, sys
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.databases.held_transaction import HeldTransaction

url, module, moment = sys.argv[1:]
write = HeldTransaction.write

def write_and_die(self, work):
    if moment == "before":
        work(self.connection)
    else:
        write(self, work)
    os.kill(os.getpid(), signal.SIGKILL)

HeldTransaction.write = write_and_die
with FlowStore(url) as store:
    FlowRunner(store, FlowEngine(handler_modules=[module])).tick()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_runner_killed_around_the_commit_leaves_all_or_nothing(
    world: World, functions: Any, tmp_path: Path, moment: str
) -> None:
    world.submit("write")
    assert start_runner(COMMIT_RUNNER, tmp_path, world.url, MODULE, moment) == -signal.SIGKILL
    world.check()
    done = moment == "after"
    assert world.task()["status"] == ("COMPLETED" if done else "PENDING")
    assert world.markers() == ([("f", "t0")] if done else [])
    world.expire_leases()
    assert world.runner().run_flow("f", interval=0.05).status == "COMPLETED"
    assert functions.calls == ([] if done else ["f/t0/1"])
    assert world.markers() == [("f", "t0")]


def test_in_a_private_database_too(functions: Any) -> None:
    store = FlowStore("sqlite://")
    store.create(Flow.from_flow_spec({"tasks": [make_call("make_table", "t0")]}, key="f"))

    def make_table(connection: Connection) -> None:
        connection.execute(text(f"CREATE TABLE {TABLE} (x INTEGER)"))

    functions.make_table = make_table
    make_table.__module__ = MODULE
    assert FlowRunner(store, FlowEngine(handler_modules=[MODULE])).tick().completed == 1
    assert (
        store._database.read(lambda connection: connection.scalar(text(f"SELECT count(*) FROM {TABLE}"))) == 0
    )


def test_those_of_several_flows_are_under_way_side_by_side_where_there_are_several_writers(
    world: World, functions: ModuleType
) -> None:
    threads = 20
    functions.together = Barrier(threads if world.name != "sqlite" else 1)  # type: ignore[attr-defined]
    keys = [f"f{number:02}" for number in range(threads)]
    for key in keys:
        world.submit("meet", key=key)
    assert world.tick(threads=threads).completed == threads
    assert world.markers() == [(key, "t0") for key in keys]
