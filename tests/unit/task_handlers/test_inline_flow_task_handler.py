from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from mc.flows.calls.task_call import CallHost, make_steps
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.services import SERVICES


def noop(**more):
    return {"task_type": "noop", **more}


def counting(ticks, **more):
    return {"task_type": "count_down", "task_params": {"ticks": ticks}, **more}


def inline(*tasks, task=None, data=None, **spec):
    params = {"flow_spec": {"tasks": list(tasks), **spec}}
    if data is not None:
        params["data"] = data
    return {"key": "t", "task_type": "inline_flow", "task_params": params, **(task or {})}


def nest(task, levels):
    for level in range(levels):
        task = inline(task, task={"key": f"level_{level}"})
    return task


def make(engine, task, **spec):
    flow = Flow.from_flow_spec({"key": "f", "tasks": [task], **spec})
    return flow, engine.tick_flow(flow)


class TestWhatItLeaves:
    def test_data_and_results(self, run):
        task = inline(noop(key="a", data={"n": 7}), results={"n": "$ctx.flow.tasks.a.data.n"})
        task["task_params"]["flow_spec"]["data"] = {"x": 1, "y": 1}
        task["task_params"]["data"] = {"y": "$ctx.flow.data.y"}
        flow = run(task, data={"y": 2})
        assert flow.tasks["t"]["data"] == {"flow_data": {"x": 1, "y": 2}, "results": {"n": 7}}
        assert "flow_dict" not in flow.tasks["t"]

    def test_without_results_they_are_empty(self, run):
        assert run(inline(noop())).tasks["t"]["data"] == {"flow_data": {}, "results": {}}

    def test_an_empty_sub_flow_completes(self, run):
        assert run(inline()).tasks["t"]["data"] == {"flow_data": {}, "results": {}}

    def test_the_spec_of_the_flow_is_not_changed(self, run):
        task = inline(
            {"key": "a", "task_type": "print", "task_params": {"msg": "$ctx.flow.data.x"}}, data={"x": 1}
        )
        flow = run(task)
        assert flow.spec["tasks"] == [task]


class TestTicks:
    def test_a_tick_of_the_task_is_a_tick_of_the_sub_flow(self, run):
        flow = run(inline(counting(3), counting(2)))
        assert flow.ticks == 5

    def test_the_report_tells_of_nested_calls(self, engine):
        _, report = make(engine, inline(counting(2, precursors=[]), noop(precursors=[])))
        assert report.calls == 3
        assert report.progressed

    def test_polling_is_no_progress(self, engine):
        flow, _ = make(engine, inline(counting(3)))
        report = engine.tick_flow(flow)
        assert not report.progressed
        assert flow.tasks["t"]["status"] == "RUNNING"

    def test_it_waits_as_long_as_its_sub_flow(self, engine, clock):
        task = {"task_type": "wait", "task_params": {"duration": 60}}
        flow, report = make(engine, inline(task, {**task, "task_params": {"duration": 30}, "precursors": []}))
        assert flow.tasks["t"]["status"] == "WAITING"
        assert (report.next_tick_at - clock.now()).total_seconds() == 30
        clock.advance(30)
        report = engine.tick_flow(flow)
        assert (report.next_tick_at - clock.now()).total_seconds() == 30
        clock.advance(30)
        engine.tick_flow(flow)
        assert flow.status == "COMPLETED"

    def test_it_waits_for_an_event_as_its_sub_flow_does(self, engine):
        flow, report = make(engine, inline({"task_type": "wait_for_ever"}))
        assert flow.tasks["t"]["status"] == "WAITING"
        assert report.next_tick_at is None

    def test_a_wait_for_an_event_after_a_wait_for_a_time_has_no_time(self, engine, clock):
        wait = {"task_type": "wait", "task_params": {"duration": 5}}
        flow, _ = make(engine, inline(wait, {"task_type": "wait_for_ever"}))
        clock.advance(5)
        engine.tick_flow(flow)
        report = engine.tick_flow(flow)
        assert flow.tasks["t"]["status"] == "WAITING"
        assert report.next_tick_at is None

    def test_effects_inside_are_effects_of_the_task(self, engine):
        def write_file():
            pass

        engine.registry.register("write_file", write_file)
        for inner, expected in (("write_file", True), ("noop", False)):
            flow = Flow.from_flow_spec({"tasks": [nest({"task_type": inner}, 3)]})
            tick = engine.begin_tick(flow)
            calls = []
            make_steps(CallHost(), (calls.append(call) or call for call in tick.calls()))
            tick.finish()
            assert [call.has_effects for call in calls if call] == [expected]

    def test_each_call_with_effects_is_saved_where_the_runner_can(self, engine):
        done, saved = [], []
        engine.registry.register("write_file", lambda task: done.append(task["key"]))
        tasks = [{"key": f"w{n}", "task_type": "write_file", "precursors": []} for n in range(3)]
        flow = Flow.from_flow_spec({"tasks": [inline(*tasks, noop(precursors=[]))]})

        def save():
            states = flow.to_flow_dict()["graph"]["tasks"]["t"]["flow_dict"]["graph"]["tasks"]
            saved.append(sum(state["status"] == "COMPLETED" for state in states.values()) - 1)
            return True

        engine.tick_flow(flow, {SERVICES: replace(engine.services, save_effects=save)})
        assert saved == [1, 2, 3]

    def test_after_a_save_that_failed_nothing_more_is_called(self, engine):
        done = []
        engine.registry.register("write_file", lambda task: done.append(task["key"]))
        tasks = [{"key": f"w{n}", "task_type": "write_file", "precursors": []} for n in range(3)]
        flow = Flow.from_flow_spec({"tasks": [inline(inline(*tasks))]})
        engine.tick_flow(flow, {SERVICES: replace(engine.services, save_effects=lambda: False)})
        assert done == ["w0"]

    def test_a_first_tick_that_was_saved_halfway_goes_on_where_it_was(self, engine):
        done, saved = [], []
        engine.registry.register("write_file", lambda task: done.append(task["key"]))
        tasks = [{"key": f"w{n}", "task_type": "write_file", "precursors": []} for n in range(3)]
        switch = {"control_value": "$ctx.flow.data.x", "default_case": {"task": inline(*tasks)}}
        spec = {"tasks": [{"key": "s", "task_type": "switch", "task_params": switch}], "data": {"x": 1}}
        flow = Flow.from_flow_spec(spec)

        def save():
            saved.append(json.loads(json.dumps(flow.to_flow_dict())))
            return len(saved) < 2

        engine.tick_flow(flow, {SERVICES: replace(engine.services, save_effects=save)})
        flow = Flow.from_flow_dict(saved[-1])
        engine.run_flow(flow)
        assert done == ["w0", "w1", "w2"]
        flow.check_invariants()

    def test_the_living_sub_flow_is_written_only_when_the_flow_is(self, engine):
        flow, _ = make(engine, inline(counting(3)))
        assert "flow_dict" not in flow.state.tasks.nodes["t"].task
        saved = flow.to_flow_dict()["graph"]["tasks"]["t"]["flow_dict"]
        assert saved["graph"]["tasks"]["task_1"]["data"] == {"ticks": 1}


class TestContext:
    def test_the_parent_can_be_read(self, run, capsys):
        msg = "${ctx.parent.flow.data.x} ${ctx.parent.task.key} ${ctx.flow.depth} ${ctx.flow.parent_key}"
        run(inline({"task_type": "print", "task_params": {"msg": msg}}), data={"x": "X"})
        assert capsys.readouterr().out == "X t 1 f\n"

    def test_the_outermost_flow_can_be_read_from_twelve_levels_below(self, run, capsys):
        msg = f"$ctx.{'parent.' * 12}flow.data.x"
        flow = run(nest({"task_type": "print", "task_params": {"msg": msg}}, 12), data={"x": "top"})
        assert flow.status == "COMPLETED"
        assert capsys.readouterr().out == "top\n"

    def test_what_the_caller_of_the_tick_passed_reaches_every_level(self, engine, run):
        seen = []
        engine.registry.register("see", lambda task_ctx: seen.append(task_ctx["db"]))
        run(nest({"task_type": "see"}, 3), ctx={"db": "connection"})
        assert seen == ["connection"]

    def test_functions_in_the_place_of_handlers_reach_every_level(self, engine):
        seen = []
        flow = Flow.from_flow_spec({"tasks": [nest({"task_type": "print"}, 2)]})
        engine.tick_flow(
            flow, tick_fn_for_task_ctx_overrides={"print": lambda task: seen.append(task["key"])}
        )
        assert flow.status == "COMPLETED"
        assert seen == ["task_1"]

    def test_idempotency_keys_are_unique_and_repeat_for_the_same_attempt(self, engine):
        seen = []
        engine.registry.register("see", lambda task_ctx: seen.append(task_ctx["idempotency_key"]))
        task = inline({"key": "a", "task_type": "see"}, inline({"key": "a", "task_type": "see"}))
        for _ in range(2):
            flow, _ = make(engine, task)
            engine.run_flow(flow)
        assert seen == ["f/t/1/a/1", "f/t/1/t/1/a/1"] * 2


class TestFailures:
    def test_the_failing_task_is_named(self, fail_with):
        task = inline(noop(), {"key": "bad", "task_type": "fail", "task_params": {"msg": "boom"}})
        assert fail_with(task) == "The sub-flow failed: task 'bad': ValueError: boom"

    def test_the_failing_task_is_named_through_all_levels(self, run):
        flow = run(nest({"key": "bad", "task_type": "fail", "task_params": {"msg": "boom"}}, 3))
        message = flow.tasks["level_2"]["error"]["message"]
        assert [name in message for name in ("'level_1'", "'level_0'", "'bad'", "boom")] == [True] * 4

    def test_a_new_attempt_begins_a_new_sub_flow(self, engine):
        keys = []

        def flaky(task_ctx):
            keys.append(task_ctx["idempotency_key"])
            if len(keys) == 1:
                raise ConnectionError

        engine.registry.register("flaky", flaky)
        retry = {"cfg": {"retry": {"max_attempts": 2, "on": ["FlowError"]}}}
        flow, _ = make(engine, inline({"key": "a", "task_type": "flaky"}, task=retry))
        engine.run_flow(flow)
        assert keys == ["f/t/1/a/1", "f/t/2/a/1"]
        flow.check_invariants()

    def test_data_that_do_not_keep_to_params_are_listed(self, fail_with):
        params = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}}
        message = fail_with(inline(noop(), params=params, data={"n": "x", "m": "y"}))
        assert "/data/n" in message
        assert "/data/m" in message

    @pytest.mark.parametrize(
        ("params", "problem"),
        [
            ({}, "task_params.flow_spec is missing; expected a mapping"),
            ({"flow_spec": []}, "task_params.flow_spec is list; expected a mapping"),
            ({"flow_spec": {"tasks": 3}}, "the tasks of the flow_spec must be a list of mappings"),
            ({"flow_spec": {"data": [1]}}, "the data of the flow_spec is list; expected a mapping"),
            ({"flow_spec": {}, "data": 3}, "task_params.data is number; expected a mapping"),
            ({"flow_spec": {"tasks": [noop(key="a"), noop(key="a")]}}, "'a'"),
        ],
    )
    def test_what_is_wrong_with_the_parameters_is_said(self, fail_with, params, problem):
        assert problem in fail_with({"task_type": "inline_flow", "task_params": params})

    def test_too_many_flows_inside_each_other_are_refused(self, engine):
        flow = Flow.from_flow_spec({"tasks": [inline(noop())]}, depth=50)
        engine.tick_flow(flow)
        assert "51 flows deep; at most 50" in flow.tasks["t"]["error"]["message"]

    def test_a_task_ticked_without_a_flow_says_so(self, engine):
        task = inline(noop())
        engine.tick_task(task, {})
        assert "is ticked in a flow" in task["error"]["message"]


class TestEnds:
    @pytest.fixture
    def stopped(self, engine: FlowEngine) -> list[str]:
        keys: list[str] = []

        class Stoppable:
            def __init__(self, task, task_ctx):
                self.task, self.task_ctx = task, task_ctx

            def tick_task(self):
                self.task["status"] = "WAITING"

            def cancel(self):
                keys.append(self.task_ctx["idempotency_key"])

        engine.registry.register("stoppable", Stoppable)
        return keys

    def test_cancelling_the_flow_cancels_what_runs_in_every_level(self, engine, stopped):
        flow, _ = make(engine, nest({"key": "a", "task_type": "stoppable"}, 2))
        engine.cancel_flow(flow)
        assert stopped == ["f/level_1/1/level_0/1/a/1"]
        assert not flow.state.list_sub_flows()
        assert "flow_dict" not in flow.tasks["level_1"]
        flow.check_invariants()

    def test_a_saved_sub_flow_is_cancelled_too(self, engine, stopped):
        flow, _ = make(engine, nest({"key": "a", "task_type": "stoppable"}, 2))
        flow = Flow.from_flow_dict(flow.to_flow_dict())
        engine.cancel_flow(flow)
        assert stopped == ["f/level_1/1/level_0/1/a/1"]

    def test_the_failure_of_another_task_cancels_it(self, run, stopped):
        flow = run(
            inline({"key": "a", "task_type": "stoppable"}),
            {"key": "c", "task_type": "count_down", "precursors": [], "task_params": {"ticks": 2}},
            {"key": "b", "task_type": "fail", "precursors": ["c"]},
        )
        assert flow.tasks["t"]["status"] == "CANCELLED"
        assert stopped == ["f/t/1/a/1"]

    def test_its_timeout_cancels_what_runs_in_it(self, engine, clock, stopped):
        flow, report = make(
            engine, inline({"key": "a", "task_type": "stoppable"}, task={"cfg": {"timeout": 5}})
        )
        assert (report.next_tick_at - clock.now()).total_seconds() == 5
        clock.advance(5)
        engine.tick_flow(flow)
        assert flow.tasks["t"]["error"]["type"] == "TimeoutError"
        assert stopped == ["f/t/1/a/1"]


class TestAsync:
    def test_coroutine_handlers_in_sub_flows_are_awaited_concurrently(self, clock):
        running = []
        most = []

        async def work(task):
            running.append(task["key"])
            most.append(len(running))
            await asyncio.sleep(0)
            running.remove(task["key"])
            return {"done": True}

        engine = FlowEngine(task_handlers={"work": work}, clock=clock)
        tasks = [{"key": f"w{n}", "task_type": "work", "precursors": []} for n in range(3)]
        spec = {"tasks": [inline(*tasks, task={"key": key, "precursors": []}) for key in ("s", "t")]}
        flow = Flow.from_flow_spec(spec)
        asyncio.run(engine.arun_flow(flow))
        assert flow.status == "COMPLETED"
        assert max(most) == 6
        flow.check_invariants()

    def test_the_sync_front_says_what_to_do(self, run, clock):
        async def work():
            raise AssertionError("not awaited")

        engine = FlowEngine(task_handlers={"work": work}, clock=clock)
        flow = run(nest({"task_type": "work"}, 2), on=engine)
        assert "await engine.atick_flow(flow)" in flow.tasks["level_1"]["error"]["message"]

    def test_nothing_is_lost_between_the_two_ways(self, engine):
        flow, _ = make(engine, nest(counting(3), 3))
        flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
        asyncio.run(engine.arun_flow(flow))
        assert flow.status == "COMPLETED"
        assert flow.ticks == 3
