"""Databases that earlier versions wrote: they load, are shown, and what they hold comes to its end.

Version 8 kept the flows inside of tasks as JSON in these.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.houston import Houston
from tests.support.invariants import check_store

RECORDED = Path(__file__).parents[2] / "specs" / "recorded"
BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)


class World:
    """A copy of a recorded database, opened by this version."""

    def __init__(self, houston: Houston, clock: ManualClock) -> None:
        self.houston = houston
        self.clock = clock
        self.calls: list[str] = []
        self.is_mended = False

    def sleepy(self, task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        """Wait for an hour, at first."""
        self.calls.append(task_ctx["idempotency_key"])
        if task["data"].get("calls"):
            task["status"] = "COMPLETED"
        else:
            task["status"], task["next_tick_at"] = "WAITING", self.clock.now() + timedelta(hours=1)
        task["data"]["calls"] = task["data"].get("calls", 0) + 1

    def fragile(self, task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        """Do what broke when it was recorded."""
        self.calls.append(task_ctx["idempotency_key"])
        task["status"] = "COMPLETED"

    def finish(self, key: str) -> Flow:
        """Tick for as long as anything is due."""
        for _ in range(10):
            self.houston.tick()
            check_store(self.houston.store)
            self.clock.advance(3600)
        return self.houston.load(key)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "recorded.db"
    connection = sqlite3.connect(path)
    connection.executescript((RECORDED / "version_8.sql").read_text())
    connection.close()
    clock = ManualClock(BEGUN)
    made: list[World] = []
    handlers = {
        name: lambda task, task_ctx, name=name: getattr(made[0], name)(task, task_ctx)
        for name in ("sleepy", "fragile")
    }
    with Houston(f"sqlite:///{path}", task_handlers=handlers, clock=clock) as houston:
        made.append(World(houston, clock))
        yield made[0]


def inner_tasks(flow: Flow, *path: str) -> dict[str, str]:
    """Return the statuses of the tasks inside of one."""
    for key in path:
        task = flow.tasks[key]
        found = flow.find_sub_flow(task) or flow.find_sub_flow(task["proxied_task"])
        assert found is not None
        flow = found
    return {task["key"]: task["status"] for task in flow.filter_tasks()}


def test_what_was_half_way_inside_of_tasks_is_seen_as_it_was(world: World) -> None:
    flow = world.houston.load("living")
    assert inner_tasks(flow, "spread") == dict.fromkeys(("item_0", "item_1", "item_2"), "WAITING")
    assert inner_tasks(flow, "loop") == {"first": "COMPLETED", "step": "WAITING"}
    assert inner_tasks(flow, "outer", "inner") == {
        "first": "COMPLETED",
        "step": "WAITING",
        "last": "PENDING",
    }
    assert inner_tasks(flow, "switch") == {"first": "COMPLETED", "step": "WAITING"}
    waits = [reason.task for reason in world.houston.explain("living").reasons]
    assert {"loop/step", "outer/inner/step", "asking/signal", "spread/item_1"} <= set(waits)


@pytest.mark.parametrize("key", ["living", "paused"])
def test_it_goes_on_from_there_to_its_end(world: World, key: str) -> None:
    if key == "paused":
        world.houston.resume(key, by="ada")
    world.houston.signal(key, "go")
    flow = world.finish(key)
    assert (flow.status, flow.count_tasks()) == ("COMPLETED", {"COMPLETED": 6})
    assert [each["calls"] for each in flow.tasks["spread"]["data"]["results"]] == [2, 2, 2]
    assert flow.tasks["loop"]["data"]["iterations"] == 3
    of_first_round = [call for call in world.calls if call.startswith(f"{key}/loop/1/0/step")]
    assert len(of_first_round) == 1  # its first call was made before the recording


def test_a_retry_goes_on_inside_of_what_had_failed(world: World) -> None:
    failure = world.houston.load("failed").describe_failure()
    assert failure is not None
    assert "it broke" in failure
    world.houston.retry("failed", by="ada")
    flow = world.finish("failed")
    assert (flow.status, flow.count_tasks()) == ("COMPLETED", {"COMPLETED": 3})
    again = sorted(call for call in world.calls if call.startswith("failed/"))
    assert again == ["failed/outer/1/inner/1/breaks/2", "failed/switch/1/breaks/2"]


def test_an_export_of_it_is_what_the_earlier_version_exported(world: World) -> None:
    exported = world.houston.export("living")
    inner = exported["graph"]["tasks"]["outer"]["flow_dict"]["graph"]["tasks"]["inner"]
    assert inner["flow_dict"]["graph"]["tasks"]["step"]["data"] == {"calls": 1}
    assert "sub_flow" not in inner
