from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.services import SERVICES

MODULE = """
from os import system
import os

def add(a, b=10, *, c=0):
    return a + b + c

def tell(x, task_ctx):
    return [x, task_ctx["idempotency_key"], task_ctx["flow"].key]

def use(connection):
    return connection

def odd():
    return {1, 2}

def leave():
    raise SystemExit(3)

async def later(x):
    return x * 2

class Box:
    @staticmethod
    def double(x):
        return 2 * x

number = 5
_secret = add
"""


@pytest.fixture
def allowed(tmp_path, monkeypatch, clock):
    """Return an engine that allows a package with a module `functions`."""
    package = tmp_path / "call_functions"
    package.mkdir()
    (package / "__init__.py").write_text("from call_functions.inner import shout\n")
    (package / "inner.py").write_text("def shout(x):\n    return x.upper()\n")
    (package / "functions.py").write_text(MODULE)
    (package / "offering.py").write_text('from os.path import basename\n__all__ = ["basename"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield FlowEngine(handler_modules=["call_functions"], clock=clock)
    for name in [name for name in sys.modules if name.startswith("call_functions")]:
        del sys.modules[name]


def call(function, **params):
    return {"key": "t", "task_type": "call", "task_params": {"function": function, **params}}


@pytest.mark.parametrize(
    ("function", "params", "result"),
    [
        ("add", {"args": [1]}, 11),
        ("add", {"args": [1, 2], "kwargs": {"c": 3}}, 6),
        ("add", {"kwargs": {"a": "$ctx.flow.data.n"}}, 14),
        ("tell", {"args": [1]}, [1, "f/t/1", "f"]),
        ("Box.double", {"args": [4]}, 8),
    ],
)
def test_the_function_is_called_and_its_result_kept(run, allowed, function, params, result):
    flow = run(call(f"call_functions.functions:{function}", **params), on=allowed, data={"n": 4})
    assert flow.tasks["t"]["data"] == {"result": result}


def test_it_is_made_to_be_saved_right_after_the_call(allowed):
    assert allowed.resolve_handler("call").has_effects


def test_what_the_package_offers_from_within_can_be_called(run, allowed):
    flow = run(call("call_functions:shout", args=["a"]), on=allowed)
    assert flow.tasks["t"]["data"] == {"result": "A"}


def test_what_the_module_lists_as_its_own_can_be_called(run, allowed):
    flow = run(call("call_functions.offering:basename", args=["a/b"]), on=allowed)
    assert flow.tasks["t"]["data"] == {"result": "b"}


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("os:system", "names the module 'os', which is not allowed (allowed: call_functions)"),
        ("call_functions_not:x", "which is not allowed"),
        ("call_functions.functions:system", "which is not allowed"),
        ("call_functions.functions:os.system", "leads through the module 'os'"),
        ("call_functions.functions:_secret", "has no public '_secret'"),
        ("call_functions.functions:ad", "Did you mean 'add'?"),
        ("call_functions.missing:add", "cannot be imported: ModuleNotFoundError"),
        ("call_functions.functions:number", "is int; expected something to call"),
        ("call_functions.functions", "expected 'module:function'"),
        (":add", "expected 'module:function'"),
    ],
)
def test_other_functions_are_refused(fail_with, allowed, function, problem):
    assert problem in fail_with(call(function, args=["true"]), on=allowed)


def test_nothing_is_allowed_unless_somebody_allows_it(fail_with):
    assert "not allowed (allowed: none)" in fail_with(call("json:dumps", args=[1]))


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "call_functions.functions:add(a, b=10, *, c=0) cannot be called with the args and kwargs"),
        ({"args": [1], "kwargs": {"d": 1}}, "unexpected keyword argument 'd'"),
        ({"args": {"a": 1}}, "task_params.args is mapping; expected a list"),
        ({"kwargs": [1]}, "task_params.kwargs is list; expected a mapping"),
        ({"args": ["x"]}, "can only concatenate str"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said(fail_with, allowed, params, problem):
    assert problem in fail_with(call("call_functions.functions:add", **params), on=allowed)


def test_a_missing_function_is_named(fail_with):
    assert "task_params.function is missing; expected text" in fail_with({"task_type": "call"})


def test_a_result_that_json_cannot_hold_fails_and_names_the_place(fail_with, allowed):
    message = fail_with(call("call_functions.functions:odd"), on=allowed)
    assert "/data/result" in message
    assert "set" in message


def test_a_function_that_ends_the_process_only_fails_its_task(run, allowed):
    flow = run(call("call_functions.functions:leave"), on=allowed)
    assert flow.tasks["t"]["error"]["type"] == "SystemExit"


def test_a_coroutine_function_is_awaited_by_the_async_front(allowed):
    flow = Flow.from_flow_spec({"tasks": [call("call_functions.functions:later", args=[4])]})
    asyncio.run(allowed.arun_flow(flow))
    assert flow.tasks["t"]["data"] == {"result": 8}
    flow.check_invariants()


def test_a_coroutine_function_is_refused_by_the_sync_front(fail_with, allowed):
    message = fail_with(call("call_functions.functions:later", args=[4]), on=allowed)
    assert "await engine.atick_flow(flow)" in message


def test_transactional_needs_a_connection(fail_with, allowed):
    message = fail_with(call("call_functions.functions:use", transactional=True), on=allowed)
    assert "needs a store whose runner offers its connection" in message


def test_transactional_passes_the_connection(run, allowed):
    task = call("call_functions.functions:use", transactional=True)
    services = replace(allowed.services, transaction=lambda call: nullcontext("the connection"))
    flow = run(task, on=allowed, ctx={SERVICES: services})
    assert flow.tasks["t"]["data"] == {"result": "the connection"}


def test_a_result_that_cannot_be_kept_says_of_which_function_and_what_to_do(fail_with, clock):
    engine = FlowEngine(handler_modules=["subprocess"], clock=clock)
    message = fail_with(call("subprocess:run", args=[["true"]]), on=engine)
    assert "'subprocess:run' of task 't' returned a value of type CompletedProcess" in message
    assert "/data/result" in message
    assert "Call a function of your own that calls it and returns plain data" in message
