"""The check of a spec's parts against the schema, alike parts once."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, Final

from mc.errors import Problem
from mc.spec.problems import NameSuggester, make_problem
from mc.spec.schema.flow_spec_schema import load_flow_spec_schema
from mc.spec.schema.schema_errors import describe_schema_error
from mc.spec.schema.shapes import Shape, ShapeBuilder

__all__ = ["PartChecker", "known_names", "part_checker"]

_MAX_REMEMBERED: Final = 4096


class PartChecker:
    """Checks values against one definition of the schema."""

    __slots__ = ("_definition", "_shape", "_sound", "_validator")

    def __init__(self, definition: str) -> None:
        self._definition = {"$ref": f"#/$defs/{definition}"}
        self._shape: Shape = _shape_builder().shape_of([self._definition])
        self._sound: set[Hashable] = set()
        self._validator: Any = None

    def find_problems(self, value: Any, pointer: str, suggester: NameSuggester) -> list[Problem]:
        """Return what the schema has against a plain JSON value."""
        signature = self._shape.signature(value)
        if signature in self._sound:
            return []
        problems = self._ask_jsonschema(value, pointer, suggester)
        if not problems:
            if len(self._sound) >= _MAX_REMEMBERED:
                self._sound.clear()
            self._sound.add(signature)
        return problems

    def _ask_jsonschema(self, value: Any, pointer: str, suggester: NameSuggester) -> list[Problem]:
        if self._validator is None:
            from mc.spec.schema.bounded_validator import own_validator

            self._validator = own_validator({**_schema(), **self._definition})
        found: dict[Problem, None] = {}
        try:
            for error in self._validator.iter_errors(value):
                found.update(dict.fromkeys(describe_schema_error(error, pointer, suggester)))
        except RecursionError:
            problem = make_problem(
                "MC011",
                pointer,
                "Too many conditions inside each other: they cannot be checked.",
                found=value,
                expected="fewer conditions inside each other",
            )
            return [problem]
        return list(found)


@cache
def part_checker(definition: str) -> PartChecker:
    """Return the checker of a definition below `$defs`; it remembers the shapes that it found sound."""
    return PartChecker(definition)


@cache
def known_names(*steps: str) -> tuple[str, ...] | None:
    """Return the keys that a definition below `$defs` knows; None if there is no such definition."""
    node: Any = _schema()["$defs"]
    for step in steps:
        if step not in node:
            return None
        node = node[step]
    return tuple(node.get("properties", ()))


@cache
def _schema() -> dict[str, Any]:
    return load_flow_spec_schema()


@cache
def _shape_builder() -> ShapeBuilder:
    return ShapeBuilder(_schema())
