"""Fixtures that the tests of the task types share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler

Spec = Mapping[str, Any]


class CountDown(BaseTaskHandler):
    """Takes as many ticks as `ticks` says."""

    has_effects = False

    def tick_task(self) -> None:
        done = self.data["ticks"] = self.data.get("ticks", 0) + 1
        if done >= self.params.get("ticks", 1):
            self.complete()


def fail(params: dict[str, Any]) -> None:
    """Fail."""
    raise ValueError(params.get("msg", "no reason"))


def wait_for_ever(task: dict[str, Any]) -> None:
    """Wait for an event that never comes."""
    task["status"] = "WAITING"


HANDLERS = {"count_down": CountDown, "fail": fail, "wait_for_ever": wait_for_ever}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(task_handlers=HANDLERS, clock=clock)


@pytest.fixture
def run(engine: FlowEngine) -> Callable[..., Flow]:
    """Return a function that runs tasks as one flow to its end, FAILED or not, and checks its state."""

    def run_tasks(*tasks: Spec, on: FlowEngine = engine, ctx: Spec | None = None, **spec: Any) -> Flow:
        flow = Flow.from_flow_spec({"key": "f", "tasks": list(tasks), **spec})
        try:
            on.run_flow(flow, ctx, max_ticks=200)
        except FlowError:
            assert flow.status == "FAILED"
        flow.check_invariants()
        assert not flow.state.list_sub_flows()
        return flow

    return run_tasks


@pytest.fixture
def fail_with(run: Callable[..., Flow]) -> Callable[..., str]:
    """Return a function that runs one task, which has to fail, and returns the message of its error."""

    def run_task(task: Spec, **options: Any) -> str:
        flow = run({"key": "t", **task}, **options)
        assert flow.tasks["t"]["status"] == "FAILED"
        message: str = flow.tasks["t"]["error"]["message"]
        return message

    return run_task
