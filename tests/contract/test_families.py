"""Sub-flows inside each other: how they read what is around them, and how they end together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.durations import format_time
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from tests.support.invariants import check_store

Spec = dict[str, Any]

DEPTH = 10  # sub-flows inside each other
KINDS = {
    "inline": ["inline_flow"] * DEPTH,
    "stored": ["flow"] * DEPTH,
    "stored in inline": ["inline_flow", "flow"] * (DEPTH // 2),
    "inline in stored": ["flow", "flow", "inline_flow", "inline_flow", "inline_flow"] * (DEPTH // 5),
}
each_kind = pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)


@pytest.fixture
def stopped() -> list[str]:
    """The flows whose innermost task was told to stop."""
    return []


@pytest.fixture
def engine(clock: ManualClock, stopped: list[str]) -> FlowEngine:
    class Stuck:
        has_effects = False

        def __init__(self, task: Spec, task_ctx: Any) -> None:
            self.task, self.task_ctx = task, task_ctx

        def tick_task(self) -> None:
            self.task["status"] = "WAITING"

        def cancel(self) -> None:
            stopped.append(self.task_ctx["flow"].key)

    def fail() -> None:
        raise ValueError("the innermost")

    return FlowEngine(task_handlers={"stuck": Stuck, "fail": fail}, clock=clock)


@pytest.fixture(autouse=True)
def _check(store: FlowStore) -> Iterator[None]:
    yield
    check_store(store)
    for summary in store.query():
        check_history(store, summary.key)


def nest(kinds: list[str], innermost: list[Spec]) -> Spec:
    """Return a flow spec with as many flows inside each other; the data of each tell how deep it is."""
    spec: Spec = {"data": {"depth": len(kinds)}, "tasks": innermost}
    for depth in range(len(kinds) - 1, -1, -1):
        task = {"key": "t", "task_type": kinds[depth], "data": {"of": depth}}
        spec = {
            "data": {"depth": depth},
            "tasks": [{**task, "task_params": {"flow_spec": pass_on(spec)}}],
        }
    return spec


def pass_on(spec: Spec) -> Spec:
    """Let a sub-flow leave what its innermost flow left."""
    inner = spec["tasks"][-1]
    found = "$ctx.flow.tasks.t.data.results.found" if inner["key"] == "t" else "$ctx.flow.tasks.read.data"
    return {**spec, "results": {"found": found}}


def read(steps: int) -> str:
    """Return a wiring that reads the data of the flow so many levels above."""
    return f"ctx.{'parent.' * steps}flow.data.depth => ctx.flow.tasks.read.data.above_{steps}"


def tick(store: FlowStore, engine: FlowEngine) -> Flow:
    """Make as many ticks as there is something to do, each by a runner of its own."""
    for _ in range(4 * DEPTH):
        if not FlowRunner(store, engine).tick().claimed:
            return store.load("f")
    raise AssertionError("there is no end of it")


def submit(store: FlowStore, spec: Spec) -> None:
    store.create(Flow.from_flow_spec(spec, key="f"))


def cancel(store: FlowStore, engine: FlowEngine, key: str) -> None:
    at = format_time(store.clock.now())
    FlowRunner(store, engine).control(key, make_control("cancel", by="ada", reason="enough", at=at))


@each_kind
def test_the_data_of_every_flow_around_can_be_read(
    store: FlowStore, engine: FlowEngine, kinds: list[str]
) -> None:
    wirings = [read(steps) for steps in range(DEPTH + 1)]
    wirings.append("ctx.parent.task.data.of => ctx.flow.tasks.read.data.task_above")
    innermost = [
        {"key": "wire", "task_type": "wire", "task_params": {"wirings": wirings}},
        {"key": "read", "task_type": "noop"},
    ]
    submit(store, nest(kinds, innermost))
    flow = tick(store, engine)
    assert flow.status == "COMPLETED", flow.describe_failure()
    expected = {f"above_{steps}": DEPTH - steps for steps in range(DEPTH + 1)}
    assert flow.tasks["t"]["data"]["results"]["found"] == {**expected, "task_above": DEPTH - 1}


@each_kind
def test_a_failure_reaches_the_outermost_flow_and_is_named(
    store: FlowStore, engine: FlowEngine, kinds: list[str]
) -> None:
    submit(store, nest(kinds, [{"key": "read", "task_type": "fail"}]))
    flow = tick(store, engine)
    assert flow.status == "FAILED"
    assert "task 'read': ValueError: the innermost" in (flow.describe_failure() or "")
    assert {summary.status for summary in store.query()} == {"FAILED"}


@each_kind
def test_all_are_cancelled_with_the_outermost(
    store: FlowStore, engine: FlowEngine, kinds: list[str], stopped: list[str]
) -> None:
    submit(store, nest(kinds, [{"key": "read", "task_type": "stuck"}]))
    assert tick(store, engine).status == "RUNNING"
    assert len(store.query()) == 1 + kinds.count("flow")
    cancel(store, engine, "f")
    flow = tick(store, engine)
    assert (flow.status, flow.tasks["t"]["status"]) == ("CANCELLED", "CANCELLED")
    assert {summary.status for summary in store.query()} == {"CANCELLED"}
    assert len(stopped) == 1
    assert stopped[0].startswith("f/t/1/t/1")


@pytest.mark.parametrize("kinds", [KINDS["stored"], KINDS["inline in stored"]], ids=["stored", "mixed"])
def test_cancelling_one_in_the_middle_cancels_what_is_below_and_fails_what_is_above(
    store: FlowStore, engine: FlowEngine, kinds: list[str], stopped: list[str]
) -> None:
    submit(store, nest(kinds, [{"key": "read", "task_type": "stuck"}]))
    tick(store, engine)
    middle = "f/t/1/t/1"
    cancel(store, engine, middle)
    flow = tick(store, engine)
    assert flow.status == "FAILED"
    assert f"The sub-flow {middle!r} was cancelled: " in (flow.describe_failure() or "")
    statuses = {summary.key: summary.status for summary in store.query()}
    above = {"f": "FAILED", "f/t/1": "FAILED"}
    assert {key: status for key, status in statuses.items() if key in above} == above
    assert {status for key, status in statuses.items() if key not in above} == {"CANCELLED"}
    assert len(stopped) == 1
