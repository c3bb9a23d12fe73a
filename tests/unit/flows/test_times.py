"""Each call has a start and an end of its own, by the engine's clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from tests.unit.flows.test_observers import Recorder

Times = tuple[float | None, float | None]


class Trial:
    """An engine whose tasks of the type `work` take as many seconds as they say."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.recorder = Recorder()
        self.calls: list[float] = []
        self.engine = FlowEngine(
            task_handlers={"work": self.work, "later": self.later},
            clock=self.clock,
            observers=[self.recorder],
        )

    def work(self, task: dict[str, Any], seconds: float = 1, failures: int = 0) -> dict[str, Any]:
        self.calls.append(self.seconds())
        self.clock.advance(seconds)
        if task["attempt"] <= failures:
            raise ConnectionError("not yet")
        return {"seconds": seconds}

    async def later(self, task: dict[str, Any], naps: int) -> None:
        for _ in range(naps):
            await asyncio.sleep(0)
            self.clock.advance(1)

    def seconds(self, text: str | None = None) -> float:
        now = self.clock.now().fromisoformat(text) if text else self.clock.now()
        return (now - ManualClock().now()) / timedelta(seconds=1)

    def times(self, record: dict[str, Any]) -> Times:
        found = [record.get(name) for name in ("started_at", "finished_at")]
        start, end = [self.seconds(text) if text else None for text in found]
        return start, end

    def events(self, key: str) -> list[tuple[str, float]]:
        mine = [event for event in self.recorder.events if event.task_key == key]
        return [(event.new_status, self.seconds(event.at)) for event in mine]


def work(key: str, seconds: float = 1, **more: Any) -> dict[str, Any]:
    params = {"seconds": seconds, **more.pop("params", {})}
    return {"key": key, "task_type": "work", "task_params": params, "precursors": [], **more}


@pytest.fixture
def trial() -> Trial:
    return Trial()


class TestCallsOfOneTick:
    def test_each_begins_when_the_one_before_has_ended(self, trial: Trial) -> None:
        flow = Flow.from_flow_spec({"tasks": [work("a", 15), work("b", 2), work("c", 0)]})
        trial.engine.tick_flow(flow)
        assert [trial.times(flow.tasks[key]) for key in "abc"] == [(0, 15), (15, 17), (17, 17)]
        assert (trial.seconds(flow.started_at), trial.seconds(flow.finished_at)) == (0, 17)

    def test_observers_hear_of_each_at_its_own_time(self, trial: Trial) -> None:
        flow = Flow.from_flow_spec({"tasks": [work("a", 15), work("b", 2)]})
        trial.engine.tick_flow(flow)
        assert trial.events("a") == [("RUNNING", 0), ("COMPLETED", 15)]
        assert trial.events("b") == [("RUNNING", 15), ("COMPLETED", 17)]

    def test_what_has_not_been_called_is_not_running(self, trial: Trial) -> None:
        flow = Flow.from_flow_spec({"tasks": [work("a"), work("b")]})
        seen: list[str] = []
        trial.engine.registry.register("look", lambda flow: seen.append(flow.tasks["b"]["status"]))
        flow.tasks["a"]["task_type"] = "look"
        trial.engine.tick_flow(flow)
        assert seen == ["PENDING"]

    def test_built_in_tasks_without_effects_share_the_time_of_what_was_before(self, trial: Trial) -> None:
        noop = {"key": "n", "task_type": "noop", "precursors": []}
        flow = Flow.from_flow_spec({"tasks": [work("a", 5), noop]})
        trial.engine.tick_flow(flow)
        assert trial.times(flow.tasks["n"]) == (5, 5)

    def test_a_deadline_counts_from_the_start_of_the_call(self, trial: Trial) -> None:
        def wait(task: dict[str, Any]) -> None:
            task["status"] = "WAITING"

        trial.engine.registry.register("wait_outside", wait)
        waits = {"key": "w", "task_type": "wait_outside", "precursors": [], "cfg": {"timeout": "10s"}}
        flow = Flow.from_flow_spec({"tasks": [work("a", 30), waits]})
        trial.engine.tick_flow(flow)
        assert flow.tasks["w"]["status"] == "WAITING"
        assert trial.seconds(flow.tasks["w"]["deadline_at"]) == 40

    def test_awaited_calls_end_each_at_its_own_time(self, trial: Trial) -> None:
        tasks = [
            {"key": key, "task_type": "later", "task_params": {"naps": naps}, "precursors": []}
            for key, naps in (("a", 3), ("b", 1))
        ]
        flow = Flow.from_flow_spec({"tasks": tasks})
        asyncio.run(trial.engine.atick_flow(flow))
        (_, a), (_, b) = (trial.times(flow.tasks[key]) for key in "ab")
        assert a is not None
        assert b is not None
        assert b < a == trial.seconds(flow.finished_at)


class TestRetries:
    def test_the_delay_counts_from_the_end_of_the_failed_attempt(self, trial: Trial) -> None:
        cfg = {"retry": {"max_attempts": 2, "delay": "4s"}}
        flow = Flow.from_flow_spec({"tasks": [work("a", 4, params={"failures": 1}, cfg=cfg)]})
        trial.engine.run_flow(flow)
        assert trial.calls == [0, 8]
        task = flow.tasks["a"]
        assert (trial.times(task["attempts"][0]), trial.times(task)) == ((0, 4), (8, 12))
        assert trial.seconds(task["attempts"][0]["error"]["at"]) == 4

    def test_it_does_for_a_task_that_another_one_proxies(self, trial: Trial) -> None:
        inner = work("a", 4, params={"failures": 1}, cfg={"retry": {"max_attempts": 2, "delay": "4s"}})
        params = {"control_value": 1, "cases": [], "default_case": {"task": inner}}
        switch = {"key": "s", "task_type": "switch", "task_params": params}
        flow = Flow.from_flow_spec({"tasks": [switch]})
        trial.engine.run_flow(flow)
        assert trial.calls == [0, 8]
        first, second = flow.tasks["s"]["proxied_attempts"]
        assert (trial.times(first), trial.times(second)) == ((0, 4), (8, 12))
        assert trial.times(flow.tasks["s"]) == (0, 12)


class TestInside:
    def test_the_items_of_a_spread_have_their_own_times(self, trial: Trial) -> None:
        mapping = {"skeleton": {"task_type": "work", "task_params": {"seconds": 3}}}
        params = {"items": [1, 2, 3], "mapping_params": mapping}
        flow = Flow.from_flow_spec({"tasks": [{"key": "s", "task_type": "spread", "task_params": params}]})
        trial.engine.run_flow(flow)
        assert [trial.events(f"item_{idx}") for idx in range(3)] == [
            [("RUNNING", 0), ("COMPLETED", 3)],
            [("RUNNING", 3), ("COMPLETED", 6)],
            [("RUNNING", 6), ("COMPLETED", 9)],
        ]
        assert trial.times(flow.tasks["s"]) == (0, 9)

    def test_the_delay_of_a_loop_counts_from_the_end_of_a_round(self, trial: Trial) -> None:
        params = {"flow_spec": {"tasks": [work("a", 5)]}, "max_iterations": 2, "delay": "10s"}
        flow = Flow.from_flow_spec({"tasks": [{"key": "l", "task_type": "loop", "task_params": params}]})
        trial.engine.run_flow(flow)
        assert trial.calls == [0, 15]

    def test_a_task_without_a_flow_has_times(self, trial: Trial) -> None:
        task = work("a", 7)
        trial.engine.tick_task(task)
        assert trial.times(task) == (0, 7)


def test_an_event_that_is_told_has_the_time_of_its_change(trial: Trial) -> None:
    flow = Flow.from_flow_spec({"tasks": [work("a", 15)]})
    trial.engine.tick_flow(flow)
    ended: ChangeEvent = trial.recorder.events[-1]
    assert (ended.task_key, trial.seconds(ended.at)) == (None, 15)
