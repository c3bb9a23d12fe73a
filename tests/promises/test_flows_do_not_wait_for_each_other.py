"""A runner with threads works on several flows side by side, and each of them is as safe as it is alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Barrier, Event, Lock
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mc.errors import McError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from tests.support.invariants import check_store

PATIENCE = 60  # seconds after which a test fails that waits for what never comes

MakeRunner = Callable[..., FlowRunner]


@pytest.fixture
def store(url: str) -> Iterator[FlowStore]:
    with FlowStore(url) as opened:
        yield opened


@pytest.fixture
def make_runner(store: FlowStore) -> MakeRunner:
    def make_runner(threads: int, **handlers: Any) -> FlowRunner:
        return FlowRunner(store, FlowEngine(task_handlers=handlers), threads=threads)

    return make_runner


def submit(store: FlowStore, *keys: str, tasks: int = 1, **spec: Any) -> None:
    steps = [{"key": f"t{number}", "task_type": "act"} for number in range(tasks)]
    store.create_many(Flow.from_flow_spec({"tasks": steps, **spec}, key=key) for key in keys)


def test_calls_that_wait_for_each_other_find_each_other(store: FlowStore, make_runner: MakeRunner) -> None:
    together = Barrier(4)
    submit(store, *"abcdefgh", tasks=2)
    report = make_runner(4, act=lambda: together.wait(PATIENCE) and None).tick()
    assert (report.claimed, report.completed, report.tasks) == (8, 8, 16)
    assert report.errors == report.failures == []
    check_store(store)


def test_no_two_threads_work_on_one_flow(store: FlowStore, make_runner: MakeRunner) -> None:
    together, under_way, calls = Barrier(4), Counter[str](), Counter[str]()

    def act(task_ctx: Any) -> None:
        key = task_ctx["flow"].key
        under_way[key] += 1
        calls[task_ctx["idempotency_key"]] += 1
        together.wait(PATIENCE)
        assert under_way[key] == 1
        under_way[key] -= 1

    submit(store, *"abcd", tasks=5)
    assert make_runner(4, act=act).tick().completed == 4
    assert calls == {f"{key}/t{number}/1": 1 for key in "abcd" for number in range(5)}


def test_the_most_urgent_come_first(store: FlowStore, make_runner: MakeRunner) -> None:
    pairs, order, lock = Barrier(2), list[str](), Lock()

    def act(task_ctx: Any) -> None:
        with lock:
            order.append(task_ctx["flow"].key)
        pairs.wait(PATIENCE)

    for priority, key in enumerate(["last", "third", "second", "first"]):
        submit(store, key, cfg={"priority": priority})
    assert make_runner(2, act=act).tick().completed == 4
    assert [set(order[:2]), set(order[2:])] == [{"first", "second"}, {"third", "last"}]


def test_a_loop_takes_up_what_is_submitted_while_a_call_lasts(
    store: FlowStore, make_runner: MakeRunner
) -> None:
    came = Event()

    def act(task_ctx: Any) -> None:
        if task_ctx["flow"].key == "slow":
            submit(store, "quick")
            assert came.wait(PATIENCE)
            runner.stop()
        came.set()

    submit(store, "slow")
    runner = make_runner(2, act=act)
    report = runner.run(interval=0.01)
    assert (report.completed, report.tasks) == (2, 2)
    assert sum(tick.tasks for tick in store.ticks.list()) == 2


def test_a_flow_is_run_with_its_sub_flows_side_by_side(store: FlowStore, make_runner: MakeRunner) -> None:
    together = Barrier(3)
    sub_flow = {"tasks": [{"key": "s", "task_type": "act"}]}
    tasks = [
        {"key": key, "task_type": "flow", "task_params": {"flow_spec": sub_flow}, "precursors": []}
        for key in "abc"
    ]
    store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
    flow = make_runner(3, act=lambda: together.wait(PATIENCE) and None).run_flow("f", interval=0.01)
    assert flow.status == "COMPLETED"


class TestWhatIsWrongWithOneFlow:
    def test_a_result_that_cannot_be_saved(self, store: FlowStore, make_runner: MakeRunner) -> None:
        together = Barrier(3)

        def act(flow: Flow) -> None:
            if flow.tasks["t0"]["attempt"] == 1 and flow.count_tasks().get("COMPLETED", 0) == 0:
                together.wait(PATIENCE)
            if flow.key == "bad":
                flow.data["odd"] = object()

        submit(store, "a", "bad", "b", tasks=2)
        report = make_runner(3, act=act).tick()
        assert (report.completed, report.failed) == (2, 1)
        assert [failure["flow"] for failure in report.failures] == ["bad"]
        check_store(store)

    def test_a_lease_that_is_lost(self, store: FlowStore, make_runner: MakeRunner) -> None:
        together, taken = Barrier(3), Event()
        expired = text("UPDATE mc_flow SET lease_expires_at = '2000' WHERE mc_flow.key = 'late'")

        def act(flow: Flow) -> None:
            together.wait(PATIENCE)
            if flow.key == "late":
                store._database.write(lambda connection: connection.execute(expired))
                store.claim(owner="quick", keys=["late"])
                taken.set()
            assert taken.wait(PATIENCE)

        submit(store, "a", "late", "b")
        report = make_runner(3, act=act).tick()
        assert (report.completed, report.lost) == (2, 1)
        assert store.summary("late").status == "PENDING"
        assert store.is_held(family_of="late")
        check_store(store)


def test_leases_are_renewed_of_all_flows_that_are_worked_on(url: str, store: FlowStore) -> None:
    together, engine, give_up_at = Barrier(2), create_engine(url), monotonic() + PATIENCE

    def expires_at(key: str) -> str:
        with engine.connect() as connection:
            query = text("SELECT lease_expires_at FROM mc_flow WHERE mc_flow.key = :key")
            return str(connection.scalar(query, {"key": key}))

    def act(flow: Flow) -> None:
        at_first = expires_at(flow.key)
        together.wait(PATIENCE)
        while expires_at(flow.key) == at_first:
            assert monotonic() < give_up_at
        together.wait(PATIENCE)

    submit(store, "a", "b")
    handlers = FlowEngine(task_handlers={"act": act})
    report = FlowRunner(store, handlers, threads=2, lease_seconds=PATIENCE, heartbeat_seconds=0.5).tick()
    engine.dispose()
    assert report.completed == 2


def test_no_more_hold_a_resource_than_it_has_slots(store: FlowStore, make_runner: MakeRunner) -> None:
    pairs, lock, under_way, most = Barrier(2), Lock(), 0, 0

    def act() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        pairs.wait(PATIENCE)
        with lock:
            under_way -= 1

    store.resources.set("db", slots=2)
    task = {"key": "t", "task_type": "act", "cfg": {"resources": {"db": 1}}}
    store.create_many(Flow.from_flow_spec({"tasks": [task]}, key=key) for key in "abcdefgh")
    runner = make_runner(8, act=act)
    completed = 0
    while completed < 8:
        report = runner.tick()
        assert report.claimed
        completed += report.completed
    assert most == 2
    check_store(store)


def test_a_runner_has_at_least_one_thread_and_awaits_nothing_in_several(
    store: FlowStore, make_runner: MakeRunner
) -> None:
    with pytest.raises(McError, match="threads of at least 1"):
        make_runner(0)
    with pytest.raises(McError, match="2 threads, for handlers that block"):
        asyncio.run(make_runner(2).atick())


def test_a_failure_of_the_database_ends_a_tick_when_all_calls_have_come_back(
    store: FlowStore, make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, ended, given_back = Barrier(3), list[str](), list[str]()

    def act(flow: Flow) -> None:
        together.wait(PATIENCE)
        earlier = {"a": None, "b": "a", "c": "b"}[flow.key]
        while earlier and store.is_held(family_of=earlier):
            pass
        ended.append(flow.key)

    def save(flow: Flow, **options: Any) -> None:
        if flow.key in "ab":
            raise StoreUnreachableError("gone")
        really_save(flow, **options)

    def release(*held: Lease, **options: Any) -> None:
        given_back.extend(lease.flow_key for lease in held)
        really_release(*held, **options)

    submit(store, "a", "b", "c")
    really_save, really_release = store.save, store.release
    monkeypatch.setattr(store, "save", save)
    monkeypatch.setattr(store, "release", release)
    with pytest.raises(StoreUnreachableError, match="gone"):
        make_runner(3, act=act).tick()
    assert ended == ["a", "b", "c"]
    assert given_back == ["a", "b"], "the flow of a call that lasts stays with its runner"
    statuses = {flow.key: flow.status for flow in store.query()}
    assert statuses == {"a": "PENDING", "b": "PENDING", "c": "COMPLETED"}
    assert not any(store.is_held(family_of=key) for key in "abc")


class TestAnOutageWhileCallsLast:
    """The database cannot be used when a call that another thread made is saved."""

    @pytest.fixture
    def failing(self, store: FlowStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The flows whose next save fails."""
        failing: list[str] = []
        really_save = store.save

        def save(flow: Flow, **options: Any) -> None:
            if flow.key in failing:
                failing.remove(flow.key)
                raise StoreUnreachableError("gone")
            really_save(flow, **options)

        monkeypatch.setattr(store, "save", save)
        return failing

    @pytest.mark.parametrize("kind", ["run", "run_flow"])
    def test_between_two_rounds_is_waited_out(
        self,
        store: FlowStore,
        make_runner: MakeRunner,
        monkeypatch: pytest.MonkeyPatch,
        failing: list[str],
        kind: str,
    ) -> None:
        rests, calls = Event(), list[str]()
        really_next = store.next_due_at

        def next_due_at(family_of: str | None = None) -> Any:
            due_at = really_next(family_of=family_of)
            rests.set()  # the round is over
            return due_at

        def act(flow: Flow) -> None:
            calls.append(flow.key)
            if len(calls) == 1:
                assert rests.wait(PATIENCE)
                failing.append(flow.key)
            elif kind == "run":
                runner.stop()

        monkeypatch.setattr(store, "next_due_at", next_due_at)
        submit(store, "a")
        runner = make_runner(2, act=act)
        if kind == "run":
            assert runner.run(interval=PATIENCE).completed == 1
        else:
            assert runner.run_flow("a", interval=PATIENCE).status == "COMPLETED"
        assert calls == ["a", "a"]
        check_store(store)

    def test_after_the_runner_was_stopped_ends_it_without_an_error(
        self, store: FlowStore, make_runner: MakeRunner, failing: list[str]
    ) -> None:
        def act(flow: Flow) -> None:
            failing.append(flow.key)
            runner.stop()

        submit(store, "a")
        runner = make_runner(2, act=act)
        assert (runner.run().completed, store.summary("a").status) == (0, "PENDING")
        assert not store.is_held(family_of="a")

    def test_after_the_end_of_the_flow_that_was_to_be_run_is_waited_out(
        self, store: FlowStore, make_runner: MakeRunner, failing: list[str]
    ) -> None:
        begun = Event()

        def act(flow: Flow) -> None:
            begun.set()
            while store.summary("f").status != "FAILED":
                pass
            failing.append(flow.key)

        waited = []

        def fail(task: dict[str, Any]) -> None:
            if task["attempt"] == 2:  # with the first one the sub-flow was saved
                waited.append(begun.wait(PATIENCE))
            raise ValueError

        sub_flow = {"tasks": [{"key": "s", "task_type": "act"}]}
        tasks = [
            {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": sub_flow}, "precursors": []},
            {"key": "fails", "task_type": "fail", "precursors": [], "cfg": {"retry": {"max_attempts": 2}}},
        ]
        store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
        flow = make_runner(2, act=act, fail=fail).run_flow("f")
        assert (flow.status, failing, waited) == ("FAILED", [], [True])
        assert not store.is_held(family_of="f")
