"""A function that is a handler is given what it names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mc.errors import SpecError, TaskHandlerError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine


def run(handler: Any, **params: Any) -> Any:
    """Return the result of a task with such a handler, or its error."""
    flow = Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "own", "task_params": params}]}, key="f")
    FlowEngine(task_handlers={"own": handler}).tick_flow(flow)
    task = flow.tasks["t"]
    return task["data"]["result"] if task["status"] == "COMPLETED" else task["error"]


def problems(handler: Any, **params: Any) -> list[Any]:
    spec = {"tasks": [{"key": "t", "task_type": "own", "task_params": params}]}
    try:
        FlowEngine(task_handlers={"own": handler}).flow_spec_to_flow(spec)
    except SpecError as error:
        return list(error.problems)
    return []


def add(a: int, b: int = 10, *, c: int = 100) -> int:
    return a + b + c


class Adder:
    def add(self, a: int) -> int:
        return a + 1

    def __call__(self, a: int) -> int:
        return a + 2


GIVEN: list[tuple[Callable[..., Any], dict[str, Any], Any]] = [
    (add, {"a": 1, "b": 2, "c": 3}, 6),
    (add, {"a": 1}, 111),
    (add, {"a": 1, "c": 0}, 11),
    (partial(add, b=0), {"a": 1}, 101),
    (Adder().add, {"a": 1}, 2),
    (Adder(), {"a": 1}, 3),
    (lambda a, b: [a, b], {"b": None, "a": [1]}, [[1], None]),
    (lambda task, a: [task["key"], a], {"a": 1, "rest": 2}, ["t", 1]),
    (lambda a, params: [a, params], {"a": 1, "rest": 2}, [1, {"a": 1, "rest": 2}]),
    (lambda task, task_ctx: [task["key"], task_ctx["idempotency_key"]], {"a": 1}, ["t", "f/t/1"]),
    (lambda a, flow, task_ctx: [a, flow.key, task_ctx.flow.key], {"a": 1}, [1, "f", "f"]),
    (lambda **rest: rest["a"], {"a": 1}, 1),
    (lambda a, **rest: [a, rest], {"a": 1, "b": 2, "not a name": 3}, [1, {"b": 2, "not a name": 3}]),
    (lambda task, **rest: [task["key"], rest], {"task": 5, "b": 2}, ["t", {"b": 2}]),
    (lambda a, *rest: [a, list(rest)], {"a": 1}, [1, []]),
    (lambda task, task_ctx, /, a: [task["key"], task_ctx["idempotency_key"], a], {"a": 1}, ["t", "f/t/1", 1]),
    (lambda other=5, /, *, a: [other, a], {"a": 1}, [5, 1]),
    (lambda flow: flow.key, {"a": 1}, "f"),
    (lambda: 7, {"a": 1}, 7),
]


@pytest.mark.parametrize(("handler", "params", "result"), GIVEN)
def test_it_is_given_what_it_names(handler: Callable[..., Any], params: dict[str, Any], result: Any) -> None:
    assert run(handler, **params) == result
    assert problems(handler, **params) == []


def test_references_are_resolved_before() -> None:
    spec = {
        "data": {"n": 4},
        "tasks": [{"key": "t", "task_type": "own", "task_params": {"a": "$ctx.flow.data.n"}}],
    }
    engine = FlowEngine(task_handlers={"own": add})
    assert engine.run_flow(engine.flow_spec_to_flow(spec)).tasks["t"]["data"] == {"result": 114}


def test_a_coroutine_function_is_given_them_too() -> None:
    async def later(a: int) -> int:
        return a + 1

    engine = FlowEngine(task_handlers={"own": later})
    flow = engine.flow_spec_to_flow({"tasks": [{"key": "t", "task_type": "own", "task_params": {"a": 1}}]})
    asyncio.run(engine.arun_flow(flow))
    assert flow.tasks["t"]["data"] == {"result": 2}


class TestWhatFails:
    def test_a_parameter_that_the_task_lacks_is_named(self) -> None:
        error = run(add, b=1)
        assert error["type"] == "TypeError"
        assert error["message"] == (
            "Task 't' (type 'own'): add needs the parameter 'a', which task_params lacks; it has 'b'."
        )
        assert "it has none" in run(add)["message"]

    def test_one_that_the_function_does_not_take_is_named(self) -> None:
        message = run(lambda url, retries=3: None, url="x", retreis=5)["message"]
        assert "takes no parameter 'retreis'; it takes 'url', 'retries'. Did you mean 'retries'?" in message

    def test_validation_finds_that_before(self) -> None:
        (problem,) = problems(lambda url, retries=3: None, url="x", retreis=5)
        assert problem.code == "MC003 unknown-key"
        assert problem.pointer == "/tasks/0/task_params/retreis"
        assert (problem.expected, problem.suggestion) == ("one of retries, url", "retries")

    def test_a_missing_one_is_no_problem_of_the_spec_as_a_wiring_may_write_it(self) -> None:
        spec = {
            "tasks": [
                {
                    "task_type": "wire",
                    "task_params": {"wirings": [{"value": 1, "dest": "ctx.flow.tasks.t.task_params.a"}]},
                },
                {"key": "t", "task_type": "own", "task_params": {"b": 2}},
            ]
        }
        engine = FlowEngine(task_handlers={"own": add})
        assert engine.run_flow(engine.flow_spec_to_flow(spec)).tasks["t"]["data"] == {"result": 103}

    @pytest.mark.parametrize(
        ("handler", "name"),
        [
            (lambda a, /: a, "a"),
            (lambda a, b, /, c: a, "a"),
            (lambda a, task, /: a, "a"),
            (str.upper, "self"),
        ],
    )
    def test_what_can_only_be_given_by_position_is_refused_at_once(self, handler: Any, name: str) -> None:
        with pytest.raises(TaskHandlerError, match=f"takes '{name}' by position only"):
            FlowEngine(task_handlers={"own": handler})

    def test_what_is_refused_is_told_by_its_name(self) -> None:
        def add(a, /):  # type: ignore[no-untyped-def]
            return a

        with pytest.raises(TaskHandlerError, match=r"The handler \S*\.add\(a, /\) takes 'a'"):
            FlowEngine(task_handlers={"own": add})

    def test_a_function_that_does_not_tell_its_parameters_is_refused_at_once(self) -> None:
        with pytest.raises(TaskHandlerError, match="does not tell its parameters"):
            FlowEngine(task_handlers={"own": max})


def test_the_tick_of_an_object_is_given_what_it_names_too() -> None:
    class Ticker:
        def tick_task(self, task: dict[str, Any], a: int) -> None:
            task["data"]["result"] = a
            task["status"] = "COMPLETED"

    assert run(Ticker(), a=1) == 1
