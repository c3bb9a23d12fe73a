"""Parts that a JSON Schema's other keywords evaluate, for `unevaluatedProperties` and `-Items`.

As in drafts 2019-09 and 2020-12; jsonschema's own search goes through patterns with an engine that may never
end, and through lists where sets would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["find_evaluated"]

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


def find_evaluated(
    validator: Any,
    instance: Any,
    schema: Any,
    find: Callable[[str, str], bool],
    spend: Callable[[float], None],
) -> set[Any]:
    """Return the names (of a mapping) or places (of a list) that a schema evaluates.

    Args:
        validator: applies schemas, and knows what references lead to.
        instance: a mapping or a list.
        schema: what is applied to it, as a whole valid for it, or its fault is told elsewhere.
        find: tells whether a pattern is found in a text.
        spend: counts steps.
    """
    if type(schema) is not dict:
        return set()
    spend(1 + (len(instance) >> 3))
    found = set(
        _named(instance, schema, find) if type(instance) is dict else _placed(validator, instance, schema)
    )
    for applied, part in _applied(validator, instance, schema):
        found |= find_evaluated(applied, instance, part, find, spend)
    return found


def _named(instance: Any, schema: Any, find: Callable[[str, str], bool]) -> Iterator[str]:
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        yield from instance
        return
    yield from (name for name in schema.get("properties", ()) if name in instance)
    for pattern in schema.get("patternProperties", ()):
        yield from (name for name in instance if find(pattern, name))


def _placed(validator: Any, instance: Any, schema: Any) -> Iterator[int]:
    items = schema.get("items")
    rest = "additionalItems" in schema if type(items) is list else items is not None
    if rest or "unevaluatedItems" in schema:
        yield from range(len(instance))
        return
    first = items if type(items) is list else schema.get("prefixItems", ())
    yield from range(min(len(first), len(instance)))
    if "contains" in schema and "prefixItems" in validator.VALIDATORS:  # draft 2020-12 counts it
        check = validator.evolve(schema=schema["contains"])
        yield from (at for at, part in enumerate(instance) if check.is_valid(part))


def _applied(validator: Any, instance: Any, schema: Any) -> Iterator[tuple[Any, Any]]:
    """Yield validator and schema of those inside a schema that are applied to the same value and hold."""
    for keyword in _REFERENCES:
        if keyword in schema:
            resolved = _resolve(validator._resolver, keyword, schema[keyword])
            yield (
                validator.evolve(schema=resolved.contents, _resolver=resolved.resolver),
                resolved.contents,
            )
    parts = [part for name in ("allOf", "anyOf", "oneOf") for part in schema.get(name, ())]
    if type(instance) is dict:
        parts += [part for name, part in schema.get("dependentSchemas", {}).items() if name in instance]
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(instance)
        parts += [schema["if"]] if holds else []
        parts += [schema[name] for name in ("then" if holds else "else",) if name in schema]
    for part in parts:
        if validator.evolve(schema=part).is_valid(instance):
            yield validator, part


def _resolve(resolver: Any, keyword: str, reference: str) -> Any:
    if keyword != "$recursiveRef":
        return resolver.lookup(reference)
    from referencing.jsonschema import lookup_recursive_ref

    return lookup_recursive_ref(resolver)
