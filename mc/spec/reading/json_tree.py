"""Trees of JSON values: what JSON cannot hold is found, the rest left fit for the other checks."""

from __future__ import annotations

import math
from typing import Any, Final

from mc.context.json_values import MAX_NESTING, MAX_PARTS
from mc.errors import Problem
from mc.spec.problems import join_pointer, make_problem, shorten

__all__ = ["make_plain"]

_MAX_INT_BITS: Final = 14_000  # Python neither reads nor writes integers of more than 4,300 digits
_BAD: Final = object()


def make_plain(value: Any) -> tuple[Any, list[Problem]]:
    """Return the value as plain JSON, and a problem for each part that JSON cannot hold.

    The same object is returned where there is nothing to say. Otherwise a copy, in which such a part
    is null; an entry whose key is not text is left out.
    """
    if _is_plain(value):
        return value, []
    return _TreeWalk().walk(value)


def _is_plain(value: Any) -> bool:
    """Tell quickly, level by level, whether there is nothing to say; False may only mean: look closer."""
    level: list[Any] = [[value]]
    parts = 0
    for _ in range(MAX_NESTING + 1):
        below: list[Any] = []
        for container in level:
            parts += len(container)
            if type(container) is dict:
                for key in container:
                    if type(key) is not str or not (key.isascii() or _encodable(key)):
                        return False
            for item in container.values() if type(container) is dict else container:
                kind = type(item)
                if kind is str:
                    if not (item.isascii() or _encodable(item)):
                        return False
                elif kind is dict or kind is list:
                    below.append(item)
                elif not (item is None or kind is bool or _is_plain_number(item, kind)):
                    return False
        if not below:
            return True
        if parts > MAX_PARTS:
            return False
        level = below
    return False


def _is_plain_number(value: Any, kind: type) -> bool:
    if kind is int:
        return bool(value.bit_length() <= _MAX_INT_BITS)
    return kind is float and math.isfinite(value)


class _Frame:
    """A list or mapping on the way down."""

    __slots__ = ("copy", "height", "ident", "items", "pointer", "size", "step")

    def __init__(self, value: Any, pointer: str, step: Any) -> None:
        self.ident = id(value)
        self.pointer = pointer
        self.step = step  # under which the copy is entered into the frame above
        self.copy: Any
        # The classes' own methods: a subclass may do anything in its.
        entries: list[tuple[Any, Any]]
        if issubclass(type(value), dict):
            self.copy = {}
            entries = list(dict.items(value))
        else:
            self.copy = []
            entries = list(enumerate(list.__iter__(value)))
        self.items = iter(entries)
        self.height = 1
        self.size = len(entries)


class _TreeWalk:
    """Depth first, with a stack of its own, each shared part once."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._path: list[_Frame] = []
        self._on_path: set[int] = set()
        self._is_too_large = False
        # id -> (copy, height, size); the originals live as long as the value does.
        self._done: dict[int, tuple[Any, int, int]] = {}

    def walk(self, value: Any) -> tuple[Any, list[Problem]]:
        result = self._enter(value, "", None)
        while self._path:
            frame = self._path[-1]
            for step, item in frame.items:
                depth = len(self._path)
                copy = self._take(frame, step, item)
                if len(self._path) > depth:
                    break
                if copy is not _BAD:
                    _put(frame.copy, step, copy)
            else:
                result = self._leave()
        return result, self._problems

    def _take(self, frame: _Frame, step: Any, item: Any) -> Any:
        if type(frame.copy) is dict and not issubclass(type(step), str):
            pointer = join_pointer(frame.pointer, shorten(step))
            self._report("MC010", pointer, "A key of a mapping is not text.", step, "keys that are text")
            return _BAD
        step = str.__str__(step) if type(frame.copy) is dict else step
        pointer = join_pointer(frame.pointer, step)
        if type(step) is str and not _encodable(step):
            self._report(
                "MC010", pointer, "A key holds half of a surrogate pair.", step, "text that UTF-8 can hold"
            )
            return _BAD
        return self._enter(item, pointer, step)

    def _enter(self, value: Any, pointer: str, step: Any) -> Any:
        """Return the plain form of a value, or begin a frame for a list or mapping."""
        kind = type(value)
        if not issubclass(kind, (dict, list)):
            return self._scalar(value, kind, pointer)
        ident = id(value)
        if ident in self._on_path:
            self._report(
                "MC013", pointer, "This value contains itself.", value, "a value that JSON text can hold"
            )
            return None
        if ident in self._done:
            copy, height, size = self._done[ident]
            return copy if self._fits(height, size, pointer, value) else None
        if not self._fits(1, 0, pointer, value):
            return None
        self._path.append(_Frame(value, pointer, step))
        self._on_path.add(ident)
        return None

    def _fits(self, height: int, size: int, pointer: str, value: Any) -> bool:
        if len(self._path) + height > MAX_NESTING:
            message = f"Lists and mappings are nested more than {MAX_NESTING} deep here."
            self._report("MC011", pointer, message, value, f"at most {MAX_NESTING} levels")
            return False
        if self._path:
            above = self._path[-1]
            if above.size + size > MAX_PARTS:
                self._report_size(pointer, value)
                return False
            above.height = max(above.height, height + 1)
            above.size += size
        return True

    def _report_size(self, pointer: str, value: Any) -> None:
        if not self._is_too_large:
            self._is_too_large = True
            message = f"The value has more than {MAX_PARTS:,} parts, repeated ones counted each time."
            self._report("MC012", pointer, message, value, f"at most {MAX_PARTS:,} parts")

    def _leave(self) -> Any:
        frame = self._path.pop()
        self._on_path.discard(frame.ident)
        self._done[frame.ident] = (frame.copy, frame.height, frame.size)
        if self._path:
            above = self._path[-1]
            above.height = max(above.height, frame.height + 1)
            above.size += frame.size
            _put(above.copy, frame.step, frame.copy)
        elif frame.size > MAX_PARTS:
            self._report_size("", frame.copy)
        return frame.copy

    def _scalar(self, value: Any, kind: type, pointer: str) -> Any:
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            text = str.__str__(value)
            if _encodable(text):
                return text
            message, expected = "The text holds half of a surrogate pair.", "text that UTF-8 can hold"
        elif issubclass(kind, int):
            if int.bit_length(value) <= _MAX_INT_BITS:
                return int.__int__(value)
            message, expected = "The number has too many digits.", "a number of fewer than 4,000 digits"
        elif issubclass(kind, float):
            if math.isfinite(float.__float__(value)):
                return float.__float__(value)
            message, expected = "JSON has no NaN and no infinite numbers.", "a finite number, null or text"
        else:
            message = f"JSON cannot hold a value of the Python type {kind.__name__}."
            expected = "text, a number, true, false, null, a list or a mapping (dict) with text keys"
            expected += (
                "; write a tuple or set as a list" if issubclass(kind, (tuple, set, frozenset)) else ""
            )
        self._report("MC010", pointer, message, value, expected)
        return None

    def _report(self, number: str, pointer: str, message: str, found: Any, expected: str) -> None:
        self._problems.append(make_problem(number, pointer, message, found=found, expected=expected))


def _put(container: Any, step: Any, item: Any) -> None:
    if type(container) is dict:
        container[str.__str__(step)] = item
    else:
        container.append(item)


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
