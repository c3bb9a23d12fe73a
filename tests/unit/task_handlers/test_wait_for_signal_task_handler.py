"""The task type `wait_for_signal`, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowFormatError, NotJsonError, SignalError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine

INTEGER = {"type": "integer"}


def wait(key: str = "w", signal: str = "go", **params: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "wait_for_signal", "task_params": {"signal": signal, **params}}


def inline(key: str, *tasks: dict[str, Any], task_type: str = "inline_flow") -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "task_params": {"flow_spec": {"tasks": list(tasks)}}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(clock=clock)


def begin(engine: FlowEngine, *tasks: dict[str, Any]) -> Flow:
    """Make a flow whose tasks all start at once, and tick it until it waits."""
    flow = engine.flow_spec_to_flow({"tasks": [{"precursors": [], **task} for task in tasks]}, key="f")
    engine.run_flow(flow)
    return flow


def taken(flow: Flow) -> dict[str, Any]:
    return {
        key: task["data"]["signal"]
        for key, task in flow.tasks.items()
        if task["status"] == "COMPLETED" and "signal" in task["data"]
    }


class TestTheSignal:
    def test_completes_the_task_that_waits_for_it(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait())
        assert flow.count_tasks() == {"WAITING": 1}
        assert engine.signal(flow, "go", {"n": [1]})
        assert engine.run_flow(flow).status == "COMPLETED"
        assert flow.tasks["w"]["data"] == {"signal": {"n": [1]}}
        assert "waits_for" not in flow.tasks["w"]
        flow.check_invariants()

    def test_that_came_before_the_wait_is_not_lost(self, engine: FlowEngine) -> None:
        flow = engine.flow_spec_to_flow({"tasks": [{"key": "a", "task_type": "noop"}, wait()]})
        engine.signal(flow, "go", 1)
        assert engine.run_flow(flow).status == "COMPLETED"
        assert taken(flow) == {"w": 1}

    def test_is_counted_once_by_its_id_also_after_it_was_taken(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait("a"), wait("b"))
        assert engine.signal(flow, "go", 1, id="x")
        assert not engine.signal(flow, "go", 1, id="x")
        engine.run_flow(flow)
        assert not engine.signal(flow, "go", 1, id="x")
        engine.run_flow(flow)
        assert taken(flow) == {"a": 1}

    @pytest.mark.parametrize(("name", "data"), [("go", 2), ("stop", 1)])
    def test_is_refused_if_its_id_belongs_to_another_one(
        self, engine: FlowEngine, name: str, data: Any
    ) -> None:
        flow = begin(engine, wait())
        engine.signal(flow, "go", 1, id="x")
        with pytest.raises(SignalError, match="'x' before"):
            engine.signal(flow, name, data, id="x")

    def test_of_another_name_wakes_nobody(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait())
        engine.signal(flow, "stop")
        assert engine.tick_flow(flow).calls == 0
        assert flow.count_tasks() == {"WAITING": 1}

    def test_is_refused_by_a_finished_flow(self, engine: FlowEngine) -> None:
        flow = begin(engine, {"key": "a", "task_type": "noop"})
        with pytest.raises(SignalError, match="is COMPLETED"):
            engine.signal(flow, "go")

    @pytest.mark.parametrize("text", ["", " ", "x" * 256, "a\0b", "mc.approval:1", 5])
    def test_has_a_name_and_an_id_that_can_be_used(self, engine: FlowEngine, text: Any) -> None:
        flow = begin(engine, wait())
        with pytest.raises(SignalError):
            engine.signal(flow, text)
        with pytest.raises(SignalError):
            engine.signal(flow, "go", id=text)
        assert engine.tick_flow(flow).calls == 0

    def test_has_data_that_json_can_hold(self, engine: FlowEngine) -> None:
        with pytest.raises(NotJsonError):
            engine.signal(begin(engine, wait()), "go", {1, 2})


class TestOrder:
    def test_each_wait_takes_one_signal_in_the_order_in_which_they_came(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait("a"), wait("b"), wait("c"))
        engine.signal(flow, "go", 1)
        engine.signal(flow, "go", 2)
        engine.run_flow(flow)
        assert taken(flow) == {"a": 1, "b": 2}

    def test_the_wait_that_began_first_gets_the_first(self, engine: FlowEngine, clock: ManualClock) -> None:
        nap = {"key": "nap", "task_type": "wait", "task_params": {"duration": "1h"}}
        flow = engine.flow_spec_to_flow(
            {
                "tasks": [
                    {**wait("late"), "precursors": ["nap"]},
                    {**nap, "precursors": []},
                    {**wait("early"), "precursors": []},
                ]
            }
        )
        engine.tick_flow(flow)
        clock.advance(3600)
        engine.tick_flow(flow)
        engine.tick_flow(flow)
        assert flow.count_tasks() == {"WAITING": 2, "COMPLETED": 1}
        engine.signal(flow, "go", 1)
        engine.signal(flow, "go", 2)
        engine.run_flow(flow)
        assert taken(flow) == {"early": 1, "late": 2}

    def test_a_signal_is_not_lost_with_the_wait_that_was_to_get_it(
        self, engine: FlowEngine, clock: ManualClock
    ) -> None:
        late = {**wait("late"), "cfg": {"timeout": "1h", "allow_failure": True}}
        flow = engine.flow_spec_to_flow({"tasks": [{"precursors": [], **task} for task in (late, wait("b"))]})
        engine.tick_flow(flow)
        clock.advance(3600)
        engine.signal(flow, "go", 1)
        assert engine.run_flow(flow).status == "COMPLETED"
        assert flow.tasks["late"]["status"] == "FAILED"
        assert taken(flow) == {"b": 1}
        flow.check_invariants()


class TestInside:
    def test_other_tasks_waits_take_the_signals_of_the_flow(self, engine: FlowEngine) -> None:
        proxied = {k: v for k, v in wait().items() if k != "key"}
        switch = {
            "key": "switch",
            "task_type": "switch",
            "task_params": {"control_value": 1, "default_case": {"task": proxied}},
        }
        spread = {
            "key": "spread",
            "task_type": "spread",
            "task_params": {"items": [1, 2], "mapping_params": {"skeleton": proxied, "wirings": []}},
        }
        loop = inline("loop", wait("x"), task_type="loop")
        loop["task_params"]["max_iterations"] = 2
        deep = inline("deep", inline("deeper", switch))
        flow = begin(engine, deep, spread, loop, inline("sub", wait("y"), task_type="flow"))
        for number in range(6):
            assert flow.status == "RUNNING"
            engine.signal(flow, "go", number)
            engine.run_flow(flow)
            flow.check_invariants()
        assert flow.status == "COMPLETED"
        assert flow.tasks["spread"]["data"]["results"] == [{"signal": 1}, {"signal": 2}]

    def test_waits_of_a_flow_that_was_written_and_read_are_woken(self, engine: FlowEngine) -> None:
        flow = begin(engine, inline("a", wait("x")), wait("w"))
        engine.signal(flow, "go", 1)
        engine.signal(flow, "go", 2)
        again = Flow.from_flow_dict(flow.to_flow_dict())
        assert again.to_flow_dict() == flow.to_flow_dict()
        assert engine.run_flow(again).status == "COMPLETED"
        assert taken(again) == {"w": 2}

    @pytest.mark.parametrize(
        "signals", [{}, [5], [{"id": "x"}], [{"id": "x", "name": "n", "sent_at": "then"}], [{"other": 1}]]
    )
    def test_a_flow_dict_with_other_signals_is_refused(self, engine: FlowEngine, signals: Any) -> None:
        flow_dict = begin(engine, wait()).to_flow_dict()
        if signals == {}:
            signals = {"go": 1}
        with pytest.raises(FlowFormatError, match="/signals"):
            Flow.from_flow_dict({**flow_dict, "signals": signals})


class TestTimeout:
    def test_without_a_default_fails_the_task(self, engine: FlowEngine, clock: ManualClock) -> None:
        flow = engine.flow_spec_to_flow({"tasks": [wait(timeout="1h")]})
        report = engine.tick_flow(flow)
        assert report.next_tick_at is not None
        assert (report.next_tick_at - clock.now()).total_seconds() == 3600
        clock.advance(3600)
        engine.tick_flow(flow)
        error = flow.tasks["w"]["error"]
        assert (flow.status, error["type"]) == ("FAILED", "TimeoutError")
        assert error["message"] == "No signal 'go' came within the timeout (1h)."

    def test_with_a_default_completes_it(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait(timeout="1h", default=None))
        assert (flow.status, taken(flow)) == ("COMPLETED", {"w": None})

    def test_a_signal_that_has_come_by_then_is_taken(self, engine: FlowEngine, clock: ManualClock) -> None:
        flow = engine.flow_spec_to_flow({"tasks": [wait(timeout="1h")]})
        engine.tick_flow(flow)
        clock.advance(7200)
        engine.signal(flow, "go", 1)
        engine.run_flow(flow)
        assert taken(flow) == {"w": 1}

    def test_of_zero_looks_once(self, engine: FlowEngine) -> None:
        assert taken(begin(engine, wait(timeout=0, default="none"))) == {"w": "none"}

    def test_is_counted_anew_for_another_attempt(self, engine: FlowEngine, clock: ManualClock) -> None:
        flow = engine.flow_spec_to_flow(
            {"tasks": [{**wait(timeout="1h"), "cfg": {"retry": {"max_attempts": 2, "on": ["TimeoutError"]}}}]}
        )
        engine.tick_flow(flow)
        clock.advance(3600)
        engine.tick_flow(flow)
        engine.tick_flow(flow)
        assert flow.count_tasks() == {"WAITING": 1}
        engine.signal(flow, "go", 1)
        assert engine.run_flow(flow).status == "COMPLETED"


class TestSchema:
    def test_data_that_fit_no_wait_are_refused_with_the_place(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait(schema={"type": "object", "properties": {"n": INTEGER}}))
        with pytest.raises(SignalError) as caught:
            engine.signal(flow, "go", {"n": "x"}, id="1")
        assert [(each.code[:5], each.pointer) for each in caught.value.problems] == [("MC161", "/data/n")]
        assert caught.value.to_dict()["error"]["problems"][0]["pointer"] == "/data/n"
        assert engine.signal(flow, "go", {"n": 1}, id="1")

    @pytest.mark.parametrize(
        "task",
        [
            {**wait(schema=INTEGER), "precursors": ["first"]},
            {**inline("i", wait(schema=INTEGER)), "precursors": ["first"]},
            inline("i", wait(schema=INTEGER)),
            inline("i", {"key": "n", "task_type": "noop"}, wait(schema=INTEGER)),
        ],
    )
    def test_of_waits_that_are_to_come_counts_too(self, engine: FlowEngine, task: dict[str, Any]) -> None:
        flow = begin(engine, wait("first", "other"), task)
        with pytest.raises(SignalError):
            engine.signal(flow, "go", "x")

    def test_of_one_wait_is_enough_and_that_wait_takes_it(self, engine: FlowEngine) -> None:
        flow = begin(engine, wait("a", schema=INTEGER), wait("b", schema={"type": "string"}))
        engine.signal(flow, "go", "x")
        engine.run_flow(flow)
        assert taken(flow) == {"b": "x"}
        with pytest.raises(SignalError):
            engine.signal(flow, "go", "x")  # only `a` is left

    def test_that_is_a_reference_keeps_what_does_not_fit_waiting(self, engine: FlowEngine) -> None:
        flow = engine.flow_spec_to_flow(
            {"data": {"schema": INTEGER}, "tasks": [wait(schema="$ctx.flow.data.schema")]}
        )
        engine.signal(flow, "go", "x")
        engine.run_flow(flow)
        assert flow.status == "RUNNING"
        engine.signal(flow, "go", 3)
        engine.run_flow(flow)
        assert (flow.status, taken(flow)) == ("COMPLETED", {"w": 3})

    def test_that_is_none_fails_the_task(self, engine: FlowEngine) -> None:
        flow = engine.flow_spec_to_flow(
            {"data": {"schema": {"type": 5}}, "tasks": [wait(schema="$ctx.flow.data.schema")]}
        )
        engine.tick_flow(flow)
        assert "not a JSON Schema" in flow.tasks["w"]["error"]["message"]
