"""Handlers of task types: how one is found, and why it may not be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mc.errors import SpecError, TaskHandlerError, TaskTypeNotAllowedError, UnknownTaskTypeError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import HandlerRegistry, adapt_handler, task_handler
from mc.task_handlers.base_task_handler import BaseTaskHandler

MODULES = {
    "shop/__init__.py": "",
    "shop/handlers.py": """
from mc.flows.handlers.handler_registry import task_handler
from mc.task_handlers.base_task_handler import BaseTaskHandler

@task_handler("pack")
def pack():
    return {"by": "module"}

@task_handler("noop")
def noop():
    return {"by": "module"}

@task_handler("plugged")
def plugged():
    return {"by": "module"}

class Ship(BaseTaskHandler):
    task_type = "ship"
    def tick_task(self):
        self.complete(by="class")

class Outer:
    def deeper():
        return {"by": "deeper"}

def _private():
    return None

number = 5
""",
    "shop/task_handlers/__init__.py": "",
    "shop/task_handlers/weigh_task_handler.py": """
from mc.task_handlers.base_task_handler import BaseTaskHandler

class TaskHandler(BaseTaskHandler):
    def tick_task(self):
        self.complete(by="dotted")
""",
    "shop/broken.py": "raise RuntimeError('no stock')",
    "shop/exits.py": "raise SystemExit(3)",
    "shopping.py": "def steal(): return None",
}


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("shop", "shopping")]:
        del sys.modules[name]


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make three entry points known, one of which cannot be loaded."""
    points = [
        EntryPoint(
            name="plugged",
            value="shop.task_handlers.weigh_task_handler:TaskHandler",
            group="mc.task_handlers",
        ),
        EntryPoint(name="noop", value="shop.handlers:pack", group="mc.task_handlers"),
        EntryPoint(name="dead", value="shop.broken:x", group="mc.task_handlers"),
    ]

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


def run(task_type: Any, **engine: Any) -> dict[str, Any]:
    """Return what a task of this type leaves."""
    flow = Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": task_type}]})
    FlowEngine(**engine).tick_flow(flow)
    assert flow.status == "COMPLETED", flow.tasks["a"]["error"]
    data: dict[str, Any] = flow.tasks["a"]["data"]
    return data


class TestLookUp:
    def test_what_the_application_registered_comes_first(self, plugins: None) -> None:
        mine = {"noop": lambda: {"by": "me"}, "plugged": lambda: {"by": "me"}, "pack": lambda: {"by": "me"}}
        for name in mine:
            assert run(name, task_handlers=mine, handler_modules=["shop"]) == {"by": "me"}

    @pytest.mark.parametrize("scan_first", [True, False])
    def test_then_built_in_types_then_plugins_then_modules(self, plugins: None, scan_first: bool) -> None:
        engine = FlowEngine(handler_modules=["shop.handlers"])
        if scan_first:
            list(engine.registry)
        flow = Flow.from_flow_spec(
            {
                "tasks": [
                    {"key": name, "task_type": name, "precursors": []} for name in ("noop", "plugged", "pack")
                ]
            }
        )
        engine.tick_flow(flow)
        assert [task["data"] for task in flow.filter_tasks()] == [{}, {"by": "dotted"}, {"by": "module"}]

    def test_an_older_spelling_means_the_same_type(self) -> None:
        assert run("mc.tasks.noop") == {}
        assert run("mc.tasks.noop", task_handlers={"noop": lambda: {"by": "me"}}) == {"by": "me"}

    def test_a_class_in_an_allowed_module_is_known_by_its_task_type(self) -> None:
        assert run("ship", handler_modules=["shop.handlers"]) == {"by": "class"}

    def test_one_module_may_be_given_as_text(self) -> None:
        assert run("pack", handler_modules="shop.handlers") == {"by": "module"}

    def test_a_dotted_type_leads_to_its_task_handler(self) -> None:
        assert run("shop.tasks.weigh", handler_modules=["shop"]) == {"by": "dotted"}
        assert run("shop.tasks.weigh", handler_modules=["shop.task_handlers"]) == {"by": "dotted"}

    def test_an_import_path_is_taken_as_it_stands(self) -> None:
        assert run("shop.handlers:pack", handler_modules=["shop"]) == {"by": "module"}
        assert run("shop.handlers:Outer.deeper", handler_modules=["shop"]) == {"by": "deeper"}

    def test_marked_handlers_are_known_by_their_names(self) -> None:
        @task_handler("mine", has_effects=False)
        def mine() -> dict[str, str]:
            return {"by": "mark"}

        class Classy(BaseTaskHandler):
            task_type = "classy"

            def tick_task(self) -> None:
                self.complete(by="class")

        assert run("mine", task_handlers=[mine, Classy]) == {"by": "mark"}
        assert run("classy", task_handlers=[mine, Classy]) == {"by": "class"}
        assert FlowEngine(task_handlers=[mine]).resolve_handler("mine").has_effects is False
        assert mine() == {"by": "mark"}

    def test_a_name_can_be_registered_later(self) -> None:
        registry = HandlerRegistry()
        assert "mine" not in registry
        registry.register("mine", lambda: None)
        assert "mine" in registry

    def test_all_names_can_be_listed(self, plugins: None) -> None:
        names = list(HandlerRegistry({"mine": lambda: None}, ["shop.handlers"]))
        assert names == sorted(names)
        assert {"mine", "noop", "plugged", "pack", "ship", "print"} <= set(names)

    def test_entry_points_of_other_groups_are_none_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        groups: list[str] = []
        monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: groups.append(group) or [])
        assert "x" not in HandlerRegistry()
        assert groups == ["mc.task_handlers"]


class TestRefusals:
    @pytest.mark.parametrize("modules", [[], ["shop"], ["shop.handlers"]])
    def test_a_module_that_is_not_allowed_is_not_imported(self, modules: list[str]) -> None:
        registry = HandlerRegistry(handler_modules=modules)
        with pytest.raises(TaskTypeNotAllowedError, match="'shopping', which is not allowed") as caught:
            registry.resolve("shopping:steal")
        assert "add it to handler_modules" in caught.value.message
        assert "shopping" not in sys.modules

    def test_an_allowed_module_that_is_not_there_is_named_each_time(self) -> None:
        registry = HandlerRegistry(handler_modules=["shopp"])
        for _ in range(2):
            with pytest.raises(UnknownTaskTypeError, match="the module 'shopp' cannot be imported"):
                registry.resolve("pack")
        assert registry.resolve("noop") is not None

    def test_a_parent_of_an_allowed_module_is_not_allowed(self) -> None:
        with pytest.raises(TaskTypeNotAllowedError):
            HandlerRegistry(handler_modules=["shop.task_handlers"]).resolve("shop.handlers:pack")

    @pytest.mark.parametrize(
        ("task_type", "message"),
        [
            ("nope", "There is no task type 'nope'. Register a handler"),
            ("a.b", "An import path is written 'module:attribute'"),
            (
                "shop.tasks.wiegh",
                "'shop.task_handlers.wiegh_task_handler' cannot be imported: ModuleNotFoundError",
            ),
            ("shop.broken:x", "cannot be imported: RuntimeError: no stock"),
            ("shop.exits:x", "cannot be imported: SystemExit: 3"),
            ("shop.handlers:pakc", "has no public 'pakc'. Did you mean 'pack'?"),
            ("shop.handlers:_private", "has no public '_private'"),
            ("shop.handlers:Outer.__init__", "has no public"),
            (None, "None is not a task type"),
            (5, "5 is not a task type"),
        ],
    )
    def test_an_unknown_type_says_what_to_do(self, task_type: Any, message: str) -> None:
        registry = HandlerRegistry(handler_modules=["shop"])
        with pytest.raises(UnknownTaskTypeError) as caught:
            registry.resolve(task_type)
        assert message in caught.value.message
        assert task_type not in registry

    def test_a_module_that_cannot_be_imported_fails_the_task_not_the_tick(self) -> None:
        for name in ("shop.broken", "shop.exits"):
            flow = Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": f"{name}:x"}]})
            FlowEngine(handler_modules=["shop"]).tick_flow(flow)
            assert flow.tasks["a"]["error"]["type"] == "UnknownTaskTypeError"

    def test_a_plugin_that_cannot_be_loaded_fails_the_task_not_the_tick(self, plugins: None) -> None:
        flow = Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "dead"}]})
        FlowEngine().tick_flow(flow)
        message = flow.tasks["a"]["error"]["message"]
        assert "'shop.broken:x' cannot be loaded: RuntimeError: no stock" in message

    @pytest.mark.parametrize(
        ("version", "accepts", "message"),
        [
            (2, (), "2 is not the version of a handler; write text"),
            ("", (), "'' is not the version"),
            ("2", "1", "write a list of versions, ('1',)"),
            ("2", (1,), "1 is not the version"),
        ],
    )
    def test_a_version_is_text(self, version: Any, accepts: Any, message: str) -> None:
        marked = task_handler("own", version=version, accepts=accepts)(lambda: None)
        with pytest.raises(TaskHandlerError) as caught:
            HandlerRegistry([marked])
        assert message in caught.value.message

    def test_validation_tells_the_reason(self) -> None:
        engine = FlowEngine(handler_modules=["shop"])
        with pytest.raises(SpecError, match="which is not allowed"):
            engine.flow_spec_to_flow({"tasks": [{"task_type": "shopping:steal"}]})
        with pytest.raises(SpecError, match="has no public 'x'"):
            engine.flow_spec_to_flow({"tasks": [{"task_type": "shop.broken:x"}]})

    def test_validation_names_the_nearest_type(self) -> None:
        with pytest.raises(SpecError) as caught:
            FlowEngine(task_handlers={"weigh": lambda: None}).flow_spec_to_flow(
                {"tasks": [{"task_type": "wiegh"}]}
            )
        assert caught.value.problems[0].suggestion == "weigh"

    @pytest.mark.parametrize(
        "handler", [5, "text", None, object(), int, max, lambda a, b, /: None, lambda task, zig, /: None]
    )
    def test_what_cannot_be_a_handler_is_refused(self, handler: Any) -> None:
        with pytest.raises(TaskHandlerError):
            adapt_handler(handler)

    def test_an_import_path_to_something_else_is_refused(self) -> None:
        with pytest.raises(TaskHandlerError, match="cannot be a task handler"):
            HandlerRegistry(handler_modules=["shop"]).resolve("shop.handlers:number")

    def test_an_unmarked_function_needs_a_name(self) -> None:
        with pytest.raises(TaskHandlerError, match="has no task_type"):
            FlowEngine(task_handlers=[lambda: None])

    def test_positional_arguments_may_be_named_like_ours(self) -> None:
        def handle(task: dict[str, Any], /) -> dict[str, Any]:
            return {"key": task["key"]}

        assert run("x", task_handlers={"x": handle}) == {"key": "a"}
