"""Each tick leaves a row that tells who made it, when, and what it came to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import TickRecord

START = datetime(2026, 1, 2, tzinfo=UTC)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.store = FlowStore("sqlite://", clock=self.clock)

    def submit(self, *task_types: str, key: str = "f") -> None:
        tasks = [{"key": f"t{number}", "task_type": name} for number, name in enumerate(task_types)]
        self.store.create(Flow.from_flow_spec({"tasks": tasks}, key=key))

    def runner(self, **handlers: Any) -> FlowRunner:
        engine = FlowEngine(clock=self.clock, task_handlers=handlers)
        return FlowRunner(self.store, engine, owner="the runner")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.store.close()


def test_a_tick_is_noted_with_its_runner_its_times_and_its_figures(world: World) -> None:
    def take_a_minute(task: dict[str, Any]) -> None:
        world.clock.advance(60)
        task["status"] = "COMPLETED"

    world.submit("take_a_minute", "noop")
    world.submit("noop", key="g")
    world.runner(take_a_minute=take_a_minute).tick()
    (found,) = world.store.ticks.list()
    assert (found.owner, found.host, found.pid) == ("the runner", os.uname().nodename, os.getpid())
    assert (found.started_at, found.ended_at) == (START, START + timedelta(seconds=60))
    assert (found.ticks, found.flows, found.tasks, found.errors) == (1, 2, 3, 0)


def test_the_row_is_there_while_the_tick_is_under_way(world: World) -> None:
    seen: list[Any] = []

    def look(task: dict[str, Any]) -> None:
        seen.extend(world.store.ticks.list())
        task["status"] = "COMPLETED"

    world.submit("look")
    world.runner(look=look).tick()
    assert [tick.ended_at for tick in seen] == [None]


def test_a_flow_that_cannot_be_ticked_counts_as_an_error(world: World) -> None:
    def forget(task: dict[str, Any]) -> None:
        task["status"] = "COMPLETED"

    world.submit("forget")
    world.runner().tick()  # which has no such handler
    assert [tick.errors for tick in world.store.ticks.list()] == [1]
    world.clock.advance(3600)
    world.runner(forget=forget).tick()
    assert [tick.errors for tick in world.store.ticks.list()] == [0, 1]


def test_an_interrupted_tick_is_noted_as_ended(world: World) -> None:
    def interrupt(task: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)

    world.submit("interrupt")
    with pytest.raises(KeyboardInterrupt):
        world.runner(interrupt=interrupt).tick()
    assert [tick.ended_at for tick in world.store.ticks.list()] == [START]


def test_idle_ticks_of_one_runner_share_a_row_for_a_minute(world: World) -> None:
    runner = world.runner()
    for _ in range(7):
        runner.tick()
        world.clock.advance(10)
    later, first = world.store.ticks.list()
    assert (first.started_at, first.flows) == (START, 0)
    assert (later.started_at, later.ticks) == (START + timedelta(seconds=60), 1)
    assert first.ticks == 6


def test_ticks_of_two_runners_have_a_row_each(world: World) -> None:
    world.runner().tick()
    world.runner().tick()
    assert len(world.store.ticks.list()) == 2


def test_following_one_flow_is_noted_as_such(world: World) -> None:
    world.submit("noop")
    world.runner().run_flow("f")
    assert {tick.one_flow for tick in world.store.ticks.list()} == {True}


def test_a_row_that_was_written_without_an_answer_is_written_anew(world: World) -> None:
    for claims in (False, True):
        key = f"f{claims}"
        world.submit("noop", key=key)
        begun = TickRecord(owner=key, started_at=START)
        for _ in range(2):
            if claims:
                world.store.release(*world.store.claim(owner=key, tick=begun, keys=[key]))
            else:
                world.store.ticks.note(begun)
            begun.is_stored = False  # the connection broke after the commit, before the answer
    assert sorted(found.owner for found in world.store.ticks.list()) == ["fFalse", "fTrue"]
