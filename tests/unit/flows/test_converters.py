"""The converters work on an engine, with its settings, and on the class."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mc.errors import SpecError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine

SPEC: dict[str, Any] = {"key": "f", "data": {"x": 1}, "tasks": [{"key": "a", "task_type": "noop"}]}
OWN = {"tasks": [{"task_type": "mine"}]}


class TestOnTheClass:
    def test_a_spec_becomes_a_flow(self) -> None:
        flow = FlowEngine.flow_spec_to_flow(flow_spec=SPEC, key="other", data={"y": 2}, label="L")
        assert (flow.key, flow.data, flow.label) == ("other", {"x": 1, "y": 2}, "L")
        assert list(flow.tasks)[-1] == "a"

    def test_a_flow_goes_to_its_dict_and_back(self) -> None:
        flow_dict = FlowEngine.flow_to_flow_dict(FlowEngine.flow_spec_to_flow(SPEC))
        assert FlowEngine.flow_spec_to_flow_dict(SPEC) | {"created_at": 0} == flow_dict | {"created_at": 0}
        assert isinstance(FlowEngine.flow_dict_to_flow(flow_dict), Flow)
        assert FlowEngine.flow_to_flow_dict(FlowEngine.flow_dict_to_flow(flow_dict)) == flow_dict

    def test_a_wrong_spec_is_refused(self) -> None:
        with pytest.raises(SpecError, match="task_typ"):
            FlowEngine.flow_spec_to_flow({"tasks": [{"task_typ": "noop"}]})

    def test_any_name_is_taken_for_a_task_type_that_some_engine_has(self) -> None:
        flow = FlowEngine.flow_spec_to_flow(OWN)
        assert FlowEngine(task_handlers={"mine": lambda: None}).run_flow(flow).status == "COMPLETED"

    def test_a_subclass_has_them_too(self) -> None:
        class Mine(FlowEngine):
            def __init__(self, needed: str) -> None:
                super().__init__(task_handlers={needed: lambda: None})

        assert Mine.flow_spec_to_flow(OWN).status == "PENDING"
        assert Mine("mine").flow_spec_to_flow(OWN).status == "PENDING"


class TestOnAnEngine:
    def test_its_task_types_count(self) -> None:
        assert (
            FlowEngine(task_handlers={"mine": lambda: None}).flow_spec_to_flow_dict(OWN)["status"]
            == "PENDING"
        )
        assert FlowEngine(task_handler=lambda: None).flow_spec_to_flow(OWN).status == "PENDING"
        for convert in (FlowEngine().flow_spec_to_flow, FlowEngine().flow_spec_to_flow_dict):
            with pytest.raises(SpecError, match="no task type"):
                convert(OWN)


def test_they_tell_their_signature_and_what_they_do() -> None:
    for owner in (FlowEngine, FlowEngine()):
        assert list(inspect.signature(owner.flow_spec_to_flow).parameters) == [
            "flow_spec",
            "key",
            "data",
            "label",
        ]
        assert "Check a spec" in (owner.flow_spec_to_flow.__doc__ or "")
