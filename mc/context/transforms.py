"""Transforms: what a wiring may do to a value on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.context.json_values import dumps, json_type_name, parse
from mc.context.paths import nearest_name, quote_for_message
from mc.errors import NotJsonError, WiringError

__all__ = ["TRANSFORMS", "Transform", "check_items", "check_keys", "convert_text", "parse_transform"]

TRANSFORMS: Final[Mapping[str, frozenset[str]]] = {  # name -> the params that it must have
    "json.dumps": frozenset(),
    "json.loads": frozenset(),
    "mapping": frozenset({"skeleton", "wirings"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """A change to a value.

    Attributes:
        name: one of `TRANSFORMS`.
        params: what it needs; for `mapping` the skeleton and its wirings, as written.
    """

    name: str
    params: Mapping[str, Any]


def parse_transform(item: object) -> Transform:
    """Read a transform as it is written in a spec: a name, or `{type, params}`.

    Raises:
        WiringError: it is malformed or unknown.
    """
    if isinstance(item, Mapping):
        check_keys(item, {"type", "params"}, {"type"}, "A transform")
        name, params = item["type"], item.get("params")
    else:
        name, params = item, None
    if not isinstance(name, str) or name not in TRANSFORMS:
        nearest = nearest_name(name, TRANSFORMS) if isinstance(name, str) else None
        shown = quote_for_message(name) if isinstance(name, str) else f"a {json_type_name(name)}"
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        raise WiringError(
            f"Unknown transform {shown}; use one of {', '.join(TRANSFORMS)}.{hint}", suggestion=nearest
        )
    params = {} if params is None else params
    if not isinstance(params, Mapping):
        raise WiringError(f"The params of transform {name!r} are a mapping, not {json_type_name(params)}.")
    check_keys(params, TRANSFORMS[name], TRANSFORMS[name], f"The params of transform {name!r}")
    return Transform(name=name, params=params)


def convert_text(name: str, value: Any) -> Any:
    """Apply `json.dumps` or `json.loads`.

    Raises:
        WiringError: the value is not text, or its text is not JSON (`.line`, `.column`).
    """
    if name == "json.dumps":
        return dumps(value)
    if not isinstance(value, str):
        raise WiringError(f"The transform 'json.loads' reads text, not {json_type_name(value)}.")
    try:
        return parse(value)
    except NotJsonError as error:
        raise WiringError(
            f"The transform 'json.loads' failed: {error.message}",
            line=error.details.get("line"),
            column=error.details.get("column"),
            position=error.details.get("position"),
        ) from error


def check_items(items: Any) -> list[tuple[str | int, Any]]:
    """Return the (key, value) pairs of a list or a mapping; the keys of a list are its indexes.

    Raises:
        WiringError: it is something else.
    """
    if isinstance(items, Mapping):
        return list(items.items())
    if isinstance(items, list | tuple):
        return list(enumerate(items))
    raise WiringError(f"Items are a list or a mapping, not {json_type_name(items)}.")


def check_keys(item: Mapping[Any, Any], allowed: Any, required: Any, what: str) -> None:
    """Raise `WiringError` for a key that is unknown or missing."""
    for key in item:
        if key not in allowed:
            nearest = nearest_name(key, sorted(allowed)) if isinstance(key, str) else None
            hint = f" Did you mean {nearest!r}?" if nearest else ""
            expected = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes none"
            raise WiringError(
                f"{what} has an unknown key {quote_for_message(str(key))}; {expected}.{hint}",
                suggestion=nearest,
            )
    missing = sorted(key for key in required if key not in item)
    if missing:
        raise WiringError(f"{what} needs {' and '.join(missing)}.")
