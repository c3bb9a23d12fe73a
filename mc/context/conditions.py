"""Conditions: data that says yes or no.

`{"value": ..., "op": ..., "arg": ...}` compares, `{"all": [...]}`, `{"any": [...]}` and `{"not": {...}}`
combine. Values are compared as JSON values: `1` equals `1.0` but never `true`, and values of different
types are unequal.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from mc.context.interpolation import interpolate
from mc.context.json_values import MAX_NESTING, append_pointer, json_equal, json_type_name
from mc.context.paths import nearest_name, quote_for_message, read_copy, read_path
from mc.context.patterns import MAX_PATTERN_LENGTH, compile_pattern
from mc.errors import ConditionError, PatternError

__all__ = [
    "MAX_PATTERN_LENGTH",
    "MAX_SEARCHED_LENGTH",
    "OPERATORS",
    "Operator",
    "apply_operator",
    "check_condition",
    "evaluate_condition",
]

MAX_SEARCHED_LENGTH: Final = 100_000  # characters of a text that `matches` searches

Operator = Callable[[Any, Any, str], bool]  # value, arg, where the value comes from

_WITHOUT_ARG: Final = frozenset({"is_null", "is_true"})
_KINDS: Final = ("op", "all", "any", "not")


def evaluate_condition(condition: object, ctx: Mapping[str, Any]) -> bool:
    """Tell whether a condition holds.

    `all` and `any` stop at the first part that decides; a path that is not reached may be missing.

    Args:
        condition: the condition as written in a spec; `value` and `arg` may hold references.
        ctx: what paths begin from.

    Raises:
        ConditionError: it is malformed, or values cannot be compared in that way; `.path` and
            `.pointer` name the place.
        PathError: a reference leads nowhere.
    """
    check_condition(condition)
    return _evaluate(condition, ctx, "")


def check_condition(condition: object, pointer: str = "") -> None:
    """Raise `ConditionError` unless a condition is well formed; references are not looked at.

    Args:
        condition: the condition.
        pointer: JSON Pointer to it, with which the pointers in errors begin.
    """
    _check(condition, pointer, 1)


def apply_operator(op: str, value: Any, arg: Any = None, where: str = "") -> bool:
    """Tell whether `value op arg` holds.

    Args:
        op: one of `OPERATORS`.
        value: the left side.
        arg: the right side; for `is_null` and `is_true` None means true.
        where: what to call `value` in an error, its path for example.

    Raises:
        ConditionError: the operator is unknown or cannot take these values.
    """
    return _find_operator(op, where)(value, arg, where)


def _evaluate(condition: Any, ctx: Mapping[str, Any], pointer: str) -> bool:
    if "op" in condition:
        return _compare(condition, ctx, pointer)
    if "not" in condition:
        return not _evaluate(condition["not"], ctx, append_pointer(pointer, "not"))
    word = "all" if "all" in condition else "any"
    below = append_pointer(pointer, word)
    parts = (_evaluate(part, ctx, append_pointer(below, at)) for at, part in enumerate(condition[word]))
    return all(parts) if word == "all" else any(parts)


def _compare(condition: Mapping[str, Any], ctx: Mapping[str, Any], pointer: str) -> bool:
    value = _resolve(condition["value"], ctx)
    arg = _resolve(condition.get("arg"), ctx)
    where = _name_value(condition["value"], pointer)
    try:
        return OPERATORS[condition["op"]](value, arg, where)
    except ConditionError as error:
        error.details.setdefault("pointer", pointer)
        raise


def _resolve(value: Any, ctx: Mapping[str, Any]) -> Any:
    # Read in place: operators change nothing, so the copy that `interpolate` makes is not needed.
    if type(value) is str and value.startswith("$ctx."):
        found = read_path(ctx, value[1:])
        is_data = found is None or isinstance(found, str | int | float | list | tuple | Mapping)
        return found if is_data else read_copy(ctx, value[1:])
    return interpolate(value, ctx)


def _name_value(value: Any, pointer: str) -> str:
    if isinstance(value, str) and value.startswith("$ctx."):
        return value
    return f"the value at {append_pointer(pointer, 'value')}"


def _check(condition: object, pointer: str, depth: int) -> None:
    if depth > MAX_NESTING:
        raise ConditionError(f"A condition nests deeper than {MAX_NESTING} levels.", pointer=pointer)
    if not isinstance(condition, Mapping):
        raise _malformed_error(f"a condition is a mapping, not {json_type_name(condition)}", pointer)
    kinds = [kind for kind in _KINDS if kind in condition]
    if len(kinds) != 1:
        raise _malformed_error('it needs exactly one of "op" (with "value"), "all", "any" and "not"', pointer)
    kind = kinds[0]
    allowed = ("value", "op", "arg") if kind == "op" else (kind,)
    for key in condition:
        if key not in allowed:
            raise _malformed_error(
                f"unknown key {quote_for_message(str(key))}; beside {kind!r} it takes "
                f"{', '.join(name for name in allowed if name != kind) or 'none'}",
                pointer,
            )
    if kind == "op":
        _check_comparison(condition, pointer)
    elif kind == "not":
        _check(condition["not"], append_pointer(pointer, "not"), depth + 1)
    else:
        _check_parts(condition[kind], append_pointer(pointer, kind), depth)


def _check_parts(parts: object, pointer: str, depth: int) -> None:
    if not isinstance(parts, list | tuple):
        raise _malformed_error(f"a list of conditions is needed, not {json_type_name(parts)}", pointer)
    for at, part in enumerate(parts):
        _check(part, append_pointer(pointer, at), depth + 1)


def _check_comparison(condition: Mapping[str, Any], pointer: str) -> None:
    op = condition["op"]
    _find_operator(op, append_pointer(pointer, "op"))
    if "value" not in condition:
        raise _malformed_error('"value" is missing', pointer)
    if "arg" not in condition and op not in _WITHOUT_ARG:
        raise _malformed_error(f'operator {op!r} needs "arg"', pointer)


def _ordered(compare: Callable[[Any, Any], bool]) -> Operator:
    def holds(value: Any, arg: Any, where: str) -> bool:
        kind = json_type_name(value)
        if kind != json_type_name(arg) or kind not in ("number", "text"):
            raise _type_error("only two numbers or two texts have an order", value, arg, where)
        return compare(value, arg)

    return holds


def _is_in(value: Any, arg: Any, where: str) -> bool:
    return _holds(arg, value, f"the arg beside {where or 'the value'}", "in")


def _matches(value: Any, arg: Any, where: str) -> bool:
    if not isinstance(value, str) or not isinstance(arg, str):
        raise _type_error("`matches` needs text and a pattern", value, arg, where)
    if len(arg) > MAX_PATTERN_LENGTH or len(value) > MAX_SEARCHED_LENGTH:
        raise ConditionError(
            f"`matches` searches at most {MAX_SEARCHED_LENGTH:,} characters for a pattern of at most "
            f"{MAX_PATTERN_LENGTH:,}; {where or 'the value'} has {len(value):,}, the pattern {len(arg):,}.",
            path=where,
        )
    try:
        return compile_pattern(arg).is_in(value)
    except PatternError as error:
        raise ConditionError(error.message, path=where) from error


OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "eq": lambda value, arg, where: json_equal(value, arg),
        "ne": lambda value, arg, where: not json_equal(value, arg),
        "lt": _ordered(operator.lt),
        "le": _ordered(operator.le),
        "gt": _ordered(operator.gt),
        "ge": _ordered(operator.ge),
        "in": _is_in,
        "not_in": lambda value, arg, where: not _is_in(value, arg, where),
        "contains": lambda value, arg, where: _holds(value, arg, where, "contains"),
        "is_null": lambda value, arg, where: (value is None) is _wanted("is_null", arg, where),
        "is_true": lambda value, arg, where: (value is True) is _wanted("is_true", arg, where),
        "matches": _matches,
    }
)


def _holds(haystack: Any, needle: Any, where: str, op: str) -> bool:
    if isinstance(haystack, list | tuple):
        return any(json_equal(part, needle) for part in haystack)
    if isinstance(haystack, Mapping):
        return isinstance(needle, str) and needle in haystack
    if isinstance(haystack, str) and isinstance(needle, str):
        return needle in haystack
    raise ConditionError(
        f"`{op}` looks for a value in a list, for a key in a mapping or for text in text; "
        f"{where or 'it'} is {json_type_name(haystack)}, looked for is {json_type_name(needle)}.",
        path=where,
    )


def _wanted(op: str, arg: Any, where: str) -> bool:
    if arg is None:
        return True
    if isinstance(arg, bool):
        return arg
    raise ConditionError(f"The arg of `{op}` is true or false, not {json_type_name(arg)}.", path=where)


def _type_error(reason: str, value: Any, arg: Any, where: str) -> ConditionError:
    kinds = (json_type_name(value), json_type_name(arg))
    return ConditionError(
        f"Cannot compare {where or 'the value'}, which is {kinds[0]}, with {kinds[1]}: {reason}.",
        path=where,
        value_type=kinds[0],
        arg_type=kinds[1],
    )


def _find_operator(op: object, where: str) -> Operator:
    if isinstance(op, str) and op in OPERATORS:
        return OPERATORS[op]
    nearest = nearest_name(op, OPERATORS) if isinstance(op, str) else None
    shown = quote_for_message(op) if isinstance(op, str) else json_type_name(op)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    place = f" at {where}" if where else ""
    raise ConditionError(
        f"Unknown operator {shown}{place}; use one of {', '.join(OPERATORS)}.{hint}",
        pointer=where,
        suggestion=nearest,
    )


def _malformed_error(reason: str, pointer: str) -> ConditionError:
    return ConditionError(f"Malformed condition at {pointer or '/'}: {reason}.", pointer=pointer)
