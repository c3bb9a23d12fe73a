"""Paths into the context of a task: `ctx.flow.tasks.load.data.rows.0.name`.

A path is data. It reads mappings, lists and the attributes that a class declares in
`readable_attributes`; it calls nothing and never touches a name that begins with an underscore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from mc.context.json_values import copy_as_json, json_type_name
from mc.errors import NotJsonError, PathError

__all__ = ["Step", "format_path", "nearest_name", "parse_path", "quote_for_message", "read_copy", "read_path"]

Step = str | int

_NAME: Final = re.compile(r"""[^\s.\[\]{}"'$\\]+""")
_QUOTED: Final = re.compile(r"""\[(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\]""", re.DOTALL)
_INDEX: Final = re.compile(r"\[(0|[1-9][0-9]{0,17})\]")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")  # longer ones are names: no list is that long
_LONGEST_PATH: Final = 10_000
_MISSING: Final = object()
_NAMES_SHOWN: Final = 8
_NAMES_COMPARED: Final = 500
_TEXT_SHOWN: Final = 120
_OFTEN_LEFT_OUT: Final = (("flow",), ("data",), ("tasks",), ("flow", "data"), ("flow", "tasks"), ("task",))


@lru_cache(maxsize=4096)
def parse_path(text: str) -> tuple[Step, ...]:
    r"""Return the steps of a path, the leading `ctx` included.

    Steps are separated by dots. A number indexes a list (or reads the mapping key of that text); a key
    that holds a dot, a space or a bracket is written `["a.b"]`, with `\` before a quote; `[0]` is `.0`.

    Raises:
        PathError: the text is not a path; `.position` says where.
    """
    if len(text) > _LONGEST_PATH:
        raise _syntax_error(text, _LONGEST_PATH, f"it has more than {_LONGEST_PATH:,} characters")
    if text.startswith("${"):
        raise _syntax_error(
            text, len(text), "the `}` that ends the reference is missing; `\\$` is a plain dollar"
        )
    match = _NAME.match(text)
    if match is None or match.group() != "ctx":
        raise _syntax_error(text, 0, "it must begin with `ctx`, as in ctx.flow.data.x")
    steps: list[Step] = ["ctx"]
    position = match.end()
    while position < len(text):
        step, after = _parse_step(text, position)
        if step == "":
            raise _syntax_error(text, position, "a step is empty")
        if isinstance(step, str) and step[0] == "_":
            raise _syntax_error(text, position, "names that begin with an underscore cannot be read")
        steps.append(step)
        position = after
    return tuple(steps)


def _parse_step(text: str, position: int) -> tuple[Step, int]:
    if text[position] == ".":
        match = _NAME.match(text, position + 1)
        if match is None:
            return "", position
        name = match.group()
        return (int(name) if _NUMBER.fullmatch(name) else name), match.end()
    if text[position] == "[":
        match = _QUOTED.match(text, position)
        if match is not None:
            quoted = match.group(1) if match.group(1) is not None else match.group(2)
            return re.sub(r"(?s)\\(.)", r"\1", quoted), match.end()
        match = _INDEX.match(text, position)
        if match is not None:
            return int(match.group(1)), match.end()
        raise _syntax_error(text, position, 'brackets hold a number or a quoted key, as in [0] or ["a.b"]')
    advice = "inside a text write ${ctx.path}" if text[position].isspace() else 'write the key as ["..."]'
    raise _syntax_error(text, position, f"unexpected {text[position]!r}; {advice}")


def format_path(steps: Iterable[Step]) -> str:
    """Return the text of which `parse_path` makes these steps."""
    shown: list[str] = []
    for step in steps:
        if isinstance(step, int) or (_NAME.fullmatch(step) and not _NUMBER.fullmatch(step)):
            shown.append(f".{step}")
        else:
            escaped = step.replace("\\", "\\\\").replace('"', '\\"')
            shown.append(f'["{escaped}"]')
    return "".join(shown).removeprefix(".")


def read_path(ctx: Mapping[str, Any], path_text: str) -> Any:
    """Return the very object that a path leads to; whoever keeps or changes it copies it first.

    Raises:
        PathError: the path is malformed or leads nowhere; `.missing_step` is the first step that is
            not there, `.path` the whole path.
    """
    steps = parse_path(path_text)
    node: Any = ctx
    for at in range(1, len(steps)):
        step = steps[at]
        kind = type(node)
        if kind is dict:
            found = node.get(step if type(step) is str else str(step), _MISSING)
        elif kind is list:
            found = node[step] if type(step) is int and step < len(node) else _MISSING
        else:
            found = _read_other(node, step)
        if found is _MISSING:
            raise _missing_step_error(path_text, steps, at, node, ctx)
        node = found
    return node


def read_copy(ctx: Mapping[str, Any], path_text: str) -> Any:
    """Return a copy, as plain JSON, of the value that a path leads to.

    Raises:
        PathError: the path is malformed, leads nowhere, or leads to something that is not JSON.
    """
    value = read_path(ctx, path_text)
    try:
        return copy_as_json(value)
    except NotJsonError as error:
        names = _readable_names(value)
        advice = f" Go on with {_list_names(names)}." if names else ""
        raise PathError(
            f"Path {quote_for_message(path_text)} leads to something that is not JSON data: "
            f"{error.message}{advice}",
            path=path_text,
            missing_step=None,
        ) from error


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant, or None."""
    import difflib  # only a failure needs it

    found = difflib.get_close_matches(name[:_TEXT_SHOWN], list(islice(names, _NAMES_COMPARED)), 1, 0.6)
    return found[0] if found else None


def quote_for_message(text: str) -> str:
    """Return the text in quotes, shortened, as it may stand in an error message."""
    return repr(text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "...")


def _read_other(node: Any, step: Step) -> Any:
    if isinstance(node, Mapping):
        # `get` of a dict subclass does not run `__missing__`, which would add the key.
        return node.get(step if isinstance(step, str) else str(step), _MISSING)
    if isinstance(node, list | tuple):
        return node[step] if isinstance(step, int) and step < len(node) else _MISSING
    # Looked up on the class, so that nothing in the data can declare itself readable.
    readable = getattr(type(node), "readable_attributes", None)
    if isinstance(readable, frozenset) and step in readable:
        return getattr(node, str(step), _MISSING)
    return _MISSING


def _readable_names(node: Any) -> list[str]:
    """Return the first names that a path can go on with from here."""
    if isinstance(node, Mapping):
        candidates: Iterable[Any] = islice(node, _NAMES_COMPARED)
    else:
        readable = getattr(type(node), "readable_attributes", None)
        candidates = sorted(readable) if isinstance(readable, frozenset) else ()
    return [name for name in candidates if isinstance(name, str) and name and name[0] != "_"]


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 40 else name[:40] + "..." for name in names[:_NAMES_SHOWN])
    return f"{shown}, ..." if len(names) > _NAMES_SHOWN else shown


def _describe_place(node: Any, step: Step, is_context: bool, meant: str | None) -> str:
    """Say what stands where a step was not found, and what it has instead."""
    hint = f" Did you mean {meant!r}?" if meant else ""
    if isinstance(node, list | tuple):
        return f"a list of length {len(node)}; write a number from 0.{hint}"
    names = _context_names(node) if is_context else _readable_names(node)
    kind = json_type_name(node)
    if not names:
        what = (
            "an empty mapping"
            if isinstance(node, Mapping)
            else f"a value ({kind}) that has no steps below it"
        )
        return f"{what}.{hint}"
    if not hint:
        nearest = nearest_name(str(step), names)
        hint = f" Did you mean {nearest!r}?" if nearest else ""
    return f"a {kind} with {_list_names(names)}.{hint}"


def _context_names(node: Any) -> list[str]:
    """Return the names of a context that lead to data or a flow; the rest is there for handlers."""
    return [name for name in _readable_names(node) if "." not in name and _leads_to_data(node[name])]


def _leads_to_data(value: Any) -> bool:
    readable = getattr(type(value), "readable_attributes", None)
    is_data = value is None or isinstance(value, str | int | float | Mapping | list | tuple)
    return is_data or isinstance(readable, frozenset)


def _find_meant(ctx: Mapping[str, Any], steps: tuple[Step, ...], at: int) -> str | None:
    """Return the path that leads on where a step was left out before the one that is missing."""
    partly: str | None = None
    for left_out in _OFTEN_LEFT_OUT:
        meant = (*steps[:at], *left_out, *steps[at:])
        found: Any = ctx
        for length in range(1, len(meant)):
            found = _read_other(found, meant[length])
            if found is _MISSING:
                if length > at + len(left_out) and partly is None:
                    partly = format_path(meant[:length])
                break
        else:
            return format_path(meant)
    return partly


def _missing_step_error(
    path_text: str, steps: tuple[Step, ...], at: int, node: Any, ctx: Mapping[str, Any]
) -> PathError:
    step = str(steps[at])
    place = quote_for_message(format_path(steps[:at]))
    is_context = at == 1 or all(each == "parent" for each in steps[1:at])
    meant = _find_meant(ctx, steps, at)
    return PathError(
        f"Path {quote_for_message(path_text)}: there is no {quote_for_message(step)} in {place}, "
        f"{_describe_place(node, steps[at], is_context, meant)}",
        path=path_text,
        missing_step=step,
        found_type=json_type_name(node),
    )


def _syntax_error(text: str, position: int, reason: str) -> PathError:
    return PathError(
        f"{quote_for_message(text)} is not a path: {reason} (at position {position}).",
        path=text,
        missing_step=None,
        position=position,
    )
