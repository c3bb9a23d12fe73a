"""JSON values: checked, copied, compared, written and read."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, namedtuple
from datetime import UTC, datetime
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.context.json_values import (
    MAX_NESTING,
    append_pointer,
    copy_as_json,
    copy_json,
    count_nesting,
    dumps,
    json_equal,
    json_type_name,
    loads,
    parse,
    to_json_value,
)
from mc.errors import NotJsonError

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
# Few values, so that equal ones are met often.
ALIKE = st.recursive(
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, None, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def exact(value: Any) -> str:
    """Return a text that differs for values which `==` confuses (1, 1.0, True)."""
    return repr(value)


def containers(value: Any) -> list[int]:
    found: list[int] = []
    if isinstance(value, dict | list):
        found.append(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            found.extend(containers(part))
    return found


class Colour(StrEnum):
    RED = "red"


class OldColour(str, Enum):  # noqa: UP042  the older kind, whose str() is its name
    RED = "red"


class Number(IntEnum):
    TWO = 2


class Ratio(float):
    __slots__ = ()


Point = namedtuple("Point", "x y")  # noqa: PYI024  what callers may hand in


class TestCopyJson:
    @given(JSON)
    def test_a_copy_is_equal_and_shares_no_container(self, value: Any) -> None:
        copied = copy_json(value)
        assert exact(copied) == exact(value)
        assert not set(containers(copied)) & set(containers(value))

    def test_what_json_does_not_know_is_copied_too(self) -> None:
        value = {"a": {1, 2}, "b": (1, [2])}
        copied = copy_json(value)
        assert copied == value
        assert copied["a"] is not value["a"]
        assert copied["b"][1] is not value["b"][1]

    def test_a_list_that_stands_in_two_places_becomes_two_lists(self) -> None:
        row = [0]
        copied = copy_json([row, row])
        copied[0][0] = 1
        assert copied == [[1], [0]]

    def test_a_value_that_contains_itself_is_refused_with_its_place(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(NotJsonError, match="contains itself") as caught:
            copy_json({"a": [loop]})
        assert caught.value.pointer == "/a/0/0"

    def test_shared_parts_that_multiply_without_bound_are_refused(self) -> None:
        value: list[Any] = []
        for _ in range(100):
            value = [value, value]
        with pytest.raises(NotJsonError, match="parts"):
            copy_json(value)

    def test_a_big_value_is_copied(self) -> None:
        value = [[number] for number in range(120_000)]
        copied = copy_json(value)
        assert copied == value
        assert copied[0] is not value[0]

    def test_nesting_is_bounded(self) -> None:
        assert copy_json(nested(MAX_NESTING)) == nested(MAX_NESTING)
        with pytest.raises(NotJsonError, match="200 levels"):
            copy_json(nested(MAX_NESTING + 1))
        with pytest.raises(NotJsonError, match="200 levels"):
            copy_json(nested(100_000))

    def test_an_object_that_cannot_be_copied_is_named(self) -> None:
        with pytest.raises(NotJsonError, match="type lock") as caught:
            copy_json([threading.Lock()])
        assert caught.value.type_name == "lock"


class TestCopyAsJson:
    @given(JSON)
    def test_plain_json_is_copied_like_any_other(self, value: Any) -> None:
        copied = copy_as_json(value)
        assert exact(copied) == exact(value)
        assert not set(containers(copied)) & set(containers(value))

    def test_harmless_conversions_are_made_inside(self) -> None:
        inner = [1]
        copied = copy_as_json({"a": MappingProxyType({"b": (Colour.RED, inner)})})
        assert exact(copied) == exact({"a": {"b": ["red", [1]]}})
        assert copied["a"]["b"][1] is not inner

    def test_what_is_not_json_is_named_with_its_place(self) -> None:
        with pytest.raises(NotJsonError) as caught:
            copy_as_json({"a": [0, {1}]})
        assert caught.value.pointer == "/a/1"


class TestToJsonValue:
    @given(JSON)
    def test_plain_json_comes_back_as_the_same_object(self, value: Any) -> None:
        assert to_json_value(value) is value

    def test_a_big_plain_value_comes_back_as_the_same_object(self) -> None:
        value = [[number] for number in range(120_000)]
        assert to_json_value(value) is value

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            ((1, (2,)), [1, [2]]),
            (Point(1, 2), [1, 2]),
            (Colour.RED, "red"),
            (OldColour.RED, "red"),
            (Number.TWO, 2),
            (Ratio(0.5), 0.5),
            (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
            (MappingProxyType({"a": Colour.RED}), {"a": "red"}),
            ({Colour.RED: 1}, {"red": 1}),
            ([[Number.TWO]], [[2]]),
        ],
    )
    def test_harmless_conversions_are_made(self, value: Any, plain: Any) -> None:
        assert exact(to_json_value(value)) == exact(plain)

    def test_the_input_of_a_conversion_is_not_changed(self) -> None:
        value = {"a": [(1, 2)]}
        assert to_json_value(value) == {"a": [[1, 2]]}
        assert value == {"a": [(1, 2)]}

    @pytest.mark.parametrize(
        ("value", "pointer", "type_name"),
        [
            ({"a": {1}}, "/a", "set"),
            ([0, b"x"], "/1", "bytes"),
            ({"at": datetime(2000, 1, 1, tzinfo=UTC)}, "/at", "datetime"),
            ({"a/b": {"c~d": float("nan")}}, "/a~1b/c~0d", "float"),
            (float("inf"), "", "float"),
            ({"a": {1: 2}}, "/a", "int"),
            ({"a": {None: 2}}, "/a", "NoneType"),
            ({"a": object()}, "/a", "object"),
            ({"a": ["\ud800"]}, "/a/0", "str"),
            ({"a": {"\udfff": 1}}, "/a", "str"),
            ([10**5000], "/0", "int"),
            ([(float("-inf"),)], "/0/0", "float"),
        ],
    )
    def test_what_json_cannot_hold_is_named_with_its_place(
        self, value: Any, pointer: str, type_name: str
    ) -> None:
        with pytest.raises(NotJsonError) as caught:
            to_json_value(value)
        assert (pointer, type_name) == (caught.value.pointer, caught.value.type_name)
        with pytest.raises(NotJsonError) as caught:
            to_json_value(value, "/data")
        assert caught.value.pointer == "/data" + pointer

    def test_keys_that_become_the_same_text_are_refused(self) -> None:
        class Odd(str):
            __slots__ = ()
            __hash__ = object.__hash__

            def __eq__(self, other: object) -> bool:
                return self is other

        with pytest.raises(NotJsonError, match="twice"):
            to_json_value({Odd("a"): 1, Odd("a"): 2})

    def test_a_cycle_is_refused_with_its_place(self) -> None:
        value: dict[str, Any] = {"a": {}}
        value["a"]["b"] = [value]
        with pytest.raises(NotJsonError, match="contains itself") as caught:
            to_json_value(value)
        assert caught.value.pointer == "/a/b/0"

    def test_nesting_is_bounded(self) -> None:
        deepest = nested(MAX_NESTING)
        assert to_json_value(deepest) is deepest
        for levels in (MAX_NESTING + 1, 100_000):
            with pytest.raises(NotJsonError, match="200 levels"):
                to_json_value(nested(levels))

    def test_shared_parts_that_multiply_without_bound_are_refused(self) -> None:
        value: Any = ()
        for _ in range(100):
            value = (value, value)
        with pytest.raises(NotJsonError, match="parts"):
            to_json_value(value)


class TestText:
    @given(JSON)
    def test_a_value_survives_being_written_and_read(self, value: Any) -> None:
        text = dumps(value)
        assert exact(loads(text)) == exact(value)
        text.encode()

    def test_text_is_compact_and_keeps_order_and_letters(self) -> None:
        assert dumps({"b": [1, 2.5], "a": "é"}) == '{"b":[1,2.5],"a":"é"}'

    def test_harmless_conversions_are_made_before_writing(self) -> None:
        assert dumps({"a": (OldColour.RED,)}) == '{"a":["red"]}'

    @pytest.mark.parametrize("value", [float("nan"), {1: 2}, {1}, "\ud800", nested(300)])
    def test_what_json_cannot_hold_is_not_written(self, value: Any) -> None:
        with pytest.raises(NotJsonError):
            dumps(value)

    def test_the_place_of_a_syntax_error_is_told(self) -> None:
        with pytest.raises(NotJsonError, match="line 2, column 3") as caught:
            loads('{"a":\n  x}')
        assert (caught.value.line, caught.value.column, caught.value.position) == (2, 3, 8)

    @pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "9" * 5000, "[" * 100_000, ""])
    def test_text_that_is_not_strict_json_is_refused(self, text: str) -> None:
        with pytest.raises(NotJsonError):
            loads(text)

    @given(st.text(st.sampled_from('{}[]",:0.e-1tfn\\u '), max_size=12))
    def test_reading_raises_nothing_else(self, text: str) -> None:
        try:
            value = loads(text)
        except NotJsonError:
            with pytest.raises(ValueError):  # noqa: PT011  any failure of the standard parser
                json.loads(text, parse_constant=int)
        else:
            assert exact(value) == exact(json.loads(text))


class TestJsonEqual:
    @given(ALIKE, ALIKE, ALIKE)
    def test_it_is_an_equivalence(self, one: Any, two: Any, three: Any) -> None:
        assert json_equal(one, copy_json(one))
        assert json_equal(one, two) == json_equal(two, one)
        if json_equal(one, two) and json_equal(two, three):
            assert json_equal(one, three)

    @given(JSON)
    def test_a_value_equals_itself_after_a_round_trip(self, value: Any) -> None:
        assert json_equal(value, loads(dumps(value)))

    @pytest.mark.parametrize(
        ("one", "two"), [(1, 1.0), ([1], (1.0,)), ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}), (Colour.RED, "red")]
    )
    def test_values_that_mean_the_same_are_equal(self, one: Any, two: Any) -> None:
        assert json_equal(one, two)

    @pytest.mark.parametrize(
        ("one", "two"),
        [
            (1, True),
            (0, False),
            ([1], [True]),
            ({"a": 0}, {"a": False}),
            ("1", 1),
            (None, False),
            (None, ""),
            ([], {}),
            ([], ""),
            ([1, 2], [2, 1]),
            ([1], [1, 1]),
            ({"a": None}, {"b": None}),
            ({1}, {1}),
            (2**53 + 1, float(2**53)),
        ],
    )
    def test_values_of_other_types_or_contents_are_unequal(self, one: Any, two: Any) -> None:
        assert not json_equal(one, two)

    def test_comparing_too_deep_values_is_refused(self) -> None:
        with pytest.raises(NotJsonError, match="nest deeper"):
            json_equal(nested(5000), nested(5000))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "true/false"),
        (1, "number"),
        (1.5, "number"),
        ("", "text"),
        ([], "list"),
        ((), "list"),
        ({}, "mapping"),
        (MappingProxyType({}), "mapping"),
        (b"", "bytes"),
    ],
)
def test_types_have_names_for_people(value: Any, name: str) -> None:
    assert json_type_name(value) == name


@pytest.mark.parametrize(
    ("value", "levels"),
    [(1, 0), ("[[]]", 0), ([], 1), ({"a": 1}, 1), ([1, {"a": [2]}, [3]], 3), (nested(200), 200)],
)
def test_nesting_is_counted(value: Any, levels: int) -> None:
    assert count_nesting(value) == levels


def test_a_pointer_escapes_its_steps() -> None:
    assert append_pointer(append_pointer("/a", "b/c~d"), 0) == "/a/b~1c~0d/0"


class TestParse:
    @pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "c": 2, "\\u0061": 3}}]'])
    def test_a_name_that_stands_twice_is_refused(self, text: str) -> None:
        with pytest.raises(NotJsonError, match="the name 'a' stands twice"):
            parse(text)

    @pytest.mark.parametrize("text", ["1e999", "[" * 201 + "]" * 201, "NaN", '"\\ud800"', "9" * 5000])
    def test_what_cannot_be_kept_is_refused(self, text: str) -> None:
        with pytest.raises(NotJsonError):
            parse(text)

    def test_the_same_name_in_two_mappings_is_two_names(self) -> None:
        assert parse('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]
