"""The engine's own interface: making flows, running them, single tasks."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

import mc
from mc.clock import ManualClock
from mc.errors import FlowError, MaxTicksError, NotJsonError, SpecError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine, run_flow
from mc.task_handlers.base_task_handler import BaseTaskHandler


def task(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


class Forever(BaseTaskHandler):
    def tick_task(self) -> None:
        """Leave the task RUNNING."""


class SleepingClock(ManualClock):
    """Notes each sleep."""

    __slots__ = ("slept",)

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds)


class TestMakingFlows:
    def test_a_spec_is_checked_and_copied(self) -> None:
        spec = {"key": "k", "data": {"x": [1]}, "tasks": [task("a")]}
        before = copy.deepcopy(spec)
        flow = FlowEngine().flow_spec_to_flow(spec)
        flow.data["x"].append(2)
        assert (flow.key, list(flow.tasks), spec) == ("k", ["a"], before)

    def test_a_wrong_spec_lists_all_problems(self) -> None:
        spec = {"tasks": [task("a", "nop"), task("b", precursors=["x"]), task("b")]}
        with pytest.raises(SpecError) as caught:
            FlowEngine().flow_spec_to_flow(spec)
        assert [problem.pointer for problem in caught.value.problems] == [
            "/tasks/2/key",
            "/tasks/1/precursors/0",
            "/tasks/0/task_type",
        ] or {problem.pointer for problem in caught.value.problems} == {
            "/tasks/2/key",
            "/tasks/1/precursors/0",
            "/tasks/0/task_type",
        }

    def test_registered_types_are_known_to_the_check(self) -> None:
        engine = FlowEngine(task_handlers={"mine": lambda: None})
        assert engine.flow_spec_to_flow({"tasks": [task("a", "mine")]}).status == "PENDING"

    def test_one_handler_for_all_makes_every_type_known(self) -> None:
        seen: list[str] = []
        engine = FlowEngine(task_handler=lambda task: seen.append(task["task_type"]))
        flow = engine.flow_spec_to_flow(
            {"tasks": [task("a", "whatever"), task("b", "noop"), task("c", "x.tasks.y")]}
        )
        assert engine.run_flow(flow).status == "COMPLETED"
        assert seen == ["whatever", "noop", "x.tasks.y"]

    def test_key_label_and_data_can_be_laid_over(self) -> None:
        spec = {"key": "k", "label": "l", "data": {"x": 1, "y": 1}}
        flow = FlowEngine().flow_spec_to_flow(spec, key="other", label="new", data={"y": 2})
        assert (flow.key, flow.label, flow.data) == ("other", "new", {"x": 1, "y": 2})

    def test_data_must_be_json(self) -> None:
        with pytest.raises(NotJsonError, match="/data/x"):
            FlowEngine().flow_spec_to_flow({}, data={"x": {1}})

    def test_data_must_keep_to_the_params(self) -> None:
        spec = {"params": {"type": "object", "required": ["x"]}}
        with pytest.raises(SpecError):
            FlowEngine().flow_spec_to_flow(spec)
        assert FlowEngine().flow_spec_to_flow(spec, data={"x": 1}).data == {"x": 1}

    def test_dicts_and_flows_go_both_ways(self) -> None:
        engine = FlowEngine()
        flow_dict = engine.flow_spec_to_flow_dict({"key": "k", "tasks": [task("a")]})
        flow = engine.flow_dict_to_flow(flow_dict)
        assert engine.flow_to_flow_dict(flow) == flow_dict
        with pytest.raises(SpecError):
            engine.flow_spec_to_flow_dict({"tasks": [{}]})

    def test_the_short_ways_use_the_built_in_types(self) -> None:
        flow = mc.flow_spec_to_flow({"tasks": [task("a"), task("b")]})
        assert mc.tick_flow(flow).completed == ["a"]
        assert run_flow(flow).status == "COMPLETED"


class TestRunning:
    def test_a_flow_is_run_to_its_end_and_returned(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b")]})
        assert FlowEngine().run_flow(flow) is flow
        assert flow.status == "COMPLETED"

    def test_the_loop_of_a_caller_ends(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task(f"t{n}") for n in range(20)]})
        engine, ticks = FlowEngine(), 0
        while flow.status not in {"FAILED", "COMPLETED"}:
            engine.tick_flow(flow)
            ticks += 1
        assert ticks == 20

    def test_a_failure_is_raised_with_its_flow(self) -> None:
        flow = Flow.from_flow_spec({"key": "f", "tasks": [task("a", "bad")]})
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0})
        assert FlowEngine.FlowError is FlowError
        for _ in range(2):  # a flow that has failed already fails again
            with pytest.raises(engine.FlowError) as caught:
                engine.run_flow(flow)
            assert caught.value.flow is flow
            assert caught.value.message == "Flow 'f' failed: task 'a': ZeroDivisionError: division by zero"

    @pytest.mark.parametrize("max_ticks", [0, 1, 5])
    def test_too_many_ticks_name_what_was_unfinished(self, max_ticks: int) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "forever"), task("b"), task("c", precursors=[])]})
        with pytest.raises(MaxTicksError) as caught:
            FlowEngine(task_handlers={"forever": Forever}, clock=ManualClock()).run_flow(
                flow, max_ticks=max_ticks
            )
        assert flow.ticks == max_ticks
        assert caught.value.flow is flow
        assert caught.value.unfinished == (["a", "b"] if max_ticks else ["a", "b", "c"])
        assert ("a (RUNNING), b (PENDING)" if max_ticks else "a (PENDING)") in caught.value.message

    def test_exactly_enough_ticks_are_enough(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b")]})
        assert FlowEngine().run_flow(flow, None, 2).status == "COMPLETED"

    def test_it_sleeps_by_the_clock_until_the_next_tick_can_do_something(self) -> None:
        clock = SleepingClock()
        flow = Flow.from_flow_spec(
            {
                "tasks": [
                    task("a", "wait", task_params={"duration": 60}),
                    task("b"),
                    task("c", "wait", task_params={"until": "2000-01-01T01:00:00Z"}),
                ]
            }
        )
        FlowEngine(clock=clock).run_flow(flow)
        assert clock.slept == [60, 3_540]
        assert flow.ticks == 5

    def test_polling_slows_down_to_a_limit(self) -> None:
        clock = SleepingClock()
        flow = Flow.from_flow_spec({"tasks": [task("a", "forever", cfg={"timeout": 10})]})
        with pytest.raises(FlowError):
            FlowEngine(task_handlers={"forever": Forever}, clock=clock).run_flow(flow)
        assert clock.slept[:4] == [0.002, 0.004, 0.008, 0.016]
        assert clock.slept[-1] == max(clock.slept) == 0.25

    def test_a_flow_that_only_an_event_can_move_is_returned(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "event")]})
        engine = FlowEngine(task_handlers={"event": lambda task: task.update(status="WAITING")})
        assert engine.run_flow(flow).status == "RUNNING"
        assert flow.ticks == 1

    def test_a_paused_flow_is_returned(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a")]}, status="PAUSED")
        assert FlowEngine().run_flow(flow).status == "PAUSED"

    def test_ticks_until_nothing_is_ready(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b"), task("c", "forever"), task("d")]})
        engine = FlowEngine(task_handlers={"forever": Forever})
        report = engine.tick_flow_until_has_no_pending(flow)
        assert (report.completed, report.started, report.calls) == (["a", "b"], ["a", "b", "c"], 3)
        assert [each["key"] for each in flow.get_running_tasks()] == ["c"]
        assert engine.tick_flow_until_has_no_pending(flow, max_ticks=1).calls == 1

    def test_ticks_until_nothing_is_ready_can_be_limited(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b"), task("c")]})
        with pytest.raises(MaxTicksError) as caught:
            FlowEngine().tick_flow_until_has_no_pending(flow, max_ticks=2)
        assert (caught.value.unfinished, flow.ticks) == (["c"], 2)


class TestNextTick:
    NOW = ManualClock().now()

    def tick(self, spec: dict[str, Any], handlers: dict[str, Any] | None = None) -> datetime | None:
        engine = FlowEngine(
            task_handlers={
                "forever": Forever,
                "event": lambda task: task.update(status="WAITING"),
                "bad": lambda: 1 / 0,
                **(handlers or {}),
            },
            clock=ManualClock(),
        )
        return engine.tick_flow(Flow.from_flow_spec(spec)).next_tick_at

    def after(self, seconds: float) -> datetime:
        return self.NOW + timedelta(seconds=seconds)

    def test_at_once_while_a_task_is_ready(self) -> None:
        assert self.tick({"tasks": [task("a"), task("b")]}) == self.NOW

    def test_at_once_while_a_task_runs(self) -> None:
        assert self.tick({"tasks": [task("a", "forever")]}) == self.NOW

    @pytest.mark.parametrize("spec", [{}, {"tasks": [task("a")]}, {"tasks": [task("a", "bad")]}])
    def test_never_when_the_flow_has_ended(self, spec: dict[str, Any]) -> None:
        assert self.tick(spec) is None

    def test_never_when_only_an_event_can_move_it(self) -> None:
        assert self.tick({"tasks": [task("a", "event")]}) is None

    def test_at_the_earliest_of_several_times(self) -> None:
        waits = [task(f"t{n}", "wait", precursors=[], task_params={"duration": n}) for n in (300, 60, 120)]
        assert self.tick({"tasks": waits}) == self.after(60)
        assert self.tick({"cfg": {"timeout": 30}, "tasks": waits}) == self.after(30)
        retry = task("bad", "bad", precursors=[], cfg={"retry": {"max_attempts": 2, "delay": 10}})
        assert self.tick({"tasks": [*waits, retry]}) == self.after(10)
        slow = task("slow", "event", precursors=[], cfg={"timeout": 5})
        assert self.tick({"tasks": [*waits, slow]}) == self.after(5)

    def test_a_ready_task_without_a_place_does_not_count(self) -> None:
        spec = {
            "cfg": {"max_running_tasks": 1},
            "tasks": [task("a", "wait", task_params={"duration": 60}), task("b", precursors=[])],
        }
        assert self.tick(spec) == self.after(60)

    def test_at_once_when_an_added_task_is_to_be_skipped(self) -> None:
        def add(flow: Flow) -> None:
            flow.add_task(task("late", precursors=["bad"]))

        bad = task("bad", "bad", precursors=[], cfg={"allow_failure": True})
        assert self.tick({"tasks": [bad, task("a", "add", precursors=[])]}, {"add": add}) == self.NOW

    @pytest.mark.parametrize(
        "time",
        [
            datetime.fromisoformat("2000-01-01T00:01:00+00:00"),
            datetime.fromisoformat("2000-01-01T01:01:00+01:00"),
            "2000-01-01T00:01:00Z",
            "2000-01-01T01:01:00.000+01:00",
        ],
        ids=str,
    )
    def test_a_handler_may_give_its_time_in_any_form(self, time: Any) -> None:
        wait = {"w": lambda task: task.update(status="WAITING", next_tick_at=time)}
        assert self.tick({"tasks": [task("a", "w")]}, wait) == self.after(60)

    @pytest.mark.parametrize("time", ["soon", 5, datetime(2000, 1, 1), ["x"]], ids=str)  # noqa: DTZ001
    def test_a_time_that_is_none_fails_the_task(self, time: Any) -> None:
        engine = FlowEngine(task_handler=lambda task: task.update(status="WAITING", next_tick_at=time))
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        assert engine.tick_flow(flow).failed == ["a"]

    def test_a_task_that_waits_for_an_event_after_a_time_is_not_polled(self) -> None:
        class TimeThenEvent(BaseTaskHandler):
            def initial_tick(self) -> None:
                self.task.update(status="WAITING", next_tick_at=self.task_ctx.now() + timedelta(seconds=60))

            def intermediate_tick(self) -> None:
                self.task["status"] = "WAITING"

        clock = SleepingClock()
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        assert FlowEngine(task_handler=TimeThenEvent, clock=clock).run_flow(flow).status == "RUNNING"
        assert (clock.slept, flow.ticks) == ([60], 2)

    def test_a_clock_that_goes_back_loses_nothing(self) -> None:
        clock = ManualClock()
        engine = FlowEngine(clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "wait", task_params={"duration": 60})]})
        engine.tick_flow(flow)
        clock.advance(-3_600)
        assert engine.tick_flow(flow).next_tick_at == self.after(60)
        clock.advance(3_660)
        engine.tick_flow(flow)
        assert flow.status == "COMPLETED"


class TestSingleTasks:
    def test_a_task_is_ticked_without_a_flow(self) -> None:
        engine = FlowEngine(task_handlers={"value": lambda params: params["x"]})
        one: dict[str, Any] = {"key": "a", "task_type": "value", "task_params": {"x": "$ctx.given"}}
        engine.tick_task(one, {"given": [1]})
        assert (one["status"], one["data"]) == ("COMPLETED", {"result": [1]})

    def test_a_finished_task_is_left_alone(self) -> None:
        one: dict[str, Any] = {"key": "a", "task_type": "nowhere", "status": "SKIPPED"}
        FlowEngine().tick_task(one)
        assert one["status"] == "SKIPPED"

    def test_it_takes_as_many_ticks_as_it_needs(self) -> None:
        class Two(BaseTaskHandler):
            def initial_tick(self) -> None:
                self.data["n"] = 1

            def intermediate_tick(self) -> None:
                self.complete(n=2)

        engine, one = FlowEngine(task_handler=Two), task("a")
        engine.tick_task(one)
        assert (one["status"], one["data"]) == ("RUNNING", {"n": 1})
        engine.tick_task(one)
        assert (one["status"], one["data"]) == ("COMPLETED", {"n": 2})

    @pytest.mark.parametrize(
        ("one", "error"),
        [
            (task("a", "bad"), "ZeroDivisionError"),
            (task("a", "nowhere"), "UnknownTaskTypeError"),
            (task("a", "noop", task_params={"x": "$ctx.nowhere"}), "PathError"),
            (task("a", "odd"), "StatusError"),
            (task("a", "output"), "NotJsonError"),
        ],
        ids=lambda value: value if isinstance(value, str) else value["task_type"],
    )
    def test_what_goes_wrong_is_recorded(self, one: dict[str, Any], error: str) -> None:
        engine = FlowEngine(
            task_handlers={
                "bad": lambda: 1 / 0,
                "odd": lambda task: task.update(status="PENDING"),
                "output": lambda: {"x": {1}},
            }
        )
        one = copy.deepcopy(one)
        engine.tick_task(one)
        assert (one["status"], one["error"]["type"]) == ("FAILED", error)

    def test_overrides_reach_it(self) -> None:
        one = task("a", "print")
        FlowEngine().tick_task(one, tick_fn_for_task_ctx_overrides={"print": lambda: {"x": 1}})
        assert (one["status"], one["data"]) == ("COMPLETED", {"x": 1})
