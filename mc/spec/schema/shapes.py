"""Signatures: two values with equal signatures are one and the same to the schema.

jsonschema needs a quarter of a millisecond for a plain task, and the ten thousand tasks of a flow
are mostly alike. So a verdict is remembered per signature. What a signature keeps of a value is
derived from the schema itself: at each place, every distinction that some keyword there can make
(which patterns a text matches, on which side of a bound a number lies, which known keys are there),
and nothing else. It decides nothing, so it cannot disagree with the schema.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

__all__ = ["SUPPORTED_KEYWORDS", "Shape", "ShapeBuilder"]

_ANNOTATIONS: Final = frozenset({"$schema", "$defs", "$comment", "title", "description"})
_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_LENGTHS: Final = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CHILDREN: Final = ("properties", "additionalProperties", "items", "required")
_COUNTS: Final = ("minProperties", "maxProperties")
_OTHERS: Final = ("$ref", "type", "enum", "const", "pattern")

# `enum` and `const` with texts only. tests/unit/spec keeps the schema to these.
SUPPORTED_KEYWORDS: Final = _ANNOTATIONS.union(_IN_PLACE, _LENGTHS, _BOUNDS, _CHILDREN, _COUNTS, _OTHERS)

_Node = Mapping[str, Any]


class ShapeBuilder:
    """Makes the shapes of one schema, each on first use."""

    __slots__ = ("_root", "_shapes")

    def __init__(self, root: _Node) -> None:
        self._root = root
        self._shapes: dict[frozenset[int], Shape] = {}

    def shape_of(self, nodes: Iterable[Any]) -> Shape:
        """Return the shape of a place to which all these schema nodes apply."""
        closed = self._close(nodes)
        ids = frozenset(closed)
        shape = self._shapes.get(ids)
        if shape is None:
            shape = self._shapes[ids] = Shape(self, list(closed.values()))
        return shape

    def _close(self, nodes: Iterable[Any]) -> dict[int, _Node]:
        """Follow references and the keywords that apply other schemas to the same value."""
        closed: dict[int, _Node] = {}
        waiting = [node for node in nodes if isinstance(node, Mapping)]
        while waiting:
            node = waiting.pop()
            if id(node) in closed:
                continue
            closed[id(node)] = node
            if "$ref" in node:
                waiting.append(self._resolve(node["$ref"]))
            for keyword in _IN_PLACE:
                inner = node.get(keyword, ())
                waiting.extend([inner] if isinstance(inner, Mapping) else inner)
        return closed

    def _resolve(self, reference: str) -> _Node:
        node: Any = self._root
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        found: _Node = node
        return found


class Shape:
    """Every distinction that the schema makes at one place."""

    __slots__ = (
        "_bounds",
        "_builder",
        "_constants",
        "_items",
        "_keys",
        "_lengths",
        "_looks_into_lists",
        "_looks_into_mappings",
        "_nodes",
        "_other",
        "_patterns",
    )

    def __init__(self, builder: ShapeBuilder, nodes: list[_Node]) -> None:
        self._builder = builder
        self._nodes = nodes
        self._constants = {text for node in nodes for text in [*node.get("enum", ()), *_const(node)]}
        self._patterns = [re.compile(pattern) for pattern in sorted(_values(nodes, ("pattern",)))]
        self._lengths = sorted(_values(nodes, _LENGTHS))
        self._bounds = sorted(_values(nodes, _BOUNDS))
        self._keys: dict[str, Shape | None] = {}
        for node in nodes:
            self._keys.update(dict.fromkeys([*node.get("properties", ()), *node.get("required", ())]))
        self._other: Shape | None = None
        self._items: Shape | None = None
        self._looks_into_lists = bool(self._lengths) or any("items" in node for node in nodes)
        looked_at = ("properties", "additionalProperties", "required", *_COUNTS)
        self._looks_into_mappings = any(keyword in node for node in nodes for keyword in looked_at)

    def signature(self, value: Any) -> Hashable:
        """Return the signature of a plain JSON value that stands at this place."""
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is dict:
            return self._mapping(value) if self._looks_into_mappings else "mapping"
        if kind is list:
            return self._list(value) if self._looks_into_lists else "list"
        if kind is int or kind is float:
            # JSON Schema takes 1.0 for an integer.
            whole = kind is int or value.is_integer()
            return (whole, *[(value > bound) - (value < bound) for bound in self._bounds])
        return kind.__name__

    def _text(self, value: str) -> Hashable:
        if value in self._constants:
            return ("=", value)
        if not self._patterns and not self._lengths:
            return "text"
        matches = [pattern.search(value) is not None for pattern in self._patterns]
        return ("text", self._length(len(value)), *matches)

    def _mapping(self, value: dict[str, Any]) -> Hashable:
        # Kept per entry, not per set of entries: min- and maxProperties count them.
        parts: list[Hashable] = ["mapping"]
        for key, item in value.items():
            if key in self._keys:
                shape = self._keys[key] or self._prepare_key(key)
                parts.append((key, shape.signature(item)))
            else:
                shape = self._other or self._prepare_other()
                parts.append((None, shape.signature(item)))
        return tuple(parts)

    def _list(self, value: list[Any]) -> Hashable:
        items = self._items or self._prepare_items()
        return ("list", self._length(len(value)), frozenset([items.signature(item) for item in value]))

    def _length(self, length: int) -> tuple[int, ...]:
        return tuple([(length > limit) - (length < limit) for limit in self._lengths])

    def _prepare_items(self) -> Shape:
        self._items = self._builder.shape_of(node.get("items") for node in self._nodes)
        return self._items

    def _prepare_key(self, key: str) -> Shape:
        places = []
        for node in self._nodes:
            known = node.get("properties", {})
            places.append(known[key] if key in known else node.get("additionalProperties"))
        shape = self._keys[key] = self._builder.shape_of(places)
        return shape

    def _prepare_other(self) -> Shape:
        self._other = self._builder.shape_of(node.get("additionalProperties") for node in self._nodes)
        return self._other


def _values(nodes: list[_Node], keywords: tuple[str, ...]) -> set[Any]:
    return {node[keyword] for node in nodes for keyword in keywords if keyword in node}


def _const(node: _Node) -> list[str]:
    return [node["const"]] if "const" in node else []
