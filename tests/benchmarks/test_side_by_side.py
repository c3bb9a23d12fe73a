"""Flows side by side: calls that wait do so at the same time, and saves of short calls share commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.benchmarks.workloads import best_seconds
from tests.support.databases import DATABASES, fresh_url

THREADS = 32
FLOWS, FEW = 64, 8
NAP = 0.25  # seconds
LEAST_RATIO = 20.0
STEPS = 10
LEAST_GAIN = 1.5  # of short calls that are saved one by one


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest) -> Iterator[FlowStore]:
    with fresh_url(request.param) as url, FlowStore(url) as opened:
        yield opened


def run(store: FlowStore, act: Callable[[], None], *, threads: int, flows: int, steps: int) -> float:
    """Return how long a flow takes on average."""
    tasks = [{"key": f"t{number}", "task_type": "act"} for number in range(steps)]
    runner = FlowRunner(store, FlowEngine(task_handlers={"act": act}), threads=threads)

    def make() -> FlowRunner:
        store.create_many(Flow.from_flow_spec({"tasks": tasks}) for _ in range(flows))
        return runner

    make().tick()  # opens connections
    rounds = 2 if threads == 1 else 5
    return best_seconds(make, lambda ready: ready.tick().completed, flows, rounds) / flows


def test_calls_that_wait_do_so_at_the_same_time(
    request: pytest.FixtureRequest, store: FlowStore, table: Any
) -> None:
    def nap() -> None:
        time.sleep(NAP)

    alone = run(store, nap, threads=1, flows=FEW, steps=1)
    beside = run(store, nap, threads=THREADS, flows=FLOWS, steps=1)
    table.add(
        f"{FLOWS} flows that sleep {NAP} s on {request.node.callspec.id}, {THREADS} threads, ms a flow",
        f"{beside * 1e3:.1f} ({alone / beside:.1f} x as fast)",
        f"{LEAST_RATIO:.0f} x",
        beside=f"{alone * 1e3:.0f} ms by one thread",
    )
    assert alone / beside >= LEAST_RATIO


def test_short_calls_gain_by_what_their_saves_share(
    request: pytest.FixtureRequest, store: FlowStore, table: Any
) -> None:
    costs = {
        threads: run(store, lambda: None, threads=threads, flows=FLOWS, steps=STEPS) / STEPS * 1e6
        for threads in (1, 8, THREADS)
    }
    table.add(
        f"a step with effects on {request.node.callspec.id} by 1 / 8 / {THREADS} threads, us",
        " / ".join(f"{cost:.0f}" for cost in costs.values()),
        f"{LEAST_GAIN} x as fast by 8",
        beside=f"{costs[1] / costs[8]:.1f} / {costs[1] / costs[THREADS]:.1f} x as fast",
    )
    assert costs[1] / costs[8] >= LEAST_GAIN
