"""A flow that could go on for ever, in whatever way, gives way to others, and a tick ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners import claimed_flow, turns
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.databases import quick_url

FOR_EVER = 1_000_000


def loop(*inner: dict[str, Any], **params: Any) -> dict[str, Any]:
    spec = {"tasks": list(inner)}
    task_params = {"max_iterations": FOR_EVER, "flow_spec": spec, **params}
    return {"key": "loop", "task_type": "loop", "task_params": task_params}


def inline(*inner: dict[str, Any]) -> dict[str, Any]:
    return {"key": "inline", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": list(inner)}}}


def switch(inner: dict[str, Any]) -> dict[str, Any]:
    chosen = {"task_type": inner["task_type"], "task_params": inner["task_params"]}
    task_params = {"control_value": 1, "cases": [], "default_case": {"task": chosen}}
    return {"key": "switch", "task_type": "switch", "task_params": task_params}


NOOP = {"key": "n", "task_type": "noop"}
NO_WAIT = {"key": "w", "task_type": "wait", "task_params": {"duration": 0}}
FAIL = {"key": "x", "task_type": "fail"}
SUB_FLOW = {"key": "s", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NOOP]}}}
KINDS: dict[str, dict[str, Any]] = {
    "a loop over a noop": loop(NOOP),
    "a loop with a tiny delay": loop(NOOP, delay="1ms"),
    "a loop over a wait of 0": loop(NO_WAIT),
    "a loop over a stored sub-flow": loop(SUB_FLOW),
    "a loop in an inline flow": inline(loop(NOOP)),
    "a loop in a loop": loop(loop(NOOP)),
    "a loop in a switch in a loop": loop(switch(loop(NOOP))),
    "a loop in a stored sub-flow": {
        "key": "s",
        "task_type": "flow",
        "task_params": {"flow_spec": {"tasks": [loop(NOOP)]}},
    },
    "a task with effects in a loop": loop({"key": "e", "task_type": "effect"}),
    "a retry without delay": {**FAIL, "cfg": {"retry": {"max_attempts": FOR_EVER, "delay": 0}}},
    "a retry with a tiny delay": {**FAIL, "cfg": {"retry": {"max_attempts": FOR_EVER, "delay": "1ms"}}},
    "a retry of a loop": {**loop(FAIL), "cfg": {"retry": {"max_attempts": FOR_EVER, "delay": 0}}},
}


def fail(task: dict[str, Any]) -> None:
    raise ValueError("again")


def effect(task: dict[str, Any]) -> None:
    task["status"] = "COMPLETED"


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shares be small, so that the tests are quick; their proportions stay."""
    monkeypatch.setattr(claimed_flow, "_MOST_TICKS", 20)
    monkeypatch.setattr(turns, "_MOST_TICKS", 200)
    monkeypatch.setattr(turns, "_MOST_CLAIMS", 20)


@pytest.fixture
def store() -> Iterator[FlowStore]:
    with quick_url("sqlite") as url, FlowStore(url) as made:
        yield made


def submit(store: FlowStore, key: str, *tasks: dict[str, Any], priority: int = 0) -> None:
    store.create(Flow.from_flow_spec({"tasks": list(tasks), "cfg": {"priority": priority}}, key=key))


def make_runner(store: FlowStore) -> FlowRunner:
    return FlowRunner(store, FlowEngine(task_handlers={"fail": fail, "effect": effect}), batch_size=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tick_ends_and_others_have_their_turn(store: FlowStore, kind: str) -> None:
    submit(store, "endless", KINDS[kind], priority=9)
    submit(store, "short", NOOP)
    report = make_runner(store).tick()
    assert (report.completed, report.failed, report.errors) == (report.claimed - report.waiting, 0, [])
    assert store.summary("short").status == "COMPLETED"
    assert store.summary("endless").status == "RUNNING"
    assert make_runner(store).tick().tasks > 0  # the next goes on with it


def test_others_come_between_the_shares_of_one_tick(store: FlowStore) -> None:
    class Order:
        def on_change(self, event: Any) -> None:
            order.append(event.flow_key)

    order: list[str] = []
    submit(store, "endless", loop(NOOP), priority=9)
    submit(store, "short", NOOP)
    engine = FlowEngine(observers=[Order()])
    FlowRunner(store, engine, batch_size=1).tick()
    assert order.index("short") < len(order) - 1


def test_a_flow_that_gave_way_is_finished_in_the_same_tick(store: FlowStore) -> None:
    submit(store, "long", loop(NOOP, max_iterations=30))
    report = make_runner(store).tick(max_flows=1)
    assert (report.claimed, report.completed) == (1, 1)


def test_a_flow_that_gave_way_takes_no_place_of_others(store: FlowStore) -> None:
    submit(store, "endless", loop(NOOP), priority=9)
    submit(store, "short", NOOP)
    assert make_runner(store).tick(max_flows=2).claimed == 2
    assert store.summary("short").status == "COMPLETED"


def test_a_run_of_one_flow_goes_on_after_its_share(store: FlowStore) -> None:
    submit(store, "long", loop(NOOP, max_iterations=300))
    assert make_runner(store).run_flow("long").status == "COMPLETED"


def test_the_event_loop_has_its_turn_too(store: FlowStore) -> None:
    submit(store, "endless", loop(NOOP))
    turns_of_others = 0

    async def count() -> None:
        nonlocal turns_of_others
        while True:
            await asyncio.sleep(0)
            turns_of_others += 1

    async def tick() -> None:
        others = asyncio.create_task(count())
        await make_runner(store).atick()
        others.cancel()

    asyncio.run(tick())
    assert turns_of_others > 100
