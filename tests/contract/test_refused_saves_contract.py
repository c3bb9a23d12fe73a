"""Saves that the store refuses: they end a task, and repeat what others did no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store


@pytest.fixture(autouse=True)
def checked(store: FlowStore) -> Iterator[None]:
    yield
    check_store(store)


def task(key: str, task_type: str = "act", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": [], **more}


def starter(key: str = "c", **cfg: Any) -> dict[str, Any]:
    spec = {"tasks": [task("inner", "noop")]}
    return task(key, "flow", task_params={"flow_spec": spec}, cfg=cfg)


class Acts:
    """A runner whose tasks note each call."""

    def __init__(self, store: FlowStore, *tasks: dict[str, Any], **flow: Any) -> None:
        self.keys: list[str] = []
        self.store = store
        self.engine = FlowEngine(task_handlers={"act": self.act}, clock=store.clock)
        store.create(Flow.from_flow_spec({"key": "p", "tasks": list(tasks), **flow}))

    def act(self, task_ctx: Any) -> None:
        self.keys.append(task_ctx["idempotency_key"])

    def tick(self) -> None:
        FlowRunner(self.store, self.engine).tick()

    def statuses(self) -> dict[str, str]:
        return {key: each["status"] for key, each in self.store.load("p").tasks.items()}


def occupy(store: FlowStore, key: str) -> None:
    store.create(Flow.from_flow_spec({"key": key, "tasks": [task("x", "wait", task_params={"duration": 9})]}))


ORDERS = [("c", "a"), ("a", "c"), ("a", "c", "b")]


@pytest.mark.parametrize("order", ORDERS)
def test_a_task_fails_whose_sub_flows_key_is_taken_and_the_others_are_saved(
    store: FlowStore, order: tuple[str, ...]
) -> None:
    occupy(store, "p/c/1")
    acts = Acts(store, *(starter() if key == "c" else task(key) for key in order), cfg={"fail_fast": False})
    acts.tick()
    flow = store.load("p")
    assert (flow.status, flow.tasks["c"]["error"]["type"]) == ("FAILED", "FlowExistsError")
    others = [key for key in order if key != "c"]
    assert acts.statuses() == {"c": "FAILED", **dict.fromkeys(others, "COMPLETED")}
    assert acts.keys == [f"p/{key}/1" for key in others]
    assert store.load("p/c/1").status == "RUNNING"  # it is another's


def test_a_retry_takes_the_next_key(store: FlowStore) -> None:
    occupy(store, "p/c/1")
    acts = Acts(store, starter(retry={"max_attempts": 2}), task("a"))
    acts.tick()
    assert store.load("p").status == "COMPLETED"
    assert store.load("p").tasks["c"]["data"]["flow_key"] == "p/c/2"
    assert acts.keys == ["p/a/1"]


def test_such_a_failure_may_be_allowed(store: FlowStore) -> None:
    occupy(store, "p/c/1")
    acts = Acts(store, starter(allow_failure=True), task("b", "act", precursors=["c"]))
    acts.tick()
    assert store.load("p").status == "COMPLETED"


@pytest.mark.parametrize(
    "inner",
    [
        {"tasks": [task("k" * 300, "noop")]},
        {"tasks": [task("inner", "noop")], "label": "a\0b"},
    ],
)
def test_a_task_fails_whose_sub_flow_cannot_be_stored(store: FlowStore, inner: dict[str, Any]) -> None:
    bad = task("c", "flow", task_params={"flow_spec": inner})
    acts = Acts(store, task("a"), bad, task("b"), cfg={"fail_fast": False})
    acts.tick()
    assert acts.statuses() == {"a": "COMPLETED", "b": "COMPLETED", "c": "FAILED"}
    assert acts.keys == ["p/a/1", "p/b/1"]


def test_a_spread_fails_whose_stored_sub_flow_cannot_be_stored(store: FlowStore) -> None:
    occupy(store, "p/s/1")
    spread = task(
        "s",
        "spread",
        task_params={
            "items": [1, 2, 3],
            "mapping_params": {"skeleton": task("i", "noop")},
            "container_task_type": "flow",
        },
    )
    acts = Acts(store, spread, task("a"), cfg={"fail_fast": False})
    acts.tick()
    assert acts.statuses() == {"s": "FAILED", "a": "COMPLETED"}
    assert acts.keys == ["p/a/1"]


def spoil_attribute(flow: Flow) -> None:
    flow.cfg = {"x": object()}


def spoil_key(flow: Flow) -> None:
    flow.key = "other"


def spoil_label(flow: Flow) -> None:
    flow.label = "a\0b"


def spoil_cfg(flow: Flow) -> None:
    flow.cfg = None  # type: ignore[assignment]


def spoil_time(flow: Flow) -> None:
    flow.started_at = object()  # type: ignore[assignment]


def spoil_other(flow: Flow) -> None:
    flow.tasks["c"]["data"] = {"x": {1, 2}}


def spoil_tasks(flow: Flow) -> None:
    flow.add_task({"key": "k" * 300, "task_type": "noop"})


SPOILERS = [value for name, value in list(globals().items()) if name.startswith("spoil_")]
# what a task without effects writes into another one is found when that one is called
CASES = [
    (spoil, effects) for spoil in SPOILERS for effects in (True, False) if effects or spoil is not spoil_other
]


@pytest.mark.parametrize(("spoil", "has_effects"), CASES)
def test_a_task_that_leaves_a_flow_which_cannot_be_saved_fails_and_is_called_once(
    store: FlowStore, spoil: Any, has_effects: bool
) -> None:
    calls: list[str] = []

    def bad(flow: Flow) -> None:
        calls.append("bad")
        spoil(flow)

    bad.has_effects = has_effects  # type: ignore[attr-defined]

    def act(task: dict[str, Any]) -> None:
        calls.append(task["key"])

    tasks = [task("a"), task("b", "bad"), task("c"), task("d", precursors=["a"])]
    store.create(Flow.from_flow_spec({"key": "p", "tasks": tasks, "cfg": {"fail_fast": False}}))
    runner = FlowRunner(store, FlowEngine(task_handlers={"act": act, "bad": bad}, clock=store.clock))
    for _ in range(3):
        assert runner.tick().errors == []
    flow = store.load("p")
    others = {key: flow.tasks[key]["status"] for key in "acd"}
    assert (flow.status, others) == ("FAILED", dict.fromkeys("acd", "COMPLETED"))
    assert flow.tasks["b"]["error"]["message"]
    most = 1 if has_effects else 2  # without effects it is saved together with others
    assert max(map(calls.count, ("a", "bad", "c", "d"))) <= most
