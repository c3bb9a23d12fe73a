"""A second look at a JSON text, for the place of what the decoder refused without saying where."""

from __future__ import annotations

import re
from typing import Final

from mc.spec.problems import shorten

__all__ = ["find_json_fault"]

_TOKEN: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"|[{}\[\]]|-?(?:Infinity|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|NaN', re.DOTALL
)
_COLON: Final = re.compile(r"\s*:")


def find_json_fault(text: str, max_nesting: int, max_digits: int) -> tuple[int, str] | None:
    """Return position and reason of the first thing that is refused, or None.

    Args:
        text: JSON text, well formed up to that place.
        max_nesting: how many lists and mappings may stand inside each other.
        max_digits: how many digits an integer may have.
    """
    open_names: list[dict[str, int]] = []  # per open list or mapping: the names that stood in it
    for match in _TOKEN.finditer(text):
        word, at = match.group(), match.start()
        if word in "{[":
            open_names.append({})
            if len(open_names) > max_nesting:
                return at, f"lists and mappings are nested more than {max_nesting} deep"
        elif word in "}]":
            if open_names:
                open_names.pop()
        elif word[0] != '"':
            reason = _refuse_number(word, max_digits)
            if reason:
                return at, reason
        elif open_names and _COLON.match(text, match.end()):
            name = _read_text(word)
            first = open_names[-1].setdefault(name, at)
            if first != at:
                line = text.count("\n", 0, first) + 1
                return at, f"the name {shorten(name)} stands in this mapping already, on line {line}"
    return None


def _refuse_number(token: str, max_digits: int) -> str | None:
    if token in ("NaN", "Infinity", "-Infinity"):
        return f"JSON has no {token}; write null or text"
    if token.lstrip("-").isdigit():
        return f"the number has more than {max_digits:,} digits" if len(token) > max_digits else None
    if float(token) in (float("inf"), float("-inf")):
        return f"the number {token[:40]} is too large"
    return None


def _read_text(token: str) -> str:
    import json

    text: str = json.loads(token, strict=False)  # the same name may be written with other escapes
    return text
