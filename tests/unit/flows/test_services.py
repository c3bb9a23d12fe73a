from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.services import SERVICES, Nesting, Services

LOOK = {"key": "look", "task_type": "look"}
INLINE = {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [LOOK]}}}
SWITCH = {
    "key": "choose",
    "task_type": "switch",
    "task_params": {"control_value": 1, "default_case": {"task": {**LOOK, "key": "chosen"}}},
}
SUB_FLOW = {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [INLINE]}}}


def look_from(task: dict[str, Any], ctx: dict[str, Any] | None = None, **tick: Any) -> Any:
    """Return the context that a handler finds which is called inside the task, or in its place."""
    found: list[Any] = []

    def record(task_ctx):
        found.append(task_ctx)

    engine = FlowEngine(task_handlers={"look": record})
    engine.tick_flow(Flow.from_flow_spec({"key": "f", "tasks": [task]}), ctx, **tick)
    (task_ctx,) = found
    return task_ctx


@pytest.mark.parametrize("task", [LOOK, INLINE, SWITCH, SUB_FLOW])
def test_one_name_of_the_context_is_the_engines_at_every_depth(task):
    task_ctx = look_from(task, {"mine": 1})
    assert [name for name in task_ctx if name.startswith("mc.")] == [SERVICES]
    assert task_ctx["mine"] == 1


@pytest.mark.parametrize("task", [LOOK, INLINE, SWITCH, SUB_FLOW])
def test_what_serves_without_a_store_is_the_engines_own(task):
    task_ctx = look_from(task)
    services = task_ctx.services
    assert isinstance(services, Services)
    assert replace(services, nesting=Nesting()) == task_ctx.engine.services


@pytest.mark.parametrize("task", [LOOK, INLINE, SWITCH, SUB_FLOW])
def test_a_member_that_the_caller_replaced_is_found_at_every_depth(task):
    saved = []
    services = replace(FlowEngine().services, save_effects=lambda: saved.append(1) or True)
    assert look_from(task, {SERVICES: services}).services.save_effects is services.save_effects


@pytest.mark.parametrize(
    ("task", "outermost", "in_place_of"),
    [(LOOK, None, None), (INLINE, "outer", None), (SWITCH, None, "choose"), (SUB_FLOW, "sub", None)],
)
def test_a_call_knows_what_it_stands_inside_of(task, outermost, in_place_of):
    task_ctx = look_from(task)
    nesting = task_ctx.services.nesting
    assert (nesting.outermost_task_key, nesting.in_place_of) == (outermost, in_place_of)
    assert (nesting.outermost_flow or task_ctx.flow).key == "f"


def test_a_task_that_is_ticked_by_itself_has_the_services_of_the_engine():
    found = []
    engine = FlowEngine(task_handlers={"look": lambda task_ctx: found.append(task_ctx.services)})
    engine.tick_task({"task_type": "look"}, {"mine": 1})
    assert found == [engine.services]


def test_what_the_caller_passed_is_left_as_it_was():
    ctx = {"mine": [1]}
    look_from(INLINE, ctx)
    assert ctx == {"mine": [1]}


def test_services_are_replaced_and_never_changed():
    services = FlowEngine().services
    with pytest.raises(FrozenInstanceError):
        services.save_effects = None
