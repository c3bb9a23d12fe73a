"""The text of a module that is not imported: which names it defines, imports and exports.

The module is found by the finders of the import system, its parents are not imported, and nothing of it is
executed: validating a spec must not run code that only the spec names.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from typing import Final, NamedTuple

from mc.errors import UnknownTaskTypeError

__all__ = ["ImportedName", "ModuleText", "read_module_text"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
# What may give a module names that its text does not show.
_MAKES_NAMES: Final = frozenset({"exec", "eval", "globals", "locals", "setattr", "vars"})


class ImportedName(NamedTuple):
    """Where a name of a module was imported from."""

    module: str
    name: str | None  # None: the name is the module


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleText:
    """What the text of a module tells of its names.

    Attributes:
        defined: functions and classes, by name.
        assigned: names that are given any value.
        imported: names that are imported, and from where.
        exported: what `__all__` lists.
        marked: functions under `@task_handler`, and classes with a `task_type`.
        is_open: whether there may be names that the text does not show.
    """

    defined: Mapping[str, ast.stmt]
    assigned: frozenset[str]
    imported: Mapping[str, ImportedName]
    exported: frozenset[str]
    marked: frozenset[str]
    is_open: bool

    @property
    def names(self) -> Collection[str]:
        """The names that a spec may mean."""
        return {*self.defined, *self.assigned, *self.exported}

    def lacks(self, name: str) -> bool:
        """Tell whether the module certainly has no such name."""
        return not self.is_open and name not in self.names and name not in self.imported

    def class_lacks(self, name: str, steps: Sequence[str]) -> bool:
        """Tell whether a class, or what is defined as a function, certainly has no such name inside."""
        node: ast.stmt | None = self.defined.get(name)
        for step in steps:
            if isinstance(node, _Function) and not node.decorator_list:
                return True
            if not isinstance(node, ast.ClassDef):
                return False
            if step not in _names_bound(node.body):
                return not (node.bases or node.keywords or node.decorator_list)
            node = _definitions(node.body).get(step)
        return False

    def names_in_class(self, name: str) -> list[str]:
        """Return the public names of a class."""
        node = self.defined.get(name)
        body = node.body if isinstance(node, ast.ClassDef) else []
        return [each for each in _names_bound(body) if not each.startswith("_")]

    def has_certainly(self, name: str, steps: Sequence[str]) -> bool:
        """Tell whether the text defines such a function or class."""
        node: ast.stmt | None = self.defined.get(name)
        for step in steps:
            node = _definitions(node.body).get(step) if isinstance(node, ast.ClassDef) else None
        return node is not None


def read_module_text(module_name: str, asked_for: str) -> ModuleText | str:
    """Read a module, imported or not.

    Args:
        module_name: the module.
        asked_for: what the spec says, for messages.

    Returns:
        What its text tells, or a sentence that says why it tells nothing.

    Raises:
        UnknownTaskTypeError: there is no such module, or its text is not Python.
    """
    unclear = f"Whether {asked_for!r} can be used is known only when {module_name!r} is imported"
    try:
        spec = _find_spec(module_name)
        if spec is None:
            raise UnknownTaskTypeError(
                f"{asked_for!r}: there is no module {module_name!r}.", task_type=asked_for, module=module_name
            )
        get_source = getattr(spec.loader, "get_source", None)
        text: str | None = get_source(module_name) if get_source is not None else None
        if spec.loader is None and spec.submodule_search_locations is not None:
            text = ""  # a folder without __init__.py
    except (ImportError, OSError, KeyError, AttributeError, ValueError, SyntaxError) as error:
        return f"{unclear}: its text cannot be read ({type(error).__name__})."
    if text is None:
        return f"{unclear}: it has no text to read."
    try:
        return _parse(text, module_name, spec.submodule_search_locations is not None)
    except SyntaxError as error:
        raise UnknownTaskTypeError(
            f"{asked_for!r}: the module {module_name!r} cannot be imported: {type(error).__name__}: {error}.",
            task_type=asked_for,
            module=module_name,
        ) from error
    except (RecursionError, MemoryError, ValueError):
        return f"{unclear}: its text cannot be parsed."


def _find_spec(module_name: str) -> ModuleSpec | None:
    """Find a module without importing its parents; where one is imported, it says where its parts lie."""
    path: Iterable[str] | None = None
    spec: ModuleSpec | None = None
    steps = module_name.split(".")
    for length in range(1, len(steps) + 1):
        name = ".".join(steps[:length])
        if length > 1 and path is None:
            return None  # the module above is no package
        loaded = sys.modules.get(name)
        if loaded is not None and loaded.__spec__ is not None:
            spec, path = loaded.__spec__, getattr(loaded, "__path__", None)
            continue
        places = None if path is None else list(path)
        found = (finder.find_spec(name, places) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


@lru_cache(maxsize=32)
def _parse(text: str, module_name: str, is_package: bool) -> ModuleText:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the module's own style
        tree = ast.parse(text)
    package = module_name if is_package else module_name.rpartition(".")[0]
    imported: dict[str, ImportedName] = {}
    assigned: set[str] = set()
    is_open = any(isinstance(node, ast.Name) and node.id in _MAKES_NAMES for node in ast.walk(tree))
    exported: set[str] = set()
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                imported[name] = ImportedName(alias.name if alias.asname else name, None)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            is_open = is_open or any(alias.name == "*" for alias in node.names)
            for alias in node.names:
                imported[alias.asname or alias.name] = ImportedName(origin, alias.name)
        else:
            assigned.update(_names_assigned(node))
            exported.update(_names_exported(node))
    defined = _definitions(tree.body)
    return ModuleText(
        defined=defined,
        assigned=frozenset(assigned),
        imported=imported,
        exported=frozenset(name for name in exported if not name.startswith("_")),
        marked=frozenset(name for name, node in defined.items() if _is_marked(node)),
        is_open=is_open or "__getattr__" in defined,
    )


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run in the scope of a body, those inside `if`, `try` and loops too."""
    waiting = list(body)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _Function | ast.ClassDef):
            continue
        inner: list[ast.stmt] = []
        for name in ("body", "orelse", "finalbody"):
            inner += getattr(node, name, [])
        for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            inner += part.body
        waiting += inner[::-1]


def _definitions(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    return {node.name: node for node in _statements(body) if isinstance(node, _Function | ast.ClassDef)}


def _names_bound(body: Iterable[ast.stmt]) -> set[str]:
    bound = set(_definitions(body))
    for node in _statements(body):
        bound.update(_names_assigned(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(alias.asname or alias.name for alias in node.names)
    return bound


def _names_assigned(node: ast.stmt) -> Iterator[str]:
    """Yield the names that one statement gives a value, what it holds inside left out."""
    if isinstance(node, _Function | ast.ClassDef):
        return
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            for part in ast.walk(child):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id


def _names_exported(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
        value = getattr(node, "value", None)
        for part in ast.walk(value) if isinstance(value, ast.AST) else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def _is_marked(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return "task_type" in _names_bound(node.body)
    decorators = node.decorator_list if isinstance(node, _Function) else []
    calls = [each.func for each in decorators if isinstance(each, ast.Call)]
    return any("task_handler" in (getattr(call, "id", None), getattr(call, "attr", None)) for call in calls)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the module that a `from` names; dots count upwards from the package."""
    if not node.level:
        return node.module or ""
    above = package.split(".")
    base = above[: len(above) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])
