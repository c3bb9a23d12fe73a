"""Errors that jsonschema reports, turned into problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from mc.errors import Problem
from mc.spec.problems import NameSuggester, join_pointer, list_names, make_problem, shorten

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = ["describe_schema_error"]

_TYPE_NAMES: Final[Mapping[str, str]] = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_NUMBERS: Final[Mapping[str, str]] = {
    "type": "MC001",
    "enum": "MC004",
    "const": "MC004",
    "minimum": "MC005",
    "maximum": "MC005",
    "minLength": "MC005",
    "maxLength": "MC005",
    "minItems": "MC005",
    "maxItems": "MC005",
}


def describe_schema_error(
    error: ValidationError, pointer: str, suggester: NameSuggester
) -> Iterator[Problem]:
    """Yield the problems that one error of jsonschema stands for.

    Args:
        error: the error.
        pointer: JSON Pointer to the value that was validated.
        suggester: finds the nearest valid names.
    """
    place = join_pointer(pointer, *error.absolute_path)
    if error.validator == "additionalProperties":
        yield from _unknown_keys(error, place, suggester)
    elif error.validator == "required":
        yield from _missing_keys(error, place)
    else:
        yield _wrong_value(error, place, suggester)


def _unknown_keys(error: ValidationError, place: str, suggester: NameSuggester) -> Iterator[Problem]:
    schema = _schema(error)
    mapping: Any = error.instance
    known = schema.get("properties", {})
    expected = f"one of {list_names(known, 20)}" if known else "no keys"
    owner = schema.get("description", "this mapping").partition(", such as ")[0].partition(":")[0]
    owner = owner.partition(" (")[0]
    for key in mapping:
        if key not in known:
            yield make_problem(
                "MC003",
                join_pointer(place, key),
                f"{shorten(key)} is not a key of {owner}.",
                found=key,
                expected=expected,
                suggestion=suggester.nearest(key, known),
            )


def _missing_keys(error: ValidationError, place: str) -> Iterator[Problem]:
    schema = _schema(error)
    mapping: Any = error.instance
    for key in schema["required"]:
        if key not in mapping:
            # A branch of the schema says more than the name of the key.
            known = schema.get("properties", {}).get(key, {})
            detail = known.get("description") or (schema.get("description", "") if not known else "")
            expected = f'"{key}": {detail}' if detail else f'"{key}"'
            message = f'The key "{key}" is missing' + (f" ({detail})." if detail else ".")
            yield make_problem("MC002", place, message, found=mapping, expected=expected)


def _wrong_value(error: ValidationError, place: str, suggester: NameSuggester) -> Problem:
    schema = _schema(error)
    number = schema.get("$comment") or _NUMBERS.get(str(error.validator), "MC006")
    choices: list[str] = schema["enum"] if error.validator == "enum" else []
    expected = schema.get("description") or ""
    if choices:
        expected = f"{expected or 'one of these'}: {', '.join(choices)}"
    elif not expected:
        expected = _expect(str(error.validator), error.validator_value)
    suggestion = (
        suggester.nearest(error.instance, choices) if type(error.instance) is str and choices else None
    )
    return make_problem(
        number,
        place,
        f"Found {shorten(error.instance)}; expected {expected}.",
        found=error.instance,
        expected=expected,
        suggestion=suggestion,
    )


def _expect(keyword: str, limit: Any) -> str:
    if keyword == "type":
        types = [limit] if isinstance(limit, str) else limit
        return " or ".join(_TYPE_NAMES.get(name, name) for name in types)
    return f"{keyword} {shorten(limit)}"


def _schema(error: ValidationError) -> Mapping[str, Any]:
    schema = error.schema
    return schema if isinstance(schema, Mapping) else {}
