"""The page of the Python API names what can be imported, from where, with signatures that hide nothing."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mc

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATHS = re.findall(r"^::: (\S+)$", PAGE, re.MULTILINE)


def find(path: str) -> Any:
    """Return what a heading of the page names: a module, or what a module holds."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        return importlib.import_module(path)


def callables(path: str) -> Iterator[tuple[str, Any]]:
    """Yield the function of a heading, or the public methods that its class defines."""
    found = find(path)
    if inspect.isfunction(found):
        yield path, found
    elif inspect.isclass(found):
        for name in vars(found):
            method = getattr(found, name)
            if not name.startswith("_") and (inspect.isfunction(method) or inspect.ismethod(method)):
                yield f"{path}.{name}", method


@pytest.mark.parametrize("path", PATHS)
def test_every_name_is_imported_from_where_the_page_says(path: str) -> None:
    found = find(path)
    if not inspect.ismodule(found):
        assert found.__module__ == path.rpartition(".")[0]
        assert found.__doc__


def test_the_page_lists_what_the_package_itself_gives() -> None:
    intro = PAGE.partition("## ")[0]
    listed = set(re.findall(r"`(\w+)`", intro)) - {"mc"}
    assert listed == {name for name in mc.__all__ if not name.startswith("_")}
    for name in listed:
        assert getattr(mc, name) is not None


def test_what_the_documentation_imports_is_given_by_the_package() -> None:
    wrong = [
        f"{page.name}: from {module} import {names}"
        for page in PAGES
        for block in re.findall(
            r"^```python.*?^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        for module, names in re.findall(r"^ *from (mc[\w.]*) import (\([^)]*\)|.*)$", block, re.MULTILINE)
        if module != "mc" or not set(re.findall(r"\w+", names)) <= set(mc.__all__)
    ]
    assert wrong == []


def test_what_the_package_gives_stands_on_the_page() -> None:
    shown = {path.rpartition(".")[2] for path in PATHS} | set(importlib.import_module("mc.errors").__all__)
    assert {name for name in mc.__all__ if not name.startswith("_")} <= shown


@pytest.mark.parametrize("path", PATHS)
def test_signatures_are_whole(path: str) -> None:
    for name, function in callables(path):
        signature = inspect.signature(function)
        parameters = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in parameters:
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD:
                assert f"**{parameter.name}" in (function.__doc__ or ""), f"{name} hides what it takes"
