"""JSON Schema validators that end: the only place where jsonschema is asked for anything.

Schemas and data come from outside, and a small schema can ask for more work than a machine ever does. So
each check has a budget of steps, counted where a schema is applied to a value; what costs more than in
proportion to the data elsewhere (`uniqueItems`, patterns, what `additionalProperties` and `unevaluated...`
look at) is done here in linear time. Numbers are compared as they were written: 19.99 is a multiple of 0.01.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import json_equal
from mc.context.patterns import compile_pattern
from mc.errors import PatternError
from mc.spec.schema.evaluated_parts import find_evaluated

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = ["TooCostlyError", "find_errors", "find_schema_errors"]

Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]

_MIN_STEPS: Final = 200_000  # about a second
_STEPS_PER_PART: Final = 16  # of the data; what is checked of a large value may cost more
_SCHEMA_STEPS_PER_PART: Final = 1_000  # the meta-schemas look at each part of a schema under many aspects
_PATTERN_STEPS: Final = 200  # parts of a pattern times bytes of a text that count as one step


class TooCostlyError(Exception):
    """The budget of a check is used up."""


class _Budget:
    __slots__ = ("left",)

    def __init__(self, left: float) -> None:
        self.left = left


# The library hands no state of a caller's down to its keywords.
_BUDGET: Final[ContextVar[_Budget | None]] = ContextVar("mc.schema_budget", default=None)


def find_errors(schema: Any, value: Any) -> list[ValidationError]:
    """Return what a JSON Schema that was checked has against plain JSON data.

    What it refers to is looked for within it only; nothing is fetched.

    Raises:
        TooCostlyError: the check takes too many steps.
        PatternError: a pattern cannot be searched for.
        Exception: whatever the libraries raise for an odd schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    validator = _bounded(validator_for(schema, default=Draft202012Validator))
    steps = max(_MIN_STEPS, _STEPS_PER_PART * _count_parts(value))
    # An empty registry keeps jsonschema from fetching what a `$ref` names.
    return _spending(steps, lambda: list(validator(schema, registry=Registry()).iter_errors(value)))


def find_schema_errors(schema: dict[str, Any]) -> tuple[str, list[ValidationError]]:
    """Return the URI of the draft by which a mapping is read as a JSON Schema, and what it has against it."""
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import validator_for
    from referencing import Registry

    draft = validator_for(schema, default=Draft202012Validator)
    formats = FormatChecker(())
    formats.checks("regex", PatternError)(_is_pattern)
    bounded = _bounded(draft)
    validator = bounded(draft.META_SCHEMA, registry=Registry(), format_checker=formats)
    steps = max(_MIN_STEPS, _SCHEMA_STEPS_PER_PART * _count_parts(schema))
    return str(draft.META_SCHEMA["$schema"]), _spending(steps, lambda: list(validator.iter_errors(schema)))


def _is_pattern(value: object) -> bool:
    return not isinstance(value, str) or bool(compile_pattern(value))


def _spending(steps: float, check: Callable[[], list[ValidationError]]) -> list[ValidationError]:
    token = _BUDGET.set(_Budget(steps))
    try:
        return check()
    finally:
        _BUDGET.reset(token)


def _spend(steps: float) -> None:
    budget = _BUDGET.get()
    if budget is not None:
        budget.left -= steps
        if budget.left < 0:
            raise TooCostlyError


def _count_parts(value: Any) -> int:
    count, waiting = 1, [value]
    while waiting:
        part = waiting.pop()
        if type(part) is dict or type(part) is list:
            count += len(part)
            waiting.extend(part.values() if type(part) is dict else part)
    return count


@cache
def _bounded(draft: Any) -> Any:
    """Return a class of validators like that of a draft, whose checks are counted."""
    from attrs import fields
    from jsonschema.validators import extend

    ours: dict[str, Keyword] = {
        "additionalProperties": _additional_properties,
        "const": lambda validator, value, instance, schema: _enum(validator, [value], instance, schema),
        "divisibleBy": _multiple_of,
        "enum": _enum,
        "multipleOf": _multiple_of,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "unevaluatedItems": _unevaluated("unevaluatedItems", list),
        "unevaluatedProperties": _unevaluated("unevaluatedProperties", dict),
        "uniqueItems": _unique_items,
    }
    keywords = {name: _counted(ours.get(name, keyword)) for name, keyword in draft.VALIDATORS.items()}
    extend_any: Any = extend
    bounded = extend_any(draft, keywords)
    names = [(field.name, field.alias) for field in fields(bounded) if field.init]

    def evolve(self: Any, **changes: Any) -> Any:
        # The library's own would go on with an unbounded class where a part of the schema has a `$schema`.
        schema = changes.get("schema")
        _spend(1 + (len(schema) >> 2 if type(schema) is dict else 0))
        for name, alias in names:
            if alias not in changes:
                changes[alias] = getattr(self, name)
        return bounded(**changes)

    bounded.evolve = evolve
    return bounded


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(1 + ((_length(value) + _length(instance)) >> 3))
        for error in keyword(validator, value, instance, schema) or ():
            _spend(len(error.message) >> 3)  # the library writes whole values into its messages
            yield error

    return check


def _length(value: Any) -> int:
    return len(value) if type(value) is dict or type(value) is list else 0


# --- keywords --------------------------------------------------------------------------------


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


def _find_pattern(pattern: str, text: str) -> bool:
    compiled = compile_pattern(pattern)
    _spend(compiled.size * len(text) // _PATTERN_STEPS)
    return compiled.is_in(text)


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if type(instance) is str and not _find_pattern(pattern, instance):
        yield _error("does not match the pattern")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if type(instance) is not dict:
        return
    for pattern, subschema in patterns.items():
        for name, part in instance.items():
            _spend(1)
            if _find_pattern(pattern, name):
                yield from validator.descend(part, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if type(instance) is not dict:
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    _spend(len(instance) * len(patterns))
    extra = [
        name
        for name in instance
        if name not in known and not any(_find_pattern(pattern, name) for pattern in patterns)
    ]
    if type(value) is dict:
        for name in extra:
            yield from validator.descend(instance[name], value, path=name)
    elif not value and extra:
        yield _error("has more properties")


def _unevaluated(keyword: str, kind: type) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if type(instance) is not kind:
            return
        others = {name: part for name, part in schema.items() if name != keyword}
        evaluated = find_evaluated(validator, instance, others, _find_pattern, _spend)
        whole: Any = instance
        parts: Iterable[tuple[Any, Any]] = whole.items() if kind is dict else enumerate(whole)
        for step, part in parts:
            if step not in evaluated and not validator.evolve(schema=value).is_valid(part):
                yield _error("has unevaluated parts that do not fit")
                return

    return check


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if type(instance) not in (int, float):
        return
    _spend(abs(instance).bit_length() >> 4 if type(instance) is int else 16)
    if (_as_written(instance) / _as_written(divisor)).denominator != 1:
        yield _error("is not a multiple")


def _as_written(number: float) -> Fraction:
    return Fraction(number) if type(number) is int else Fraction(repr(number))


def _enum(validator: Any, choices: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if type(instance) is dict or type(instance) is list:
        text = _canonical(instance)
        alike = (choice for choice in choices if type(choice) is type(instance))
        is_one = any(text == _canonical(choice) for choice in alike)
    else:
        _spend(len(choices))
        is_one = any(json_equal(instance, choice) for choice in choices)
    if not is_one:
        yield _error("is not one of the choices")


def _unique_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if value and type(instance) is list:
        if len({_canonical(item) for item in instance}) != len(instance):
            yield _error("has an item twice")


def _canonical(value: Any) -> str:
    """Return a text that two values have in common if they are equal as JSON."""
    text = json.dumps(_with_plain_numbers(value), sort_keys=True, ensure_ascii=False)
    _spend(1 + (len(text) >> 4))
    return text


def _with_plain_numbers(value: Any) -> Any:
    """Return a value with `1` in the place of `1.0`."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict:
        return {name: _with_plain_numbers(part) for name, part in value.items()}
    return [_with_plain_numbers(part) for part in value] if kind is list else value
