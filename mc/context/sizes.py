"""Sizes of JSON values, and the limits that they keep to.

A spec of a few lines can double a text until no memory holds it. What grows is measured before it is put
together, and what a task leaves before it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.context.json_values import append_pointer
from mc.errors import SizeError

__all__ = ["Limits", "Room", "json_size", "largest_part", "room_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large values may become, in bytes of their JSON text (escapes are not counted).

    Attributes:
        value_bytes: what references put together for one place: the params of a task, a value of a wiring.
        task_bytes: the params and data of one task.
        flow_bytes: the data of a flow, with all that calls of its tasks have left; also what one run of
            wirings writes.
    """

    value_bytes: int = 16_000_000
    task_bytes: int = 16_000_000
    flow_bytes: int = 256_000_000


_DEFAULT: Final = Limits()


class Room:
    """What is left of a limit while a value is put together."""

    __slots__ = ("_left", "_limit", "_what")

    def __init__(self, limit: int, what: str) -> None:
        self._limit = self._left = limit
        self._what = what

    def take(self, size: int, path: str = "") -> None:
        """Use some of it up.

        Raises:
            SizeError: there is not so much; `.size` and `.limit` tell of the whole.
        """
        self._left -= size
        if self._left < 0:
            found = self._limit - self._left
            where = f" with {path[:100]}" if path else ""
            raise SizeError(
                f"{self._what} would have {found:,} bytes or more{where}; at most {self._limit:,} may be. "
                f"Keep large data outside the flow, and their place in it.",
                size=found,
                limit=self._limit,
            )


def room_for(ctx: Mapping[str, Any], *, whole_flow: bool = False) -> Room:
    """Return the room for a value that is put together of what a context holds, by its engine's limits.

    Args:
        ctx: what paths are read from; `engine` is the engine.
        whole_flow: the value is written in parts all over the flow.
    """
    limits = getattr(ctx.get("engine"), "limits", _DEFAULT)
    if whole_flow:
        return Room(limits.flow_bytes, "What the wirings write")
    return Room(limits.value_bytes, "The value")


def json_size(value: Any) -> int:
    """Return the bytes of a plain JSON value's text; escapes are not counted, shared parts are each time."""
    size, waiting = 0, [[value]]
    while waiting:
        parts: Any = waiting.pop()
        if type(parts) is dict:
            size += 2 + 4 * len(parts)
            for name in parts:
                size += len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))
            parts = parts.values()
        else:
            size += 2 + len(parts)
        for part in parts:
            kind = type(part)
            if kind is str:
                size += 2 + (len(part) if part.isascii() else len(part.encode("utf-8", "surrogatepass")))
            elif kind is dict or kind is list:
                waiting.append(part)
            elif kind is int and part > 10**18:
                size += part.bit_length() // 3
            else:
                size += 8
    return size - 3  # of the list around it


def largest_part(whole: Any, pointer: str) -> tuple[str, int]:
    """Return JSON Pointer and size of the part that makes a value large."""
    size, value = json_size(whole), whole
    while isinstance(value, dict | list):
        parts: Any = value.items() if type(value) is dict else enumerate(value)
        below = [(json_size(part), step) for step, part in parts if type(part) in (str, dict, list)]
        largest, step = max(below, key=lambda entry: entry[0], default=(0, ""))
        if largest < size / 2:
            break
        value, size, pointer = value[step], largest, append_pointer(pointer, step)  # type: ignore[index]
    return pointer, size
