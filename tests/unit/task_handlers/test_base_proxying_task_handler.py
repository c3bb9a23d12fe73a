from __future__ import annotations

import json

import pytest

from mc.flows.flow import Flow
from mc.task_handlers.bases.base_proxying_task_handler import BaseProxyingTaskHandler


class Twice(BaseProxyingTaskHandler):
    """Runs a task, then another one with what the first left."""

    def generate_proxied_task(self):
        return {"task_type": "count_down", "task_params": {"ticks": 2}}

    def on_proxied_task_finished(self):
        if self.proxied_task["task_type"] == "count_down":
            self.data["first"] = self.proxied_task["data"]["ticks"]
            self.proxy({"task_type": "wait", "task_params": {"duration": "$ctx.flow.data.seconds"}})
        else:
            self.complete(second=self.proxied_task["data"]["due_at"])


def test_a_subclass_decides_what_follows(engine, run):
    engine.registry.register("twice", Twice)
    flow = run({"key": "t", "task_type": "twice"}, data={"seconds": 5})
    assert flow.tasks["t"]["data"] == {"first": 2, "second": "2000-01-01T00:00:05.000000+00:00"}
    assert "proxied_task" not in flow.tasks["t"]


def test_by_default_the_outcome_is_the_outer_tasks(engine, run):
    class Plain(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return {"task_type": self.params["inner"], "data": {"x": 1}}

    engine.registry.register("plain", Plain)
    flow = run({"key": "t", "task_type": "plain", "task_params": {"inner": "noop"}})
    assert flow.tasks["t"]["data"] == {"x": 1}
    flow = run({"key": "t", "task_type": "plain", "task_params": {"inner": "fail"}})
    assert flow.tasks["t"]["error"]["message"] == "no reason"


def test_the_outer_tasks_retry_sees_the_inner_error(engine, run):
    class Failing(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return {"task_type": "fail"}

    engine.registry.register("failing", Failing)
    cfg = {"retry": {"max_attempts": 3, "on": ["ValueError"]}}
    flow = run({"key": "t", "task_type": "failing", "cfg": cfg})
    assert flow.tasks["t"]["attempt"] == 3


def test_a_proxied_sub_flow_survives_a_restart_and_is_dropped_at_the_end(engine):
    class Around(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            task = {"key": "a", "task_type": "count_down", "task_params": {"ticks": 3}}
            return {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": (task,)}}}

    engine.registry.register("around", Around)
    flow = Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "around"}]})
    engine.tick_flow(flow)
    assert len(flow.state.list_sub_flows()) == 1
    flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
    engine.tick_flow(flow)
    engine.tick_flow(flow)
    assert flow.status == "COMPLETED"
    assert flow.ticks == 3
    assert not flow.state.list_sub_flows()
    flow.check_invariants()


@pytest.mark.parametrize("spec", [None, [], {"key": "x"}, {"task_type": 5}])
def test_what_is_no_task_fails(engine, fail_with, spec):
    class Wrong(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return spec

    engine.registry.register("wrong", Wrong)
    message = fail_with({"task_type": "wrong"})
    assert "its proxied task must be a mapping with a task_type" in message


def test_a_task_that_json_cannot_hold_fails(engine, fail_with):
    class Wrong(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return {"task_type": "noop", "task_params": {"x": {1, 2}}}

    engine.registry.register("wrong", Wrong)
    assert "/task_params/x" in fail_with({"task_type": "wrong"})


def test_a_subclass_without_its_method_says_so(engine, fail_with):
    engine.registry.register("empty", type("Empty", (BaseProxyingTaskHandler,), {}))
    assert fail_with({"task_type": "empty"}) == "Empty must define generate_proxied_task."


def test_an_unknown_type_of_the_proxied_task_fails(engine, fail_with):
    class Unknown(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return {"task_type": "nothing"}

    engine.registry.register("unknown", Unknown)
    assert "There is no task type 'nothing'" in fail_with({"task_type": "unknown"})


def test_cancelling_reaches_the_proxied_task(engine):
    stopped = []

    class Stoppable:
        def __init__(self, task, task_ctx):
            self.task = task

        def tick_task(self):
            self.task["status"] = "WAITING"

        def cancel(self):
            stopped.append(self.task["key"])

    class Around(BaseProxyingTaskHandler):
        def generate_proxied_task(self):
            return {"key": "inner", "task_type": "stoppable"}

    engine.registry.register("stoppable", Stoppable)
    engine.registry.register("around", Around)
    flow = Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "around"}]})
    engine.tick_flow(flow)
    engine.cancel_flow(flow)
    assert stopped == ["inner"]
    assert "proxied_task" not in flow.tasks["t"]
    flow.check_invariants()


def test_a_proxying_task_can_be_ticked_alone(engine):
    task = {"key": "t", "task_type": "switch", "task_params": {"control_value": 1}}
    task["task_params"]["default_case"] = {"task": {"task_type": "noop", "data": {"x": 1}}}
    engine.tick_task(task, {})
    assert (task["status"], task["data"]) == ("COMPLETED", {"x": 1})
