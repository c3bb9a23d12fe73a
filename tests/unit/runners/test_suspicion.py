"""A flow that a runner ended in is under suspicion: what it calls is saved before, and counted."""

from __future__ import annotations

import asyncio
import signal
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from sqlalchemy import update

from mc.clock import ManualClock
from mc.errors import StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.interrupts import TurnThread
from mc.runners.flow_runner import FlowRunner
from mc.store.finding import Finding
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, LostCalls
from mc.store.schema import tables
from mc.store.upkeep.health import examine


class World:
    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/flows.sqlite3"
        self.clock = ManualClock()
        self.store = FlowStore(self.url, clock=self.clock)

    def submit(self, *tasks: dict[str, Any], key: str = "f") -> None:
        self.store.create(Flow.from_flow_spec({"tasks": list(tasks)}, key=key))

    def runner(self, threads: int = 1, **handlers: Any) -> FlowRunner:
        engine = FlowEngine(task_handlers=handlers, clock=self.clock)
        return FlowRunner(self.store, engine, threads=threads)

    def vanish(self) -> None:
        """Claim all that is due as a runner that is then killed before it calls anything."""
        self.store.claim(owner="gone", limit=99, lease_seconds=0)

    def expire_leases(self) -> None:
        """Let all leases look as if their runners had vanished."""
        past = update(tables.flow).values(lease_expires_at="2000-01-01T00:00:00.000000+00:00")
        self.store._database.write(lambda connection: connection.execute(past))

    def suspects(self) -> list[Finding]:
        return [finding for finding in examine(self.url, clock=self.clock) if finding.code == "suspect-flows"]


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = World(tmp_path)
    yield world
    world.store.close()


def task(key: str, task_type: str = "act", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": [], **more}


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_flow_that_never_began_is_never_blocked_for_its_runners(world: World) -> None:
    world.submit(task("a", "noop"))
    for _ in range(5):
        world.vanish()
    assert world.runner().tick().completed == 1
    assert world.suspects() == []


def test_a_flow_under_suspicion_is_saved_before_each_call(world: World) -> None:
    seen: list[Any] = []

    def look(task: dict[str, Any]) -> None:
        stored = world.store.load("f").tasks
        seen.append({key: (stored[key]["status"], stored[key]["attempt"]) for key in "ab"})

    look.has_effects = False  # type: ignore[attr-defined]
    world.submit(task("a"), task("b"))
    world.vanish()
    assert world.runner(act=look).tick().completed == 1
    assert seen[0] == {"a": ("RUNNING", 1), "b": ("PENDING", 0)}
    assert seen[1] == {"a": ("COMPLETED", 1), "b": ("RUNNING", 1)}


def test_a_runner_that_is_interrupted_again_and_again_in_one_call_blocks_its_flow_only(world: World) -> None:
    world.submit(task("a"), task("b", "noop"), key="bad")
    for number in range(3):
        with pytest.raises(KeyboardInterrupt):
            world.runner(act=interrupt).tick()
        (finding,) = world.suspects()
        assert f"bad: {number + 1} while it called task 'a'" in finding.message
    world.submit(task("c", "noop"), key="good")
    report = world.runner(act=interrupt).tick()
    assert (report.completed, world.store.summary("bad").status) == (1, "BLOCKED")
    assert "were running: a." in str(world.store.load("bad").blocked_reason)
    assert world.suspects() == []


def test_the_others_that_an_interrupted_runner_held_are_not_under_suspicion(world: World) -> None:
    world.submit(task("a"), key="bad")
    world.submit(task("b", "noop"), key="good")
    with pytest.raises(KeyboardInterrupt):
        world.runner(act=interrupt).tick()
    (lease,) = world.store.claim(owner="d", keys=["good"])
    assert not lease.is_suspect


def test_calls_that_come_back_do_not_free_one_that_does_not(world: World) -> None:
    def fail() -> None:
        raise ValueError

    again = {"retry": {"max_attempts": None}}
    world.submit(task("again", "fail", cfg=again), task("bad"))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            world.runner(act=interrupt, fail=fail).tick()
    world.runner(act=interrupt, fail=fail).tick()
    assert world.store.summary("f").status == "BLOCKED"


def test_a_task_that_comes_further_each_time_is_not_blocked(world: World) -> None:
    calls: list[int] = []

    def interrupt_each_other() -> None:
        calls.append(1)
        if len(calls) % 2 == 0:
            interrupt()

    inner = {"tasks": [{"key": key, "task_type": "act"} for key in "pqrstu"]}
    world.submit(task("a", "inline_flow", task_params={"flow_spec": inner}))
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            world.runner(act=interrupt_each_other).tick()
    assert world.runner(act=interrupt_each_other).tick().completed == 1


def test_a_tick_that_is_cancelled_raises_suspicion_too(world: World) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.sleep(60)

        ticking = asyncio.create_task(world.runner(act=hang).atick())
        await begun.wait()
        ticking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ticking

    world.submit(task("a"))
    asyncio.run(main())
    (lease,) = world.store.claim(owner="d")
    assert lease.is_suspect


def test_a_flow_whose_calls_came_back_is_free_again(world: World) -> None:
    world.submit(task("a", cfg={"retry": {"max_attempts": 2, "delay": 60}}))
    with pytest.raises(KeyboardInterrupt):
        world.runner(act=interrupt).tick()
    assert len(world.suspects()) == 1

    def fail() -> None:
        raise ValueError

    world.runner(act=fail).tick()
    assert world.suspects() == []


class TestFlowsSideBySide:
    def test_those_beside_a_flow_that_ended_a_runner_may_be_so_again(self, world: World) -> None:
        together = Barrier(3)
        for key in "abc":
            world.submit(task("t"), key=key)
        world.vanish()
        assert world.runner(3, act=lambda: together.wait(60) and None).tick().completed == 3

    def test_one_of_which_a_call_ended_a_runner_is_worked_on_alone(self, world: World) -> None:
        pair, under_way, alone = Barrier(2), list[str](), list[bool]()

        def act(flow: Flow) -> None:
            under_way.append(flow.key)
            if flow.key.startswith("bad"):
                alone.append(len(under_way) == 1)
            else:
                pair.wait(60)
                while not (world.store.is_held("bad1") or world.store.is_held("bad2")):
                    pass
                for _ in range(50):  # in which the claimed flow would begin
                    world.store.summary(flow.key)
            under_way.remove(flow.key)

        for key in ("bad1", "bad2", "good1", "good2"):
            world.submit(task("t"), key=key)
        for lease in world.store.claim(owner="gone", keys=["bad1", "bad2"], limit=2):
            world.store.release(lease, lost_calls=LostCalls(under_way=("t/1",)))
        assert world.runner(4, act=act).tick().completed == 4
        assert alone == [True, True]

    @pytest.mark.parametrize("ends", ["with an outage", "by a stop"])
    def test_one_that_waits_to_be_alone_is_given_back_when_its_runner_ends(
        self, world: World, monkeypatch: pytest.MonkeyPatch, ends: str
    ) -> None:
        called = list[str]()
        really_save, really_claim = world.store.save, world.store.claim
        claimed = Event()

        def save(flow: Flow, **options: Any) -> None:
            if ends == "with an outage":
                raise StoreUnreachableError("gone")
            really_save(flow, **options)

        def claim(**options: Any) -> list[Lease]:
            leases = really_claim(**options)
            if any(lease.flow_key == "bad" for lease in leases):
                claimed.set()
            return leases

        def act(flow: Flow) -> None:
            called.append(flow.key)
            if flow.key == "good":
                assert claimed.wait(60)
                if ends == "by a stop":
                    runner.stop()

        for key in ("good", "bad"):
            world.submit(task("t"), key=key)
        (lease,) = world.store.claim(owner="gone", keys=["bad"])
        world.store.release(lease, lost_calls=LostCalls(under_way=("t/1",)))
        monkeypatch.setattr(world.store, "save", save)
        monkeypatch.setattr(world.store, "claim", claim)
        runner = world.runner(2, act=act)
        with pytest.raises(StoreUnreachableError) if ends == "with an outage" else nullcontext():
            runner.tick()
        assert called == ["good"]
        assert not world.store.is_held("bad")

    def test_one_for_which_no_thread_can_be_started_is_given_back(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: Thread) -> None:
            if not isinstance(thread, TurnThread):
                return really_start(thread)
            raise RuntimeError("can't start new thread")

        really_start = Thread.start
        world.submit(task("t"))
        with monkeypatch.context() as patch:
            patch.setattr(Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                world.runner(2, act=lambda: None).tick()
        assert not world.store.is_held("f")
        assert world.runner(2, act=lambda: None).tick().completed == 1

    def test_the_one_that_ends_its_runner_again_and_again_is_blocked_and_no_other(self, world: World) -> None:
        gone, lost = Event(), list[Thread]()

        def lose_a_runner_in(*keys: str) -> None:
            """Let a runner call tasks, and those of some flows never come back."""
            begun = Barrier(len(keys) + 1)

            def act(flow: Flow) -> None:
                if flow.key in keys:
                    begun.wait(60)
                    gone.wait(60)

            lost.append(Thread(target=world.runner(3, act=act).tick))
            lost[-1].start()
            begun.wait(60)
            world.expire_leases()

        for key in ("a", "bad", "b"):
            world.submit(task("t"), key=key)
        lose_a_runner_in("a", "bad", "b")  # of which nobody knows what it called
        lose_a_runner_in("a", "bad", "b")  # from now on they are worked on alone
        lose_a_runner_in("bad")
        lose_a_runner_in("bad")
        world.runner(3, act=lambda: None).tick()
        gone.set()
        for thread in lost:
            thread.join()
        statuses = {flow.key: flow.status for flow in world.store.query()}
        assert statuses == {"a": "COMPLETED", "b": "COMPLETED", "bad": "BLOCKED"}
