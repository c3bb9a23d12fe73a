"""Positions of a spec's parts in the text that it was read from, looked for once something is wrong."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from mc.errors import Problem
from mc.spec.problems import join_pointer

__all__ = ["locate"]

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s,:{}\[\]"]+')
_KINDS: Final = {"{": "mapping", "[": "list", "}": "end", "]": "end"}


class _Part(NamedTuple):
    kind: str  # mapping, list, end, or text for all else
    text: str
    place: tuple[int, int]  # line and column, from 1


def locate(problems: Iterable[Problem], text: str, *, as_yaml: bool) -> list[Problem]:
    """Return problems with the line and column at which their entry or item begins.

    For a part that is not in the text, such as what an alias repeats, it is the nearest part around it. What
    is around it may not be the whole: such a part, of data given elsewhere perhaps, stays without a place.

    Args:
        problems: of the spec.
        text: JSON or YAML, which was read without an error.
        as_yaml: whether it is YAML.
    """
    places = _index(_yaml_parts(text) if as_yaml else _json_parts(text))

    def located(problem: Problem) -> Problem:
        pointer = problem.pointer
        while pointer and pointer not in places:
            pointer = pointer.rpartition("/")[0]
        if problem.pointer and not pointer:
            return problem
        line, column = places[pointer]
        return replace(problem, line=line, column=column)

    return [located(problem) for problem in problems]


def _index(parts: Iterable[_Part]) -> dict[str, tuple[int, int]]:
    """Return where each part begins, by its JSON Pointer; of an entry, where its name does."""
    places: dict[str, tuple[int, int]] = {}
    opened: list[tuple[str, bool]] = []  # pointer, whether it is a mapping
    pointer, counts, names = "", [0], [False]  # names: whether the next text is one
    for kind, text, place in parts:
        if kind == "end":
            opened.pop()
            counts.pop()
            names.pop()
            continue
        if names[-1]:
            pointer = join_pointer(opened[-1][0], text)
            places.setdefault(pointer, place)
            names[-1] = False
            continue
        if opened and opened[-1][1]:
            names[-1] = True
        elif opened:
            pointer = join_pointer(opened[-1][0], counts[-1])
            counts[-1] += 1
        places.setdefault(pointer, place)
        if kind != "text":
            opened.append((pointer, kind == "mapping"))
            counts.append(0)
            names.append(kind == "mapping")
    return places


def _json_parts(text: str) -> Iterator[_Part]:
    import json

    line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for match in _TOKEN.finditer(text):
        token, at = match.group(), match.start()
        line = bisect_right(line_starts, at)
        word = json.loads(token, strict=False) if token[0] == '"' else token
        yield _Part(_KINDS.get(token, "text"), word, (line, at - line_starts[line - 1] + 1))


def _yaml_parts(text: str) -> Iterator[_Part]:
    import yaml

    kinds = {"MappingStartEvent": "mapping", "SequenceStartEvent": "list"}
    kinds |= {
        "MappingEndEvent": "end",
        "SequenceEndEvent": "end",
        "ScalarEvent": "text",
        "AliasEvent": "text",
    }
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        kind = kinds.get(type(event).__name__)
        if kind is not None:
            mark: Any = event.start_mark
            yield _Part(kind, getattr(event, "value", ""), (mark.line + 1, mark.column + 1))
