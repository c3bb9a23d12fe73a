"""Checks of a JSON Schema itself: each `$ref` leads somewhere, none back to itself; patterns can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from mc.context.patterns import compile_pattern
from mc.errors import PatternError
from mc.spec.problems import join_pointer, shorten
from mc.spec.task_graph import find_cycle

if TYPE_CHECKING:
    from referencing import Resource
    from referencing._core import Resolver

__all__ = ["find_pattern_faults", "find_reference_faults"]

_REFERENCES: Final = ("$ref", "$dynamicRef")
# What else is applied to the same value as the schema that holds it.
_IN_PLACE: Final = ("not", "if", "then", "else")
_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")


def find_reference_faults(schema: dict[str, Any], draft: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (JSON Pointer, what is wrong, the reference) for each `$ref` that cannot be followed.

    Args:
        schema: what its meta-schema has nothing against.
        draft: URI of the draft that it is read by.
    """
    pointers = dict(_list_mappings(schema))
    if not any(name in node for node, _ in pointers.values() for name in _REFERENCES):
        return
    edges: list[tuple[str, str]] = []
    for node, resolver in _list_subschemas(schema, draft):
        pointer = pointers[id(node)][1]
        for name in _REFERENCES:
            if type(node.get(name)) is not str:
                continue
            target, reason = _follow(resolver, node[name])
            if reason is not None:
                yield f"{pointer}/{name}", reason, node[name]
            elif id(target) in pointers:
                edges.append((pointer, pointers[id(target)][1]))
        edges += [
            (pointer, pointers[id(part)][1]) for part in _applied_in_place(node) if id(part) in pointers
        ]
    cycle = find_cycle(dict.fromkeys(source for source, _ in edges), edges)
    if cycle is not None:
        path = " -> ".join(f"#{pointer}" for pointer in cycle)
        reason = f"The schema asks of a value that it fits the same schema, without end: {path}."
        yield cycle[0], reason, path


def find_pattern_faults(schema: dict[str, Any], draft: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (JSON Pointer, what is wrong, the pattern) for each pattern that cannot be searched for.

    Args:
        schema: what its meta-schema has nothing against.
        draft: URI of the draft that it is read by.
    """
    pointers = dict(_list_mappings(schema))
    if not any("pattern" in node or "patternProperties" in node for node, _ in pointers.values()):
        return
    for node, _ in _list_subschemas(schema, draft):
        pointer = pointers[id(node)][1]
        written = {f"{pointer}/pattern": node.get("pattern")}
        named = node.get("patternProperties")
        for pattern in named if type(named) is dict else ():
            written[join_pointer(pointer, "patternProperties", pattern)] = pattern
        for place, pattern in written.items():
            if type(pattern) is str:
                try:
                    compile_pattern(pattern)
                except PatternError as error:
                    yield place, error.message, pattern


def _list_mappings(schema: dict[str, Any]) -> Iterator[tuple[int, tuple[dict[str, Any], str]]]:
    """Yield id, mapping and JSON Pointer of all mappings."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    while waiting:
        value, pointer = waiting.pop()
        if type(value) is dict:
            yield id(value), (value, pointer)
            waiting.extend((part, join_pointer(pointer, key)) for key, part in value.items())
        elif type(value) is list:
            waiting.extend((part, join_pointer(pointer, at)) for at, part in enumerate(value))


def _list_subschemas(schema: dict[str, Any], draft: str) -> Iterator[tuple[dict[str, Any], Resolver[Any]]]:
    """Yield all schemas inside a schema, itself included, each with what resolves its references."""
    from referencing import Registry
    from referencing.jsonschema import specification_with

    # Nothing is retrieved: the registry knows the schema itself only.
    root = specification_with(draft).create_resource(schema)
    waiting: list[tuple[Resource[Any], Resolver[Any]]] = [(root, Registry().resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop()
        if type(resource.contents) is not dict:
            continue
        yield resource.contents, resolver
        waiting.extend((inner, resolver.in_subresource(inner)) for inner in resource.subresources())


def _follow(resolver: Resolver[Any], reference: str) -> tuple[Any, str | None]:
    """Return what a reference leads to, or why it leads nowhere."""
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(reference).contents, None
    except (Unresolvable, ValueError):  # ValueError: no URI
        return None, f"{shorten(reference)} leads to nothing in this schema; nothing is fetched."


def _applied_in_place(node: dict[str, Any]) -> Iterator[Any]:
    for name in _IN_PLACE:
        yield node.get(name)
    for name in _IN_PLACE_LISTS:
        parts = node.get(name)
        yield from parts if type(parts) is list else ()
    for name in ("dependentSchemas", "dependencies"):
        dependent = node.get(name)
        yield from dependent.values() if type(dependent) is dict else ()
