"""Validating a large spec grows with its size, no faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mc.spec.validation import validate_flow_spec
from tests.benchmarks.workloads import SHAPES

SIZES = (1_000, 10_000)


def test_validating_ten_times_the_tasks_costs_about_ten_times_as_much(
    table: Any, exponent: Callable[[dict[int, float]], float]
) -> None:
    costs: dict[int, float] = {}
    for size in SIZES:
        spec = SHAPES["diamonds"](size)
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            validate_flow_spec(spec)
            best = min(best, time.perf_counter() - began)
        costs[size] = best
    growth = exponent(costs)
    table.add("validate 10,000 tasks, s", f"{costs[10_000]:.2f}", "2; growth 1.2", exponent=f"{growth:+.2f}")
    assert growth <= 1.2
