"""One tick of one item of a spread, which costs the same among many, and so does the end of an item."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler

SIZES = (1_000, 30_000)
ROUNDS = 8


class LastWaits(BaseTaskHandler):
    """Completes at once, but for the last item, which waits for a second, again and again."""

    has_effects = False

    def tick_task(self) -> None:
        if self.data["is_last"]:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=1))
        else:
            self.complete()


HANDLERS = {"last_waits": LastWaits}


def spec(count: int, *, by_reference: bool) -> dict[str, Any]:
    items = [False] * (count - 1) + [True]
    mapping = {
        "skeleton": {"task_type": "last_waits"},
        "wirings": ["ctx.item.value => ctx.skeleton.data.is_last"],
    }
    given = "$ctx.flow.data.items" if by_reference else items
    task = {
        "key": "each",
        "task_type": "spread",
        "task_params": {"items": given, "mapping_params": mapping},
    }
    return {"data": {"items": items} if by_reference else {}, "tasks": [task]}


@pytest.mark.parametrize(("by_reference", "most"), [(False, 1.5), (True, 2.0)])
def test_a_tick_of_one_item_costs_the_same_among_many(
    by_reference: bool,
    most: float,
    tmp_path: Path,
    table: Any,
    exponent: Callable[[dict[int, float]], float],
) -> None:
    costs: dict[int, float] = {}
    for size in SIZES:
        url, clock = f"sqlite:///{tmp_path / f'{size}.sqlite3'}", ManualClock()

        def tick(url: str = url, clock: ManualClock = clock) -> float:
            with FlowStore(url, clock=clock) as store:
                runner = FlowRunner(store, FlowEngine(task_handlers=HANDLERS, clock=clock))
                store.summary("f")  # opens the database
                gc.collect()
                began = time.process_time()
                assert runner.tick().tasks
                return time.process_time() - began

        with FlowStore(url, clock=clock) as store:
            store.create(
                FlowEngine(task_handlers=HANDLERS).flow_spec_to_flow(
                    spec(size, by_reference=by_reference), key="f"
                )
            )
        tick()
        seconds = []
        for _ in range(ROUNDS):
            clock.advance(1)
            seconds.append(tick())
        costs[size] = min(seconds)
    growth = costs[SIZES[-1]] / costs[SIZES[0]]
    table.add(
        f"a tick of one of {SIZES[0]:,} / {SIZES[-1]:,} items{' in the data' if by_reference else ''}, ms",
        " / ".join(f"{cost * 1e3:.1f}" for cost in costs.values()),
        f"growth {most}",
        exponent=f"{exponent(costs):+.2f} ({growth:.2f} x)",
    )
    assert growth <= most


def test_the_end_of_one_item_that_is_a_flow_costs_the_same_among_many_unfinished(
    tmp_path: Path, table: Any, exponent: Callable[[dict[int, float]], float]
) -> None:
    costs: dict[int, float] = {}
    skeleton = {"task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    for size in (600, 2_400):
        params = {
            "items": list(range(size)),
            "item_container": "flow",
            "mapping_params": {"skeleton": skeleton},
        }
        task = {"key": "each", "task_type": "spread", "task_params": params}
        with Houston(f"sqlite:///{tmp_path / f'{size}.sqlite3'}") as houston:
            houston.submit({"tasks": [task]}, key="f")
            houston.tick()
            seconds = []
            for number in range(ROUNDS):
                houston.signal(f"f/each/1/item_{number}/1", "go")
                gc.collect()
                began = time.process_time()
                assert houston.tick().completed == 1
                seconds.append(time.process_time() - began)
        costs[size] = min(seconds)
    growth = costs[2_400] / costs[600]
    table.add(
        "the end of an item's flow among 600 / 2,400 unfinished ones, ms",
        " / ".join(f"{cost * 1e3:.1f}" for cost in costs.values()),
        "growth 1.5",
        exponent=f"{exponent(costs):+.2f} ({growth:.2f} x)",
    )
    assert growth <= 1.5
