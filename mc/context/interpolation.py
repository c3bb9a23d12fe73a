"""References inside values: `$ctx.path` as a whole value, `${ctx.path}` inside a text.

What a reference is replaced by is never looked at again, so data cannot bring references of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from mc.context.json_values import MAX_NESTING, append_pointer, dumps
from mc.context.paths import read_copy
from mc.context.sizes import Room, json_size, room_for
from mc.errors import NotJsonError

__all__ = ["find_references", "has_references", "interpolate", "unescape"]

_WHOLE: Final = "$ctx."
_INSIDE: Final = "${ctx."
_ESCAPED: Final = "\\$"
_MARK: Final = re.compile(r"(?<!\\)\\++(?=\$)|\$\{(?=ctx\.)")
_BACKSLASHES: Final = re.compile(r"(?<!\\)\\++(?=\$)")
_QUOTE_OR_END: Final = re.compile(r"""["'}]""")
_QUOTED: Final[Mapping[str, re.Pattern[str]]] = {
    '"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL),
    "'": re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL),
}


def has_references(value: Any) -> bool:
    r"""Tell whether `interpolate` would make another value of this one (`\$` counts too)."""
    return _has_references(value, 1)


def interpolate(value: Any, ctx: Mapping[str, Any], skip: AbstractSet[str] = frozenset()) -> Any:
    """Return `value` with its references replaced by copies of what they lead to.

    The input is never changed. Parts without references are the input's own, so where there are none
    the same object comes back. Keys of mappings are left as they are.

    Args:
        value: dicts, lists and scalars.
        ctx: what paths begin from.
        skip: keys of `value`, where it is a dict, that are left untouched.

    Raises:
        PathError: a reference is malformed or leads nowhere.
        SizeError: the value would be too large; it was not put together.
    """
    if skip and type(value) is dict:
        taken = {key: part for key, part in value.items() if key not in skip}
        replaced = _interpolate(taken, ctx, 1, room_for(ctx))
        return value if replaced is taken else {key: replaced.get(key, value[key]) for key in value}
    return _interpolate(value, ctx, 1, room_for(ctx))


def find_references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (JSON Pointer, path text) of each reference, in order; raises nothing.

    A malformed reference is yielded too: `parse_path` says what is wrong with it.
    """
    return _find_references(value, "", ())


def unescape(text: str) -> str:
    r"""Return the text with each `\$` made a plain dollar and, before one, each `\\` a plain backslash."""
    return _BACKSLASHES.sub(lambda match: "\\" * (len(match.group()) // 2), text)


def _has_references(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return "$" in value and (value.startswith(_WHOLE) or _INSIDE in value or _ESCAPED in value)
    if kind is dict:
        _check_depth(depth)
        return any(_has_references(part, depth + 1) for part in value.values())
    if kind is list:
        _check_depth(depth)
        return any(_has_references(part, depth + 1) for part in value)
    return False


def _interpolate(value: Any, ctx: Mapping[str, Any], depth: int, room: Room) -> Any:
    kind = type(value)
    if kind is str:
        if "$" not in value:
            return value
        if not value.startswith(_WHOLE):
            return _fill_text(value, ctx, room)
        found = read_copy(ctx, value[1:])
        room.take(json_size(found), value)
        return found
    if kind is not dict and kind is not list:
        return value
    _check_depth(depth)
    replaced: Any = None
    for key, part in value.items() if kind is dict else enumerate(value):
        new = _interpolate(part, ctx, depth + 1, room)
        if new is not part:
            if replaced is None:
                replaced = value.copy()
            replaced[key] = new
    return value if replaced is None else replaced


def _fill_text(text: str, ctx: Mapping[str, Any], room: Room) -> str:
    if _INSIDE not in text:
        return unescape(text)
    shown: list[str] = []
    for plain, path_text in _split_text(text):
        shown.append(plain)
        if path_text is not None:
            found = read_copy(ctx, path_text)
            found = found if isinstance(found, str) else dumps(found)
            room.take(json_size(found), path_text)
            shown.append(found)
    return "".join(shown)


def _split_text(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield (plain text, path of the reference that follows it or None)."""
    position = 0
    plain = ""
    while (match := _MARK.search(text, position)) is not None:
        plain += text[position : match.start()]
        position = match.end()
        if match.group() != "${":
            plain += "\\" * (len(match.group()) // 2)
            if len(match.group()) % 2:
                plain += "$"
                position += 1
            continue
        end = _find_end(text, position)
        if end is None:
            # Not a path, and `parse_path` says why.
            yield plain, text[match.start() :]
            return
        yield plain, text[position:end].rstrip()
        plain = ""
        position = end + 1
    yield plain + text[position:], None


def _find_end(text: str, position: int) -> int | None:
    """Return where the `}` of a reference stands; one inside a quoted key does not count."""
    while (match := _QUOTE_OR_END.search(text, position)) is not None:
        if match.group() == "}":
            return match.start()
        quoted = _QUOTED[match.group()].match(text, match.start())
        if quoted is None:
            return None
        position = quoted.end()
    return None


def _find_references(value: Any, pointer: str, open_ids: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    kind = type(value)
    if kind is str:
        if "$" not in value:
            return
        if value.startswith(_WHOLE):
            yield pointer, value[1:]
            return
        for _, path_text in _split_text(value):
            if path_text is not None:
                yield pointer, path_text
    elif kind is dict or kind is list:
        # What contains itself or nests too deep is refused elsewhere; here it only must not hang.
        if id(value) in open_ids or len(open_ids) >= MAX_NESTING:
            return
        inner = (*open_ids, id(value))
        for step, part in value.items() if kind is dict else enumerate(value):
            if type(part) in (str, dict, list):
                yield from _find_references(part, append_pointer(pointer, step), inner)


def _check_depth(depth: int) -> None:
    if depth > MAX_NESTING:
        raise NotJsonError(f"A value with references may nest {MAX_NESTING} levels deep, not deeper.")
