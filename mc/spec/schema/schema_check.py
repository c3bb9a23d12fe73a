"""The check of a spec's parts: a compiled validator says whether the schema holds, jsonschema why not."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from mc.errors import Problem
from mc.spec.problems import NameSuggester, make_problem
from mc.spec.schema.flow_spec_schema import load_flow_spec_schema
from mc.spec.schema.schema_errors import describe_schema_error

__all__ = ["PartChecker", "known_names", "part_checker"]


class PartChecker:
    """Checks values against one definition of the schema."""

    __slots__ = ("_compiled", "_schema", "_validator")

    def __init__(self, definition: str) -> None:
        from jsonschema_rs import Draft202012Validator

        self._schema = {**_schema(), "$ref": f"#/$defs/{definition}"}
        self._compiled = Draft202012Validator(self._schema, keywords={"pattern": _Pattern})
        self._validator: Any = None

    def find_problems(self, value: Any, pointer: str, suggester: NameSuggester) -> list[Problem]:
        """Return what the schema has against a plain JSON value."""
        return [] if self._compiled.is_valid(value) else self._ask_jsonschema(value, pointer, suggester)

    def _ask_jsonschema(self, value: Any, pointer: str, suggester: NameSuggester) -> list[Problem]:
        if self._validator is None:
            from jsonschema import Draft202012Validator

            self._validator = Draft202012Validator(self._schema)
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


class _Pattern:
    """The keyword `pattern`, matched by Python, so that both validators mean the same letters and digits."""

    def __init__(self, schema: dict[str, Any], pattern: str, path: list[str | int]) -> None:
        self._search = re.compile(pattern).search

    def validate(self, instance: Any) -> None:
        """Raise an error if the value is text in which the pattern is not found."""
        if type(instance) is str and self._search(instance) is None:
            raise ValueError


@cache
def part_checker(definition: str) -> PartChecker:
    """Return the checker of a definition below `$defs`."""
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
