"""Parts of a spec that JSON cannot hold, as problems; the rest is left fit for the other checks."""

from __future__ import annotations

from typing import Any, Final

from mc.context import json_values
from mc.context.json_values import JsonFault
from mc.errors import Problem
from mc.spec.problems import join_pointer, make_problem, shorten

__all__ = ["make_plain"]

_NUMBERS: Final = {"nesting": "MC011", "parts": "MC012", "cycle": "MC013"}


def make_plain(value: Any) -> tuple[Any, list[Problem]]:
    """Return the value as plain JSON, and a problem for each part that JSON cannot hold.

    The same object is returned where there is nothing to say. Otherwise a copy, in which such a part
    is null; an entry whose key is not text is left out. Of a value that is too deep, too large or inside
    itself nothing is left, since nothing else can be said of it.
    """
    problems: list[Problem] = []

    def report(fault: JsonFault) -> None:
        pointer, message = fault.pointer, f"JSON cannot hold {fault.what}."
        if fault.code == "key":
            pointer = join_pointer(pointer, shorten(fault.found))
        number = _NUMBERS.get(fault.code, "MC010")
        problems.append(make_problem(number, pointer, message, found=fault.found, expected=fault.instead))

    return json_values.make_plain(value, report), problems
