"""No-op tasks in memory: what a task costs, and that it costs the same in a large flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from tests.benchmarks.workloads import (
    SHAPES,
    bare_countdown,
    bare_engine,
    best_seconds,
    run_in_memory,
)

# The aim is 5 microseconds where a bare countdown step costs 0.17; machines differ, the ratio to a loop
# that does the least that these records ask for differs less.
MOST_MICROSECONDS = 5.0
MOST_TIMES_BARE_ENGINE = 5.0
MOST_GROWTH = 1.3
SIZES = (100, 1_000, 10_000, 100_000)


def rounds_for(size: int) -> int:
    """Short runs are repeated often, so that each size has a chance to be undisturbed."""
    return max(3, 40_000 // size)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_noop_task_costs_the_same_in_a_flow_of_any_size(
    shape: str, table: Any, exponent: Callable[[dict[int, float]], float], benchmark: Any
) -> None:
    engine = FlowEngine()
    costs: dict[int, float] = {}
    for size in SIZES:
        spec = SHAPES[shape](size)
        seconds = best_seconds(
            lambda spec=spec: Flow.from_flow_spec(spec),  # type: ignore[misc]
            lambda flow: run_in_memory(flow, engine),
            len(spec["tasks"]),
            rounds_for(size),
        )
        costs[size] = seconds / len(spec["tasks"]) * 1e6
    step = best_seconds(lambda: 10_000, bare_countdown, 10_000, 20) / 10_000 * 1e6
    bare = best_seconds(lambda: 1_000, bare_engine, 1_000, 40) / 1_000 * 1e6
    growth = max(costs.values()) / costs[SIZES[0]]
    shown = " / ".join(f"{cost:.1f}" for cost in costs.values())
    table.add(
        f"{shape} of 100 / 1,000 / 10,000 / 100,000, us per task",
        shown,
        f"{MOST_MICROSECONDS} us; {MOST_TIMES_BARE_ENGINE} x bare; growth {MOST_GROWTH}",
        beside=f"{bare:.2f} us with records, {step:.3f} us bare step",
        exponent=f"{exponent(costs):+.2f} ({growth:.2f} x)",
    )
    benchmark.extra_info.update({f"us_per_task_{size}": cost for size, cost in costs.items()})
    benchmark.pedantic(
        lambda flow: run_in_memory(flow, engine),
        setup=lambda: ((Flow.from_flow_spec(SHAPES[shape](1_000)),), {}),
        rounds=20,
    )
    assert min(costs.values()) <= MOST_TIMES_BARE_ENGINE * bare
    assert growth <= MOST_GROWTH
