"""Conditions: data that says yes or no."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.context.conditions import OPERATORS, apply_operator, check_condition, evaluate_condition
from mc.errors import ConditionError, McError, PathError


class Flow:
    readable_attributes: ClassVar[frozenset[str]] = frozenset({"data"})
    data: ClassVar[dict[str, Any]] = {}


CTX = {"n": 3, "t": "text", "none": None, "yes": True, "rows": [1, {"a": 1.0}], "m": {"k": 0}, "flow": Flow()}
TRUE = {"value": 1, "op": "eq", "arg": 1}
FALSE = {"value": 1, "op": "eq", "arg": 2}
ODDS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats()
    | st.text("ab$.", max_size=3)
    | st.just("$ctx.n"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
CONDITIONS = st.recursive(
    st.fixed_dictionaries({"value": ODDS, "op": st.sampled_from([*OPERATORS, "nope"]), "arg": ODDS}) | ODDS,
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"all": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"any": st.lists(inner, max_size=3)})
    ),
    max_leaves=6,
)


class TestOperators:
    @pytest.mark.parametrize(
        ("value", "op", "arg", "holds"),
        [
            (1, "eq", 1.0, True),
            (1, "eq", True, False),
            (0, "eq", False, False),
            ({"a": [1]}, "eq", {"a": [1.0]}, True),
            ({"a": [1]}, "eq", {"a": [True]}, False),
            ("1", "eq", 1, False),
            (None, "eq", None, True),
            (1, "ne", True, True),
            (1, "ne", 1.0, False),
            (1, "lt", 2, True),
            (2, "lt", 2, False),
            (2, "le", 2.0, True),
            (3, "le", 2, False),
            ("b", "gt", "a", True),
            (2, "gt", 2, False),
            (2, "ge", 2, True),
            (1.5, "ge", 2, False),
            (1.0, "in", [2, 1], True),
            (True, "in", [1], False),
            ("k", "in", {"k": 0}, True),
            (1, "in", {"1": 0}, False),
            ("ex", "in", "text", True),
            ("x", "not_in", ["y"], True),
            ("x", "not_in", "text", False),
            ([1, [2]], "contains", [2.0], True),
            ([1], "contains", True, False),
            ({"k": 0}, "contains", "k", True),
            ("text", "contains", "x", True),
            ("text", "contains", "y", False),
            (None, "is_null", None, True),
            (None, "is_null", False, False),
            (0, "is_null", True, False),
            (0, "is_null", False, True),
            (True, "is_true", None, True),
            (1, "is_true", True, False),
            ("true", "is_true", None, False),
            (False, "is_true", False, True),
            ("report-17", "matches", r"-\d+$", True),
            ("report", "matches", r"^\d", False),
        ],
    )
    def test_each_holds_where_it_should(self, value: Any, op: str, arg: Any, holds: bool) -> None:
        assert apply_operator(op, value, arg) is holds

    def test_the_examples_cover_every_operator(self) -> None:
        [mark] = TestOperators.test_each_holds_where_it_should.pytestmark  # type: ignore[attr-defined]
        assert {example[1] for example in mark.args[1]} == set(OPERATORS)

    @pytest.mark.parametrize("op", ["lt", "le", "gt", "ge"])
    @pytest.mark.parametrize(
        ("value", "arg", "names"),
        [
            (1, "1", ("number", "text")),
            (True, 1, ("true/false", "number")),
            (None, 1, ("null", "number")),
            ([1], [2], ("list", "list")),
            (True, False, ("true/false", "true/false")),
        ],
    )
    def test_what_has_no_order_is_an_error_that_names_place_and_types(
        self, op: str, value: Any, arg: Any, names: tuple[str, str]
    ) -> None:
        with pytest.raises(ConditionError) as caught:
            apply_operator(op, value, arg, "$ctx.flow.data.n")
        assert "$ctx.flow.data.n" in str(caught.value)
        assert all(name in str(caught.value) for name in names)
        assert (caught.value.value_type, caught.value.arg_type, caught.value.path) == (
            *names,
            "$ctx.flow.data.n",
        )

    @pytest.mark.parametrize(
        ("value", "op", "arg"),
        [
            (1, "in", 5),
            (1, "in", "text"),
            ("a", "not_in", None),
            (None, "contains", "a"),
            ("a", "contains", 1),
        ],
    )
    def test_looking_into_what_holds_nothing_is_an_error(self, value: Any, op: str, arg: Any) -> None:
        with pytest.raises(ConditionError, match="looks for"):
            apply_operator(op, value, arg)

    @pytest.mark.parametrize(
        ("value", "pattern", "message"),
        [
            (1, "a", "which is number"),
            ("a", None, "null"),
            ("a", "(", "not a regular expression"),
            ("a", "a{2000}", "not a regular expression"),
            ("a", "a(?=b)", "look-around"),
            ("a", r"(a)\1", "back references"),
            ("a" * 100_000, "(a{1000}|b)", "at most"),
            ("a", "a" * 1001, "1,001"),
            ("a" * 100_001, "a", "100,001"),
        ],
    )
    def test_a_search_that_cannot_be_made_is_an_error(self, value: Any, pattern: Any, message: str) -> None:
        with pytest.raises(ConditionError) as caught:
            apply_operator("matches", value, pattern)
        assert message in str(caught.value)

    def test_the_longest_allowed_search_is_made(self) -> None:
        assert apply_operator("matches", "b" * 99_999 + "a", "a" + "|c" * 499)

    @pytest.mark.parametrize("op", ["is_null", "is_true"])
    def test_the_arg_of_a_test_is_true_or_false(self, op: str) -> None:
        with pytest.raises(ConditionError, match="not number"):
            apply_operator(op, None, 1)

    def test_an_unknown_operator_is_named_with_the_nearest(self) -> None:
        with pytest.raises(ConditionError, match="Did you mean 'not_in'") as caught:
            apply_operator("notin", 1, [])
        assert caught.value.suggestion == "not_in"


class TestEvaluate:
    @pytest.mark.parametrize(
        ("condition", "holds"),
        [
            ({"value": "$ctx.n", "op": "gt", "arg": 2}, True),
            ({"value": 4, "op": "lt", "arg": "$ctx.n"}, False),
            ({"value": "${ctx.t}!", "op": "eq", "arg": "text!"}, True),
            ({"value": [{"x": "$ctx.n"}], "op": "eq", "arg": [{"x": 3}]}, True),
            ({"value": r"\$ctx.n", "op": "eq", "arg": r"\$ctx.n"}, True),
            ({"value": "$ctx.rows.1.a", "op": "in", "arg": "$ctx.rows"}, True),
            ({"value": "$ctx.none", "op": "is_null"}, True),
            ({"value": "$ctx.yes", "op": "is_true", "arg": False}, False),
            ({"not": FALSE}, True),
            ({"all": [TRUE, TRUE]}, True),
            ({"all": [TRUE, FALSE]}, False),
            ({"all": []}, True),
            ({"any": [FALSE, TRUE]}, True),
            ({"any": [FALSE]}, False),
            ({"any": []}, False),
            ({"any": [{"all": [TRUE, {"not": FALSE}]}, FALSE]}, True),
        ],
    )
    def test_conditions_are_evaluated(self, condition: Any, holds: bool) -> None:
        assert evaluate_condition(condition, CTX) is holds

    def test_parts_after_the_deciding_one_are_not_read(self) -> None:
        missing = {"value": "$ctx.missing", "op": "is_null"}
        assert evaluate_condition({"any": [TRUE, missing]}, CTX) is True
        assert evaluate_condition({"all": [FALSE, missing]}, CTX) is False

    def test_a_missing_path_names_its_step(self) -> None:
        with pytest.raises(PathError) as caught:
            evaluate_condition({"value": "$ctx.nope.x", "op": "is_null"}, CTX)
        assert caught.value.missing_step == "nope"

    def test_an_object_is_no_value(self) -> None:
        with pytest.raises(PathError, match="Go on with data"):
            evaluate_condition({"value": "$ctx.flow", "op": "is_null"}, CTX)

    def test_an_error_names_the_path_and_the_place_in_the_condition(self) -> None:
        condition = {"all": [TRUE, {"not": {"value": "$ctx.t", "op": "gt", "arg": 1}}]}
        with pytest.raises(ConditionError, match=r"\$ctx\.t, which is text, with number") as caught:
            evaluate_condition(condition, CTX)
        assert (caught.value.path, caught.value.pointer) == ("$ctx.t", "/all/1/not")

    @given(CONDITIONS)
    def test_nothing_but_our_errors_and_truth_values_come_out(self, condition: Any) -> None:
        try:
            found = evaluate_condition(condition, CTX)
        except McError:
            return
        assert isinstance(found, bool)
        assert evaluate_condition({"not": condition}, CTX) is not found


class TestCheckCondition:
    @pytest.mark.parametrize(
        ("condition", "pointer", "message"),
        [
            (None, "", "not null"),
            ([TRUE], "", "not list"),
            ("$ctx.n", "", "not text"),
            ({}, "", "exactly one of"),
            ({"value": 1}, "", "exactly one of"),
            ({"all": [], "any": []}, "", "exactly one of"),
            ({"all": TRUE}, "/all", "not mapping"),
            ({"any": [TRUE, 1]}, "/any/1", "not number"),
            ({"not": [TRUE]}, "/not", "not list"),
            ({"all": [], "extra": 1}, "", "unknown key 'extra'"),
            ({"op": "eq", "arg": 1}, "", '"value" is missing'),
            ({"op": "eq", "value": 1}, "", 'needs "arg"'),
            ({**TRUE, "path": 1}, "", "unknown key 'path'; beside 'op' it takes value, arg"),
            ({"not": {"value": 1, "op": "equals", "arg": 1}}, "/not/op", "use one of eq, ne"),
            ({"value": 1, "op": ["eq"], "arg": 1}, "/op", "Unknown operator list"),
        ],
    )
    def test_a_malformed_condition_is_named_with_its_place(
        self, condition: Any, pointer: str, message: str
    ) -> None:
        with pytest.raises(ConditionError) as caught:
            evaluate_condition(condition, CTX)
        assert message in str(caught.value)
        assert caught.value.pointer == pointer
        with pytest.raises(ConditionError) as caught:
            check_condition(condition, "/when")
        assert caught.value.pointer == "/when" + pointer

    def test_a_malformed_part_is_found_though_it_would_not_be_reached(self) -> None:
        with pytest.raises(ConditionError):
            evaluate_condition({"any": [TRUE, {"op": "eq"}]}, CTX)

    def test_a_condition_that_contains_itself_is_refused(self) -> None:
        condition: dict[str, Any] = {}
        condition["not"] = condition
        with pytest.raises(ConditionError, match="nests deeper"):
            check_condition(condition)


class TestPatterns:
    @pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(.*.*)*x", "([a-z]+)*Q"])
    def test_nested_repetition_ends_at_once(self, pattern: str) -> None:
        assert apply_operator("matches", "a" * 50_000 + "!", pattern) is False

    def test_characters_may_be_written_by_their_numbers(self) -> None:
        assert apply_operator("matches", "caf\u00e9", r"^caf\u00e9$")
        assert apply_operator("matches", r"\u0041", r"^\\u0041$")
