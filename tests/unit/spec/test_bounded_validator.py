from __future__ import annotations

import time
from typing import Any

import pytest

from mc.spec.validation import check_flow_data, find_problems

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"


def messages(schema: Any, data: Any) -> str:
    return " ".join(problem.message for problem in check_flow_data(schema, data))


def fan(depth: int, width: int = 2) -> dict[str, Any]:
    """Return a schema in which each level refers to the next one several times."""
    parts: dict[str, Any] = {
        f"l{at}": {"anyOf": [{"$ref": f"#/$defs/l{at + 1}"}] * width} for at in range(depth)
    }
    return {"$ref": "#/$defs/l0", "$defs": {**parts, f"l{depth}": {"type": "integer"}}}


class TestBounds:
    @pytest.mark.parametrize(
        ("schema", "data"),
        [
            ({"pattern": "^(a+)+$"}, "a" * 100_000 + "!"),
            ({"patternProperties": {"^(a+)+$": False}}, {"a" * 5_000 + "!": 1}),
            ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": True}, {"a" * 5_000 + "!": 1}),
            ({"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": True}, {"a" * 5_000 + "!": 1}),
            ({"uniqueItems": True}, [{"a": at} for at in range(20_000)]),
            ({"uniqueItems": True}, [at * (2**61 - 1) for at in range(20_000)]),
            (
                {"properties": {"a": {}}, "unevaluatedProperties": True},
                {f"a{at}": at for at in range(20_000)},
            ),
        ],
    )
    def test_what_backtracking_and_comparing_each_with_each_made_slow_is_quick(
        self, schema: Any, data: Any
    ) -> None:
        begun = time.process_time()
        assert check_flow_data(schema, data) == [] or "pattern" in schema
        assert time.process_time() - begun < 5

    @pytest.mark.parametrize(
        ("schema", "data"),
        [
            (fan(60), "x"),
            (fan(4, width=40), "x"),
            ({"$schema": DRAFT_7, **fan(60)}, "x"),
            ({"properties": {"a": {"$schema": DRAFT_7, **fan(60)["$defs"]["l0"]}}, **fan(60)}, {"a": "x"}),
            ({"anyOf": [{"type": "string"}] * 5_000}, ["x" * 1_000] * 1_000),
            ({"items": {"enum": list(range(5_000))}}, [-1] * 5_000),
            (
                {
                    "$defs": {"n": {"items": {"$ref": "#/$defs/n"}, "contains": {"$ref": "#/$defs/n"}}},
                    "$ref": "#/$defs/n",
                },
                [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]],
            ),
        ],
    )
    def test_a_schema_that_asks_for_too_much_ends_with_a_problem(self, schema: Any, data: Any) -> None:
        begun = time.process_time()
        assert "too many steps" in messages(schema, data)
        assert time.process_time() - begun < 30

    def test_large_plain_data_are_checked_whole(self) -> None:
        schema = {"items": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
        data = [{"n": at} for at in range(20_000)]
        assert check_flow_data(schema, data) == []
        assert len(check_flow_data(schema, [*data, {"n": "x"}])) == 1


class TestPatterns:
    @pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07"])
    @pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "a{2000}"])
    def test_what_needs_more_than_linear_time_is_a_problem_of_the_spec(
        self, draft: str, pattern: str
    ) -> None:
        schema = {
            "$schema": f"http://json-schema.org/{draft}/schema#",
            "properties": {"a": {"pattern": pattern}},
            "patternProperties": {pattern: {}},
        }
        found = {problem.code[:5] for problem in find_problems({"params": schema})}
        assert found == {"MC160"}

    def test_a_pattern_in_data_is_data(self) -> None:
        assert find_problems({"params": {"enum": [{"pattern": "(?=a)"}]}}) == []


class TestMeaning:
    @pytest.mark.parametrize(
        ("schema", "data", "fits"),
        [
            ({"multipleOf": 0.01}, 19.99, True),
            ({"multipleOf": 0.01}, 19.999, False),
            ({"multipleOf": 0.1}, 10**400, True),
            ({"multipleOf": 1e-300}, 1e300, True),
            ({"multipleOf": 3}, 1e300, False),
            ({"multipleOf": 2}, True, True),
            ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], True),
            ({"uniqueItems": True}, [1, 1.0], False),
            ({"uniqueItems": True}, [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], False),
            ({"enum": [1]}, True, False),
            ({"enum": [[1, {"a": 2}]]}, [1.0, {"a": 2}], True),
            ({"const": {"a": 1}}, {"a": True}, False),
            ({"const": 2}, 2.0, True),
            ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, True),
            ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x1": 1}, True),
            ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"y": 1}, False),
            ({"patternProperties": {"^x": {"type": "string"}}}, {"x": 1}, False),
            ({"additionalProperties": {"type": "string"}}, {"y": 1}, False),
            ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}, True),
            ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"b": 1}, False),
            (
                {"anyOf": [{"properties": {"a": {"type": "string"}}}, {}], "unevaluatedProperties": False},
                {"a": 1},
                False,
            ),
            ({"patternProperties": {"^x": {}}, "unevaluatedProperties": False}, {"x": 1}, True),
            (
                {
                    "if": {"required": ["a"]},
                    "then": {"properties": {"a": {}}},
                    "unevaluatedProperties": False,
                },
                {"a": 1},
                True,
            ),
            (
                {
                    "if": {"required": ["b"]},
                    "else": {"properties": {"a": {}}},
                    "unevaluatedProperties": False,
                },
                {"a": 1},
                True,
            ),
            (
                {"dependentSchemas": {"a": {"properties": {"a": {}}}}, "unevaluatedProperties": False},
                {"a": 1},
                True,
            ),
            (
                {
                    "$ref": "#/$defs/n",
                    "$defs": {"n": {"properties": {"a": {}}}},
                    "unevaluatedProperties": False,
                },
                {"a": 1},
                True,
            ),
            ({"additionalProperties": {}, "unevaluatedProperties": False}, {"a": 1}, True),
            ({"prefixItems": [{}], "unevaluatedItems": False}, [1], True),
            ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], False),
            ({"contains": {"type": "string"}, "unevaluatedItems": False}, ["a"], True),
            ({"contains": {"type": "string"}, "unevaluatedItems": {"type": "integer"}}, ["a", 2], True),
            ({"items": {}, "unevaluatedItems": False}, [1], True),
            ({"$schema": DRAFT_2019, "items": [{}], "unevaluatedItems": False}, [1, 2], False),
            (
                {"$schema": DRAFT_2019, "items": [{}], "additionalItems": {}, "unevaluatedItems": False},
                [1, 2],
                True,
            ),
            ({"$schema": DRAFT_2019, "contains": {}, "unevaluatedItems": False}, [1], False),
            (
                {
                    "$schema": DRAFT_2019,
                    "properties": {"a": {"$recursiveRef": "#"}},
                    "unevaluatedProperties": False,
                },
                {"a": {"b": 1}},
                False,
            ),
        ],
    )
    def test_keywords_mean_what_json_schema_says(self, schema: Any, data: Any, fits: bool) -> None:
        assert (check_flow_data(schema, data) == []) is fits
