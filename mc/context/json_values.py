"""JSON values: checked, copied, compared, written and read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn

from mc.errors import McError, NotJsonError

__all__ = [
    "MAX_NESTING",
    "MAX_PARTS",
    "JsonFault",
    "append_pointer",
    "copy_as_json",
    "copy_json",
    "count_nesting",
    "dumps",
    "encode_json",
    "json_equal",
    "json_type_name",
    "loads",
    "make_plain",
    "parse",
    "parse_as_written",
    "to_json_value",
]

MAX_NESTING: Final = 200  # lists and mappings inside each other
MAX_PARTS: Final = 10_000_000  # list items and mapping entries of one value, shared ones counted each time

# Below so many parts nobody asks whether shared parts multiply beyond MAX_PARTS.
_PARTS_WITHOUT_MEASURING: Final = 100_000
# Python refuses to read or write an integer of more than 4,300 digits (14,284 bits) as text.
_MAX_INT_BITS: Final = 14_000
_ANYTHING: Final = (list, tuple, Mapping)
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_MAY_BE_EMPTY: Final = _SCALARS | {dict, list}
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        for name, _ in pairs:
            if name not in mapping:  # taken out before
                raise ValueError(f"the name {name[:100]!r} stands twice in one mapping")
            del mapping[name]
    return mapping


def _refuse_infinity(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_STRICT_DECODER: Final = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_refuse_infinity, object_pairs_hook=_refuse_duplicates
)


class JsonFault(NamedTuple):
    """A part of a value that JSON cannot hold."""

    code: str  # "value", "key", "nesting", "parts" or "cycle"
    pointer: str  # JSON Pointer to the part; for a key, to its mapping
    found: Any
    what: str  # it is
    instead: str  # what could stand there


Report = Callable[[JsonFault], None]


class _LimitReachedError(Exception):
    """The value nests too deep, has too many parts or contains itself."""


def append_pointer(pointer: str, step: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) to one step below `pointer`."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"


def copy_json(value: Any) -> Any:
    """Return a deep copy of JSON-like data.

    Dicts and lists are copied, a list that stands in two places becoming two lists, as in JSON text.
    What JSON does not know is copied by `copy.deepcopy`.

    Raises:
        NotJsonError: the value contains itself, nests deeper than `MAX_NESTING`, has more than
            `MAX_PARTS` parts, or holds an object that cannot be copied.
    """
    return _copy_with(value, _deepcopy)


def copy_as_json(value: Any) -> Any:
    """Return a deep copy that is plain JSON, converting what `to_json_value` converts.

    Raises:
        NotJsonError: as by `to_json_value`, but text and numbers inside are not looked at again.
    """
    try:
        return _copy_with(value, to_json_value)
    except NotJsonError:
        to_json_value(value)  # its error names the place
        raise


def to_json_value(value: Any, pointer: str = "") -> Any:
    """Return `value` as plain JSON: the same object where it is, a converted copy where that is harmless.

    Tuples become lists, mappings become dicts; subclasses of text and numbers (a StrEnum, a NumPy
    float64) become what they extend.

    Args:
        value: the value to check.
        pointer: JSON Pointer to the value, with which the pointers in errors begin.

    Raises:
        NotJsonError: JSON cannot hold it; `.pointer` names the place and `.type_name` what is there.
    """
    return _make_plain(value, pointer, _refuse, _ANYTHING)


def make_plain(value: Any, report: Report) -> Any:
    """Return any value as plain JSON, or the same object where it is; what JSON cannot hold becomes null.

    Nothing that a subclass defines is called.

    Args:
        value: any value; only lists and dicts are looked into.
        report: is called for each part that JSON cannot hold; once for a value that is too deep, too large or
            inside itself, of which nothing is left.
    """
    try:
        return _make_plain(value, "", report, (list, dict))
    except _LimitReachedError:
        return None


def count_nesting(value: Any) -> int:
    """Return how many lists and mappings of plain JSON stand inside each other; 0 for a scalar."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return 0
    parts = value.values() if kind is dict else value
    return 1 + max((count_nesting(part) for part in parts if type(part) not in _SCALARS), default=0)


def dumps(value: Any) -> str:
    """Return compact JSON text; keys keep their order, letters stay as they are.

    Raises:
        NotJsonError: JSON cannot hold the value.
    """
    if not _is_plain(value, 1, [_PARTS_WITHOUT_MEASURING]):
        value = to_json_value(value)
    return _ENCODER.encode(value)


def encode_json(value: Any, what: str, pointer: str = "") -> str:
    """Return JSON text of what is to be stored; an error names it, and the place in it."""
    try:
        return dumps(value)
    except NotJsonError as error:
        at = f"{pointer}{getattr(error, 'pointer', '')}"
        raise NotJsonError(f"The {what} cannot be stored: {error.message}", pointer=at) from error


def parse(text: str) -> Any:
    """Return the value of a JSON text that somebody wrote.

    Raises:
        NotJsonError: as by `loads` and `to_json_value`, and for a name that stands twice in one mapping, of
            which all values but one would be lost.
    """
    return to_json_value(parse_as_written(text))


def parse_as_written(text: str) -> Any:
    """Do what `parse` does, but leave it to others to look at depth, size and halves of characters.

    Raises:
        NotJsonError: as by `loads`; a `json.JSONDecodeError` that caused it says where.
    """
    return _decode(_STRICT_DECODER, text)


def loads(text: str) -> Any:
    """Return the value of a JSON text that `dumps` returned, or another machine's.

    Raises:
        NotJsonError: the text is not JSON; `.line`, `.column` and `.position` say where, if known.
    """
    return _decode(_DECODER, text)


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(
            f"The text is not JSON at line {error.lineno}, column {error.colno}: {error.msg}.",
            line=error.lineno,
            column=error.colno,
            position=error.pos,
        ) from error
    except RecursionError as error:
        raise NotJsonError(f"The JSON text nests too deep; {MAX_NESTING} levels are allowed.") from error
    except ValueError as error:  # a constant, or an integer too long for Python to read
        raise NotJsonError(f"The text is not JSON that can be held: {error}.") from error


def json_type_name(value: Any) -> str:
    """Return what people call the type of a JSON value: "number", "text", "list" and so on."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, Mapping):
        return "mapping"
    return type(value).__name__


def json_equal(left: Any, right: Any) -> bool:
    """Tell whether two values are equal as JSON: `1` equals `1.0` but never `true`.

    Values of different types are unequal, at every depth. What JSON does not know equals only itself.

    Raises:
        NotJsonError: both nest deeper than `MAX_NESTING` in the same way.
    """
    return _equal(left, right, 1)


def _equal(left: Any, right: Any, depth: int) -> bool:
    if left is right:
        return True
    kind = json_type_name(left)
    if kind != json_type_name(right):
        return False
    if kind in ("number", "text"):
        return bool(left == right)
    if kind == "true/false":
        return bool(left) is bool(right)
    if kind not in ("list", "mapping") or len(left) != len(right):
        return False
    if depth > MAX_NESTING:
        raise NotJsonError(f"Cannot compare values that nest deeper than {MAX_NESTING} levels.")
    if kind == "list":
        return all(_equal(one, other, depth + 1) for one, other in zip(left, right, strict=True))
    return all(key in right and _equal(part, right[key], depth + 1) for key, part in left.items())


def _copy_with(value: Any, copy_other: Callable[[Any], Any]) -> Any:
    if type(value) in _SCALARS:
        return value
    try:
        return _copy(value, 1, [_PARTS_WITHOUT_MEASURING], copy_other)
    except _LimitReachedError:
        _measure(value, "", _refuse, _ANYTHING)
    try:
        return _copy(value, 1, [MAX_PARTS], copy_other)
    except _LimitReachedError:
        _refuse(JsonFault("nesting", "", value, _DEEP, "fewer of them inside each other"))


def _copy(value: Any, depth: int, left: list[int], copy_other: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind is not dict and kind is not list:
        return copy_other(value)
    left[0] -= len(value)
    if depth > MAX_NESTING or left[0] < 0:
        raise _LimitReachedError
    depth += 1
    if kind is list:
        return [part if type(part) in _SCALARS else _copy(part, depth, left, copy_other) for part in value]
    copied = value.copy()
    for key, part in value.items():
        if type(part) not in _SCALARS:
            copied[key] = _copy(part, depth, left, copy_other)
    return copied


def _deepcopy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except McError:  # what it reads late cannot be read
        raise
    except Exception as error:  # whatever the object's own copying code raises
        name = type(value).__name__
        raise NotJsonError(f"A value of type {name} cannot be copied: {error}.", type_name=name) from error


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: Any, depth: int, left: list[int]) -> bool:
    """Tell whether a value is plain JSON; also False when `left`, the budget of parts, is used up."""
    kind = type(value)
    if kind is str:
        return value.isascii() or _is_text(value)
    if kind is int:
        return bool(value.bit_length() <= _MAX_INT_BITS)
    if kind is float:
        return isfinite(value)
    if kind is not dict and kind is not list:
        return kind in _SCALARS
    left[0] -= len(value)
    if depth > MAX_NESTING or left[0] < 0:
        return False
    depth += 1
    if kind is dict:
        for key in value:
            if type(key) is not str or not (key.isascii() or _is_text(key)):
                return False
        value = value.values()
    for part in value:
        # Most parts are ASCII text, null, or empty; they are spared the call.
        kind = type(part)
        if kind is str and part.isascii():
            continue
        if not part and kind in _MAY_BE_EMPTY and depth <= MAX_NESTING:
            continue
        if not _is_plain(part, depth, left):
            return False
    return True


def _make_plain(value: Any, pointer: str, report: Report, containers: tuple[type, ...]) -> Any:
    left = [_PARTS_WITHOUT_MEASURING]
    if _is_plain(value, 1, left):
        return value
    _measure(value, pointer, report, containers)
    if left[0] < 0 and _is_plain(value, 1, [MAX_PARTS]):
        return value
    return _convert(value, pointer, report, containers)


def _convert(value: Any, pointer: str, report: Report, containers: tuple[type, ...]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        text = str.__str__(value)
        if _is_text(text):
            return text
        what, instead = _HALF_A_PAIR
    elif issubclass(kind, int):
        whole = int.__int__(value)
        if whole.bit_length() <= _MAX_INT_BITS:
            return whole
        what, instead = "an integer of more than 4,200 digits", "text"
    elif issubclass(kind, float):
        number = float.__float__(value)
        if isfinite(number):
            return number
        what, instead = str(number), "null or text"
    elif issubclass(kind, containers):
        if issubclass(kind, Mapping):
            return _convert_mapping(value, pointer, report, containers)
        return [
            _convert(part, append_pointer(pointer, at), report, containers)
            for at, part in _entries(value, containers)
        ]
    else:
        what, instead = f"a value of type {kind.__name__}", _ADVICE.get(kind.__name__, "JSON data")
    report(JsonFault("value", pointer, value, what, instead))
    return None


def _convert_mapping(
    value: Mapping[Any, Any], pointer: str, report: Report, containers: tuple[type, ...]
) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, part in _entries(value, containers):
        text = str.__str__(key) if issubclass(type(key), str) else None
        if text is None:
            report(JsonFault("key", pointer, key, f"a key of type {type(key).__name__}", "text as key"))
        elif not _is_text(text):
            report(JsonFault("key", pointer, key, *_HALF_A_PAIR))
        elif text in converted:
            report(JsonFault("key", pointer, key, f"the key {text!r} twice", "each key once"))
        else:
            converted[text] = _convert(part, append_pointer(pointer, text), report, containers)
    return converted


def _entries(value: Any, containers: tuple[type, ...]) -> Iterable[tuple[Any, Any]]:
    """Return steps and parts; of lists and dicts alone, without a call of what a subclass defines."""
    if containers == _ANYTHING:
        return value.items() if isinstance(value, Mapping) else enumerate(value)
    return dict.items(value) if isinstance(value, dict) else enumerate(list.__iter__(value))


_HALF_A_PAIR: Final = ("half of a surrogate pair", "whole characters")
_ADVICE: Final[Mapping[str, str]] = {
    "set": "a list",
    "frozenset": "a list",
    "tuple": "a list",
    "bytes": "text, in base64 for example",
    "datetime": "its isoformat() text",
    "date": "its isoformat() text",
    "Decimal": "text or a float",
}


def _measure(value: Any, pointer: str, report: Report, containers: tuple[type, ...]) -> None:
    """Report a value that nests too deep, contains itself or has too many parts.

    Takes time in proportion to the objects there are, however often they are shared.

    Raises:
        _LimitReachedError: it was reported.
    """
    sizes: dict[int, int] = {}  # id -> parts below; 0 while its own parts are being counted
    steps: list[Any] = []  # that lead to what is being counted

    def refuse(code: str, part: Any, what: str, instead: str) -> NoReturn:
        here = pointer
        for step in steps:
            here = append_pointer(here, step)
        report(JsonFault(code, here, part, what, instead))
        raise _LimitReachedError

    def count(part: Any) -> int:
        known = sizes.get(id(part))
        if known == 0:
            refuse("cycle", part, "a value that contains itself", "data without cycles")
        if known is not None:
            return known
        if len(steps) >= MAX_NESTING:
            refuse("nesting", part, _DEEP, "fewer of them inside each other")
        sizes[id(part)] = 0
        size = 1
        for step, each in _entries(part, containers):
            if type(each) in _SCALARS or not issubclass(type(each), containers):
                size += 1
            else:
                steps.append(step)
                size += count(each)
                steps.pop()
        sizes[id(part)] = size
        return size

    if issubclass(type(value), containers) and count(value) > MAX_PARTS:
        refuse("parts", value, f"a value with more than {MAX_PARTS:,} parts", "a smaller one")


_DEEP: Final = f"lists and mappings that nest more than {MAX_NESTING} levels deep"


def _refuse(fault: JsonFault) -> NoReturn:
    """Raise the error that tells of a fault."""
    where = f"at {'/'.join(fault.pointer.split('/')[:9])}" if fault.pointer else "at the top"
    raise NotJsonError(
        f"JSON cannot hold {fault.what} ({where}); use {fault.instead} instead.",
        pointer=fault.pointer,
        type_name=type(fault.found).__name__,
    )
