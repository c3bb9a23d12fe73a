"""Calls that last are seen by everybody while they are made; those that are lost stand in the history."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from importlib import import_module
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import event, text, update

from mc.clock import ManualClock
from mc.explanation.explanation import Explanation, ReasonKind
from mc.explanation.flow_reasons import explain_flow
from mc.flows.calls.call_note import CallNote
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.interrupts import INTERRUPTS
from mc.runners.flow_runner import FlowRunner
from mc.store.event import EventKind
from mc.store.flow_facts import read_facts
from mc.store.flow_selection import FlowSelection
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from mc.store.lease import Lease
from mc.store.schema import tables
from tests.support.invariants import check_store

PATIENCE = 60  # seconds after which a test fails that waits for what never comes
LONG_AGO = "2000-01-01T00:00:00.000000+00:00"


class World:
    """A store, and runners whose handler `act` does what a test says."""

    def __init__(self, store: FlowStore, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.seen: list[CallNote] = []

    def submit(self, *tasks: dict[str, Any], key: str = "f") -> None:
        self.store.create(Flow.from_flow_spec({"tasks": list(tasks)}, key=key))

    def runner(self, act: Any = lambda: None, **options: Any) -> FlowRunner:
        handlers = {"act": act, "quick": lambda: None}
        engine = FlowEngine(task_handlers=handlers, clock=self.clock)
        options = {"owner": "me", "heartbeat_seconds": 0.02, **options}
        return FlowRunner(self.store, engine, **options)

    def tick(self, act: Any, until: Event, **options: Any) -> None:
        """Tick what is due; again where so quick a heartbeat gave it back before it was begun."""
        runner = self.runner(act, **options)
        while not until.is_set():
            runner.tick()

    def run(self, act: Any = lambda: None, **options: Any) -> None:
        """Tick until all flows are finished, likewise."""
        runner = self.runner(act, **options)
        while {flow.status for flow in self.store.query()} != {"COMPLETED"}:
            report = runner.tick()
            assert (report.failures, report.errors) == ([], [])

    def last(self, *paths: str, key: str = "f") -> None:
        """Let the calls under way last, until it is seen that these tasks are called."""
        self.clock.advance(2)
        self.wait_for(lambda: {call.task for call in self.calls(key)} >= set(paths))
        self.seen = list(self.calls(key))

    def wait_for(self, holds: Callable[[], bool]) -> None:
        for _ in range(PATIENCE * 100):
            if holds():
                return
            Event().wait(0.01)
        raise AssertionError("it never comes")

    def calls(self, key: str = "f") -> tuple[CallNote, ...]:
        return self.store.summary(key).calls

    def explain(self) -> Explanation:
        return explain_flow(read_facts(self.store, "f"))

    def text(self, key: str = "f") -> Any:
        """What the flow's row says of calls."""
        query = text("SELECT long_calls FROM mc_flow WHERE mc_flow.key = :key")
        return self.store._database.read(lambda connection: connection.scalar(query, {"key": key}))

    def expire(self) -> None:
        """Let all leases look as if their runners had been killed a minute ago."""
        past = update(tables.flow).values(lease_expires_at=LONG_AGO)
        self.store._database.write(lambda connection: connection.execute(past))

    def lost(self, key: str = "f") -> list[tuple[str | None, int]]:
        check_history(self.store, key)
        events = self.store.history.events(key)
        return [(event.task_key, event.attempt) for event in events if event.kind is EventKind.LOST]


@pytest.fixture
def world(store: FlowStore, clock: ManualClock) -> World:
    # What two threads would import at once when a beat follows so soon: pytest reads the sources of `mc` by
    # `ast`, which some versions of Python do not bear in two threads.
    for name in ("mc.flows.tick", "mc.runners.claimed_flow", "mc.store.messages.flow_messages"):
        import_module(name)
    return World(store, clock)


def task(key: str, task_type: str = "act", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


SPREAD = {
    "items": [1, 2, 3],
    "mapping_params": {"skeleton": {"task_type": "act", "task_params": {}}},
}
INLINE = {"flow_spec": {"tasks": [task("quick", "quick"), task("slow")]}}
LOOP = {"flow_spec": {"tasks": [task("slow")]}, "max_iterations": 1}
CHOICE = {
    "control_value": "yes",
    "cases": [{"condition": {"op": "eq", "arg": "yes"}, "task": task("chosen")}],
}


class TestACallThatLasts:
    def test_is_seen_with_its_runner(self, world: World, clock: ManualClock) -> None:
        explained: list[Explanation] = []
        began_at = clock.now()

        def act(task: dict[str, Any]) -> None:
            if task["key"] == "a":
                world.last("a")
                explained.append(world.explain())
                summary = world.store.summary("f")
                assert (summary.status, summary.tasks) == ("RUNNING", {"PENDING": 1, "RUNNING": 1})
                assert world.store.load("f").status == "PENDING", "it is a note beside the rows"

        world.submit(task("a"), task("b"))
        world.run(act)
        (call,) = world.seen
        assert (call.task, call.task_type, call.attempt, call.since) == ("a", "act", 1, began_at)
        assert (call.owner, call.host, call.pid) == ("me", os.uname().nodename, os.getpid())
        (explanation,) = explained
        held, called, waits = explanation.reasons
        assert explanation.status == "RUNNING"
        assert (held.kind, held.since, held.until is not None) == (ReasonKind.HELD, began_at, True)
        assert (called.kind, called.task, called.since) == (ReasonKind.CALLED, "a", began_at)
        assert call.describe_runner() in called.text
        assert (waits.kind, waits.task) == (ReasonKind.PRECURSORS, "b")

    def test_counts_as_running_for_whoever_asks_by_status(self, world: World) -> None:
        found: dict[str, list[str]] = {}

        def list_by_status() -> dict[str, list[str]]:
            store, statuses = world.store, ("PENDING", "RUNNING", "COMPLETED")
            for status in statuses:
                selected = store.select(FlowSelection(status=status))
                keys = [flow.key for flow in selected.read()]
                assert (selected.count(), [key for key in "gf" if selected.has(key)]) == (len(keys), keys)
                found[status] = keys
            either = store.select(FlowSelection(status=["PENDING", "COMPLETED"]))
            assert {flow.key for flow in either.read()} == {*found["PENDING"], *found["COMPLETED"]}
            return dict(found)

        def act() -> None:
            if not found:
                assert list_by_status() == {"PENDING": ["g", "f"], "RUNNING": [], "COMPLETED": []}
                world.last("a")
                assert list_by_status() == {"PENDING": ["g"], "RUNNING": ["f"], "COMPLETED": []}

        world.submit(task("a"))
        world.clock.advance(1)
        world.submit(task("a", "quick"), key="g")
        world.runner(act).run_flow("f")
        assert list_by_status() == {"PENDING": ["g"], "RUNNING": [], "COMPLETED": ["f"]}
        world.run()

    @pytest.mark.parametrize(
        ("outer", "path"),
        [
            (task("o", "inline_flow", task_params=INLINE), "o/slow"),
            (task("o", "spread", task_params=SPREAD), "o/item_0"),
            (task("o", "loop", task_params=LOOP), "o/slow"),
            (task("o", "switch", task_params=CHOICE), "o/chosen"),
        ],
        ids=["inline_flow", "spread", "loop", "switch"],
    )
    def test_is_seen_inside_of_others(self, world: World, outer: dict[str, Any], path: str) -> None:
        looked: list[Explanation] = []

        def act() -> None:
            if not looked:
                world.last("o", path)
                looked.append(world.explain())

        world.submit(outer)
        world.run(act)
        assert {call.task: call.holds_others for call in world.seen} == {"o": True, path: False}
        called = [reason.task for reason in looked[0].reasons if reason.kind is ReasonKind.CALLED]
        assert called == [path]
        assert world.text() is None

    def test_items_that_were_not_called_are_not_running(self, world: World) -> None:
        seen: list[dict[str, str]] = []

        def act(task: dict[str, Any]) -> None:
            if task["key"] == "item_1":
                world.last("o/item_1")
                flow = world.store.load("f")
                sub_flow = flow.find_sub_flow(flow.tasks["o"])
                assert sub_flow is not None
                seen.append({each["key"]: each["status"] for each in sub_flow.filter_tasks()})

        world.submit(task("o", "spread", task_params=SPREAD))
        world.run(act)
        assert seen == [{"item_0": "COMPLETED", "item_1": "PENDING", "item_2": "PENDING"}]
        assert {call.task for call in world.seen} == {"o", "o/item_1"}

    def test_leaves_no_trace_when_it_has_ended(self, world: World) -> None:
        texts: list[Any] = []

        def act(task: dict[str, Any]) -> None:
            if task["key"] == "a":
                world.last("a")
            else:
                texts.append(world.text())

        world.submit(task("a"), task("b"))
        world.run(act)
        assert (texts, world.text(), world.lost()) == ([None], None, [])
        check_store(world.store)

    def test_beside_others_is_told_of_until_it_ends(self, world: World) -> None:
        texts: list[set[str]] = []

        async def act(task: dict[str, Any]) -> None:
            if task["key"] == "a":
                await asyncio.to_thread(world.last, "a", "b")
            else:
                await asyncio.to_thread(
                    world.wait_for, lambda: world.store.load("f").tasks["a"]["status"] == "COMPLETED"
                )
                texts.append({call.task for call in world.calls()})

        world.submit(task("a", precursors=[]), task("b", precursors=[]))
        runner = world.runner(act)
        while world.store.summary("f").status != "COMPLETED":
            asyncio.run(runner.atick())
        assert {call.task for call in world.seen} == {"a", "b"}
        assert texts == [{"b"}]
        assert world.text() is None

    def test_is_seen_of_each_of_several_threads(self, world: World) -> None:
        both = Event()

        def act(flow: Flow) -> None:
            world.clock.advance(2)
            world.wait_for(lambda: bool(world.calls("f") and world.calls("g")) or both.is_set())
            both.set()

        for key in "fg":
            world.submit(task("a"), key=key)
        world.run(act, threads=2)
        assert both.is_set()
        assert (world.text("f"), world.text("g")) == (None, None)

    def test_costs_nothing_where_it_is_short(self, world: World, store: FlowStore) -> None:
        statements: list[str] = []

        store.query()  # which connects

        @event.listens_for(store._database._engine, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        world.submit(*(task(key) for key in "abc"))
        world.submit(task("o", "spread", task_params=SPREAD), key="g")
        report = world.runner(heartbeat_seconds=15, lease_seconds=60).tick()
        assert report.completed == 2
        assert not any("SET long_calls" in each for each in statements)
        assert not any(each.startswith("SELECT mc_flow.long_calls") for each in statements)


class TestACallThatIsLost:
    def lose(self, world: World, path: str) -> None:
        """Let a runner be killed in a call: what it does afterwards comes too late."""
        gone, called = Event(), Event()

        def act(task: dict[str, Any]) -> None:
            if task["key"] == path.rpartition("/")[2] and not called.is_set():
                world.last(path)
                called.set()
                gone.wait(PATIENCE)

        thread = Thread(target=world.tick, args=[act, called], kwargs={"owner": "killed"})
        thread.start()
        assert called.wait(PATIENCE)
        self.taken = self.take_over(world)
        gone.set()
        thread.join()

    def take_over(self, world: World) -> Lease:
        """Claim the flow as soon as its lease is over, before a beat renews it."""
        while True:
            world.expire()
            for lease in world.store.claim(owner="next", keys=["f"]):
                return lease

    @pytest.mark.parametrize(
        ("outer", "path"),
        [(task("a"), "a"), (task("o", "spread", task_params=SPREAD), "o/item_1")],
        ids=["alone", "inside"],
    )
    def test_stands_in_the_history_once(self, world: World, outer: dict[str, Any], path: str) -> None:
        world.submit(outer)
        began_at = world.clock.now()
        self.lose(world, path)
        assert world.lost() == [(path, 1)]
        (event,) = [each for each in world.store.history.events("f") if each.kind is EventKind.LOST]
        assert (event.old_status, event.new_status, event.owner) == ("RUNNING", "LOST", "next")
        assert event.detail is not None
        assert event.detail["runner"] == "killed"
        assert (event.detail["host"], event.detail["pid"]) == (os.uname().nodename, os.getpid())
        (lost,) = [each for each in world.store.history.attempts("f") if each.status == "LOST"]
        assert (lost.task_key, lost.attempt, lost.owner) == (path, 1, "killed")
        assert lost.started_at == began_at
        assert world.text() is None
        world.expire()
        world.run()
        assert world.lost() == [(path, 1)]
        check_store(world.store)

    def test_is_made_again_with_the_same_idempotency_key(self, world: World) -> None:
        keys: list[str] = []
        world.submit(task("a"))
        self.lose(world, "a")
        world.expire()
        world.run(lambda task_ctx: keys.append(task_ctx["idempotency_key"]))
        assert keys == ["f/a/1"]
        attempts = [(each.attempt, each.status) for each in world.store.history.attempts("f")]
        assert attempts == [(1, "LOST"), (1, "COMPLETED")]

    def test_is_none_that_was_saved_before_its_runner_vanished(self, world: World) -> None:
        gone, called = Event(), Event()

        def act(task: dict[str, Any]) -> None:
            if task["key"] == "a":
                world.last("a")
            else:
                called.set()
                gone.wait(PATIENCE)

        world.submit(task("a"), task("b"))
        thread = Thread(target=world.tick, args=[act, called])
        thread.start()
        assert called.wait(PATIENCE)
        self.take_over(world)
        gone.set()
        thread.join()
        assert world.lost() == []

    def test_is_told_of_an_interrupted_runner_too(self, world: World) -> None:
        def stop() -> None:
            world.last("a")
            raise INTERRUPTS.note(KeyboardInterrupt())

        world.submit(task("a"))
        with pytest.raises(KeyboardInterrupt):
            world.tick(stop, Event())
        assert world.calls() == (), "nobody is at work on it"
        world.run()
        assert world.lost() == [("a", 1)]

    def test_is_noted_when_a_person_acts_on_the_flow(self, world: World) -> None:
        world.submit(task("a"))
        gone, called = Event(), Event()

        def act() -> None:
            world.last("a")
            called.set()
            gone.wait(PATIENCE)

        thread = Thread(target=world.tick, args=[act, called])
        thread.start()
        assert called.wait(PATIENCE)
        flow = world.store.load("f")
        world.store._database.write(
            lambda connection: connection.execute(
                update(tables.flow).values(lease_owner=None, lease_expires_at=None)
            )
        )
        flow.change_status("PAUSED")
        world.store.save(flow)
        assert world.lost() == [("a", 1)]
        assert world.text() is None
        gone.set()
        thread.join()


def test_a_note_goes_with_its_flow(world: World) -> None:
    world.submit(task("a"))
    (lease,) = world.store.claim(owner="me")
    call = CallNote(
        task="a", task_type="act", attempt=1, since=world.clock.now(), owner="me", host="h", pid=1
    )
    world.store.renew(lease, lambda: [call])
    assert world.calls() == (call,)
    world.store.release(lease)
    assert world.text() is None
