from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError, FlowNotFoundError, McError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import task_handler
from mc.flows.tick_report import TickReport
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler

START = datetime(2026, 1, 2, tzinfo=UTC)
Handlers = dict[str, Any]


def task(key: str, task_type: str = "noop", **rest: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **rest}


class Poll(BaseTaskHandler):
    """Is done when it was looked at often enough."""

    def tick_task(self) -> None:
        self.data["polls"] = self.data.get("polls", 0) + 1
        if self.data["polls"] == self.params["polls"]:
            self.complete()


class SleepyClock(ManualClock):
    """A clock that tells how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__(START)
        self.asleep_seconds: list[float] = []
        self.on_sleep: Callable[[list[float]], None] = lambda asleep: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.asleep_seconds.append(seconds)
        self.on_sleep(self.asleep_seconds)


class World:
    """A store on a file, a clock, and runners on them."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/flows.sqlite3"
        self.path = folder / "flows.sqlite3"
        self.clock = SleepyClock()
        self.store = FlowStore(self.url, clock=self.clock)

    def submit(self, *tasks: dict[str, Any], key: str = "f", status: str = "PENDING", **rest: Any) -> Flow:
        flow = Flow.from_flow_spec({"tasks": list(tasks), **rest}, key=key, status=status)
        self.store.create(flow)
        return flow

    def runner(self, handlers: Handlers | None = None, **options: Any) -> FlowRunner:
        return FlowRunner(self.store, FlowEngine(task_handlers=handlers, clock=self.clock), **options)

    def status(self, key: str = "f") -> str:
        return self.store.summary(key).status

    def tasks(self, key: str = "f") -> dict[str, str]:
        flow = self.store.load(key)
        flow.check_invariants()
        return {name: task["status"] for name, task in flow.tasks.items()}

    def sql(self, text: str) -> list[Any]:
        with sqlite3.connect(self.path) as connection:
            rows = connection.execute(text).fetchall()
        connection.close()
        return rows

    def expire_leases(self) -> None:
        self.sql(
            "UPDATE mc_flow SET lease_expires_at = '2000-01-01T00:00:00.000000+00:00' WHERE lease_owner > ''"
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.store.close()


class TestTick:
    def test_every_due_flow_is_ticked_to_its_end(self, world: World) -> None:
        for key in ("a", "b", "c"):
            world.submit(task("one"), task("two"), key=key)
        report = world.runner(batch_size=2).tick()
        assert (report.claimed, report.completed, report.tasks) == (3, 3, 6)
        assert {world.status(key) for key in "abc"} == {"COMPLETED"}
        assert world.sql("SELECT DISTINCT lease_owner, lease_expires_at FROM mc_flow") == [(None, None)]

    def test_nothing_due_is_an_empty_report(self, world: World) -> None:
        report = world.runner().tick()
        assert report.to_dict() == {
            "claimed": 0,
            "tasks": 0,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
            "waiting": 0,
            "lost": 0,
            "next_tick_at": None,
            "seconds": 0.0,
            "failures": [],
            "errors": [],
        }

    def test_a_tick_that_finds_nothing_starts_no_thread(self, world: World) -> None:
        started = threading.active_count()
        seen: list[int] = []
        world.submit(task("look", "look"))
        world.runner({"look": lambda task: seen.append(threading.active_count())}).tick()
        world.runner().tick()
        assert seen == [started + 1]  # the heartbeat
        assert threading.active_count() == started

    def test_a_failed_flow_is_counted(self, world: World) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("no luck")

        world.submit(task("t", "fail"))
        report = world.runner({"fail": fail}).tick()
        assert (report.failed, report.completed, report.errors) == (1, 0, [])
        assert world.store.load("f").tasks["t"]["error"]["message"] == "no luck"

    def test_a_waiting_flow_is_counted_and_its_time_reported(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 60}))
        report = world.runner().tick()
        assert (report.waiting, report.next_tick_at) == (1, START + timedelta(seconds=60))
        assert report.to_dict()["next_tick_at"] == "2026-01-02T00:01:00.000000+00:00"
        assert world.runner().tick().claimed == 0
        world.clock.advance(60)
        assert world.runner().tick().completed == 1

    def test_at_most_max_flows_are_claimed(self, world: World) -> None:
        for key in "abc":
            world.submit(task("t"), key=key)
        assert world.runner().tick(max_flows=2).completed == 2
        assert world.runner().tick(max_flows=0).claimed == 0
        assert world.runner().tick().completed == 1

    def test_it_stops_between_two_tasks_when_time_is_up(self, world: World) -> None:
        done: list[str] = []

        def slow(task: dict[str, Any]) -> None:
            done.append(task["key"])
            world.clock.advance(10)

        world.submit(*[task(key, "slow", precursors=[]) for key in "abcd"])
        world.submit(task("t"), key="later")
        report = world.runner({"slow": slow}).tick(max_seconds=15)
        assert done == ["a", "b"]
        assert (report.claimed, report.waiting, report.seconds) == (1, 1, 20.0)
        assert world.sql("SELECT DISTINCT lease_owner FROM mc_flow") == [(None,)]
        world.runner({"slow": slow}).tick()
        assert done == ["a", "b", "c", "d"]
        assert world.status() == world.status("later") == "COMPLETED"

    def test_a_task_that_is_polled_is_polled_once_in_a_tick(self, world: World) -> None:
        world.submit(task("t", "poll", task_params={"polls": 4}))
        runner = world.runner({"poll": Poll})
        counts = []
        while world.status() != "COMPLETED":
            runner.tick()
            counts.append(world.store.load("f").tasks["t"]["data"]["polls"])
        assert counts == [2, 3, 4]  # the first tick of the task is progress, so another one follows it

    def test_a_flow_whose_rows_are_damaged_is_blocked_and_the_others_go_on(self, world: World) -> None:
        world.submit(task("t"), key="bad")
        world.submit(task("t"), key="good")
        world.sql("UPDATE mc_task SET body = 'not json' WHERE flow_key = 'bad'")
        report = world.runner().tick()
        (error,) = report.errors
        assert (error["flow"], error["type"]) == ("bad", "StoreError")
        assert (report.claimed, report.completed) == (2, 1)
        assert world.status("good") == "COMPLETED"
        assert world.sql("SELECT status, lease_owner FROM mc_flow WHERE key = 'bad'") == [("BLOCKED", None)]
        assert world.runner().tick().claimed == 0

    def test_a_task_that_leaves_what_cannot_be_saved_fails_with_the_place(self, world: World) -> None:
        def spoil(task: dict[str, Any], flow: Flow) -> None:
            flow.tasks["later"]["task_params"]["x"] = {1, 2}

        world.submit(task("t", "spoil"), task("later", "wait", task_params={"duration": 5}))
        assert world.runner({"spoil": spoil}).tick().failed == 1
        error = world.store.load("f").tasks["t"]["error"]
        assert error["type"] == "NotJsonError"
        assert "task 'later' of flow 'f'" in error["message"]

    def test_a_flow_that_fails_for_ever_without_a_call_is_left_when_time_is_up(self, world: World) -> None:
        def look(flow: Flow, report: TickReport) -> None:
            world.clock.advance(1)

        retry = {"max_attempts": None, "delay": 0}
        world.submit(task("t", "print", task_params={"msg": "$ctx.flow.data.nowhere"}, cfg={"retry": retry}))
        assert world.runner().run_flow("f", max_seconds=5, on_progress=look).status == "RUNNING"
        assert world.store.load("f").tasks["t"]["attempt"] == 5

    def test_a_sub_flow_whose_key_is_taken_fails_its_task_and_leaves_the_other(self, world: World) -> None:
        world.submit(task("t"), key="f/sub/1", status="PAUSED")
        sub = task("sub", "flow", task_params={"flow_spec": {"tasks": []}})
        world.submit(sub)
        assert world.runner().tick().failed == 1
        error = world.store.load("f").tasks["sub"]["error"]
        assert (error["type"], "'f/sub/1'" in error["message"]) == ("FlowExistsError", True)
        assert world.store.summary("f/sub/1").status == "PAUSED"

    def test_an_unreachable_database_is_reported(self, tmp_path: Path) -> None:
        store = FlowStore(f"sqlite:///{tmp_path}/nowhere/flows.sqlite3")
        with pytest.raises(StoreUnreachableError, match="does not exist"):
            FlowRunner(store, FlowEngine()).tick()

    @pytest.mark.parametrize("options", [{"lease_seconds": 0}, {"batch_size": 0}])
    def test_settings_that_make_no_sense_are_refused(self, world: World, options: dict[str, Any]) -> None:
        with pytest.raises(McError, match="positive lease_seconds"):
            world.runner(**options)

    def test_handlers_find_what_the_application_gave(self, world: World) -> None:
        world.submit(task("t", "read"))
        world.runner({"read": lambda task_ctx: task_ctx["colour"]}, task_ctx={"colour": "red"}).tick()
        assert world.store.load("f").tasks["t"]["data"] == {"result": "red"}


class TestSaving:
    def stored_statuses(self, world: World) -> list[str]:
        return [status for (status,) in world.sql("SELECT status FROM mc_task ORDER BY position")]

    def test_a_task_with_effects_is_saved_before_the_next_is_called(self, world: World) -> None:
        seen: list[list[str]] = []

        def act(task: dict[str, Any]) -> None:
            seen.append(self.stored_statuses(world))

        world.submit(*[task(key, "act", precursors=[]) for key in "abc"])
        world.runner({"act": act}).tick()
        assert [statuses.count("COMPLETED") for statuses in seen] == [0, 1, 2]

    def test_tasks_without_effects_are_saved_together(self, world: World) -> None:
        seen: list[list[str]] = []

        @task_handler("think", has_effects=False)
        def think(task: dict[str, Any]) -> None:
            seen.append(self.stored_statuses(world))

        world.submit(task("a", "think"), task("b", "think"), task("c", "think"))
        world.runner({"think": think}).tick()
        assert seen == [["PENDING"] * 3] * 3
        assert self.stored_statuses(world) == ["COMPLETED"] * 3

    def test_no_transaction_is_open_while_a_handler_runs(self, world: World) -> None:
        def write(task: dict[str, Any]) -> None:
            other = sqlite3.connect(world.path, timeout=0, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            other.execute("ROLLBACK")
            other.close()

        world.submit(task("a", "write"), task("b", "write"))
        assert world.runner({"write": write}).tick().completed == 1

    def test_a_task_with_effects_inside_a_sub_flow_is_saved_before_the_next_is_called(
        self, world: World
    ) -> None:
        seen: list[list[str]] = []

        def act(task: dict[str, Any]) -> None:
            with FlowStore(world.url) as other:
                flow = other.load("f")
            inner = flow.find_sub_flow(flow.tasks["outer"])
            done = inner.get_tasks_by_status("COMPLETED") if inner is not None else []
            seen.append([inner_task["key"] for inner_task in done])

        inner = {"tasks": [task(key, "act", precursors=[]) for key in "abc"]}
        world.submit(task("outer", "inline_flow", task_params={"flow_spec": inner}))
        assert world.runner({"act": act}).tick().completed == 1
        assert seen == [[], ["a"], ["a", "b"]]

    def test_an_interrupted_call_leaves_the_flow_as_it_was_saved_and_free(self, world: World) -> None:
        calls: list[str] = []

        def interrupt_once(task: dict[str, Any]) -> None:
            calls.append(task["key"])
            if calls == ["a", "b"]:
                signal.raise_signal(signal.SIGINT)

        world.submit(task("a", "act"), task("b", "act"))
        with pytest.raises(KeyboardInterrupt):
            world.runner({"act": interrupt_once}).tick()
        assert world.tasks() == {"a": "COMPLETED", "b": "PENDING"}
        assert world.sql("SELECT lease_owner FROM mc_flow") == [(None,)]
        assert world.runner({"act": interrupt_once}).tick().completed == 1
        assert calls == ["a", "b", "b"]

    def test_a_repeated_call_has_the_same_idempotency_key(self, world: World) -> None:
        keys: list[str] = []

        def act(task_ctx: dict[str, Any]) -> None:
            keys.append(task_ctx["idempotency_key"])
            if len(keys) == 1:
                signal.raise_signal(signal.SIGINT)

        world.submit(task("a", "act"))
        with pytest.raises(KeyboardInterrupt):
            world.runner({"act": act}).tick()
        world.runner({"act": act}).tick()
        assert keys == ["f/a/1", "f/a/1"]


class TestLeases:
    def test_a_runner_that_was_overtaken_saves_nothing_and_goes_on_with_other_flows(
        self, world: World
    ) -> None:
        def lose(task: dict[str, Any]) -> None:
            world.expire_leases()
            (lease,) = world.store.claim(owner="thief", keys=["f"])
            world.store.save(world.store.load("f"), lease=lease)

        world.submit(task("t", "lose"))
        world.clock.advance(1)
        world.submit(task("t"), key="other")
        report = world.runner({"lose": lose}, batch_size=1).tick()
        assert (report.lost, report.completed, report.claimed) == (1, 1, 2)
        assert world.tasks() == {"t": "PENDING"}
        assert world.sql("SELECT lease_owner FROM mc_flow WHERE key = 'f'") == [("thief",)]

    def test_no_more_tasks_are_called_once_the_lease_is_lost(self, world: World) -> None:
        calls: list[str] = []

        def act(task: dict[str, Any]) -> None:
            calls.append(task["key"])
            world.expire_leases()
            world.store.claim(owner="thief")

        inner = {"tasks": [task(key, "act", precursors=[]) for key in "ab"]}
        world.submit(
            task("outer", "inline_flow", task_params={"flow_spec": inner}, precursors=[]),
            task("c", "act", precursors=[]),
        )
        assert world.runner({"act": act}).tick().lost == 1
        assert calls == ["a"]

    def test_the_lease_is_renewed_while_a_task_takes_long(self, world: World) -> None:
        renewed = threading.Event()
        store_renew = world.store.renew

        def renew(lease: Any, note: Any = None) -> Any:
            result = store_renew(lease, note)
            renewed.set()
            return result

        world.store.renew = renew  # type: ignore[method-assign]
        expiries: list[str] = []

        def slow(task: dict[str, Any]) -> None:
            for _ in range(2):
                expiries.extend(world.sql("SELECT lease_expires_at FROM mc_flow")[0])
                assert renewed.wait(20)

        world.submit(task("t", "slow"))
        assert world.runner({"slow": slow}, lease_seconds=0.6).tick().completed == 1
        assert expiries[0] <= expiries[1]

    def test_flows_that_wait_behind_a_slow_one_are_given_back(self, world: World) -> None:
        given_back: set[int] = set()  # tokens
        changed = threading.Condition()
        store_release = world.store.release

        def release(*leases: Any, **options: Any) -> None:
            store_release(*leases, **options)
            with changed:
                given_back.update(lease.token for lease in leases if lease.flow_key == "behind")
                changed.notify_all()

        world.store.release = release  # type: ignore[method-assign]
        owners: list[Any] = []

        def slow(task: dict[str, Any]) -> None:
            ((token,),) = world.sql("SELECT lease_token FROM mc_flow WHERE key = 'behind'")
            with changed:
                assert changed.wait_for(lambda: token in given_back, 60)
            owners.extend(world.sql("SELECT lease_owner FROM mc_flow WHERE key = 'behind'"))

        world.submit(task("t", "slow"), cfg={"priority": 1})
        world.submit(task("t"), key="behind")
        report = world.runner({"slow": slow}, lease_seconds=0.3).tick()
        assert owners == [(None,)]
        assert (report.completed, report.claimed) == (2, 2)

    def test_a_flow_that_killed_its_runners_is_blocked_and_names_the_task(self, world: World) -> None:
        world.submit(task("fine", "act"), task("killer", "act"), task("never", "act"))
        calls: list[str] = []

        def act(task: dict[str, Any]) -> None:
            calls.append(task["key"])
            if task["key"] == "killer":
                signal.raise_signal(signal.SIGINT)

        def die() -> None:
            # What a killed process does: it neither saves nor gives its lease back.
            store = world.store
            release = store.release
            store.release = lambda *_, **__: None  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                world.runner({"act": act}).tick()
            store.release = release  # type: ignore[method-assign]
            world.expire_leases()

        die()  # which shows only that something is wrong with the flow
        for _ in range(3):
            die()
        assert world.runner({"act": act}).tick().claimed == 0
        assert calls == ["fine", *["killer"] * 4]
        flow = world.store.load("f")
        assert flow.status == "BLOCKED"
        assert "were running: killer." in (flow.blocked_reason or "")


class TestSubFlows:
    def parent(self, *inner: dict[str, Any]) -> dict[str, Any]:
        return task("sub", "flow", task_params={"flow_spec": {"tasks": list(inner), "data": {"x": 1}}})

    def test_a_sub_flow_is_a_stored_flow_and_its_parent_goes_on_when_it_has_ended(self, world: World) -> None:
        world.submit(self.parent(task("inner")), task("after"))
        report = world.runner().tick()
        assert (report.claimed, report.completed) == (2, 2)
        flow = world.store.load("f")
        child_key = flow.tasks["sub"]["data"]["flow_key"]
        assert flow.tasks["sub"]["data"]["flow_data"] == {"x": 1}
        child = world.store.load(child_key)
        assert (child.status, child.parent_key, child.depth) == ("COMPLETED", "f", 1)

    def test_each_may_be_ticked_by_another_runner(self, world: World) -> None:
        world.submit(self.parent(task("inner")), task("after"))
        claimed = [world.runner().tick(max_flows=1).claimed for _ in range(4)]
        assert claimed == [1, 1, 1, 0]
        assert world.status() == "COMPLETED"

    def test_a_failed_sub_flow_fails_its_task_with_the_reason(self, world: World) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("deep down")

        world.submit(self.parent(task("inner", "fail")))
        world.runner({"fail": fail}).tick()
        assert world.status() == "FAILED"
        assert "deep down" in world.store.load("f").tasks["sub"]["error"]["message"]

    @pytest.mark.parametrize("depth", [1, 4])
    def test_sub_flows_may_be_inside_tasks_and_each_other(self, world: World, depth: int) -> None:
        spec: dict[str, Any] = {"tasks": [task("leaf")]}
        for level in range(depth):
            kind = "inline_flow" if level % 2 else "flow"
            spec = {"tasks": [task(f"level{level}", kind, task_params={"flow_spec": spec})]}
        spec = {"tasks": [task("top", "inline_flow", task_params={"flow_spec": spec})]}
        world.store.create(Flow.from_flow_spec(spec, key="f"))
        world.runner().tick()
        assert world.status() == "COMPLETED"

    def test_many_sub_flows_of_a_spread_are_gathered(self, world: World) -> None:
        world.submit(
            task(
                "spread",
                "spread",
                task_params={
                    "items": list(range(5)),
                    "mapping_params": {
                        "skeleton": {
                            "task_type": "flow",
                            "task_params": {"flow_spec": {"tasks": [task("t")], "data": {}}},
                        },
                        "wirings": ["ctx.item.value => ctx.skeleton.task_params.flow_spec.data.n"],
                    },
                },
            )
        )
        report = world.runner().tick()
        assert report.completed == 6
        results = world.store.load("f").tasks["spread"]["data"]["results"]
        assert [result["flow_data"]["n"] for result in results] == list(range(5))

    def test_a_sub_flow_that_ends_while_its_parent_is_held_is_not_missed(self, world: World) -> None:
        def finish_the_child(task: dict[str, Any]) -> None:
            child = next(s.key for s in world.store.query() if s.key != "f")
            (lease,) = world.store.claim(owner="other", keys=[child])
            flow = world.store.load(child)
            FlowEngine(clock=world.clock).run_flow(flow)
            world.store.save(flow, lease=lease, release=True)

        sub = {**self.parent(task("inner")), "precursors": []}
        first = task("first", "act", precursors=[])  # its save stores the child
        world.submit(sub, first, task("second", "finish", precursors=["first"]))
        handlers = {"finish": finish_the_child, "act": lambda task: None}
        report = world.runner(handlers).tick()
        assert (world.status(), report.completed) == ("COMPLETED", 1)

    def test_cancelling_a_flow_cancels_its_sub_flow_at_the_next_tick(self, world: World) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("boom")

        wait = task("inner", "wait", task_params={"duration": 3600})
        world.submit(
            {**self.parent(wait), "precursors": []},
            task("soon", "wait", task_params={"duration": 60}, precursors=[]),
            task("boom", "fail", precursors=["soon"]),
        )
        runner = world.runner({"fail": fail})
        assert runner.tick().waiting == 2
        world.clock.advance(60)
        report = runner.tick()
        assert (report.failed, report.cancelled) == (1, 1)
        child = next(s for s in world.store.query() if s.key != "f")
        assert child.status == "CANCELLED"
        assert "was cancelled" in (world.store.load(child.key).error or {})["message"]

    def test_a_sub_flow_whose_key_would_be_too_long_fails_its_task(self, world: World) -> None:
        world.submit(self.parent(task("inner")), key="f" * 250)
        world.runner().tick()
        assert "at most 255" in world.store.load("f" * 250).tasks["sub"]["error"]["message"]

    def test_a_deleted_sub_flow_fails_its_task(self, world: World) -> None:
        world.submit(self.parent(task("inner", "wait", task_params={"duration": 3600})))
        world.runner().tick()
        world.store.upkeep.delete(next(s.key for s in world.store.query() if s.key != "f"))
        world.runner().tick()
        assert "was deleted" in world.store.load("f").tasks["sub"]["error"]["message"]


class TestHandlers:
    def test_they_are_given_as_to_an_engine(self, world: World) -> None:
        world.submit(task("a", "act"))
        done: list[str] = []
        runner = FlowRunner(world.store, task_handlers={"act": lambda task: done.append(task["key"])})
        assert (runner.tick().completed, done) == (1, ["a"])

    def test_the_clock_is_the_stores(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 90}))
        assert FlowRunner(world.store).run_flow("f").status == "COMPLETED"
        assert world.clock.now() == START + timedelta(seconds=90)

    @pytest.mark.parametrize(
        "given", [{"task_handlers": {}}, {"handler_modules": ["json"]}, {"allow": "shell"}]
    )
    def test_an_engine_has_its_own(self, world: World, given: dict[str, Any]) -> None:
        with pytest.raises(McError, match="an engine, or task_handlers, handler_modules and allow, not both"):
            FlowRunner(world.store, FlowEngine(), **given)


class TestRunFlow:
    def test_it_returns_the_finished_flow(self, world: World) -> None:
        world.submit(task("a"), task("b"))
        flow = world.runner().run_flow("f")
        assert (flow.key, flow.status, flow.count_tasks()) == ("f", "COMPLETED", {"COMPLETED": 2})

    def test_a_flow_that_failed_is_returned_too_or_raised_on_request(self, world: World) -> None:
        world.submit(task("a", "bad"))
        runner = world.runner({"bad": lambda: 1 / 0})
        assert runner.run_flow("f").status == "FAILED"
        with pytest.raises(FlowError, match=r"Flow 'f' failed: .*ZeroDivisionError") as caught:
            runner.run_flow("f", raise_on_failure=True)
        assert caught.value.flow is not None
        assert caught.value.flow.key == "f"
        with pytest.raises(FlowError, match="Flow 'f' failed"):
            asyncio.run(runner.arun_flow("f", raise_on_failure=True))

    def test_signals_are_left_to_the_application_on_request(self, world: World) -> None:
        during: list[Any] = []
        world.submit(task("a", "look"))
        runner = world.runner({"look": lambda: during.append(signal.getsignal(signal.SIGTERM))})
        runner.run_flow("f", handle_signals=False)
        assert during == [signal.getsignal(signal.SIGTERM)]

    def test_it_sleeps_until_the_next_task_is_due(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 90}))
        assert world.runner().run_flow("f").status == "COMPLETED"
        assert world.clock.now() == START + timedelta(seconds=90)

    def test_it_ticks_stored_sub_flows_too_and_no_other_flow(self, world: World) -> None:
        inner = {"tasks": [task("t", "wait", task_params={"duration": 5})]}
        world.submit(task("sub", "flow", task_params={"flow_spec": inner}))
        world.submit(task("t"), key="other")
        assert world.runner().run_flow("f").status == "COMPLETED"
        assert world.status("other") == "PENDING"

    def test_it_polls_until_the_task_is_done(self, world: World) -> None:
        world.submit(task("t", "poll", task_params={"polls": 5}))
        assert world.runner({"poll": Poll}).run_flow("f").status == "COMPLETED"
        assert world.store.load("f").tasks["t"]["data"]["polls"] == 5
        assert world.clock.asleep_seconds == [0.001, 0.002, 0.004]

    def test_it_returns_when_time_is_up(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 90}))
        assert world.runner().run_flow("f", max_seconds=30).status == "RUNNING"
        assert world.clock.now() == START + timedelta(seconds=30)

    def test_it_tells_of_each_tick(self, world: World) -> None:
        seen: list[tuple[str, list[str]]] = []

        def note(flow: Flow, report: TickReport) -> None:
            seen.append((flow.key, list(report.completed)))

        world.submit(task("a"), task("b"))
        world.runner().run_flow("f", on_progress=note)
        assert seen == [("f", ["a"]), ("f", ["b"])]

    @pytest.mark.parametrize("status", ["PAUSED", "BLOCKED", "FAILED"])
    def test_a_flow_that_cannot_be_ticked_is_left_alone(self, world: World, status: str) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("t")]}, key="f", status=status)
        world.store.create(flow)
        assert world.runner().run_flow("f").status == status

    def test_a_flow_that_waits_for_an_event_from_outside_is_left_alone(self, world: World) -> None:
        def wait(task: dict[str, Any]) -> None:
            task["status"] = "WAITING"

        world.submit(task("t", "wait_for_it"))
        assert world.runner({"wait_for_it": wait}).run_flow("f").status == "RUNNING"

    def test_it_waits_for_another_runner(self, world: World) -> None:
        world.submit(task("t"))
        (lease,) = world.store.claim(owner="other")

        def release(asleep: list[float]) -> None:
            if sum(asleep) == 2.5:
                world.store.release(lease)

        world.clock.on_sleep = release
        assert world.runner().run_flow("f").status == "COMPLETED"
        assert sum(world.clock.asleep_seconds) == 3

    def test_an_unknown_key_is_named(self, world: World) -> None:
        with pytest.raises(FlowNotFoundError, match="'nowhere'"):
            world.runner().run_flow("nowhere")

    def test_ctrl_c_ends_it_after_the_task_under_way_saved(self, world: World) -> None:
        def interrupt(task: dict[str, Any]) -> None:
            if task["key"] == "b":
                os.kill(os.getpid(), signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        world.submit(*[task(key, "act") for key in "abc"])
        with pytest.raises(KeyboardInterrupt):
            world.runner({"act": interrupt}).run_flow("f")
        assert world.tasks() == {"a": "COMPLETED", "b": "COMPLETED", "c": "PENDING"}
        assert world.sql("SELECT lease_owner FROM mc_flow") == [(None,)]
        assert signal.getsignal(signal.SIGINT) is before

    def test_sigterm_ends_it_after_the_task_under_way_saved(self, world: World) -> None:
        def end(task: dict[str, Any]) -> None:
            if task["key"] == "b":
                os.kill(os.getpid(), signal.SIGTERM)

        world.submit(*[task(key, "act") for key in "abc"])
        assert world.runner({"act": end}).run_flow("f").status == "RUNNING"
        assert world.tasks() == {"a": "COMPLETED", "b": "COMPLETED", "c": "PENDING"}


class TestRun:
    def test_it_ticks_again_and_again_until_the_time_is_up(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 5}))
        report = world.runner().run(max_seconds=20)
        assert report.completed == 1
        assert world.clock.now() == START + timedelta(seconds=20)

    def test_it_looks_at_the_database_at_each_interval(self, world: World) -> None:
        runner = world.runner()

        def act(asleep: list[float]) -> None:
            if sum(asleep) == 8:
                world.submit(task("t"), key="late")
            if sum(asleep) == 20:
                runner.stop()

        world.clock.on_sleep = act
        assert runner.run(interval=7).completed == 1
        assert world.store.load("late").finished_at == "2026-01-02T00:00:14.000000+00:00"
        assert sum(world.clock.asleep_seconds) == 20  # a stop does not wait for the interval

    def test_a_stop_that_comes_too_early_is_not_lost(self, world: World) -> None:
        world.submit(task("t"))
        runner = world.runner()
        runner.stop()
        assert runner.run().claimed == 0
        assert runner.tick().completed == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_after_the_task_under_way(self, world: World, number: int) -> None:
        runner = world.runner({"end": lambda task: os.kill(os.getpid(), number)})
        world.submit(task("a", "end"), task("b", "end"))
        before = signal.getsignal(number)
        assert runner.run().waiting == 1
        assert runner.stop_signal == number
        assert world.tasks() == {"a": "COMPLETED", "b": "PENDING"}
        assert world.sql("SELECT lease_owner FROM mc_flow") == [(None,)]
        assert signal.getsignal(number) is before

    def test_a_second_interrupt_ends_it_at_once(self, world: World) -> None:
        def hang(task: dict[str, Any]) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            task["data"]["passed"] = True

        world.submit(task("a", "hang"))
        with pytest.raises(KeyboardInterrupt):
            world.runner({"hang": hang}).run()
        assert world.tasks() == {"a": "PENDING"}
        assert world.sql("SELECT lease_owner FROM mc_flow") == [(None,)]

    def test_an_application_may_keep_its_signals(self, world: World) -> None:
        runner: FlowRunner
        seen: list[Any] = []

        def look(task: dict[str, Any]) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))
            runner.stop()

        runner = world.runner({"look": look})
        world.submit(task("t", "look"))
        runner.run(handle_signals=False)
        assert seen == [signal.getsignal(signal.SIGTERM)]

    def test_stop_ends_it_after_the_task_under_way(self, world: World) -> None:
        runner: FlowRunner
        calls: list[str] = []

        def stop(task: dict[str, Any]) -> None:
            calls.append(task["key"])
            runner.stop()

        runner = world.runner({"stop": stop})
        world.submit(task("a", "stop"), task("b", "stop"))
        runner.run()
        assert world.tasks() == {"a": "COMPLETED", "b": "PENDING"}
        runner.run()
        assert calls == ["a", "b"]


class TestAsync:
    def test_coroutine_handlers_of_a_flow_run_concurrently(self, world: World) -> None:
        async def main() -> None:
            together = asyncio.Barrier(3)

            async def meet() -> None:
                await together.wait()

            world.submit(*[task(key, "meet", precursors=[]) for key in "abc"])
            report = await world.runner({"meet": meet}).atick()
            assert (report.completed, report.tasks) == (1, 3)

        asyncio.run(main())

    def test_each_is_saved_as_soon_as_it_is_done(self, world: World) -> None:
        seen: list[list[Any]] = []

        async def main() -> None:
            first_done = asyncio.Event()

            async def quick(task: dict[str, Any]) -> None:
                task["data"]["written"] = True

            async def slow(task: dict[str, Any]) -> None:
                task["status"] = "COMPLETED"
                task["data"]["half"] = True
                while not seen or seen[-1] != [("COMPLETED",), ("RUNNING",)]:
                    await asyncio.sleep(0)
                    seen.append(world.sql("SELECT status FROM mc_task ORDER BY position"))
                    if len(seen) > 1000:
                        break
                stored = world.store.load("f").tasks["b"]["status"]
                assert stored == "RUNNING"  # not settled, whatever its handler has written so far
                first_done.set()

            world.submit(task("a", "quick", precursors=[]), task("b", "slow", precursors=[]))
            assert (await world.runner({"quick": quick, "slow": slow}).atick()).completed == 1
            assert first_done.is_set()

        asyncio.run(main())

    def test_a_flow_is_run_to_its_end(self, world: World) -> None:
        async def act(task: dict[str, Any]) -> None:
            await asyncio.sleep(0)

        world.submit(task("a", "act"), task("w", "wait", task_params={"duration": 9}), task("b", "act"))
        assert asyncio.run(world.runner({"act": act}).arun_flow("f")).status == "COMPLETED"

    def test_a_cancelled_tick_gives_its_lease_back(self, world: World) -> None:
        async def main() -> None:
            begun = asyncio.Event()

            async def hang() -> None:
                begun.set()
                await asyncio.Event().wait()

            world.submit(task("a", "hang", precursors=[]), task("b", "hang", precursors=[]))
            ticking = asyncio.create_task(world.runner({"hang": hang}).atick())
            await begun.wait()
            ticking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ticking

        asyncio.run(main())
        assert world.sql("SELECT lease_owner FROM mc_flow") == [(None,)]
        assert world.tasks() == {"a": "PENDING", "b": "PENDING"}

    def test_arun_ends_when_the_time_is_up(self, world: World) -> None:
        world.submit(task("t", "wait", task_params={"duration": 5}))
        assert asyncio.run(world.runner().arun(max_seconds=8)).completed == 1


def test_the_choice_of_front_changes_nothing(tmp_path: Path) -> None:
    outcomes = []
    ways: list[Callable[[FlowRunner], Any]] = [
        lambda runner: runner.tick(),
        lambda runner: asyncio.run(runner.atick()),
    ]
    for number, way in enumerate(ways):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder)
        world.submit(task("a"), task("b", "wait", task_params={"duration": 0}), task("c"))
        way(world.runner())
        outcomes.append(world.store.load("f").to_flow_dict())
        world.store.close()
    assert outcomes[0] == outcomes[1]
