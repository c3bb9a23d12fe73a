from __future__ import annotations

import math
from typing import Any

import pytest

from mc.errors import Problem
from mc.spec.validation import check_flow_data, find_problems, inspect_flow_spec

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "list": {"items": {"enum": ["a", "b"]}}},
    "required": ["n"],
    "additionalProperties": False,
}


def codes(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.code[:5], problem.pointer) for problem in problems]


class TestData:
    def test_data_that_fits_has_no_problem(self) -> None:
        assert check_flow_data(SCHEMA, {"n": 1, "list": ["a"]}) == []

    def test_pointers_begin_with_data(self) -> None:
        assert codes(check_flow_data(SCHEMA, {"n": 0, "list": ["a", "c"]})) == [
            ("MC161", "/data/n"),
            ("MC161", "/data/list/1"),
        ]

    def test_missing_and_unknown_names_are_told(self) -> None:
        text = " ".join(problem.message for problem in check_flow_data(SCHEMA, {"m": 1}))
        assert '"n" missing' in text
        assert '"m" not allowed' in text

    def test_long_data_is_not_repeated_in_the_message(self) -> None:
        (problem,) = check_flow_data({"type": "object"}, ["x" * 100_000] * 3)
        assert len(str(problem)) < 300

    def test_data_that_json_cannot_hold_is_a_problem(self) -> None:
        assert codes(check_flow_data(SCHEMA, {"n": math.nan})) == [("MC010", "/data/n")]

    def test_the_draft_that_the_schema_names_is_used(self) -> None:
        schema = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
        assert codes(check_flow_data(schema, [1])) == [("MC161", "/data/0")]

    def test_references_inside_the_schema_are_followed(self) -> None:
        schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}
        assert codes(check_flow_data(schema, "x")) == [("MC161", "/data")]

    @pytest.mark.parametrize(
        "reference", ["http://127.0.0.1:9/schema.json", "#/nowhere", "other.json", "http://[bad", "%"]
    )
    def test_references_out_of_the_schema_are_refused_and_nothing_is_fetched(self, reference: str) -> None:
        (problem,) = check_flow_data({"$ref": reference}, {})
        assert problem.code == "MC160 invalid-params-schema"
        assert "nothing is fetched" in problem.message

    def test_a_schema_that_cannot_be_evaluated_is_a_problem(self) -> None:
        assert codes(check_flow_data({"$ref": "#"}, {})) == [("MC160", "/params")]

    @pytest.mark.parametrize("draft", ["draft-03", "draft-04"])
    def test_a_schema_that_its_library_trips_over_is_a_problem(self, draft: str) -> None:
        schema = {
            "$schema": f"http://json-schema.org/{draft}/schema#",
            "definitions": {"a": True},
            "properties": {"x": {"$ref": "#/nowhere"}},
        }
        assert {code for code, _ in codes(find_problems({"params": schema}))} == {"MC160"}

    @pytest.mark.parametrize(
        "schema", [None, 5, [], {"type": "objekt"}, {1: 2}, {"pattern": "("}, {"$schema": 5}]
    )
    def test_what_is_no_schema_is_a_problem(self, schema: Any) -> None:
        problems = check_flow_data(schema, {})
        assert problems
        assert all(problem.pointer.startswith("/params") for problem in problems)


class TestOwnData:
    def test_values_that_do_not_fit_are_warned_of_and_the_spec_is_valid(self) -> None:
        params = {"properties": {"n": {"type": "integer"}, "m": {"required": ["a"]}}, "required": ["z"]}
        nested = {"params": {"properties": {"n": {"type": "integer"}}}, "data": {"n": "x"}, "tasks": []}
        spec = {
            "params": params,
            "data": {"n": "x", "m": {}},
            "tasks": [{"task_type": "inline_flow", "task_params": {"flow_spec": nested}}],
        }
        problems, warnings = inspect_flow_spec(spec)
        assert problems == []
        assert codes(warnings) == [
            ("MC161", "/data/n"),
            ("MC161", "/data/m"),
            ("MC161", "/tasks/0/task_params/flow_spec/data/n"),
        ]
        assert "unless other data are given" in warnings[0].message

    def test_names_that_may_not_be_there_are_warned_of(self) -> None:
        spec = {"params": {"properties": {"n": {}}, "additionalProperties": False}, "data": {"nn": 1}}
        assert codes(inspect_flow_spec(spec).warnings) == [("MC161", "/data")]

    @pytest.mark.parametrize(
        "params", [{"required": ["z"]}, {"minProperties": 5}, {"anyOf": [{"required": ["z"]}, False]}]
    )
    def test_what_may_be_given_later_is_not_missed(self, params: dict[str, Any]) -> None:
        assert inspect_flow_spec({"params": params, "data": {"n": 1}}) == ([], [])


class TestSchemas:
    def test_each_fault_of_a_schema_has_its_place(self) -> None:
        params = {"properties": {"a": {"type": "objekt"}, "b": {"pattern": "("}, "c": {"minimum": "x"}}}
        assert set(codes(find_problems({"params": params}))) == {
            ("MC160", "/params/properties/a/type"),
            ("MC160", "/params/properties/b/pattern"),
            ("MC160", "/params/properties/c/minimum"),
        }

    def test_the_schema_of_a_signal_is_checked_too(self) -> None:
        task = {"task_type": "wait_for_signal", "task_params": {"signal": "go", "schema": {"type": 5}}}
        found = codes(find_problems({"tasks": [task]}, task_types={"wait_for_signal"}))
        assert found == [("MC160", "/tasks/0/task_params/schema/type")]

    def test_a_schema_nested_as_deep_as_json_may_ends_in_an_answer(self) -> None:
        schema: dict[str, Any] = {}
        for _ in range(195):
            schema = {"not": schema}
        assert {code for code, _ in codes(find_problems({"params": schema}))} <= {"MC160"}

    @pytest.mark.parametrize(
        ("params", "pointers"),
        [
            ({"$ref": "#/$defs/x"}, ["/params/$ref"]),
            ({"properties": {"a": {"$ref": "https://example.org/x"}}}, ["/params/properties/a/$ref"]),
            ({"$ref": "http://[bad"}, ["/params/$ref"]),
            ({"$ref": "#"}, ["/params"]),
            ({"not": {"anyOf": [{}, {"$ref": "#"}]}}, ["/params"]),
            ({"$defs": {"a": {"dependentSchemas": {"x": {"$ref": "#/$defs/a"}}}}}, ["/params/$defs/a"]),
        ],
    )
    def test_a_reference_that_cannot_be_followed_is_found_before_there_are_data(
        self, params: Any, pointers: list[str]
    ) -> None:
        assert codes(find_problems({"params": params})) == [("MC160", pointer) for pointer in pointers]

    @pytest.mark.parametrize(
        "params",
        [
            {"$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}}}}, "$ref": "#/$defs/tree"},
            {"$anchor": "me", "items": {"$ref": "#me"}},
            {"$id": "https://example.org/a", "$defs": {"b": {"$id": "b"}}, "items": {"$ref": "b"}},
            {"properties": {"$ref": {"type": "string"}}, "enum": [{"$ref": "#/nowhere"}]},
            {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"x": {}}, "items": True},
            {"$schema": "https://example.org/unknown", "$defs": {"x": {}}, "items": {"$ref": "#/$defs/x"}},
        ],
    )
    def test_references_that_end_somewhere_are_right(self, params: Any) -> None:
        assert find_problems({"params": params}) == []

    def test_no_params_are_no_problem(self) -> None:
        assert find_problems({"params": None}) == []
