from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import NotJsonError
from mc.spec.digest import canonical_json, spec_digest

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


def test_the_canonical_text_is_compact_with_sorted_keys_and_plain_letters() -> None:
    assert (
        canonical_json({"b": [1, {"d": None, "c": True}], "a": "é"})
        == '{"a":"é","b":[1,{"c":true,"d":null}]}'
    )


def test_the_digest_is_the_sha_256_of_the_canonical_text() -> None:
    assert spec_digest({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()


def test_the_digest_of_a_spec_never_changes() -> None:
    spec = {"tasks": [{"key": "a", "task_type": "print", "task_params": {"msg": "hello"}}]}
    assert spec_digest(spec) == "355abb9ec176dbdfecb996f63e2f15f41936b8ec857eb8ae1b005b4915c75ef0"


@given(json_values)
def test_the_canonical_text_is_read_back(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=4))
def test_the_order_of_keys_makes_no_difference(value: dict[str, Any]) -> None:
    assert spec_digest(value) == spec_digest(dict(reversed(value.items())))


def test_another_order_of_tasks_is_another_spec() -> None:
    assert spec_digest({"tasks": [1, 2]}) != spec_digest({"tasks": [2, 1]})


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {1},
        {1: 2},
        b"x",
        object(),
        "\ud800",
        {"\ud800": 1},
        pytest.param(10**5000, id="5000 digits"),
    ],
)
def test_what_json_cannot_hold_has_no_digest(value: Any) -> None:
    with pytest.raises(NotJsonError):
        spec_digest({"x": value})


def test_a_value_that_contains_itself_has_no_digest() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotJsonError):
        spec_digest(value)
