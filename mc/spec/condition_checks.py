"""Checks of conditions that the schema cannot make."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from mc.context.interpolation import find_references, unescape
from mc.spec.findings import Findings
from mc.spec.problems import shorten

__all__ = ["check_patterns"]


def check_patterns(condition: Any, pointer: str, findings: Findings) -> None:
    """Check the regular expressions of a condition, those inside `all`, `any` and `not` included."""
    for place, pattern in _list_patterns(condition, pointer):
        if any(find_references(pattern)):
            continue
        try:
            with warnings.catch_warnings():
                # What Python may read otherwise some day is no problem of today's spec.
                warnings.simplefilter("ignore")
                re.compile(unescape(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            findings.add(
                "MC140",
                place,
                f"{shorten(pattern)} is not a regular expression: {error}.",
                found=pattern,
                expected="a regular expression of Python's `re`",
            )


def _list_patterns(condition: Any, pointer: str) -> Iterator[tuple[str, str]]:
    waiting = [(condition, pointer)]
    while waiting:
        node, place = waiting.pop()
        if type(node) is not dict:
            continue
        if node.get("op") == "matches" and type(node.get("arg")) is str and len(node["arg"]) <= 1000:
            yield f"{place}/arg", node["arg"]
        waiting.append((node.get("not"), f"{place}/not"))
        for group in ("any", "all"):
            parts = node.get(group)
            if type(parts) is list:
                waiting.extend((part, f"{place}/{group}/{at}") for at, part in enumerate(parts))
