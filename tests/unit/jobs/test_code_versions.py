"""Versions of code: what makes one, and what does not."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.errors import TaskHandlerError
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.code_version import function_version, module_version


def wrapped(function: Callable[[], int]) -> Callable[[], int]:
    @functools.wraps(function)
    def call() -> int:
        return function()

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(folder: Path, name: str, **files: str) -> Any:
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    importlib.invalidate_caches()
    return importlib.import_module(name)


class TestOfAFunction:
    def test_another_source_of_its_module_is_another_version(self, folder: Path) -> None:
        module = load(folder, "one", one="def f(): return 1\n")
        before = function_version(module.f)
        assert function_version(module.f) == before
        (folder / "one.py").write_text("def f(): return 2\n")
        assert function_version(module.f) != before

    def test_what_its_module_imports_is_not_looked_at(self, folder: Path) -> None:
        module = load(folder, "two", helper="X = 1\n", two="from helper import X\ndef f(): return X\n")
        before = function_version(module.f)
        (folder / "helper.py").write_text("X = 2\n")
        assert function_version(module.f) == before

    def test_its_author_s_word_wins(self, folder: Path) -> None:
        module = load(folder, "three", three="def f(): return 1\nf.version = '1.2'\n")
        before = function_version(module.f)
        (folder / "three.py").write_text("# other\n")
        assert function_version(module.f) == before == "version 1.2"

    def test_a_decorator_of_another_module_hides_nothing(self, folder: Path) -> None:
        module = load(folder, "four", four="def f(): return 1\n")
        assert function_version(wrapped(module.f)) == function_version(module.f)

    def test_a_part_of_the_interpreter_has_that_version(self) -> None:
        assert function_version(time.time) == f"Python {sys.version}"

    def test_a_source_that_is_gone_is_told(self, folder: Path) -> None:
        module = load(folder, "five", five="def f(): return 1\n")
        (folder / "five.py").unlink()
        with pytest.raises(TaskHandlerError, match="The source of 'f' cannot be read from "):
            function_version(module.f)


class TestOfAJobModule:
    def test_all_that_is_in_a_package_counts(self, folder: Path) -> None:
        (folder / "pack").mkdir()
        (folder / "pack" / "__init__.py").touch()
        package = load(folder, "pack")
        before = module_version(package)
        (folder / "pack" / "part.py").write_text("X = 2\n")
        assert module_version(package) != before

    def test_its_author_s_word_wins(self, folder: Path) -> None:
        assert module_version(load(folder, "sixth", sixth="version = 3\n")) == "version 3"


def triple(number: int) -> int:
    return 3 * number


def test_without_a_store_jobs_of_the_same_engine_are_taken() -> None:
    engine = FlowEngine(handler_modules=__name__)
    params = {"job_type": f"{__name__}:triple", "job_params": {"number": 2}, "dedupe": True}
    tasks = [{"key": key, "task_type": "job", "task_params": params} for key in ("a", "b")]
    flow = engine.run_flow(engine.flow_spec_to_flow({"key": "f", "tasks": tasks}))
    assert flow.tasks["b"]["data"] == flow.tasks["a"]["data"] == {"job_key": "f/a/1", "result": 6}
