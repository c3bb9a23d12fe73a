"""A spread that is stored: a few items at a time, results in order, failures that are allowed."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import check_store

COUNT, LIMIT = 600, 200  # from 500 tasks on, runners read no more of a flow than they need


class Slow(BaseTaskHandler):
    """Waits for a minute; then every tenth fails."""

    has_effects = False

    def initial_tick(self) -> None:
        self.wait_until(self.task_ctx.now().replace(minute=self.task_ctx.now().minute + 1))

    def intermediate_tick(self) -> None:
        if self.data["n"] % 10 == 0:
            raise ValueError(f"item {self.data['n']}")
        self.complete()


@pytest.mark.parametrize("container", ["inline_flow", "flow"])
@pytest.mark.parametrize("as_mapping", [False, True], ids=["list", "mapping"])
def test_items_run_a_few_at_a_time_and_leave_their_results_in_order(
    store: FlowStore, clock: ManualClock, container: str, as_mapping: bool
) -> None:
    numbers = range(COUNT)
    items: Any = {f"no. {n}": n for n in numbers} if as_mapping else list(numbers)
    skeleton = {"task_type": "slow", "cfg": {"allow_failure": True}}
    params = {
        "items": "$ctx.flow.data.items",
        "container_task_type": container,
        "mapping_params": {"skeleton": skeleton, "wirings": ["ctx.item.value => ctx.skeleton.data.n"]},
    }
    spec = {
        "cfg": {"max_running_tasks": LIMIT},
        "data": {"items": items},
        "tasks": [{"key": "s", "task_type": "spread", "task_params": params}],
    }
    store.create(Flow.from_flow_spec(spec, key="f"))
    engine, minutes = FlowEngine(task_handlers={"slow": Slow}, clock=clock), 0
    while True:
        FlowRunner(store, engine).tick()
        flow = store.load("f")
        if flow.status != "RUNNING":
            break
        active = count_active(store, flow, container)
        assert 0 < active <= LIMIT
        clock.advance(60)
        minutes += 1
    assert (flow.status, minutes) == ("COMPLETED", COUNT // LIMIT)
    results = [{"n": n} if n % 10 else None for n in numbers]
    found = flow.tasks["s"]["data"]["results"]
    assert found == (dict(zip(items, results, strict=True)) if as_mapping else results)
    if as_mapping:
        assert list(found) == list(items)
    check_store(store)


def count_active(store: FlowStore, flow: Flow, container: str) -> int:
    sub_flow = store.load("f/s/1") if container == "flow" else flow.find_sub_flow(flow.tasks["s"])
    assert sub_flow is not None
    return sum(task["status"] in ("RUNNING", "WAITING") for task in sub_flow.filter_tasks())
