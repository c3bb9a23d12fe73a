"""Specs in YAML: the core schema of YAML 1.2, held to what JSON can hold."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from mc.context.json_values import MAX_NESTING
from mc.spec.problems import shorten

__all__ = ["YamlFaultError", "parse_yaml"]

_MAX_DIGITS: Final = 4_000  # Python reads integers of up to 4,300
_MAX_PARTS: Final = 1_000_000  # what aliases repeat counted each time
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class YamlFaultError(Exception):
    """The text is not such a YAML text.

    Args:
        reason: what is wrong.
        line: where, from 0.
        column: where, from 0.
    """

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason, self.line, self.column = reason, line, column


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text, which JSON can hold.

    Keys are text as it is written. Only true and false are booleans, and no text is a date. A name that
    stands twice in one mapping, tags of programs, several documents and merge keys are refused.

    Raises:
        YamlFaultError: it is not such a text.
        ImportError: PyYAML is not installed.
    """
    import yaml

    try:
        # libyaml, where PyYAML was built with it, is ten times as fast
        return _Builder().build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line, mark.column) if mark else (0, 0)
        raise YamlFaultError(str(error.problem or error.context), *place) from error
    except yaml.reader.ReaderError as error:
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        at = found.start() if found else 0
        reason = f"YAML has no character {shorten(text[at])} but as an escape in double quotes"
        raise YamlFaultError(reason, text.count("\n", 0, at), at - text.rfind("\n", 0, at) - 1) from error


class _Container:
    """A list or mapping that is being read."""

    __slots__ = ("anchor", "key", "lines", "parts", "value")

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None  # of the entry whose value comes next
        self.lines: dict[str, int] = {}  # of the keys
        self.parts = 1


class _Builder:
    """Makes a value of the events of a parser, with a stack of its own."""

    def __init__(self) -> None:
        self._open: list[_Container] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, parts
        self._result: list[Any] = []

    def build(self, events: Any) -> Any:
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and self._result:
                raise _fault("a second document begins here; a file holds one spec", event)
            if kind == "ScalarEvent":
                self._add_scalar(event)
            elif kind == "AliasEvent":
                self._add_alias(event)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._begin({} if kind == "MappingStartEvent" else [], event)
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                container = self._open.pop()
                self._put(container.value, container.parts, container.anchor, event)
        return self._result[0] if self._result else None

    def _begin(self, value: Any, event: Any) -> None:
        if event.tag not in (None, "!", f"{_TAG}{'map' if type(value) is dict else 'seq'}"):
            raise _refuse_tag(event)
        if self._open and type(self._open[-1].value) is dict and self._open[-1].key is None:
            raise _fault("a list or mapping is used as a key; keys are text", event)
        if len(self._open) >= MAX_NESTING:
            raise _fault(f"lists and mappings are nested more than {MAX_NESTING} deep", event)
        self._open.append(_Container(value, event.anchor))

    def _add_alias(self, event: Any) -> None:
        if any(container.anchor == event.anchor for container in self._open):
            raise _fault(f"*{event.anchor} contains itself", event)
        if event.anchor not in self._anchors:
            raise _fault(f"there is no anchor &{event.anchor} before *{event.anchor}", event)
        value, parts = self._anchors[event.anchor]
        if self._is_key_next():
            if not isinstance(value, str):
                raise _fault(f"*{event.anchor} is used as a key and is no text", event)
            self._take_key(value, event)
        else:
            self._put(value, parts, None, event)

    def _add_scalar(self, event: Any) -> None:
        if self._is_key_next():
            if event.value == "<<" and event.implicit[0]:
                raise _fault("YAML 1.2 has no merge key <<; write its entries out", event)
            if event.tag not in (None, "!", f"{_TAG}str"):
                raise _refuse_tag(event)
            if event.anchor:
                self._anchors[event.anchor] = (event.value, 1)
            self._take_key(event.value, event)
        else:
            self._put(_read_scalar(event), 1, event.anchor, event)

    def _is_key_next(self) -> bool:
        return bool(self._open) and type(self._open[-1].value) is dict and self._open[-1].key is None

    def _take_key(self, key: str, event: Any) -> None:
        above = self._open[-1]
        if key in above.lines:
            line = above.lines[key] + 1
            raise _fault(f"the name {shorten(key)} stands in this mapping already, on line {line}", event)
        above.lines[key] = event.start_mark.line
        above.key = key

    def _put(self, value: Any, parts: int, anchor: str | None, event: Any) -> None:
        if anchor:
            self._anchors[anchor] = (value, parts)
        if not self._open:
            self._result.append(value)
            return
        above = self._open[-1]
        above.parts += parts
        if above.parts > _MAX_PARTS:
            raise _fault(
                f"there are more than {_MAX_PARTS:,} parts here, repeated ones counted each time", event
            )
        if above.key is None:
            above.value.append(value)
        else:
            above.value[above.key] = value
            above.key = None


def _read_scalar(event: Any) -> Any:
    text, tag = event.value, event.tag
    if tag is not None and tag.removeprefix(_TAG) not in ("!", "str", "null", "bool", "int", "float"):
        raise _refuse_tag(event)
    if tag in ("!", f"{_TAG}str") or (tag is None and not event.implicit[0]):
        return text
    value = _read_plain(text, event)
    wanted = _TYPES.get(tag.removeprefix(_TAG)) if tag is not None else None
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is not None and type(value) is not wanted:
        raise _fault(f"{shorten(text)} is not what its tag {shorten(tag)} says", event)
    return value


_TYPES: Final = {"null": type(None), "bool": bool, "int": int, "float": float}


def _read_plain(text: str, event: Any) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        raise _fault(f"JSON has no {text}; write null or text", event)
    if not _BASED.fullmatch(text) and not _NUMBER.fullmatch(text):
        return text
    if len(text) > _MAX_DIGITS:
        raise _fault(f"the number has more than {_MAX_DIGITS:,} digits", event)
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    number = float(text)
    if not math.isfinite(number):
        raise _fault(f"the number {text[:40]} is too large", event)
    return number


def _refuse_tag(event: Any) -> YamlFaultError:
    return _fault(f"the tag {shorten(event.tag)} is not of JSON; leave it out", event)


def _fault(reason: str, event: Any) -> YamlFaultError:
    return YamlFaultError(reason, event.start_mark.line, event.start_mark.column)
