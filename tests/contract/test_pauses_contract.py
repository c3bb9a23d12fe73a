"""Pauses, and what they mean for timeouts; in memory and on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import ControlError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from tests.support.invariants import check_store

SIGNAL = {"task_type": "wait_for_signal", "task_params": {"signal": "go", "timeout": "20m", "default": {}}}
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "10m"}, "precursors": []}
LIMITED = {"key": "it", "task_type": "wait", "task_params": {"duration": "25m"}, "cfg": {"timeout": "20m"}}


def inside(kind: str, task: dict[str, Any], **cfg: Any) -> dict[str, Any]:
    params = {"flow_spec": {"tasks": [task], "cfg": cfg}}
    return {"key": "outer", "task_type": kind, "task_params": params}


CASES = {
    "the flow": ({"cfg": {"timeout": "20m"}, "tasks": [SIGNAL]}, "FAILED"),
    "a task": ({"tasks": [LIMITED]}, "FAILED"),
    "a wait for a signal": ({"tasks": [SIGNAL]}, "COMPLETED"),
    "a flow inside a task": ({"tasks": [inside("inline_flow", SIGNAL, timeout="20m")]}, "FAILED"),
    "a task inside a task": ({"tasks": [inside("inline_flow", LIMITED)]}, "FAILED"),
    "a sub-flow": ({"tasks": [inside("flow", SIGNAL, timeout="20m")]}, "FAILED"),
}


class InMemory:
    def __init__(self, clock: ManualClock) -> None:
        self.engine = FlowEngine(clock=clock)

    def begin(self, spec: dict[str, Any]) -> None:
        self.flow = self.engine.flow_spec_to_flow(spec)
        self.tick()

    def ask(self, kind: str, **given: Any) -> None:
        self.engine.control(self.flow, kind, by="ann", **given)

    def tick(self) -> None:
        for _ in range(4):
            self.engine.tick_flow(self.flow)

    def load(self) -> Flow:
        return self.flow


class Stored:
    def __init__(self, houston: Houston) -> None:
        self.houston = houston

    def begin(self, spec: dict[str, Any]) -> None:
        self.houston.submit(spec, key="f")
        self.tick()

    def ask(self, kind: str, **given: Any) -> None:
        assert getattr(self.houston, kind)("f", by="ann", **given).done

    def tick(self) -> None:
        for _ in range(4):
            self.houston.tick()

    def load(self) -> Flow:
        return self.houston.load("f")


@pytest.fixture
def houston(store_url: str, clock: ManualClock) -> Iterator[Houston]:
    with Houston(store_url, clock=clock) as opened:
        yield opened
        check_store(opened.store)


@pytest.fixture(params=["without a store", "stored"])
def desk(request: pytest.FixtureRequest, houston: Houston, clock: ManualClock) -> InMemory | Stored:
    return InMemory(clock) if request.param == "without a store" else Stored(houston)


@pytest.mark.parametrize("case", CASES)
def test_what_is_over_its_timeout_ends_when_the_flow_is_resumed(
    desk: InMemory | Stored, clock: ManualClock, case: str
) -> None:
    spec, end = CASES[case]
    desk.begin(spec)
    clock.advance("15m")
    desk.ask("pause")
    clock.advance("1h")
    desk.ask("resume")
    desk.tick()
    assert desk.load().status == end


@pytest.mark.parametrize("case", CASES)
def test_resume_extend_gives_the_time_back(desk: InMemory | Stored, clock: ManualClock, case: str) -> None:
    spec, end = CASES[case]
    if case in ("a task", "a task inside a task"):
        end = "COMPLETED"  # what it waits for has come
    desk.begin(spec)
    clock.advance("15m")
    desk.ask("pause")
    clock.advance("1h")
    desk.ask("resume", extend=True)
    if end == "COMPLETED" and "signal" not in case:
        desk.tick()
        assert desk.load().status == "COMPLETED"
        return
    for minutes, status in ((0, "RUNNING"), (4, "RUNNING"), (2, end)):
        clock.advance(60 * minutes)
        desk.tick()
        assert desk.load().status == status


def test_what_waits_for_a_time_is_due_when_it_was(desk: InMemory | Stored, clock: ManualClock) -> None:
    desk.begin({"tasks": [NAP, {**SIGNAL, "precursors": []}]})
    desk.ask("pause")
    clock.advance("1h")
    desk.ask("resume", extend=True)
    desk.tick()
    assert desk.load().count_tasks() == {"COMPLETED": 1, "WAITING": 1}


def test_where_it_is_not_known_since_when_it_is_stopped_nothing_is_extended(
    desk: InMemory | Stored, clock: ManualClock
) -> None:
    desk.begin({"tasks": [NAP]})
    flow = desk.load()
    flow.change_status("PAUSED")
    if isinstance(desk, Stored):
        desk.houston.store.save(flow)
    with pytest.raises(ControlError, match="not on record since when"):
        desk.ask("resume", extend=True)
    assert desk.load().status == "PAUSED"
    desk.ask("resume")
    assert desk.load().status == "RUNNING"
