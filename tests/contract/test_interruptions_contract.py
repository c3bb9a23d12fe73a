"""A runner that is interrupted, after whichever save, changes nothing of what becomes of its flow."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.interruptions import MANNERS, run_in_memory, run_stored
from tests.support.trials import Trial


def act(key: str, *precursors: str, task_type: str = "act", **params: Any) -> dict[str, Any]:
    task = {"key": key, "task_type": task_type, "precursors": list(precursors), "task_params": params}
    return {**task, "cfg": params.pop("cfg")} if "cfg" in params else task


def spread(key: str, count: int, **skeleton: Any) -> dict[str, Any]:
    params = {"items": list(range(count)), "mapping_params": {"skeleton": {"task_type": "act", **skeleton}}}
    return {"key": key, "task_type": "spread", "precursors": [], "task_params": params}


def some_fail(key: str, count: int, **limits: Any) -> dict[str, Any]:
    """Return a spread every other item of which fails."""
    task = spread(key, count, task_params={})
    task["task_params"] |= {"items": [9 * (n % 2 == 0) for n in range(count)], **limits}
    task["task_params"]["mapping_params"]["wirings"] = ["ctx.item.value => ctx.skeleton.task_params.fails"]
    return task


def inline(key: str, *tasks: dict[str, Any], **cfg: Any) -> dict[str, Any]:
    spec = {"tasks": list(tasks), "cfg": cfg}
    return {
        "key": key,
        "task_type": "inline_flow",
        "precursors": [],
        "task_params": {"flow_spec": spec},
    }


RETRY = {"retry": {"max_attempts": 3, "delay": 30, "jitter": 0}}
# What becomes ready in a tick stands before and behind what the tick has still to call.
CHAINS = [
    act("a"),
    act("b", "a"),
    act("c", polls=1),
    act("d", "a", task_type="calm"),
    act("e", waits=[5]),
    act("f", "c"),
    act("g", task_type="calm"),
]
SPECS: dict[str, dict[str, Any]] = {
    "what becomes ready": {"tasks": CHAINS},
    "not all at once": {
        "cfg": {"max_running_tasks": 2},
        "tasks": [*CHAINS, act("h", cfg={"priority": 1}), act("i", fails=1, cfg=RETRY)],
    },
    "retries and failures": {
        "cfg": {"fail_fast": False},
        "tasks": [act("a", fails=2, cfg=RETRY), act("b", fails=9), act("c", "b"), act("d"), act("e", "a")],
    },
    "too many ticks": {"cfg": {"max_ticks": 3}, "tasks": [act("a"), act("b", "a"), act("c", polls=9)]},
    "stopped": {"tasks": [act("a", polls=3), spread("s", 3), act("b", fails=9), act("c"), act("d")]},
    "stopped inside": {
        "cfg": {"fail_fast": False},
        "tasks": [
            act("a"),
            inline(
                "i",
                spread(
                    "s",
                    4,
                    task_type="inline_flow",
                    task_params={"flow_spec": {"tasks": [act("x"), act("y", fails=9), act("z")]}},
                ),
            ),
            act("b", "a"),
            act("c"),
        ],
    },
    "cancelled while it waits to try again": {
        "tasks": [inline("i", act("x", fails=9, cfg=RETRY)), act("a"), act("b", "a", fails=9)]
    },
    "some failures are tolerated": {
        "cfg": {"fail_fast": False},
        "tasks": [
            some_fail("one", 5, tolerated_failures=1),
            some_fail("more", 5, min_completed="40%"),
            some_fail("all", 3, tolerated_failures="100%"),
        ],
    },
    "inside": {"tasks": [inline("i", *CHAINS), spread("s", 3), *CHAINS[:3]]},
}


@pytest.mark.reliability(sample=8, of_each="store_name")
@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", SPECS)
def test_a_flow_ends_as_if_no_runner_had_been_interrupted(
    store: FlowStore, clock: ManualClock, name: str, manner: str, trial: Trial
) -> None:
    spec = {**SPECS[name], "key": "f"}
    end, changes, writes = run_stored(store, clock, spec)
    assert end == run_in_memory(spec)
    assert writes > 3
    for point in trial.random.sample(range(1, writes + 1), trial.size(writes, min(writes, 6))):
        found = run_stored(store, clock, spec, manner, [point])
        assert found[:2] == (end, changes), f"interrupted after write {point}"


def test_what_is_under_way_beside_a_failure_comes_to_its_end_whoever_is_interrupted(
    store: FlowStore, clock: ManualClock
) -> None:
    tasks = [act("a"), act("b", fails=9), act("c"), act("d", polls=1), act("e", "a")]
    spec = {"key": "f", "tasks": tasks}
    end, changes, writes = run_stored(store, clock, spec, awaits=True)
    found = {key: task["status"] for key, task in end["graph"]["tasks"].items()}
    del found["ROOT"]
    assert found == {"a": "COMPLETED", "b": "FAILED", "c": "COMPLETED", "d": "CANCELLED", "e": "PENDING"}
    for point in range(1, writes + 1):
        assert run_stored(store, clock, spec, "kill", [point], awaits=True)[:2] == (end, changes)


def test_a_value_that_json_cannot_hold_fails_its_own_task_in_the_middle_of_a_tick(
    store: FlowStore, clock: ManualClock
) -> None:
    def odd(task: dict[str, Any]) -> None:
        task["data"]["x"] = {1, 2}

    tasks = [act("a"), act("odd", task_type="odd"), act("b"), act("c", "a")]
    store.create(Flow.from_flow_spec({"key": "f", "cfg": {"fail_fast": False}, "tasks": tasks}))
    engine = FlowEngine(task_handlers={"act": lambda: {"x": 1}, "odd": odd}, clock=clock)
    FlowRunner(store, engine).tick()
    flow = store.load("f")
    assert {key: task["status"] for key, task in flow.tasks.items()} == {
        "a": "COMPLETED",
        "odd": "FAILED",
        "b": "COMPLETED",
        "c": "COMPLETED",
    }
    assert flow.tasks["odd"]["error"]["type"] == "NotJsonError"
    assert flow.ticks == 2


def test_what_is_exported_in_the_middle_of_a_tick_goes_on_where_it_is_imported(
    store: FlowStore, clock: ManualClock
) -> None:
    exported: list[dict[str, Any]] = []

    def look(task: dict[str, Any]) -> None:
        if task["key"] == "c" and not exported:
            exported.append(store.load("f").to_flow_dict())

    engine = FlowEngine(task_handlers={"look": look}, clock=clock)
    tasks = [act(key, *before, task_type="look") for key, *before in ("a", "c", "ba", "d")]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": tasks}))
    FlowRunner(store, engine).tick()
    (flow_dict,) = exported
    assert (flow_dict["ticks"], flow_dict["calls_left"], flow_dict["next_call"]) == (1, 2, "c")
    copy = Flow.from_flow_dict({**flow_dict, "key": "copy"})
    assert engine.tick_flow(copy).completed == ["c", "d"]
    assert (copy.ticks, copy.tasks["b"]["status"]) == (1, "PENDING")
    assert engine.tick_flow(copy).completed == ["b"]
    assert (copy.ticks, copy.status) == (2, store.load("f").status)


class Beside(BaseTaskHandler):
    """Notes its call; of those under way together, some come back late, and the first of these looks."""

    store: ClassVar[FlowStore]
    calls: ClassVar[list[str]]
    seen: ClassVar[list[dict[str, Any]]]

    async def tick_task(self) -> None:  # type: ignore[override]
        self.calls.append(self.task["key"])
        if self.params.get("is_late"):
            for _ in range(9):
                await asyncio.sleep(0)
            if not self.seen:
                self.seen.append(self.store.load("f").to_flow_dict())
        if self.params.get("is_bad"):
            raise ValueError("bad")
        if not self.params.get("is_idle"):
            self.complete()


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_call_that_came_back_and_changed_nothing_is_not_made_again(
    store: FlowStore, clock: ManualClock, fail_fast: bool
) -> None:
    Beside.store, Beside.calls, Beside.seen = store, [], []
    tasks = [
        act("a", "z", task_type="beside", is_late=True),
        act("b", task_type="beside", is_idle=True),
        act("c", "z", task_type="beside", is_late=True),
        act("d", "z", task_type="beside", is_bad=True),
        act("z", task_type="beside"),
    ]
    cfg = {"fail_fast": fail_fast}
    store.create(Flow.from_flow_spec({"key": "f", "cfg": cfg, "tasks": tasks}))
    engine = FlowEngine(task_handlers={"beside": Beside}, clock=clock)
    asyncio.run(FlowRunner(store, engine).atick())
    assert Beside.calls[:6] == ["b", "z", "a", "b", "c", "d"]
    end = {key: task["status"] for key, task in store.load("f").tasks.items()}
    assert (end["a"], end["b"], end["c"]) == (
        "COMPLETED",
        "CANCELLED" if fail_fast else "RUNNING",
        "COMPLETED",
    )
    Beside.calls.clear()
    copy = Flow.from_flow_dict(Beside.seen[0])  # as it was when `b` had come back, `a` and `c` had not
    asyncio.run(engine.atick_flow(copy))
    assert Beside.calls == ["a", "c"]
    assert {key: task["status"] for key, task in copy.tasks.items()} == end
