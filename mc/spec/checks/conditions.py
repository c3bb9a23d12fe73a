"""Checks of conditions that the schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mc.context.interpolation import find_references, unescape
from mc.context.patterns import MAX_PATTERN_LENGTH, compile_pattern
from mc.errors import PatternError
from mc.spec.findings import Findings

__all__ = ["check_patterns"]


def check_patterns(condition: Any, pointer: str, findings: Findings) -> None:
    """Check the regular expressions of a condition, those inside `all`, `any` and `not` included."""
    for place, pattern in _list_patterns(condition, pointer):
        if any(find_references(pattern)):
            continue
        try:
            compile_pattern(unescape(pattern))
        except PatternError as error:
            expected = "a regular expression in RE2's syntax"
            findings.add("MC140", place, error.message, found=pattern, expected=expected)


def _list_patterns(condition: Any, pointer: str) -> Iterator[tuple[str, str]]:
    waiting = [(condition, pointer)]
    while waiting:
        node, place = waiting.pop()
        if type(node) is not dict:
            continue
        arg = node.get("arg")
        if node.get("op") == "matches" and type(arg) is str and len(arg) <= MAX_PATTERN_LENGTH:
            yield f"{place}/arg", arg
        waiting.append((node.get("not"), f"{place}/not"))
        for group in ("any", "all"):
            parts = node.get(group)
            if type(parts) is list:
                waiting.extend((part, f"{place}/{group}/{at}") for at, part in enumerate(parts))
