"""A mapping whose large values are read when somebody asks for them: it looks like any dict."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from mc.context.json_values import copy_as_json, copy_json, dumps, json_equal, make_plain
from mc.context.late_dict import LateDict, without_late
from mc.context.paths import read_path

WHOLE = {"first": 1, "items": [1, 2, 3], "last": {"a": "b"}}


class Store:
    """Where the values are."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, name: str) -> Any:
        self.asked.append(name)
        return {"of items": [1, 2, 3], "of last": {"a": "b"}}[name]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def late(store: Store) -> LateDict:
    return LateDict(
        {"first": 1, "items": None, "last": None}, {"items": "of items", "last": "of last"}, store.read
    )


LOOKS: dict[str, Callable[[LateDict], Any]] = {
    "dict()": dict,
    "unpacked": lambda late: {**late},
    "json.dumps": lambda late: json.loads(json.dumps(late)),
    "dumps": lambda late: json.loads(dumps(late)),
    "copy": copy.copy,
    "its copy": lambda late: late.copy(),
    "deepcopy": copy.deepcopy,
    "copy_json": copy_json,
    "copy_as_json": copy_as_json,
    "update": lambda late: _updated({}, late),
    "or": lambda late: {} | late,
    "or the other": lambda late: late | {},
    "items": lambda late: dict(late.items()),
    "keys and values": lambda late: dict(zip(late.keys(), late.values(), strict=True)),
    "by key": lambda late: {name: late[name] for name in late},
    "get": lambda late: {name: late.get(name) for name in late},
    "pop": lambda late: {name: late.pop(name) for name in list(late)},
    "popitem": lambda late: dict(reversed([late.popitem() for _ in range(3)])),
    "setdefault": lambda late: {name: late.setdefault(name, 0) for name in late},
    "repr": lambda late: eval(repr(late)),
}


def _updated(target: dict[str, Any], other: LateDict) -> dict[str, Any]:
    target.update(other)
    return target


@pytest.mark.parametrize("name", LOOKS)
def test_whoever_looks_finds_the_values(late: LateDict, name: str) -> None:
    found = LOOKS[name](late)
    assert found == WHOLE
    assert list(found) == list(WHOLE)


def test_it_equals_a_dict_of_the_same_values(late: LateDict) -> None:
    assert late == WHOLE
    assert late == late.copy()
    assert json_equal(late, WHOLE)


def test_it_differs_from_no_dict_of_the_same_values(late: LateDict) -> None:
    differs = late != WHOLE
    assert not differs


def test_each_value_is_read_once_and_no_other_one_for_it(late: LateDict, store: Store) -> None:
    assert (late["first"], late.get("none"), "items" in late, len(late), bool(late)) == (
        1,
        None,
        True,
        3,
        True,
    )
    assert list(late) == list(WHOLE)
    assert store.asked == []
    assert late["items"] is late["items"] is read_path({"p": late}, "ctx.p.items")
    assert store.asked == ["of items"]


def test_what_was_written_stays(late: LateDict, store: Store) -> None:
    late["items"] = "new"
    late.update(last="newer")
    late |= {"first": 2}
    assert late == {"first": 2, "items": "new", "last": "newer"}
    assert store.asked == []


def test_what_was_removed_is_gone(late: LateDict) -> None:
    del late["items"]
    assert late == {"first": 1, "last": {"a": "b"}}
    late.clear()
    assert late == {}


def test_nobody_takes_for_a_value_what_stands_in_its_place(late: LateDict) -> None:
    faults: list[Any] = []
    make_plain(late, faults.append)  # which looks past all methods
    assert [fault.pointer for fault in faults] == ["/items", "/last"]


def test_it_can_be_left_out_at_any_depth(late: LateDict, store: Store) -> None:
    assert without_late({"a": [1], "b": late, "c": {"d": late, "e": 2}}) == {"a": [1], "c": {"e": 2}}
    assert store.asked == []
