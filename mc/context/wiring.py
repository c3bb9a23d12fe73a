"""Wirings, which copy values from one place of a context to another.

A list of wirings is carried out in order, and a later one sees what an earlier one wrote. It is all or
nothing: whatever fails, the context is afterwards exactly what it was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mc.context.destinations import Writer
from mc.context.json_values import copy_as_json, copy_json, json_type_name, to_json_value
from mc.context.paths import parse_path, quote_for_message, read_copy
from mc.context.sizes import Room, json_size, room_for
from mc.context.transforms import Transform, check_items, check_keys, convert_text, parse_transform
from mc.errors import ContextError, McError, NotJsonError, PathError, WiringError

__all__ = ["Wiring", "map_items", "parse_wiring", "parse_wirings", "run_wirings"]

_ARROW = "=>"
_KEYS = frozenset({"source", "value", "dest", "transform"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """One value on its way.

    Attributes:
        source: the path that is read; None where `value` is given.
        value: the value itself, taken as it is written; None where `source` is given.
        dest: the path that is written.
        transform: what happens to the value between the two.
        wirings: the wirings of a `mapping` transform, parsed.
    """

    source: str | None
    value: Any = None
    dest: str
    transform: Transform | None = None
    wirings: tuple[Wiring, ...] = ()

    def __str__(self) -> str:
        return f"{self.source or 'value'} {_ARROW} {self.dest}"


def parse_wiring(item: object) -> Wiring:
    """Read a wiring as it is written in a spec.

    Args:
        item: `"ctx.a.b => ctx.c.d"`, or a mapping with `source` or `value`, `dest`, and perhaps
            `transform`.

    Raises:
        WiringError: it is malformed; which destinations are allowed is not known here.
    """
    if isinstance(item, str):
        before, after = _split_arrow(item)
        return Wiring(source=_check_path(before, "source"), dest=_check_path(after, "dest"))
    if not isinstance(item, Mapping):
        raise WiringError(
            f'A wiring is text like "ctx.a.b => ctx.c.d" or a mapping, not {json_type_name(item)}.'
        )
    check_keys(item, _KEYS, {"dest"}, "A wiring")
    if ("source" in item) == ("value" in item):
        raise WiringError("A wiring has either a source (a path) or a value.")
    source = _check_path(item["source"], "source") if "source" in item else None
    transform = None if item.get("transform") is None else parse_transform(item["transform"])
    wirings: tuple[Wiring, ...] = ()
    if transform is not None and transform.name == "mapping":
        wirings = parse_wirings(transform.params["wirings"])
    return Wiring(
        source=source,
        value=item.get("value"),
        dest=_check_path(item["dest"], "dest"),
        transform=transform,
        wirings=wirings,
    )


def parse_wirings(items: object) -> tuple[Wiring, ...]:
    """Read a list of wirings; those that are parsed already are taken as they are.

    Raises:
        WiringError: one is malformed; the message says which, counting from 1.
    """
    if not isinstance(items, list | tuple):
        raise WiringError(f"Wirings are a list, not {json_type_name(items)}.")
    parsed: list[Wiring] = []
    for number, item in enumerate(items, 1):
        try:
            parsed.append(item if isinstance(item, Wiring) else parse_wiring(item))
        except WiringError as error:
            raise WiringError(f"Wiring {number}: {error.message}", **error.details) from error
    return tuple(parsed)


def run_wirings(wirings: Sequence[Wiring | str | Mapping[str, Any]], ctx: Mapping[str, Any]) -> None:
    """Carry out wirings in order, all or none.

    Args:
        wirings: parsed or as written.
        ctx: what paths begin from.

    Raises:
        WiringError: one cannot be carried out; the context is as it was.
    """
    parsed = parse_wirings(wirings)
    writer = Writer(ctx)
    try:
        _run_all(parsed, ctx, writer, room_for(ctx, whole_flow=True))
    except BaseException:
        writer.undo()
        raise


def map_items(
    items: Any,
    skeleton: Any,
    wirings: Sequence[Wiring | str | Mapping[str, Any]],
    ctx: Mapping[str, Any],
) -> list[Any]:
    """Return one copy of the skeleton per item, each filled by the wirings, in the order of the items.

    The wirings see `ctx.item` (`key`, `value`, `idx`), `ctx.items` and `ctx.skeleton`, and may write
    below `ctx.skeleton` too.

    Args:
        items: a list or a mapping; the key of a list's item is its index.
        skeleton: what is copied for each item.
        wirings: parsed or as written.
        ctx: what paths begin from.

    Raises:
        WiringError: a wiring cannot be carried out; the context is as it was.
    """
    parsed = parse_wirings(wirings)
    writer = Writer(ctx)
    try:
        return _map_items(items, skeleton, parsed, ctx, writer, room_for(ctx, whole_flow=True))
    except BaseException:
        writer.undo()
        raise


def _run_all(wirings: tuple[Wiring, ...], ctx: Mapping[str, Any], writer: Writer, room: Room) -> None:
    for number, wiring in enumerate(wirings, 1):
        try:
            writer.write(wiring.dest, _evaluate(wiring, ctx, writer, room))
        except (ContextError, NotJsonError) as error:
            shown = quote_for_message(str(wiring))
            raise WiringError(f"Wiring {number} ({shown}): {error.message}", **_details(error)) from error


def _evaluate(wiring: Wiring, ctx: Mapping[str, Any], writer: Writer, room: Room) -> Any:
    value = copy_as_json(wiring.value) if wiring.source is None else read_copy(ctx, wiring.source)
    transform = wiring.transform
    if transform is not None and transform.name == "mapping":
        mapped = _map_items(value, transform.params["skeleton"], wiring.wirings, ctx, writer, room)
        return dict(zip(value, mapped, strict=True)) if isinstance(value, dict) else mapped
    if transform is not None:
        value = convert_text(transform.name, value)
    size = json_size(value)
    room_for(ctx).take(size, wiring.source or "")
    room.take(size)
    return value


def _map_items(
    items: Any,
    skeleton: Any,
    wirings: tuple[Wiring, ...],
    ctx: Mapping[str, Any],
    writer: Writer,
    room: Room,
) -> list[Any]:
    item_ctx = {**ctx, "items": items}
    inner = writer.below(item_ctx)
    plain = to_json_value(skeleton)
    size = json_size(plain)
    mapped: list[Any] = []
    for idx, (key, value) in enumerate(check_items(items)):
        item_ctx["item"] = {"key": key, "value": value, "idx": idx}
        room.take(size)
        item_ctx["skeleton"] = copy_json(plain)
        try:
            _run_all(wirings, item_ctx, inner, room)
        except WiringError as error:
            shown = quote_for_message(str(key))
            raise WiringError(f"Item {shown}: {error.message}", **error.details) from error
        mapped.append(item_ctx["skeleton"])
    return mapped


def _details(error: McError) -> dict[str, Any]:
    """Return the details of an error, as those of the WiringError that tells of it."""
    return {name: value for name, value in error.details.items() if value is not None}


def _check_path(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise WiringError(
            f"The {what} of a wiring is a path like ctx.flow.data.x, not {json_type_name(text)}."
        )
    path_text = text.strip()
    try:
        parse_path(path_text)
    except PathError as error:
        hint = " Write it without the dollar." if path_text.startswith("$") else ""
        raise WiringError(
            f"The {what} of a wiring: {error.message}{hint}", path=text, position=error.position
        ) from error
    return path_text


def _split_arrow(text: str) -> tuple[str, str]:
    """Split at the one `=>` that stands outside brackets with quoted keys."""
    parts = [""]
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\":
                char = text[position : position + 2]
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif text.startswith(_ARROW, position):
            parts.append("")
            position += len(_ARROW)
            continue
        parts[-1] += char
        position += len(char)
    if len(parts) != 2:
        raise WiringError(
            f'The wiring {quote_for_message(text)} has {len(parts) - 1} arrows; write "ctx.a.b => ctx.c.d".'
        )
    return parts[0], parts[1]
