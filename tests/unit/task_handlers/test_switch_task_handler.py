from __future__ import annotations

import pytest

from mc.flows.flow import Flow


def leave(value, **more):
    return {"task_type": "noop", "data": {"chosen": value}, **more}


def switch(control_value, *cases, default=None, **more):
    params = {"control_value": control_value, "cases": list(cases)}
    if default is not None:
        params["default_case"] = {"task": default}
    return {"key": "t", "task_type": "switch", "task_params": params, **more}


def case(op, arg, task):
    return {"condition": {"op": op, "arg": arg}, "task": task}


def test_the_first_case_that_holds_is_chosen(run):
    flow = run(switch(5, case("gt", 9, leave("a")), case("gt", 3, leave("b")), case("gt", 1, leave("c"))))
    assert flow.tasks["t"]["data"] == {"chosen": "b"}
    assert flow.tasks["t"]["status"] == "COMPLETED"
    assert "proxied_task" not in flow.tasks["t"]


def test_without_a_case_that_holds_the_default_is_chosen(run):
    flow = run(switch("x", case("eq", "y", leave("a")), default=leave("d")))
    assert flow.tasks["t"]["data"] == {"chosen": "d"}


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_falsy_control_values_are_values(run, value):
    flow = run(switch(value, case("eq", value, leave("a")), default=leave("d")))
    assert flow.tasks["t"]["data"] == {"chosen": "a"}


def test_zero_is_not_false(run):
    flow = run(switch(0, case("eq", False, leave("a")), default=leave("d")))
    assert flow.tasks["t"]["data"] == {"chosen": "d"}


def test_value_and_argument_may_be_references(run):
    flow = run(
        switch("$ctx.flow.data.n", case("lt", "$ctx.flow.data.limit", leave("low"))),
        data={"n": 1, "limit": 2},
    )
    assert flow.tasks["t"]["data"] == {"chosen": "low"}


def test_references_of_a_case_that_is_not_chosen_are_not_looked_at(run):
    broken = {"task_type": "print", "task_params": {"msg": "$ctx.flow.data.nothing"}}
    flow = run(switch(1, case("eq", 2, broken), case("eq", 1, leave("b"))))
    assert flow.status == "COMPLETED"


def test_references_of_the_chosen_task_are_resolved(run, capsys):
    task = {"task_type": "print", "task_params": {"msg": "${ctx.task.key} ${ctx.flow.data.x}"}}
    run(switch(1, default=task), data={"x": "y"})
    assert capsys.readouterr().out == "t y\n"


def test_the_chosen_task_may_have_a_key_of_its_own(run, capsys):
    run(switch(1, default={"key": "mine", "task_type": "print", "task_params": {"msg": "${ctx.task.key}"}}))
    assert capsys.readouterr().out == "mine\n"


def test_a_chosen_task_takes_the_ticks_that_it_needs(run):
    flow = run(switch(1, default={"task_type": "count_down", "task_params": {"ticks": 4}}))
    assert flow.tasks["t"]["data"] == {"ticks": 4}
    assert flow.ticks == 4


def test_a_chosen_task_that_waits_lets_the_switch_wait(engine, clock):
    task = switch(1, default={"task_type": "wait", "task_params": {"duration": 60}})
    flow = Flow.from_flow_spec({"tasks": [task]})
    report = engine.tick_flow(flow)
    assert flow.tasks["t"]["status"] == "WAITING"
    assert (report.next_tick_at - clock.now()).total_seconds() == 60
    clock.advance(60)
    engine.tick_flow(flow)
    assert flow.status == "COMPLETED"


def test_without_a_case_and_a_default_the_task_fails(fail_with):
    message = fail_with(switch({"a": 1}, case("eq", 1, leave("x"))))
    assert 'none of its 1 cases holds for the control_value {"a":1}, and it has no default_case' in message


def test_a_failure_of_the_chosen_task_is_the_switchs(run):
    flow = run(switch(1, default={"task_type": "fail", "task_params": {"msg": "boom"}}))
    error = flow.tasks["t"]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "boom")
    assert "proxied_task" not in flow.tasks["t"]


def test_values_that_have_no_order_fail_and_are_named(fail_with):
    task = switch("$ctx.flow.data.n", case("gt", 3, leave("a")))
    message = fail_with(task, data={"n": "many"})
    assert "Cannot compare $ctx.flow.data.n, which is text, with number" in message


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "task_params.control_value is missing"),
        ({"control_value": 1, "cases": {}}, "task_params.cases is mapping; expected a list"),
        ({"control_value": 1, "cases": [5]}, "task_params.cases[0] must be a mapping"),
        ({"control_value": 1, "cases": [{"task": {}}]}, "task_params.cases[0].condition must be a mapping"),
        ({"control_value": 1, "cases": [{"condition": {"op": "equals", "arg": 1}}]}, "Unknown operator"),
        ({"control_value": 1, "cases": [{"condition": {"op": "eq"}}]}, 'needs "arg"'),
        (
            {"control_value": 1, "cases": [{"condition": {"op": "eq", "arg": 1}}]},
            "cases[0].task must be a task",
        ),
        ({"control_value": 1, "default_case": {"task": {"key": "x"}}}, "default_case.task must be a task"),
    ],
)
def test_what_is_wrong_with_the_parameters_is_said(fail_with, params, problem):
    assert problem in fail_with({"task_type": "switch", "task_params": params})


class TestCfgOfTheChosenTask:
    def test_it_is_tried_again(self, engine, clock):
        keys = []

        def flaky(task_ctx):
            keys.append(task_ctx["idempotency_key"])
            if len(keys) < 3:
                raise ConnectionError("try again")

        engine.registry.register("flaky", flaky)
        cfg = {"retry": {"max_attempts": 3, "delay": 10}}
        params = {"x": "$ctx.flow.data.x"}
        task = switch(1, default={"task_type": "flaky", "cfg": cfg, "task_params": params})
        flow = Flow.from_flow_spec({"key": "f", "tasks": [task], "data": {"x": 1}})
        engine.tick_flow(flow)
        assert flow.tasks["t"]["status"] == "WAITING"
        assert flow.tasks["t"]["proxied_task"]["task_params"] == params
        engine.run_flow(flow)
        assert flow.tasks["t"]["status"] == "COMPLETED"
        assert keys == ["f/t/1", "f/t/1/2", "f/t/1/3"]
        assert (clock.now().minute, clock.now().second) == (0, 20)
        flow.check_invariants()

    def test_woken_too_early_it_is_not_tried_again(self, engine):
        cfg = {"retry": {"max_attempts": 2, "delay": 10}}
        flow = Flow.from_flow_spec({"tasks": [switch(1, default={"task_type": "fail", "cfg": cfg})]})
        engine.tick_flow(flow)
        flow.tasks["t"]["status"] = "RUNNING"
        engine.tick_flow(flow)
        assert flow.tasks["t"]["proxied_task"]["attempt"] == 1
        assert flow.tasks["t"]["status"] == "WAITING"

    def test_what_runs_in_it_is_cancelled_when_its_time_is_up(self, engine, run):
        stopped = []

        class Stoppable:
            def __init__(self, task, task_ctx):
                self.task = task

            def tick_task(self):
                self.task["status"] = "WAITING"

            def cancel(self):
                stopped.append(self.task["key"])

        engine.registry.register("stoppable", Stoppable)
        params = {"flow_spec": {"tasks": [{"key": "inner", "task_type": "stoppable"}]}}
        run(switch(1, default={"task_type": "inline_flow", "task_params": params, "cfg": {"timeout": 5}}))
        assert stopped == ["inner"]

    def test_its_time_is_limited(self, run):
        task = {"task_type": "wait", "task_params": {"duration": 60}, "cfg": {"timeout": 5}}
        flow = run(switch(1, default=task))
        assert flow.tasks["t"]["error"]["type"] == "TimeoutError"
        assert "longer than its cfg.timeout (5)" in flow.tasks["t"]["error"]["message"]
        assert flow.finished_at == "2000-01-01T00:00:05.000000+00:00"

    def test_its_condition_may_skip_it(self, run):
        condition = {"value": "$ctx.flow.data.on", "op": "is_true"}
        flow = run(switch(1, default=leave("x", cfg={"when": condition})), data={"on": False})
        assert flow.tasks["t"]["status"] == "SKIPPED"

    def test_it_may_be_allowed_to_fail(self, run):
        flow = run(switch(1, default={"task_type": "fail", "cfg": {"allow_failure": True}}))
        assert flow.tasks["t"]["status"] == "FAILED"
        assert flow.status == "COMPLETED"
