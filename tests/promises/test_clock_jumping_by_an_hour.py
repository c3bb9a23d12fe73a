"""A clock that is set forward or back takes no flow from its runner, and runs nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

HOUR = 3600
START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_live_lease_stays_its_runners(url: str, jump: int) -> None:
    clock, rivals_clock = ManualClock(START), ManualClock(START)
    with FlowStore(url, clock=clock) as store, FlowStore(url, clock=rivals_clock) as rival:
        store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "noop"}]}, key="f"))
        (lease,) = store.claim(owner="ours")
        flow = store.load("f")
        rivals_clock.advance(jump)
        assert rival.claim(owner="rival") == []
        clock.advance(-jump)
        assert store.claim(owner="rival") == []
        assert store.renew(lease).token == lease.token
        FlowEngine(clock=clock).run_flow(flow)
        store.save(flow, lease=lease, release=True)
        assert rival.summary("f").status == "COMPLETED"
        check_store(store)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_each_task_is_called_once_though_the_clock_jumps_while_it_runs(url: str, jump: int) -> None:
    clock = ManualClock(START)
    calls: list[str] = []

    def act(task: dict[str, Any]) -> None:
        calls.append(task["key"])
        clock.advance(jump)

    with FlowStore(url, clock=clock) as store:
        tasks = [{"key": key, "task_type": "act"} for key in "abc"]
        store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
        runner = FlowRunner(store, FlowEngine(task_handlers={"act": act}, clock=clock))
        assert runner.run_flow("f").status == "COMPLETED"
        assert calls == ["a", "b", "c"]
        check_store(store)


def test_a_flow_that_waits_is_late_by_what_the_clock_was_set_back_and_goes_on(url: str) -> None:
    clock = ManualClock(START)
    with FlowStore(url, clock=clock) as store:
        wait = {"key": "w", "task_type": "wait", "task_params": {"duration": 60}}
        store.create(Flow.from_flow_spec({"tasks": [wait]}, key="f"))
        runner = FlowRunner(store, FlowEngine(clock=clock))
        assert runner.tick().waiting == 1
        clock.advance(-HOUR)
        seen = check_store(store)
        assert runner.tick().claimed == 0
        clock.advance(HOUR + 60)
        assert runner.tick().completed == 1
        check_store(store, seen)
