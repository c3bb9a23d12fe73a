from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.services import SERVICES, SubFlowState


def sub(*tasks, data=None, task=None, **spec):
    params = {"flow_spec": {"tasks": list(tasks), **spec}}
    if data is not None:
        params["data"] = data
    return {"key": "t", "task_type": "flow", "task_params": params, **(task or {})}


def counting(ticks, **more):
    return {"task_type": "count_down", "task_params": {"ticks": ticks}, **more}


class TestInMemory:
    def test_it_leaves_key_data_and_results(self, run):
        task = sub(
            counting(3, key="a"),
            data={"x": "$ctx.flow.data.x"},
            results={"n": "$ctx.flow.tasks.a.data.ticks"},
        )
        flow = run(task, data={"x": 5})
        assert flow.tasks["t"]["data"] == {"flow_key": "f/t/1", "flow_data": {"x": 5}, "results": {"n": 3}}
        assert flow.ticks == 3

    def test_the_older_spelling_means_the_same(self, run):
        flow = run({**sub(counting(1)), "task_type": "mc.tasks.flow"})
        assert flow.tasks["t"]["data"]["flow_key"] == "f/t/1"

    def test_the_same_flow_can_be_run_again(self, run):
        first = run(sub(counting(2), data={"x": 1}))
        second = run(sub(counting(2), data={"x": 2}))
        assert [flow.tasks["t"]["data"]["flow_data"]["x"] for flow in (first, second)] == [1, 2]

    def test_a_flow_that_was_given_up_does_not_come_back(self, engine, run):
        flow = Flow.from_flow_spec({"key": "f", "tasks": [sub(counting(9), data={"x": 1})]})
        engine.tick_flow(flow)
        assert run(sub(counting(2), data={"x": 2})).tasks["t"]["data"]["flow_data"] == {"x": 2}

    def test_finished_sub_flows_are_forgotten(self, engine, run):
        run(sub(counting(2)))
        run(sub({"task_type": "fail"}))
        assert engine.services.sub_flows._flows == {}

    def test_the_parent_waits_as_long_as_the_sub_flow(self, engine, clock):
        flow = Flow.from_flow_spec({"tasks": [sub({"task_type": "wait", "task_params": {"duration": 60}})]})
        report = engine.tick_flow(flow)
        assert flow.tasks["t"]["status"] == "WAITING"
        assert (report.next_tick_at - clock.now()).total_seconds() == 60
        engine.run_flow(flow)
        assert flow.status == "COMPLETED"

    def test_a_sub_flow_that_waits_for_an_event_lets_the_parent_wait(self, run):
        flow = run(sub({"task_type": "wait_for_ever"}))
        assert flow.tasks["t"]["status"] == "WAITING"
        assert flow.status == "RUNNING"

    def test_the_failure_names_flow_and_task(self, fail_with):
        message = fail_with(sub({"key": "bad", "task_type": "fail", "task_params": {"msg": "boom"}}))
        assert message == "The sub-flow 'f/t/1' failed: task 'bad': ValueError: boom"

    def test_data_that_do_not_keep_to_params_are_listed(self, fail_with):
        params = {"type": "object", "properties": {"n": {"type": "integer"}}}
        assert "/data/n" in fail_with(sub(params=params, data={"n": "x"}))

    def test_parent_and_caller_reach_the_sub_flow(self, engine, run):
        seen = []
        engine.registry.register("see", lambda task_ctx, params: seen.append((task_ctx["db"], params["x"])))
        task = {"task_type": "see", "task_params": {"x": "$ctx.parent.parent.flow.data.x"}}
        run(sub(sub(task)), data={"x": 4}, ctx={"db": "connection"})
        assert seen == [("connection", 4)]

    def test_the_child_knows_its_parent(self, engine, run):
        seen = []

        def see(flow):
            seen.append((flow.key, flow.depth, flow.parent_key, flow.parent_task_key))

        engine.registry.register("see", see)
        switch = {"control_value": 1, "default_case": {"task": {**sub({"task_type": "see"}), "key": "inner"}}}
        run({"key": "outer", "task_type": "switch", "task_params": switch}, sub({"task_type": "see"}))
        assert seen == [("f/outer/1", 1, "f", "outer"), ("f/t/1", 1, "f", "t")]

    def test_another_process_says_that_it_lacks_the_sub_flow(self, engine, clock):
        flow = Flow.from_flow_spec({"key": "f", "tasks": [sub(counting(5))]})
        engine.tick_flow(flow)
        flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
        FlowEngine(clock=clock).tick_flow(flow)
        assert "only through a store" in flow.tasks["t"]["error"]["message"]

    def test_cancelling_reaches_the_sub_flow(self, engine):
        stopped = []

        class Stoppable:
            def __init__(self, task, task_ctx):
                self.task = task

            def tick_task(self):
                self.task["status"] = "WAITING"

            def cancel(self):
                stopped.append(self.task["key"])

        engine.registry.register("stoppable", Stoppable)
        flow = Flow.from_flow_spec({"tasks": [sub({"key": "a", "task_type": "stoppable"})]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow)
        assert stopped == ["a"]
        flow.check_invariants()


class StoredService:
    """A service whose sub-flows are ticked by somebody else."""

    def __init__(self) -> None:
        self.started: dict[str, Flow] = {}
        self.states: dict[str, SubFlowState] = {}
        self.cancelled: list[tuple[str, str]] = []
        self.retried: list[str] = []

    def start(self, flow, parent):
        self.started[flow.key] = flow

    def find(self, key):
        return None

    def poll(self, key):
        return self.states[key]

    def cancel(self, key, reason):
        self.cancelled.append((key, reason))
        return True

    def leave(self, key):
        return None

    def retry(self, key, flow_dict, by, reason):
        self.retried.append(key)
        return True


def keeping(engine, service):
    return {SERVICES: replace(engine.services, sub_flows=service)}


class TestWithAServiceThatTicksByItself:
    @pytest.fixture
    def service(self) -> StoredService:
        return StoredService()

    def start(self, engine, service, **task):
        flow = Flow.from_flow_spec({"key": "f", "tasks": [sub(counting(1), task=task)]})
        report = engine.tick_flow(flow, keeping(engine, service))
        return flow, report

    def wake(self, engine, service, flow):
        flow.tasks["t"]["status"] = "RUNNING"
        return engine.tick_flow(flow, keeping(engine, service))

    def test_a_retry_by_a_person_retries_the_sub_flow_and_waits_for_it(self, engine, service):
        flow, _ = self.start(engine, service)
        service.states["f/t/1"] = SubFlowState(status="FAILED", failure="no luck")
        self.wake(engine, service, flow)
        assert (flow.status, flow.tasks["t"]["status"]) == ("FAILED", "FAILED")
        engine.control(flow, "retry", by="ann")
        report = engine.tick_flow(flow, keeping(engine, service))
        assert (service.retried, list(service.started)) == (["f/t/1"], ["f/t/1"])
        assert (flow.tasks["t"]["status"], report.next_tick_at) == ("WAITING", None)
        service.states["f/t/1"] = SubFlowState(status="COMPLETED", results={"x": 1})
        self.wake(engine, service, flow)
        assert (flow.status, flow.tasks["t"]["data"]["results"]) == ("COMPLETED", {"x": 1})

    def test_the_parent_waits_to_be_woken(self, engine, service):
        flow, report = self.start(engine, service)
        assert list(service.started) == ["f/t/1"]
        assert flow.tasks["t"]["status"] == "WAITING"
        assert flow.tasks["t"]["data"] == {"flow_key": "f/t/1"}
        assert report.next_tick_at is None
        service.states["f/t/1"] = SubFlowState(status="RUNNING")
        self.wake(engine, service, flow)
        assert flow.tasks["t"]["status"] == "WAITING"
        service.states["f/t/1"] = SubFlowState(status="COMPLETED", data={"x": 1}, results=None)
        self.wake(engine, service, flow)
        assert flow.tasks["t"]["data"] == {"flow_key": "f/t/1", "flow_data": {"x": 1}, "results": {}}
        flow.check_invariants()

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (SubFlowState(status="FAILED", failure="task 'x': E: y"), "failed: task 'x': E: y"),
            (SubFlowState(status="CANCELLED"), "was cancelled."),
        ],
    )
    def test_another_end_fails_the_task(self, engine, service, state, message):
        flow, _ = self.start(engine, service)
        service.states["f/t/1"] = state
        self.wake(engine, service, flow)
        assert flow.tasks["t"]["error"]["message"] == f"The sub-flow 'f/t/1' {message}"

    def test_a_new_attempt_starts_a_new_sub_flow(self, engine, service):
        flow, _ = self.start(engine, service, cfg={"retry": {"max_attempts": 2}})
        service.states["f/t/1"] = SubFlowState(status="FAILED")
        self.wake(engine, service, flow)
        engine.tick_flow(flow, keeping(engine, service))
        assert list(service.started) == ["f/t/1", "f/t/2"]
        assert flow.tasks["t"]["data"]["flow_key"] == "f/t/2"

    def test_cancelling_reaches_the_service(self, engine, service):
        flow, _ = self.start(engine, service)
        engine.cancel_flow(flow, task_ctx=keeping(engine, service))
        assert service.cancelled == [("f/t/1", "The task 't' that waits for it was cancelled.")]

    def test_cancelling_reaches_the_service_from_an_inner_level(self, engine, service):
        params = {"flow_spec": {"tasks": [sub(counting(1))]}}
        flow = Flow.from_flow_spec(
            {"key": "f", "tasks": [{"key": "i", "task_type": "inline_flow", "task_params": params}]}
        )
        engine.tick_flow(flow, keeping(engine, service))
        engine.cancel_flow(flow, task_ctx=keeping(engine, service))
        assert [key for key, _ in service.cancelled] == ["f/i/1/t/1"]
