"""The first failure that ends a flow stops it at once, however its tick is made and however deep it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent

COUNT, BAD = 500, 12  # items, and the one that fails


class Work:
    """A handler that fails at one item, and what it was called for."""

    def __init__(self, fails: Callable[[int, int], bool] = lambda n, attempt: n == BAD) -> None:
        self.calls: list[int] = []
        self.events: Counter[tuple[str, str]] = Counter()  # of items
        self._fails = fails
        self.engine = FlowEngine(task_handlers={"work": self.work}, clock=ManualClock(), observers=[self])

    def work(self, task: dict[str, Any]) -> None:
        number = int(task["key"].rpartition("_")[2])
        self.calls.append(number)
        if self._fails(number, task["attempt"]):
            raise ValueError(f"item {number}")

    def on_change(self, event: ChangeEvent) -> None:
        if event.task_key is not None and "item" in event.task_key:
            self.events[event.old_status, event.new_status] += 1

    def run(self, spec: dict[str, Any]) -> Flow:
        flow = self.engine.flow_spec_to_flow(spec)
        try:
            self.drive(flow)
        except FlowError:
            assert flow.status == "FAILED"
        return flow

    def drive(self, flow: Flow) -> None:
        self.engine.run_flow(flow)


class AsyncWork(Work):
    def drive(self, flow: Flow) -> None:
        asyncio.run(self.engine.arun_flow(flow))


WAYS = [Work, AsyncWork]


def spread(**skeleton: Any) -> list[dict[str, Any]]:
    params = {
        "items": list(range(COUNT)),
        "mapping_params": {"skeleton": {"task_type": "work", **skeleton}},
    }
    return [{"key": "s", "task_type": "spread", "task_params": params}]


def plain(**entries: Any) -> list[dict[str, Any]]:
    return [
        {"key": f"item_{number}", "task_type": "work", "precursors": [], **entries} for number in range(COUNT)
    ]


def inline(tasks: list[dict[str, Any]], **cfg: Any) -> list[dict[str, Any]]:
    spec = {"tasks": tasks, "cfg": cfg}
    return [{"key": "inside", "task_type": "inline_flow", "task_params": {"flow_spec": spec}}]


def loop(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    params = {"flow_spec": {"tasks": tasks}, "max_iterations": 2}
    return [{"key": "rounds", "task_type": "loop", "task_params": params}]


SHAPES = {
    "alone": plain(),
    "spread": spread(),
    "inline_flow": inline(plain()),
    "loop": loop(plain()),
    "nested": inline(inline(spread())),
    "loop in a loop": loop(loop(plain())),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SHAPES)
def test_what_was_not_called_is_cancelled(name: str, way: type[Work]) -> None:
    work = way()
    flow = work.run({"tasks": SHAPES[name]})
    assert flow.status == "FAILED"
    assert work.calls == list(range(BAD + 1))
    assert work.events == {
        ("PENDING", "RUNNING"): BAD + 1,
        ("RUNNING", "COMPLETED"): BAD,
        ("RUNNING", "FAILED"): 1,
        ("PENDING", "CANCELLED"): COUNT - BAD - 1,
    }


@pytest.mark.parametrize("way", WAYS)
def test_only_as_many_as_may_run_are_of_the_tick(way: type[Work]) -> None:
    work = way()
    work.run({"cfg": {"max_running_tasks": 10}, "tasks": spread()})
    assert work.calls == list(range(BAD + 1))
    assert work.events["PENDING", "CANCELLED"] == 20 - BAD - 1


@pytest.mark.parametrize("way", WAYS)
def test_without_fail_fast_all_are_called(way: type[Work]) -> None:
    work = way()
    flow = work.run({"tasks": inline(plain(), fail_fast=False)})
    assert flow.status == "FAILED"
    assert work.calls == list(range(COUNT))
    assert work.events["RUNNING", "COMPLETED"] == COUNT - 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cfg", [{"allow_failure": True}, {"retry": {"max_attempts": 2}}])
def test_a_failure_that_does_not_count_stops_nothing(cfg: dict[str, Any], way: type[Work]) -> None:
    work = way(lambda number, attempt: number == BAD and attempt == 1)
    flow = work.run({"tasks": spread(cfg=cfg)})
    assert flow.status == "COMPLETED"
    assert sorted(work.calls) == sorted([*range(COUNT), *([BAD] if "retry" in cfg else [])])


@pytest.mark.parametrize("way", WAYS)
def test_the_last_attempt_of_a_task_stops(way: type[Work]) -> None:
    work = way(lambda number, attempt: number == BAD)
    work.run({"tasks": spread(cfg={"retry": {"max_attempts": 2}})})
    assert work.calls == [*range(COUNT), BAD]


def test_a_task_that_cannot_even_be_called_stops_too() -> None:
    work = Work()
    tasks = plain()
    tasks[3]["task_params"] = {"x": "$ctx.flow.tasks.nobody.data"}
    flow = Flow.from_flow_spec({"tasks": tasks})
    work.engine.tick_flow(flow)
    assert (flow.status, work.calls) == ("FAILED", [0, 1, 2])


def test_a_task_whose_failure_another_one_writes_stops_too() -> None:
    def meddle(task_ctx: Any) -> None:
        task_ctx.flow.tasks["waits"]["status"] = "FAILED"

    tasks = [
        {"key": "waits", "task_type": "wait", "task_params": {"duration": "1h"}, "precursors": []},
        {"key": "a", "task_type": "meddle", "precursors": []},
        {"key": "b", "task_type": "noop", "precursors": []},
    ]
    flow = Flow.from_flow_spec({"tasks": tasks})
    FlowEngine(task_handlers={"meddle": meddle}, clock=ManualClock()).tick_flow(flow)
    assert [task["status"] for task in flow.tasks.values()] == ["FAILED", "COMPLETED", "CANCELLED"]


def test_under_asyncio_what_has_begun_comes_to_its_end() -> None:
    ended: list[str] = []

    async def slow(task: dict[str, Any]) -> dict[str, Any]:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append(task["key"])
        return {"key": task["key"]}

    def bad() -> None:
        raise ValueError("bad")

    tasks = [
        {"key": key, "task_type": name, "precursors": []}
        for key, name in {"a": "slow", "b": "slow", "c": "bad", "d": "slow", "e": "noop"}.items()
    ]
    flow = Flow.from_flow_spec({"tasks": tasks})
    asyncio.run(FlowEngine(task_handlers={"slow": slow, "bad": bad}).atick_flow(flow))
    assert ended == ["a", "b"]
    found = {key: task["status"] for key, task in flow.tasks.items()}
    assert found == {"a": "COMPLETED", "b": "COMPLETED", "c": "FAILED", "d": "CANCELLED", "e": "CANCELLED"}
    assert flow.tasks["a"]["data"] == {"key": "a"}
