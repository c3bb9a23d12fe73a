"""Code that a spec may name: what an allowed module defines or exports on purpose, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.errors import Problem, TaskHandlerError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.callables import import_module
from mc.flows.handlers.handler_registry import HandlerRegistry
from mc.simulation.scripted_handlers import ScriptedHandlers
from mc.simulation.scripted_results import ScriptedResults
from mc.spec.validation import find_problems, inspect_flow_spec

HM = """
import dataclasses
import os
import shutil as tools
from collections import namedtuple
from functools import lru_cache, partial, wraps
from os import environ
from tarfile import TarFile
from mc.flows.handlers.handler_registry import task_handler
from allowed_not import Base, deco, ship, wipe
from allowed_not import Base as Other

__all__ = ["exported", "wipe_on_purpose", "exported_partial", "Base_on_purpose"]

wipe_on_purpose = wipe
Base_on_purpose = Base
bound = environ.copy
number = 5

def own(**params):
    return {"by": "own"}

@lru_cache
def cached():
    return {"by": "cached"}

@deco
def decorated():
    return {"by": "decorated"}

def exported():
    return {"by": "exported"}

shorter = lambda: {"by": "lambda"}

def make():
    def inner():
        return {"by": "closure"}
    return inner

closure = make()
unmarked_partial = partial(own)
exported_partial = partial(own)
marked_partial = task_handler("marked")(partial(own))

class Own:
    stolen = wipe
    def static():
        return {"by": "static"}
    @staticmethod
    def really_static():
        return {"by": "static"}
    @classmethod
    def made(cls):
        return {"by": cls.__name__}
    @property
    def prop(self):
        return 1

class Inheriting(Base):
    pass

class Tar(TarFile):
    pass

class Heir(Own):
    pass

@dataclasses.dataclass
class Point:
    x: int = 0

instance = Own()
"""
FILES = {
    "allowed/__init__.py": "",
    "allowed/hm.py": HM,
    "allowed/reexport.py": """
from .hm import own
from allowed.hm import own as other
from ._inner import hidden
""",
    "allowed/_inner.py": "def hidden():\n    return None\n",
    "allowed/__main__.py": "raise AssertionError('was imported')",
    "allowed/effect.py": """
import os
from pathlib import Path
from functools import partial
from allowed_not import ship, wipe
from allowed.hm import own
from . import hm
import subprocess
Path(__file__).with_name("was_imported").touch()
def handler(params):
    return params
async def later():
    return 1
class Thing:
    def do(self):
        return 1
    name = partial(handler)
class Heir(Thing):
    pass
made = partial(handler)
try:
    import ujson as json
except ImportError:
    def fallback():
        return 1
""",
    "allowed/open.py": "from allowed.hm import *\nglobals()['late'] = len\n",
    "allowed/lazy.py": "__all__ = ['late']\ndef __getattr__(name):\n    return len\n",
    "allowed/proxy.py": """
class Proxy:
    def __getattr__(self, name):
        raise RuntimeError("working outside of request context")
    def __call__(self):
        return None
request = Proxy()
def own():
    return {"by": "own"}
def __getattr__(name):
    raise ImportError("no such extra")
""",
    "allowed/wrong.py": "def (:\n",
    "allowed/sub/deep.py": "def f():\n    return None\n",
    "allowed_not.py": """
from functools import wraps
from mc.flows.handlers.handler_registry import task_handler

def wipe(**params):
    raise AssertionError("reached")

@task_handler("ship")
def ship():
    return {"by": "ship"}

class Base:
    def __init__(self, *args):
        raise AssertionError("reached")
    @classmethod
    def open(cls):
        raise AssertionError("reached")

def deco(function):
    @wraps(function)
    def call():
        return function()
    return call
""",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("allowed", "allowed_not")]:
        del sys.modules[name]


def validate(task: dict[str, Any], modules: tuple[str, ...] = ("allowed",)) -> list[Problem]:
    return find_problems({"tasks": [task]}, task_types=HandlerRegistry(handler_modules=modules))


def as_call(function: str, *args: Any) -> dict[str, Any]:
    return {"key": "a", "task_type": "call", "task_params": {"function": function, "args": list(args)}}


def run(task: dict[str, Any], modules: tuple[str, ...] = ("allowed",)) -> Any:
    flow = Flow.from_flow_spec({"tasks": [{"key": "a", **task}]})
    FlowEngine(handler_modules=modules).tick_flow(flow)
    done = flow.tasks["a"]
    return done["data"] if done["status"] == "COMPLETED" else done["error"]


REACHED = {
    "own": "own",
    "cached": "cached",
    "decorated": "decorated",
    "exported": "exported",
    "shorter": "lambda",
    "closure": "closure",
    "exported_partial": "own",
    "marked_partial": "own",
    "ship": "ship",  # which its author marked as made for specs
    "Own.static": "static",
    "Own.really_static": "static",
    "Own.made": "Own",
    "Heir.made": "Heir",
}
REFUSED = {
    "wipe": "only imports 'wipe'",
    "environ.copy": "there is an object (_Environ)",
    "environ": "is _Environ",
    "bound": "only imports 'bound'",
    "TarFile": "only imports 'TarFile'",
    "TarFile.open": "only imports 'TarFile.open'",
    "Base": "only imports 'Base'",
    "Other.open": "only imports",
    "Tar.open": "only imports 'Tar.open'",
    "Inheriting.open": "only imports",
    "Own.stolen": "only imports",
    "Own.prop": "no function or class that 'allowed.hm' defines; there is an object (property)",
    "Base_on_purpose.open": "only imports",
    "partial": "only imports",
    "namedtuple": "only imports",
    "unmarked_partial": "no function or class that 'allowed.hm' defines; there is an object (partial)",
    "instance": "is Own",
    "instance.really_static": "no function or class that 'allowed.hm' defines",
    "number": "is int",
    "number.bit_length": "no function or class that 'allowed.hm' defines",
    "os.system": "leads through the module 'os'",
    "tools.rmtree": "leads through the module 'shutil'",
    "own.__globals__": "no function or class",
    "__builtins__": "has no public '__builtins__'",
    "Own.__subclasses__": "has no public",
    "owm": "Did you mean 'own'?",
}


# Refused when the module is imported; whoever only reads it cannot tell what a value is.
UNCLEAR_TO_A_READER = {
    *("Tar.open", "Inheriting.open", "Own.stolen", "Own.prop", "Base_on_purpose.open", "bound"),
    *("unmarked_partial", "instance", "instance.really_static", "number", "number.bit_length"),
}


class TestWhatIsReached:
    @pytest.mark.parametrize(("name", "by"), REACHED.items())
    def test_as_a_task_type_and_by_a_call(self, name: str, by: str) -> None:
        path = f"allowed.hm:{name}"
        assert run(as_call(path)) == {"result": {"by": by}}
        assert run({"task_type": path}) == {"by": by}

    @pytest.mark.parametrize("name", ["own", "other"])
    def test_what_an_allowed_module_imports_from_another_allowed_one(self, name: str) -> None:
        assert run({"task_type": f"allowed.reexport:{name}"}) == {"by": "own"}

    def test_what_is_exported_on_purpose_is_called_wherever_it_comes_from(self) -> None:
        for name in ("wipe_on_purpose", "Base_on_purpose"):
            assert run(as_call(f"allowed.hm:{name}"))["message"] == "reached"

    @pytest.mark.parametrize(
        ("function", "args", "result"),
        [
            ("math:floor", [1.5], 1),
            ("statistics:fmean", [[1, 2]], 1.5),
            ("json:dumps", [1], "1"),
            ("collections:OrderedDict.fromkeys", [["a"], 1], {"a": 1}),  # written in C
        ],
    )
    def test_modules_of_the_standard_library(self, function: str, args: list[Any], result: Any) -> None:
        assert run(as_call(function, *args), (function.partition(":")[0],)) == {"result": result}

    def test_beside_objects_that_raise_when_they_are_looked_at(self) -> None:
        modules = ("allowed.proxy",)
        assert run({"task_type": "allowed.proxy:own"}, modules) == {"by": "own"}
        assert (
            "cannot be imported: ImportError: no such extra"
            in validate(as_call("allowed.proxy:x"), modules)[0].message
        )
        assert [each.code[:5] for each in validate(as_call("allowed.proxy:request"), modules)] == ["MC112"]


class TestWhatIsRefused:
    @pytest.mark.parametrize(("name", "problem"), REFUSED.items())
    def test_as_a_task_type_and_by_a_call(self, name: str, problem: str) -> None:
        path = f"allowed.hm:{name}"
        assert problem in run({"task_type": path})["message"]
        assert problem in run(as_call(path))["message"]

    @pytest.mark.parametrize(("name", "problem"), REFUSED.items())
    @pytest.mark.parametrize("modules", [("allowed",), ("allowed", "allowed.hm")])
    def test_by_validation(self, name: str, problem: str, modules: tuple[str, ...]) -> None:
        path = f"allowed.hm:{name}"
        for task in ({"task_type": path}, as_call(path)):
            problems = validate(task, modules)
            unclear = modules == ("allowed",) and name in UNCLEAR_TO_A_READER
            assert [each.code[:5] for each in problems] == ([] if unclear else ["MC112"]), problems

    @pytest.mark.parametrize("name", ["Tar", "Inheriting"])
    def test_the_constructor_that_a_class_inherits_from_elsewhere_cannot_be_called(self, name: str) -> None:
        assert "only imports" in run(as_call(f"allowed.hm:{name}"))["message"]

    def test_a_class_of_the_module_can(self) -> None:
        assert "JSON" in run(as_call("allowed.hm:Point"))["message"]

    @pytest.mark.parametrize(
        "module", ["allowed.__main__", "allowed._inner", "allowed_not", "allowed_nothing"]
    )
    def test_modules_that_are_not_allowed_are_not_imported(self, module: str) -> None:
        for task in ({"task_type": f"{module}:hidden"}, as_call(f"{module}:hidden")):
            assert "which is not allowed" in run(task)["message"]
            assert "which is not allowed" in validate(task)[0].message
        assert module not in sys.modules

    def test_a_function_of_a_private_module_needs_to_be_exported(self) -> None:
        assert "only imports 'hidden'" in run({"task_type": "allowed.reexport:hidden"})["message"]

    def test_a_private_module_can_be_allowed_by_name(self) -> None:
        assert run({"task_type": "allowed._inner:hidden"}, ("allowed._inner",)) == {}


class TestValidationWithoutImport:
    @pytest.mark.parametrize(
        "name",
        ["handler", "later", "Thing", "Thing.do", "Thing.name", "Heir.do", "made", "own", "ship", "fallback"],
    )
    def test_what_the_text_of_a_module_defines_is_valid(self, name: str, folder: Path) -> None:
        for task in ({"task_type": f"allowed.effect:{name}"}, as_call(f"allowed.effect:{name}")):
            assert validate(task) == []
        assert "allowed.effect" not in sys.modules
        assert not (folder / "allowed" / "was_imported").exists()

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("handlr", "has no public 'handlr'"),
            ("wipe", "only imports 'wipe'"),
            ("partial", "only imports 'partial'"),
            ("subprocess.run", "leads through the module 'subprocess'"),
            ("Thing.does", "has no public 'Thing.does'"),
            ("handler.x", "has no public"),
            ("_private", "has no public"),
        ],
    )
    def test_what_it_does_not_define_is_a_problem(self, name: str, problem: str) -> None:
        (found,) = validate(as_call(f"allowed.effect:{name}"))
        assert problem in found.message
        assert found.pointer == "/tasks/0/task_params/function"
        assert "allowed.effect" not in sys.modules

    def test_the_nearest_name_is_suggested(self) -> None:
        (found,) = validate(as_call("allowed.effect:handlr"))
        assert found.suggestion == "allowed.effect:handler"
        (found,) = validate(as_call("allowed.hm:owm"), ("allowed.hm",))
        assert found.suggestion == "allowed.hm:own"

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("allowed.nothing:f", "there is no module 'allowed.nothing'"),
            ("allowed.hm.deeper:f", "there is no module 'allowed.hm.deeper'"),
            ("allowed.wrong:f", "SyntaxError"),
            ("allowed.sub:f", "has no public 'f'"),
        ],
    )
    def test_a_module_that_is_not_there_is_a_problem(self, path: str, problem: str) -> None:
        assert problem in validate(as_call(path))[0].message
        assert problem in validate({"task_type": path})[0].message

    @pytest.mark.parametrize("path", ["allowed.open:late", "allowed.lazy:late", "allowed.sub.deep:f"])
    def test_what_cannot_be_known_is_not_a_problem(self, path: str) -> None:
        assert validate(as_call(path)) == []

    def test_the_parents_of_an_allowed_module_are_not_imported_for_one_below(self, folder: Path) -> None:
        (folder / "allowed" / "__init__.py").write_text("raise AssertionError('was imported')")
        assert validate(as_call("allowed.effect:handler"), ("json",))[0].code.startswith("MC112")
        assert "allowed" not in sys.modules

    def test_a_listed_module_that_breaks_is_a_problem_of_what_needs_it(self, folder: Path) -> None:
        for task in (as_call("allowed.wrong:f"), {"task_type": "wrong_name"}):
            told = validate(task, ("allowed.wrong",))[0].message
            assert f"SyntaxError: invalid syntax ({folder}/allowed/wrong.py, line 1)" in told
        assert validate({"task_type": "noop"}, ("allowed.wrong",)) == []

    def test_a_module_that_failed_is_tried_again_after_a_while(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds = [0.0]
        monkeypatch.setattr("mc.flows.handlers.callables.monotonic", lambda: seconds[0])
        registry = HandlerRegistry(handler_modules=["allowed.wrong"])
        assert registry.why_not("allowed.wrong:f") is not None
        (folder / "allowed" / "wrong.py").write_text("def f():\n    return {'mended': True}\n")
        assert registry.why_not("allowed.wrong:f") is not None  # the import may have taken long
        seconds[0] = 61.0
        assert registry.why_not("allowed.wrong:f") is None


class TestWarnings:
    @pytest.mark.parametrize("path", ["allowed.open:late", "allowed.hm:number", "allowed.hm:Own.stolen"])
    def test_what_stays_unclear_is_a_warning(self, path: str) -> None:
        for task in (as_call(path), {"task_type": path}):
            types = HandlerRegistry(handler_modules=["allowed"])
            problems, (warning,) = inspect_flow_spec({"tasks": [task]}, task_types=types)
            assert problems == []
            assert "is known only when 'allowed." in warning.message
            assert warning.code == "MC112 task-type-not-allowed"

    @pytest.mark.parametrize("path", ["allowed.effect:handler", "allowed.hm:exported", "allowed.lazy:late"])
    def test_what_is_clear_is_none(self, path: str) -> None:
        types = HandlerRegistry(handler_modules=["allowed"])
        assert inspect_flow_spec({"tasks": [as_call(path)]}, task_types=types) == ([], [])


class TestForgottenHandlers:
    def test_twelve_tasks_are_one_problem(self) -> None:
        tasks = [{"task_type": name} for name in ("greet", "pack", "greet") * 4]
        (problem,) = find_problems({"tasks": tasks}, task_types=HandlerRegistry())
        assert (problem.code, problem.pointer) == ("MC111 unknown-task-type", "/tasks/0/task_type")
        assert problem.message == (
            '12 tasks need code that is not known here: "greet", "pack". Name the module of your own '
            "types in handler_modules (command line: --handlers MODULE)."
        )

    def test_paths_of_modules_and_functions_are_one_problem_too(self) -> None:
        tasks = [{"task_type": "allowed.hm:own"}, as_call("allowed.hm:exported")] * 2
        for at, task in enumerate(tasks):
            tasks[at] = {**task, "key": f"t{at}"}
        (problem,) = find_problems({"tasks": tasks}, task_types=HandlerRegistry())
        assert problem.message.startswith('4 tasks need code that is not known here: "allowed.hm:own", "allo')
        assert "(command line: --handlers allowed.hm)" in problem.message

    def test_the_modules_to_name_are_told(self) -> None:
        tasks = [{"task_type": "tasks:own"}, {"task_type": "more.tasks:pack"}, {"task_type": "greet"}]
        codes = {
            each.code[:5]: each for each in find_problems({"tasks": tasks}, task_types=HandlerRegistry())
        }
        assert "--handlers tasks --handlers more.tasks)" in codes["MC112"].message

    def test_a_misspelt_name_is_a_problem_of_its_own(self) -> None:
        tasks = [{"task_type": name} for name in ("greet", "pritn", "pack")]
        problems = find_problems({"tasks": tasks}, task_types=HandlerRegistry())
        assert [each.suggestion for each in problems] == [None, "print"]

    def test_with_modules_each_place_is_named(self) -> None:
        tasks = [{"task_type": "greet"}, {"task_type": "pack"}]
        problems = find_problems({"tasks": tasks}, task_types=HandlerRegistry(handler_modules=["allowed"]))
        assert [each.pointer for each in problems] == ["/tasks/0/task_type", "/tasks/1/task_type"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *(("good_tasks.py", "good_tasks"), ("./good_tasks", "good_tasks"), ("./pkg/tasks.py", "pkg.tasks")),
        *(("/srv/x/good_tasks.py", "good_tasks"), ("../good_tasks", "good_tasks"), ("pkg/", "pkg")),
    ],
)
def test_a_module_that_is_named_as_a_file_is_told_its_name(given: str, meant: str) -> None:
    with pytest.raises(TaskHandlerError, match="it is written as a file") as caught:
        import_module(given, f"--handlers {given}")
    assert f" Write {meant}, in the folder that holds it" in caught.value.message


def test_a_finder_says_what_cannot_be_a_path() -> None:
    with pytest.raises(TaskHandlerError, match="expected 'module:function'"):
        HandlerRegistry().callables.find_function("allowed")


def test_checking_a_spec_beside_scripted_results_registers_nothing_anew() -> None:
    real = HandlerRegistry({"marked": lambda: {"by": "me"}}, ["allowed.hm"])
    registry = ScriptedHandlers(ScriptedResults(), real)
    tasks = [{"key": "a", "task_type": "allowed.hm:own"}, {"key": "b", "task_type": "marked"}]
    engine = FlowEngine(registry=registry)
    flow = engine.run_flow(engine.flow_spec_to_flow({"tasks": tasks}))
    assert [flow.tasks[key]["data"] for key in "ab"] == [{"by": "own"}, {"by": "me"}]
