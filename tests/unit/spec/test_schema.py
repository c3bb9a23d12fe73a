from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mc.spec.findings import Findings
from mc.spec.nested_specs import NestedSpec, take_out_nested_specs
from mc.spec.problems import NameSuggester
from mc.spec.reading.reading import read_spec_file
from mc.spec.schema.flow_spec_schema import load_flow_spec_schema
from mc.spec.schema.schema_check import part_checker
from mc.spec.task_types import BUILT_IN_TASK_TYPES
from mc.spec.validation import find_problems

SPECS = Path(__file__).parents[3] / "specs"
WHOLE = Draft202012Validator(load_flow_spec_schema())
SCHEMA_CODES = ("MC001", "MC002", "MC003", "MC004", "MC005", "MC006")
SCHEMA_ONLY_KEY_CODES = ("MC104", "MC105")


def schema_refuses(spec: Any) -> bool:
    """The verdict of the checks by parts, with nested specs taken out."""
    waiting = [NestedSpec(value=spec, pointer="", is_flow=True, is_template=False)]
    suggester = NameSuggester()
    while waiting:
        part = waiting.pop()
        prefix = "template_" if part.is_template else ""
        tasks = [part.value]
        if part.is_flow:
            value = part.value
            tasks = value.get("tasks") if type(value) is dict and type(value.get("tasks")) is list else []
            head = (
                {**value, "tasks": []} if type(value) is dict and type(value.get("tasks")) is list else value
            )
            if part_checker(f"{prefix}flow").find_problems(head, "", suggester):
                return True
        for task in tasks:
            rest, nested = (
                take_out_nested_specs(task, "", part.is_template) if type(task) is dict else (task, [])
            )
            if part_checker(f"{prefix}task").find_problems(rest, "", suggester):
                return True
            waiting.extend(nested)
    return False


# Words of the format in all the wrong places, so that many specs are nearly right.
WORDS = (
    "a b ROOT 1x $ctx.flow.data.x ${ctx.a}m 5m COMPLETED RUNNING eq is_null in matches print mc.tasks.print"
)
WORDS += " wait noop log INFO any_failed m:f é ² \u0663a \U00010d40a"
scalars = st.sampled_from([*WORDS.split(), "", "a\n", "a\x1cb", 0, 1, -1, 0.5, 1.0, 2, True, False, None])
conditions: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        scalars,
        st.fixed_dictionaries(
            {}, optional={"value": scalars, "op": scalars, "arg": st.one_of(scalars, st.just([1]))}
        ),
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "all": st.one_of(st.lists(inner, max_size=2), scalars),
            "not": inner,
            "any": st.lists(inner, max_size=2),
        },
    ),
    max_leaves=4,
)
rules = st.one_of(
    scalars,
    st.fixed_dictionaries(
        {},
        optional={
            group: st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={"task": scalars, "status": st.one_of(scalars, st.lists(scalars, max_size=2))},
                ),
                max_size=2,
            )
            for group in ("all", "any")
        },
    ),
)
cfgs = st.one_of(
    scalars,
    st.fixed_dictionaries(
        {},
        optional={
            "retry": st.one_of(
                scalars,
                st.fixed_dictionaries(
                    {"max_attempts": scalars},
                    optional={
                        "delay": scalars,
                        "backoff": scalars,
                        "jitter": scalars,
                        "on": st.lists(scalars, max_size=2),
                        "x": scalars,
                    },
                ),
            ),
            "timeout": scalars,
            "start_when": rules,
            "when": conditions,
            "allow_failure": scalars,
            "priority": scalars,
            "fail_fast": scalars,
            "max_ticks": scalars,
        },
    ),
)


def build_tasks(flow_specs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    leaf = st.fixed_dictionaries(
        {"task_type": scalars},
        optional={
            "task_params": st.dictionaries(scalars.filter(lambda x: isinstance(x, str)), scalars, max_size=1)
        },
    )
    params = st.one_of(
        scalars,
        st.fixed_dictionaries(
            {},
            optional={
                "msg": scalars,
                "level": scalars,
                "duration": scalars,
                "until": st.one_of(scalars, conditions),
                "while": conditions,
                "flow_spec": flow_specs,
                "max_iterations": scalars,
                "data": st.one_of(scalars, st.just({})),
                "items": st.one_of(scalars, st.just([1])),
                "mapping_params": st.one_of(
                    scalars,
                    st.fixed_dictionaries(
                        {}, optional={"skeleton": leaf, "wirings": st.lists(scalars, max_size=1)}
                    ),
                ),
                "control_value": scalars,
                "cases": st.lists(
                    st.one_of(
                        scalars, st.fixed_dictionaries({"condition": conditions}, optional={"task": leaf})
                    ),
                    max_size=2,
                ),
                "default_case": st.one_of(scalars, st.fixed_dictionaries({}, optional={"task": leaf})),
                "function": scalars,
            },
        ),
    )
    types = st.one_of(st.sampled_from(sorted(BUILT_IN_TASK_TYPES)), scalars)
    return st.one_of(
        scalars,
        st.fixed_dictionaries(
            {},
            optional={
                "task_type": types,
                "key": scalars,
                "task_params": params,
                "cfg": cfgs,
                "precursors": st.lists(scalars, max_size=2),
                "label": scalars,
            },
        ),
        st.fixed_dictionaries({"task_type": types, "task_params": params}),
    )


def build_flows(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "tasks": st.one_of(scalars, st.lists(build_tasks(inner), max_size=3)),
            "cfg": cfgs,
            "results": st.one_of(scalars, st.dictionaries(st.text(max_size=2), scalars, max_size=2)),
            "label": scalars,
            "x": scalars,
        },
    )


flow_specs = st.recursive(scalars, build_flows, max_leaves=3)


class TestTheSchema:
    def test_it_is_a_valid_schema_of_draft_2020_12(self) -> None:
        schema = load_flow_spec_schema()
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(schema)

    def test_each_call_gives_a_fresh_copy(self) -> None:
        load_flow_spec_schema().clear()
        assert load_flow_spec_schema()

    def test_every_task_type_of_the_format_has_its_parameters(self) -> None:
        definitions = load_flow_spec_schema()["$defs"]
        types = BUILT_IN_TASK_TYPES
        assert types == definitions["task_params"].keys() == definitions["template_params"].keys()

    def test_templates_have_the_same_keys_as_what_they_become(self) -> None:
        definitions = load_flow_spec_schema()["$defs"]
        assert definitions["flow"]["properties"].keys() == definitions["template_flow"]["properties"].keys()
        assert definitions["task"]["properties"] == definitions["template_task"]["properties"]
        for name, params in definitions["task_params"].items():
            assert params["properties"].keys() == definitions["template_params"][name]["properties"].keys()


class TestCheckingByParts:
    @settings(max_examples=300)
    @given(flow_specs)
    def test_the_verdict_by_parts_is_the_verdict_of_the_whole_schema(self, spec: Any) -> None:
        assert WHOLE.is_valid(spec) is not schema_refuses(spec)

    @pytest.mark.parametrize("path", sorted(SPECS.glob("**/*.json")), ids=lambda path: path.stem)
    def test_the_verdict_is_the_same_for_all_specs_of_the_project(self, path: Path) -> None:
        spec = read_spec_file(path)
        assert WHOLE.is_valid(spec) is not schema_refuses(spec)

    @settings(max_examples=100)
    @given(flow_specs)
    def test_problems_of_the_schema_are_found_exactly_where_it_refuses(self, spec: Any) -> None:
        codes = {problem.code[:5] for problem in find_problems(spec)}
        if not WHOLE.is_valid(spec):
            assert codes & {*SCHEMA_CODES, *SCHEMA_ONLY_KEY_CODES}
        else:
            assert not codes & set(SCHEMA_CODES)

    def test_values_on_both_sides_of_each_distinction_are_told_apart(self) -> None:
        findings = Findings(None)
        checker = part_checker("task")

        def refuses(**task: Any) -> bool:
            return bool(checker.find_problems({"task_type": "noop", **task}, "", findings.suggester))

        pairs = [
            ({"key": "a"}, {"key": "1a"}),
            ({"key": "a"}, {"key": "ROOT"}),
            ({"cfg": {"priority": 1}}, {"cfg": {"priority": 1.5}}),
            ({"cfg": {"timeout": 0}}, {"cfg": {"timeout": -1}}),
            ({"cfg": {"allow_failure": True}}, {"cfg": {"allow_failure": 1}}),
            ({"cfg": {"timeout": "1s"}}, {"cfg": {"timeout": ""}}),
            ({"cfg": {"start_when": "any_failed"}}, {"cfg": {"start_when": "any_fails"}}),
            ({"precursors": ["a"]}, {"precursors": ["a", 1]}),
            ({"label": None}, {"label": 1}),
            ({"task_params": {}}, {"task_params": {"x": 1}}),
        ]
        for right, wrong in pairs:
            assert not refuses(**right), right
            assert refuses(**wrong), wrong
