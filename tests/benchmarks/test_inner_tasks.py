"""Tasks inside of tasks, each with an effect and so saved by itself: each costs the same among many."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.benchmarks.workloads import best_seconds

SIZES = (1_000, 10_000)
MOST_GROWTH = 1.3


def spread(count: int) -> Flow:
    wirings = ["ctx.item.value => ctx.skeleton.data.n"]
    params = {
        "items": "$ctx.flow.data.items",
        "mapping_params": {"skeleton": {"task_type": "act"}, "wirings": wirings},
    }
    task = {"key": "outer", "task_type": "spread", "task_params": params}
    return Flow.from_flow_spec({"data": {"items": list(range(count))}, "tasks": [task]}, key="f")


def spread_of_flows(count: int) -> Flow:
    flow = spread(count).to_flow_dict()["spec"]
    flow["tasks"][0]["task_params"]["item_container"] = "flow"
    return Flow.from_flow_spec(flow, key="f")


def loop(count: int) -> Flow:
    params = {"max_iterations": count, "flow_spec": {"tasks": [{"key": "step", "task_type": "act"}]}}
    return Flow.from_flow_spec(
        {"tasks": [{"key": "outer", "task_type": "loop", "task_params": params}]}, key="f"
    )


@pytest.mark.parametrize(
    ("make", "sizes", "most_growth"),
    [(spread, SIZES, MOST_GROWTH), (loop, SIZES, MOST_GROWTH), (spread_of_flows, (200, 2_000), 1.5)],
)
def test_a_task_inside_of_another_costs_the_same_among_many(
    make: Callable[[int], Flow],
    sizes: tuple[int, int],
    most_growth: float,
    tmp_path: Path,
    table: Any,
    exponent: Callable[[dict[int, float]], float],
) -> None:
    costs: dict[int, float] = {}
    calls = 0
    numbers = iter(range(100))

    def act(task: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        task["status"] = "COMPLETED"

    def prepare(count: int) -> FlowStore:
        store = FlowStore(f"sqlite:///{tmp_path / f'{next(numbers)}.sqlite3'}")
        store.create(make(count))
        return store

    def run(store: FlowStore) -> int:
        nonlocal calls
        calls = 0
        with store:
            runner = FlowRunner(store, FlowEngine(task_handlers={"act": act}))
            while store.summary("f").status != "COMPLETED":
                runner.tick()
        return calls

    for size in sizes:
        best = best_seconds(lambda size=size: prepare(size), run, size, 1, time.process_time)  # type: ignore[misc]
        costs[size] = best / size * 1e6
    growth = costs[sizes[-1]] / costs[sizes[0]]
    table.add(
        f"a stored {make.__name__} of {sizes[0]:,} / {sizes[1]:,} tasks with effects, us per task",
        " / ".join(f"{cost:.0f}" for cost in costs.values()),
        f"growth {most_growth}",
        exponent=f"{exponent(costs):+.2f} ({growth:.2f} x)",
    )
    assert growth <= most_growth
