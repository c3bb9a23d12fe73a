"""No-op tasks through the store: SQLite in WAL mode with synchronous=FULL, by one runner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.benchmarks.workloads import bare_commits, best_seconds, chain, waiting_chains

MOST_TIMES_BARE_ROWS = 25.0
LEAST_SHARE_OF_BARE_COMMITS = 0.08


def test_a_stored_task_costs_the_same_in_a_flow_of_any_size(
    tmp_path: Path, table: Any, exponent: Callable[[dict[int, float]], float]
) -> None:
    costs: dict[int, float] = {}
    number = 0

    def create_and_run(size: int) -> int:
        nonlocal number
        number += 1
        with FlowStore(f"sqlite:///{tmp_path / f'one-{number}.sqlite3'}") as store:
            flow = Flow.from_flow_spec(chain(size))
            store.create(flow)
            FlowRunner(store, FlowEngine()).tick()
            return store.summary(flow.key).tasks.get("COMPLETED", 0)

    for size in (1_000, 10_000):
        costs[size] = best_seconds(lambda size=size: size, create_and_run, size, 3) / size * 1e6  # type: ignore[misc]
    bare_paths = iter(range(100))
    bare = best_seconds(
        lambda: tmp_path / f"bare-rows-{next(bare_paths)}.sqlite3",
        lambda path: bare_commits(path, 100) * 10,
        1_000,
        5,
    )
    per_row = bare / 1_000 * 1e6
    growth = costs[10_000] / costs[1_000]
    table.add(
        "one stored flow of 1,000 / 10,000, us per task",
        " / ".join(f"{cost:.0f}" for cost in costs.values()),
        "60 us; growth 1.5",
        beside=f"{per_row:.1f} us per row of a bare loop, ten to a commit",
        exponent=f"{exponent(costs):+.2f} ({growth:.2f} x)",
    )
    assert costs[1_000] <= MOST_TIMES_BARE_ROWS * per_row
    assert growth <= 1.5


def test_many_small_flows_are_committed_one_by_one_and_fast(tmp_path: Path, table: Any) -> None:
    count, numbers = 1_000, iter(range(100))

    def make() -> FlowStore:
        store = FlowStore(f"sqlite:///{tmp_path / f'many-{next(numbers)}.sqlite3'}")
        store.create_many(Flow.from_flow_spec(chain(10)) for _ in range(count))
        return store

    def run(store: FlowStore) -> int:
        with store:
            report = FlowRunner(store, FlowEngine()).tick()
            assert report.completed == count
            return report.tasks

    seconds = best_seconds(make, run, count * 10, 3)
    bare = best_seconds(
        lambda: tmp_path / f"bare-{next(numbers)}.sqlite3", lambda path: bare_commits(path, count), count, 3
    )
    rate, bare_rate = count / seconds, count / bare
    table.add(
        "1,000 stored flows of 10, flows per second",
        f"{rate:.0f}",
        "600",
        beside=f"{bare_rate:.0f} bare commits of ten rows per second",
    )
    assert rate >= LEAST_SHARE_OF_BARE_COMMITS * bare_rate


def test_a_tick_costs_what_it_touches_and_not_what_the_flow_holds(
    tmp_path: Path, table: Any, exponent: Callable[[dict[int, float]], float]
) -> None:
    costs = {size: tick_seconds(tmp_path / f"{size}.sqlite3", size) for size in (1_000, 10_000, 100_000)}
    growth = exponent(costs)
    table.add(
        "a tick of a flow of 1,000 / 10,000 / 100,000 tasks, 10 running, ms",
        " / ".join(f"{cost * 1e3:.1f}" for cost in costs.values()),
        "growth exponent 0.3",
        exponent=f"{growth:+.2f}",
    )
    assert growth < 0.3


def tick_seconds(path: Path, size: int) -> float:
    """Return the time of a tick by a store that has just been opened: ten tasks end, and ten begin."""
    url, clock = f"sqlite:///{path}", ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with FlowStore(url, clock=clock) as store:
        store.create(Flow.from_flow_spec(waiting_chains(10, size // 10), key="big"))
    seconds = []
    for _ in range(8):
        clock.advance(60)
        with FlowStore(url, clock=clock) as store:
            runner = FlowRunner(store, FlowEngine(clock=clock))
            store.query(limit=1)  # opens the database
            begun = perf_counter()
            report = runner.tick()
            seconds.append(perf_counter() - begun)
            assert report.tasks in (10, 20), report
    return min(seconds[2:])
