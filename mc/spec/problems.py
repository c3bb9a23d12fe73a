"""Problems in words: pointers, shortened values, nearest names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any, Final, TypedDict, Unpack

from mc.errors import Problem
from mc.spec.codes import full_code

__all__ = ["NameSuggester", "Told", "join_pointer", "list_names", "make_problem", "shorten"]

_MAX_SHOWN: Final = 60
_MAX_STEP: Final = 200
_MAX_NAMES: Final = 12
_MAX_PARTS: Final = 6
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def join_pointer(pointer: str, *steps: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) to the place that `steps` lead to below `pointer`.

    Very long keys are cut, so that a report stays readable.
    """
    for step in steps:
        text = step if isinstance(step, str) else str(step)
        if len(text) > _MAX_STEP:
            text = text[:_MAX_STEP] + "..."
        pointer += "/" + _writable(text).replace("~", "~0").replace("/", "~1")
    return pointer


def shorten(value: Any) -> str:
    """Describe a value of any type in a few words, without calling any code of it."""
    kind = type(value)
    if kind is str:
        if len(value) > _MAX_SHOWN:
            return f"{_quote(value[:_MAX_SHOWN] + '...')} ({len(value)} characters)"
        return _quote(value)
    if value is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if kind is int:
        return str(value) if value.bit_length() <= 200 else "a number of more than 60 digits"
    if kind is float:
        return repr(value)
    if value and (kind is list or kind is dict):
        shape = _shape(value, 2)
        if len(shape) <= _MAX_SHOWN:
            return shape
    if kind is list:
        return f"a list of {len(value)}" if value else "an empty list"
    if kind is dict:
        names = list_names([key for key, _ in zip(value, range(_MAX_NAMES + 1), strict=False)], 5)
        return f"a mapping with {names}" if value else "an empty mapping"
    return f"a value of type {kind.__name__}"


def _shape(value: Any, depth: int) -> str:
    """Write a small value as JSON, with `...` for what is deep in it; blanks where it is too large."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return shorten(value)
    opening, closing = "{}" if kind is dict else "[]"
    if depth == 0 and value:
        return f"{opening}...{closing}"
    if len(value) > _MAX_PARTS:
        return " " * (_MAX_SHOWN + 1)
    if kind is list:
        parts = [_shape(part, depth - 1) for part in value]
    else:
        parts = [f"{shorten(key)}: {_shape(part, depth - 1)}" for key, part in value.items()]
    return f"{opening}{', '.join(parts)}{closing}"


def list_names(names: Iterable[Any], limit: int = _MAX_NAMES) -> str:
    """Return names for a sentence, the first few of them."""
    shown = [name if type(name) is str else shorten(name) for name in names]
    cut = [_writable(name if len(name) <= 40 else name[:40] + "...") for name in shown[:limit]]
    return ", ".join([*cut, "..."] if len(shown) > limit else cut)


class Told(TypedDict, total=False):
    """What a problem tells besides its message."""

    found: Any  # any value, which is shortened
    expected: str | None
    suggestion: str | None


def make_problem(number: str, pointer: str, message: str, **told: Unpack[Told]) -> Problem:
    """Return a problem."""
    told["found"] = shorten(told.get("found"))
    return Problem(code=full_code(number), pointer=pointer, message=message, **told)


class NameSuggester:
    """Finds the valid name that was probably meant, with bounded work however much is wrong."""

    __slots__ = ("_budget", "_found")

    def __init__(self, budget: int = 100_000) -> None:
        self._budget = budget  # comparisons of two names, about 10 us each
        # The names are kept too: an id may be given out again once its object is gone.
        self._found: dict[tuple[str, int], tuple[Collection[str], str | None]] = {}

    def nearest(self, name: str, valid: Collection[str]) -> str | None:
        """Return the nearest of the valid names, or None."""
        if len(name) > 64:
            return None
        memo = (name, id(valid))
        if memo not in self._found:
            self._found[memo] = (valid, self._search(name, valid))
        return self._found[memo][1]

    def _search(self, name: str, valid: Collection[str]) -> str | None:
        import difflib  # only a wrong spec needs it

        if len(valid) > self._budget:
            return None
        self._budget -= len(valid)
        near = [text for text in valid if abs(len(text) - len(name)) <= 4]
        folded = {text.lower(): text for text in near}
        matches = difflib.get_close_matches(name.lower(), folded, 1, 0.6)
        return folded[matches[0]] if matches else None


def _quote(text: str) -> str:
    # As JSON writes it, so that no control character reaches a terminal.
    return json.dumps(_writable(text), ensure_ascii=False)


def _writable(text: str) -> str:
    # A lone surrogate cannot be written to any output.
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)
