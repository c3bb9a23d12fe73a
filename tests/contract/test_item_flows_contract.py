"""A spread whose items are stored flows: several runners share them, and all else is as without the word."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import ControlError, FlowFormatError
from mc.explanation.explanation import ReasonKind
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from tests.support.invariants import check_store

CONTAINERS = ("inline_flow", "flow")
PATIENCE = 60  # seconds until a runner gives up on one that hangs

Act = Callable[[dict[str, Any]], Any]


def spread(items: Any, *, container: str = "inline_flow", alone: bool = True, **cfg: Any) -> dict[str, Any]:
    skeleton = {"task_type": "act", "task_params": {"unit": "$ctx.parent.flow.data.unit"}, "cfg": cfg}
    wirings = ["ctx.item.value => ctx.skeleton.task_params.value"]
    params = {"items": items, "mapping_params": {"skeleton": skeleton, "wirings": wirings}}
    params |= {"container_task_type": container, **({"item_container": "flow"} if alone else {})}
    return {"key": "s", "task_type": "spread", "task_params": params}


def make_flow(task: dict[str, Any], key: str = "f", **cfg: Any) -> Flow:
    return Flow.from_flow_spec({"tasks": [task], "data": {"unit": "m"}, "cfg": cfg}, key=key)


def measure(params: dict[str, Any]) -> dict[str, Any]:
    """Leave value and unit; fail for what is bad."""
    if params["value"] == "bad":
        raise ValueError("bad")
    return {"is": f"{params['value']} {params['unit']}"}


@pytest.fixture
def run(store: FlowStore, clock: ManualClock) -> Iterator[Callable[..., Flow]]:
    """A function that runs a flow by several runners in turn, each of which takes up one flow at a time."""

    def run(flow: Flow, *acts: Act) -> Flow:
        store.create(flow)
        runners = [
            FlowRunner(store, FlowEngine(task_handlers={"act": act}, clock=clock))
            for act in acts or [measure]
        ]
        idle = 0
        while idle < 2 * len(runners):
            for runner in runners:
                idle = 0 if runner.tick(max_flows=1).tasks else idle + 1
                clock.advance(1)
        return store.load(flow.key)

    yield run
    check_store(store)
    for summary in store.query():
        check_history(store, summary.key)


@pytest.mark.parametrize("container", CONTAINERS)
def test_two_runners_share_the_items_of_one_spread(run: Callable[..., Flow], container: str) -> None:
    called: Counter[str] = Counter()

    def act_as(name: str) -> Act:
        def act(params: dict[str, Any]) -> dict[str, Any]:
            called[name] += 1
            return measure(params)

        return act

    flow = run(make_flow(spread(list(range(9)), container=container)), act_as("one"), act_as("other"))
    assert flow.tasks["s"]["data"]["results"] == [{"is": f"{n} m"} for n in range(9)]
    assert called.total() == 9
    assert min(called["one"], called["other"]) >= 3


@pytest.mark.parametrize("seed", range(6))
def test_results_are_those_of_items_without_flows(run: Callable[..., Flow], seed: int) -> None:
    draw = random.Random(seed)
    values = [draw.choice(["a", "b", 3, "bad", "skipped"]) for _ in range(draw.randrange(7))]
    items: Any = values if draw.random() < 0.5 else {f"k {n}": value for n, value in enumerate(values)}
    cfg: dict[str, Any] = {"allow_failure": draw.random() < 0.7}
    cfg["when"] = {"value": "$ctx.task.task_params.value", "op": "ne", "arg": "skipped"}
    if draw.random() < 0.5:
        cfg["retry"] = {"max_attempts": 2}
    limit = {"max_running_tasks": 2} if draw.random() < 0.5 else {}
    container = draw.choice(CONTAINERS)
    ends = []
    for alone in (False, True):
        task = spread(items, container=container, alone=alone, **cfg)
        task = run(make_flow(task, f"f {alone}", **limit)).tasks["s"]
        error = (task.get("error") or {}).get("message", "")
        ends.append((task["status"], task["data"].get("results"), error))
    assert ends[0][:2] == ends[1][:2]
    assert ends[1][2].startswith(ends[0][2])  # of flows of their own others may have failed meanwhile
    if isinstance(items, dict) and ends[0][0] == "COMPLETED":
        assert list(ends[1][1]) == list(items)


class Workshop:
    """Notes each call; fails for what is bad, and waits long for what is stuck."""

    def __init__(self) -> None:
        self.called: Counter[Any] = Counter()
        self.bad: set[Any] = set()
        self.stuck: set[Any] = set()

    def act(self, task: dict[str, Any]) -> None:
        value = task["task_params"]["value"]
        self.called[value] += 1
        if value in self.bad:
            raise ValueError(f"{value} is bad")
        task["data"]["is"] = value
        task["status"] = "COMPLETED"
        if value in self.stuck:
            task["status"], task["next_tick_at"] = "WAITING", "2099-01-01T00:00:00Z"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def task_handlers(workshop: Workshop) -> dict[str, Any]:
    return {"act": workshop.act}


def test_a_few_items_at_a_time_are_stored_and_a_cancelled_spread_ends_them(
    houston: Houston, workshop: Workshop
) -> None:
    workshop.stuck = set(range(7))
    houston.store.create(make_flow(spread(list(range(7))), max_running_tasks=3))
    houston.tick()
    assert Counter(each.status for each in houston.list(sub_flows=True) if each.key != "f") == {"RUNNING": 3}
    houston.cancel("f", by="ann")
    houston.tick()
    assert Counter(each.status for each in houston.list(sub_flows=True)) == {"CANCELLED": 4}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_retry_calls_nothing_again_that_was_completed(
    houston: Houston, workshop: Workshop, container: str
) -> None:
    workshop.bad, workshop.stuck = {2}, {0}
    houston.store.create(make_flow(spread([0, 1, 2, 3], container=container)))
    houston.tick()
    failed = houston.store.load("f")
    assert failed.status == "FAILED"
    assert failed.tasks["s"]["error"]["message"].endswith("task 'item_2': ValueError: 2 is bad")
    before = Counter(workshop.called)
    assert before == {0: 1, 1: 1, 2: 1, 3: 1}
    workshop.bad, workshop.stuck = set(), set()
    houston.retry("f", by="ann")
    houston.tick()
    flow = houston.store.load("f")
    assert (flow.status, flow.tasks["s"]["data"]["results"]) == ("COMPLETED", [{"is": n} for n in range(4)])
    assert workshop.called - before == {0: 1, 2: 1}  # which were cancelled, or had failed


def test_one_item_is_retried_by_its_path_while_others_go_on(houston: Houston, workshop: Workshop) -> None:
    workshop.bad, workshop.stuck = {1}, {0}
    houston.store.create(make_flow(spread([0, 1], allow_failure=True)))
    houston.tick()
    workshop.bad = set()
    houston.retry("f", ["s/item_1"], by="ann")
    houston.tick()
    (waiting, done) = houston.results("f", "s").items
    assert (waiting.status, dict(waiting.data), done.status, dict(done.data)) == (
        "WAITING",
        {},
        "COMPLETED",
        {"is": 1},
    )
    assert (waiting.params["value"], done.params["value"]) == (0, 1)


@pytest.mark.parametrize("container", CONTAINERS)
def test_times_and_attempts_of_items_are_those_of_their_own_calls(
    houston: Houston, clock: ManualClock, container: str
) -> None:
    def act(task: dict[str, Any]) -> None:
        clock.advance(5)
        if task["task_params"]["value"] == "bad" or task["attempt"] < task["task_params"]["value"]:
            raise ValueError("bad")
        task["status"] = "COMPLETED"

    houston.engine.registry.register("act", act)
    for key, alone in (("with", True), ("without", False)):
        cfg = {"retry": {"max_attempts": 3}, "allow_failure": True}
        houston.store.create(make_flow(spread([1, 3, "bad"], container=container, alone=alone, **cfg), key))
    while {"COMPLETED"} != {each.status for each in houston.list()}:
        houston.tick(max_flows=1)
        clock.advance(60)  # during which nobody looks at the end of an item
    rows = [houston.results(key, "s").items for key in ("with", "without")]
    for row, plain in zip(*rows, strict=True):
        assert (row.attempt, row.seconds, row.status) == (plain.attempt, plain.seconds, plain.status)
    assert [(row.attempt, row.seconds) for row in rows[0]] == [(1, 5.0), (3, 5.0), (3, 5.0)]


@pytest.mark.parametrize("container", CONTAINERS)
def test_params_that_are_set_by_an_items_path_are_those_of_its_task(
    houston: Houston, workshop: Workshop, container: str
) -> None:
    workshop.bad = {1}
    houston.store.create(make_flow(spread([0, 1], container=container)))
    houston.tick()
    key, path = ("f", "s/item_1") if container == "inline_flow" else ("f/s/1", "item_1")
    with pytest.raises(ControlError, match=r"has its data in the flow 'f/s/1/item_1/1'"):
        houston.set(key, path, data={"is": 7}, by="ann")
    houston.set(key, path, params={"value": 7}, by="ann")
    houston.retry("f", by="ann")
    houston.tick()
    assert houston.store.load("f").tasks["s"]["data"]["results"] == [{"is": 0}, {"is": 7}]
    assert [row.params["value"] for row in houston.results("f", "s").items] == [0, 7]
    assert workshop.called == {0: 1, 1: 1, 7: 1}


def test_who_looks_is_told_which_flow_each_item_is(houston: Houston, workshop: Workshop) -> None:
    workshop.stuck = {"x", "y"}
    houston.store.create(make_flow(spread({"a": "x", "b": "y", "c": "z"})))
    houston.tick()
    keys = ["f/s/1/item_0/1", "f/s/1/item_1/1"]
    reasons = [reason for reason in houston.explain("f").reasons if reason.task is not None]
    assert [(reason.kind, reason.task) for reason in reasons] == [
        (ReasonKind.SUB_FLOW, "s/item_0"),
        (ReasonKind.SUB_FLOW, "s/item_1"),
    ]
    assert [reason.sub_flow.flow_key for reason in reasons if reason.sub_flow is not None] == keys
    assert [each.key for each in houston.list()] == ["f"]
    assert {each.key for each in houston.list("RUNNING", sub_flows=True)} == {"f", *keys}


def test_a_spread_that_is_done_can_be_moved_and_one_that_waits_cannot(
    houston: Houston, workshop: Workshop, tmp_path: Path
) -> None:
    workshop.stuck = {1}
    houston.store.create(make_flow(spread([0, 1])))
    houston.tick()
    with FlowStore(f"sqlite:///{tmp_path}/other.sqlite3") as other:
        waiting = Flow.from_flow_dict(houston.store.load("f").to_flow_dict())
        with pytest.raises(FlowFormatError, match="waits for the sub-flow 'f/s/1/item_1/1'"):
            other.create(waiting)
        workshop.stuck = set()
        houston.cancel("f", by="ann")
        houston.retry("f", by="ann")
        houston.tick()
        done = houston.store.load("f")
        other.create(Flow.from_flow_dict(done.to_flow_dict()))
        assert other.load("f").to_flow_dict() == done.to_flow_dict()


# --- in processes ----------------------------------------------------------------------------


def work(url: str, together: Any, calls: Path) -> int:
    """Run the flow, and return how many items were called here; the first call waits for others."""
    called = 0

    def act(params: dict[str, Any], task_ctx: Any) -> dict[str, Any]:
        nonlocal called
        called += 1
        with calls.open("a") as file:
            file.write(f"{params['value']}\n")
        if together is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if together is not None and called == 1:
            together.wait(PATIENCE)
        return measure(params)

    with FlowStore(url) as store:
        engine = FlowEngine(task_handlers={"act": act})
        FlowRunner(store, engine, batch_size=1, lease_seconds=1).run_flow("f", interval=0.01)
    return called


def store_items(url: str, count: int) -> None:
    """Store a spread whose items are flows already, none of which has begun."""
    with FlowStore(url) as store:
        store.create(make_flow(spread(list(range(count)))))
        assert FlowRunner(store, FlowEngine(task_handlers={"act": measure})).tick(max_flows=1).claimed == 1


def check_results(url: str, count: int) -> None:
    with FlowStore(url) as store:
        flow = store.load("f")
        assert flow.tasks["s"]["data"]["results"] == [{"is": f"{n} m"} for n in range(count)]
        check_store(store)


def test_two_processes_call_items_at_the_same_time(shared_url: str, tmp_path: Path) -> None:
    store_items(shared_url, 20)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, context) as pool:
        together = manager.Barrier(2)
        runs = [pool.submit(work, shared_url, together, tmp_path / "calls") for _ in range(2)]
        assert sum(run.result() for run in runs) == 20
    assert Counter((tmp_path / "calls").read_text().split()) == {str(n): 1 for n in range(20)}
    check_results(shared_url, 20)


def test_the_kill_of_a_runner_loses_its_item_and_no_other(shared_url: str, tmp_path: Path) -> None:
    store_items(shared_url, 6)
    calls = tmp_path / "calls"
    context = multiprocessing.get_context("spawn")
    runner = context.Process(target=work, args=(shared_url, None, calls))
    runner.start()
    runner.join(PATIENCE)
    assert runner.exitcode == -signal.SIGKILL
    before = calls.read_text().split()

    def act(params: dict[str, Any]) -> dict[str, Any]:
        with calls.open("a") as file:
            file.write(f"{params['value']}\n")
        return measure(params)

    with FlowStore(shared_url) as store:
        engine = FlowEngine(task_handlers={"act": act})
        FlowRunner(store, engine).run_flow("f", interval=0.05)
    assert len(before) == 1
    assert Counter(calls.read_text().split()) - Counter(before) == {str(n): 1 for n in range(6)}
    check_results(shared_url, 6)
