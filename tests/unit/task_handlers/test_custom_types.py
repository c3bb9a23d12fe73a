from __future__ import annotations

import asyncio
import sys

import pytest

from mc.errors import TaskHandlerError
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import task_handler
from mc.task_handlers.base_task_handler import BaseTaskHandler

FLAT = """
from mc.flows.handlers.handler_registry import task_handler
from mc.task_handlers.base_task_handler import BaseTaskHandler

@task_handler("greet")
def greet(params):
    return {"greeting": f"Hello {params['name']}"}

class Shout(BaseTaskHandler):
    def initial_tick(self):
        self.complete(text=self.read_param("text", str).upper())
"""
THING = """
from mc.task_handlers.base_task_handler import BaseTaskHandler

class TaskHandler(BaseTaskHandler):
    def initial_tick(self):
        self.data["ticks"] = 1

    def intermediate_tick(self):
        self.complete(ticks=self.data["ticks"] + 1)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "custom_types"
    (root / "task_handlers").mkdir(parents=True)
    for folder in (root, root / "task_handlers"):
        (folder / "__init__.py").write_text("")
    (root / "flat.py").write_text(FLAT)
    (root / "task_handlers" / "thing_task_handler.py").write_text(THING)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("custom_types")]:
        del sys.modules[name]


class Counting(BaseTaskHandler):
    """Counts the ticks of an attempt."""

    def initial_tick(self):
        self.data["seen"] = ["initial"]

    def intermediate_tick(self):
        self.data["seen"].append("intermediate")
        if len(self.data["seen"]) == 3:
            self.complete()


class Ticker:
    """An object that is a handler."""

    def __init__(self):
        self.calls = 0

    def tick_task(self, task, task_ctx):
        self.calls += 1
        task["status"] = "COMPLETED"


def test_a_class(engine, run):
    engine.registry.register("counting", Counting)
    flow = run({"key": "t", "task_type": "counting"})
    assert flow.tasks["t"]["data"] == {"seen": ["initial", "intermediate", "intermediate"]}


def test_an_object(engine, run):
    ticker = Ticker()
    engine.registry.register("ticker", ticker)
    assert run({"task_type": "ticker"}).status == "COMPLETED"
    assert ticker.calls == 1


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (lambda: {"a": 1}, {"a": 1}),
        (lambda task: 5, {"result": 5}),
        (lambda task, task_ctx: task_ctx["idempotency_key"], {"result": "f/t/1"}),
        (lambda flow, params: [flow.key, params["x"]], {"result": ["f", 3]}),
        (lambda params: None, {}),
    ],
)
def test_a_function_takes_what_it_names(engine, run, function, data):
    engine.registry.register("function", function)
    flow = run({"key": "t", "task_type": "function", "task_params": {"x": 3}})
    assert flow.tasks["t"]["data"] == data


def test_a_coroutine_function(clock, engine):
    async def fetch(params):
        await asyncio.sleep(0)
        return {"got": params["x"]}

    engine.registry.register("fetch", fetch)
    flow = engine.flow_spec_to_flow({"tasks": [{"key": "t", "task_type": "fetch", "task_params": {"x": 1}}]})
    asyncio.run(engine.arun_flow(flow))
    assert flow.tasks["t"]["data"] == {"got": 1}


def test_a_marked_function_is_known_by_its_name(clock, run):
    @task_handler("double", has_effects=False)
    def double(params):
        return 2 * params["x"]

    engine = FlowEngine(task_handlers=[double], clock=clock)
    flow = run({"key": "t", "task_type": "double", "task_params": {"x": 4}}, on=engine)
    assert flow.tasks["t"]["data"] == {"result": 8}
    assert not engine.resolve_handler("double").has_effects


def test_one_handler_for_every_type(clock, run):
    engine = FlowEngine(task_handler=lambda task: task["task_type"], clock=clock)
    assert run({"key": "t", "task_type": "whatever"}, on=engine).tasks["t"]["data"] == {"result": "whatever"}


def test_an_own_handler_takes_the_place_of_a_built_in_one(clock, run):
    engine = FlowEngine(task_handlers={"noop": lambda: {"own": True}}, clock=clock)
    assert run({"key": "t", "task_type": "noop"}, on=engine).tasks["t"]["data"] == {"own": True}


@pytest.mark.parametrize(
    ("task_type", "params", "data"),
    [
        ("greet", {"name": "Ada"}, {"greeting": "Hello Ada"}),
        ("custom_types.flat:greet", {"name": "Ada"}, {"greeting": "Hello Ada"}),
        ("custom_types.flat:Shout", {"text": "a"}, {"text": "A"}),
        ("custom_types.tasks.thing", {}, {"ticks": 2}),
    ],
)
def test_types_below_an_allowed_module(package, clock, run, task_type, params, data):
    engine = FlowEngine(handler_modules=["custom_types", "custom_types.flat"], clock=clock)
    flow = run({"key": "t", "task_type": task_type, "task_params": params}, on=engine)
    assert flow.tasks["t"]["data"] == data


@pytest.mark.parametrize(
    ("task_type", "problem"),
    [
        ("os:system", "names the module 'os', which is not allowed"),
        ("custom_types.tasks.thing", "names the module 'custom_types.task_handlers.thing_task_handler'"),
        ("custom_types.flat:os.system", "has no public 'os.system'"),
        ("custom_types.flat:Shou", "Did you mean 'Shout'?"),
        ("unheard_of", "There is no task type 'unheard_of'"),
        (5, "5 is not a task type"),
    ],
)
def test_other_types_are_refused(package, clock, fail_with, task_type, problem):
    engine = FlowEngine(handler_modules=["custom_types.flat"], clock=clock)
    assert problem in fail_with({"task_type": task_type}, on=engine)


def test_an_installed_plugin_is_found(package, clock, run):
    info = package / "custom_types-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: custom-types\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mc.task_handlers]\nplugged = custom_types.flat:Shout\n")
    engine = FlowEngine(clock=clock)
    flow = run({"key": "t", "task_type": "plugged", "task_params": {"text": "x"}}, on=engine)
    assert flow.tasks["t"]["data"] == {"text": "X"}
    assert "plugged" in list(engine.registry)


@pytest.mark.parametrize("handler", [5, "print", type("Nothing", (), {})])
def test_what_cannot_be_a_handler_is_refused_at_once(handler):
    with pytest.raises(TaskHandlerError, match="cannot be a task handler"):
        FlowEngine(task_handlers={"x": handler})


def test_a_class_that_never_completes_says_what_it_lacks(engine, run):
    class Forgetful(BaseTaskHandler):
        def initial_tick(self):
            pass

    engine.registry.register("forgetful", Forgetful)
    flow = run({"key": "t", "task_type": "forgetful"})
    message = "Forgetful leaves tasks unfinished but does not define intermediate_tick."
    assert flow.tasks["t"]["error"]["message"] == message


def test_a_parameter_is_read_and_checked(engine, fail_with):
    class Reader(BaseTaskHandler):
        def initial_tick(self):
            assert self.read_param("missing", str, "default") == "default"
            assert self.read_param("null", str, "default") == "default"
            self.read_param("n", int)

    engine.registry.register("reader", Reader)
    message = fail_with({"task_type": "reader", "task_params": {"null": None, "n": 1.5}})
    assert message == "Task 't' (type 'reader'): task_params.n is number; expected a whole number."
