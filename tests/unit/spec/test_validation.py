from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import Problem, SpecError
from mc.flows.flow_engine import flow_spec_to_flow, run_flow
from mc.spec.schema.flow_spec_schema import load_flow_spec_schema
from mc.spec.validation import find_problems, validate_flow_spec


def noop(key: str | None = None, **rest: Any) -> dict[str, Any]:
    named = {} if key is None else {"key": key}
    return {**named, "task_type": "noop", **rest}


def find(*tasks: Any, **rest: Any) -> list[Problem]:
    return find_problems({"tasks": list(tasks), **rest})


def codes(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.code[:5], problem.pointer) for problem in problems]


class TestWholeSpecs:
    @pytest.mark.parametrize("spec", [{}, {"tasks": []}, {"tasks": [noop()]}])
    def test_small_specs_are_right(self, spec: Any) -> None:
        assert find_problems(spec) == []
        validate_flow_spec(spec)

    def test_every_key_of_the_format_is_taken(self) -> None:
        spec = {
            "key": "flow-1",
            "label": "All",
            "version": "2",
            "description": "text",
            "cfg": {
                "fail_fast": False,
                "max_running_tasks": 2,
                "timeout": "1h",
                "priority": -1,
                "max_ticks": 9,
            },
            "data": {"n": 1},
            "params": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "results": {"n": "$ctx.flow.tasks.a.data.n"},
            "tasks": [
                noop(
                    "a",
                    label="A",
                    task_params={},
                    data={},
                    precursors=["ROOT"],
                    successors=["b"],
                    cfg={
                        "retry": {
                            "max_attempts": None,
                            "delay": "PT1S",
                            "backoff": 2,
                            "max_delay": 60,
                            "jitter": 0.1,
                            "on": ["OSError"],
                            "not_on": ["KeyError"],
                        },
                        "timeout": 1.5,
                        "start_when": "all_finished",
                        "when": {"not": {"value": "$ctx.flow.data.n", "op": "is_null"}},
                        "allow_failure": True,
                        "priority": 3,
                    },
                ),
                noop("b", cfg={"start_when": {"any": [{"task": "a", "status": ["FAILED", "SKIPPED"]}]}}),
            ],
        }
        assert find_problems(spec) == []

    def test_all_problems_are_raised_at_once(self) -> None:
        spec = {"labl": "x", "tasks": [noop("a", precursors=["b"]), {"task_type": "print"}, noop("a"), 5]}
        with pytest.raises(SpecError) as caught:
            validate_flow_spec(spec)
        assert {problem.code[:5] for problem in caught.value.problems} == {
            "MC001",
            "MC002",
            "MC003",
            "MC101",
            "MC103",
        }

    def test_what_is_sound_of_a_broken_part_is_still_checked(self) -> None:
        assert codes(find(noop("a", label=5, precursors=["nope", 7]))) == [
            ("MC101", "/tasks/0/precursors/0"),
            ("MC001", "/tasks/0/label"),
            ("MC001", "/tasks/0/precursors/1"),
        ]

    def test_the_spec_is_not_changed(self) -> None:
        spec = {"tasks": [{"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [noop("a")]}}}]}
        before = repr(spec)
        find_problems(spec)
        assert before == repr(spec)


class TestGraph:
    def test_a_missing_precursor_is_named_with_the_nearest_key(self) -> None:
        (problem,) = find(noop("extract"), noop("report", precursors=["extrcat"]))
        assert problem.suggestion == "extract"
        assert problem.found == '"extrcat"'
        assert '"report"' in problem.message

    def test_generated_keys_can_be_precursors(self) -> None:
        assert find(noop(), noop(precursors=["task_1"])) == []

    def test_a_cycle_is_printed_as_a_path(self) -> None:
        (problem,) = find(
            noop("a", precursors=["c"]), noop("b", precursors=["a"]), noop("c", precursors=["b"])
        )
        path = re.search(r"(\w) -> (\w) -> (\w) -> (\w)", problem.message)
        assert path is not None
        assert path[1] == path[4]
        assert {path[1], path[2], path[3]} == {"a", "b", "c"}

    def test_each_of_two_separate_cycles_is_found(self) -> None:
        tasks = [
            noop(key, precursors=[other])
            for key, other in [("a", "b"), ("b", "a"), ("x", "y"), ("y", "x"), ("z", "x")]
        ]
        assert [code for code, _ in codes(find(*tasks))] == ["MC108", "MC108"]

    def test_a_cycle_through_the_implicit_chain_is_found(self) -> None:
        assert codes(find(noop("a", precursors=["b"]), noop("b")))[0][0] == "MC108"

    def test_a_cycle_of_many_tasks_is_shown_shortened(self) -> None:
        tasks = [noop(f"t{at}", precursors=[f"t{(at - 1) % 5000}"]) for at in range(5000)]
        (problem,) = find(*tasks)
        assert len(problem.message) < 500

    def test_a_duplicate_key_makes_no_cycle(self) -> None:
        assert codes(find(noop("a"), noop("b"), noop("a"))) == [("MC103", "/tasks/2/key")]

    @pytest.mark.parametrize("key", ["²x", "x²"])
    def test_letters_that_only_look_like_identifiers_are_refused(self, key: str) -> None:
        assert codes(find(noop(key))) == [("MC104", "/tasks/0/key")]

    @pytest.mark.parametrize("key", ["é", "_x", "class", "Größe_2"])
    def test_python_identifiers_are_keys(self, key: str) -> None:
        assert find(noop(key)) == []

    @pytest.mark.parametrize("rule", ["all_completed", "all_finished", "any_completed", "none_failed"])
    def test_rules_that_hold_after_root_can_start(self, rule: str) -> None:
        assert find(noop("a", cfg={"start_when": rule})) == []

    def test_any_failed_can_start_after_a_task(self) -> None:
        assert find(noop("a"), noop("b", cfg={"start_when": "any_failed"})) == []

    def test_any_of_several_statuses_of_one_task_can_start(self) -> None:
        rule = {"any": [{"task": "a", "status": "FAILED"}, {"task": "a", "status": "COMPLETED"}]}
        assert find(noop("a"), noop("b", cfg={"start_when": rule})) == []


class TestTaskTypes:
    def test_a_misspelt_type_gets_the_nearest_one(self) -> None:
        (problem,) = find({"task_type": "mc.tasks.pritn", "task_params": {}})
        assert problem.suggestion == "print"

    def test_older_spellings_mean_the_same_types(self) -> None:
        assert find({"task_type": "mc.tasks.print", "task_params": {"msg": 1}}) == []
        assert codes(find({"task_type": "mc.tasks.print"})) == [("MC002", "/tasks/0")]

    def test_the_time_that_a_job_asks_for_is_a_duration(self) -> None:
        def job(time: str) -> dict[str, Any]:
            return {"task_type": "shell", "task_params": {"command": "x", "requests": {"time": time}}}

        assert codes(find(job("soon"), job("2h"), job("$ctx.flow.data.x"))) == [
            ("MC130", "/tasks/0/task_params/requests/time")
        ]

    def test_only_the_given_names_are_taken(self) -> None:
        spec = {"tasks": [noop("a"), {"task_type": "mine", "task_params": {"anything": [1]}}]}
        assert find_problems(spec, task_types={"mine", "noop"}) == []
        (problem,) = find_problems(spec, task_types={"mina"})[1:]
        assert problem.suggestion == "mina"

    def test_a_container_that_cannot_be_iterated_is_enough(self) -> None:
        class OnlyContains:
            def __contains__(self, name: object) -> bool:
                return name == "mine"

        assert codes(
            find_problems({"tasks": [{"task_type": "mine"}, noop()]}, task_types=OnlyContains())
        ) == [("MC111", "/tasks/1/task_type")]

    def test_import_paths_are_asked_about_and_the_reason_is_the_message(self) -> None:
        asked = []

        class Registry(set[str]):
            def why_not(self, name: str) -> str | None:
                asked.append(name)
                return None if name == "good.module:handler" else f"{name} is outside the allowed modules."

        tasks = [
            {"task_type": name}
            for name in ("good.module:handler", "bad.module:handler", "bad.module:handler", "x")
        ]
        problems = find_problems({"tasks": tasks}, task_types=Registry())
        assert codes(problems) == [
            ("MC112", "/tasks/1/task_type"),
            ("MC112", "/tasks/2/task_type"),
            ("MC111", "/tasks/3/task_type"),
        ]
        assert problems[0].message == "bad.module:handler is outside the allowed modules."
        assert asked == ["good.module:handler", "bad.module:handler"]


class TestReferences:
    def test_a_reference_may_stand_for_any_typed_parameter(self) -> None:
        reference = "$ctx.flow.data.x"
        assert (
            find(
                {"task_type": "wait", "task_params": {"duration": reference}},
                {"task_type": "wait", "task_params": {"until": reference}},
                {
                    "task_type": "log",
                    "task_params": {"msg": reference, "level": reference, "dump_task": reference},
                },
                {"task_type": "log", "task_params": {"msg": 1, "level": "${ctx.flow.data.x}"}},
                {"task_type": "wait", "task_params": {"duration": "${ctx.flow.data.x}m"}},
                {
                    "task_type": "call",
                    "task_params": {"function": "m:f", "args": reference, "kwargs": reference},
                },
                {
                    "task_type": "spread",
                    "task_params": {"items": reference, "mapping_params": {"skeleton": noop()}},
                },
                {
                    "task_type": "loop",
                    "task_params": {"flow_spec": {}, "max_iterations": reference, "delay": reference},
                },
            )
            == []
        )

    def test_a_text_that_is_no_reference_may_not(self) -> None:
        params = {"flow_spec": {}, "max_iterations": "ctx.flow.data.x"}
        assert codes(find({"task_type": "loop", "task_params": params})) == [
            ("MC006", "/tasks/0/task_params/max_iterations")
        ]

    def test_the_parent_flow_is_not_looked_into(self) -> None:
        inner = {
            "tasks": [{"task_type": "print", "task_params": {"msg": "$ctx.parent.flow.tasks.nope.data"}}]
        }
        assert find({"task_type": "inline_flow", "task_params": {"flow_spec": inner}}) == []

    def test_a_sub_flow_has_its_own_tasks(self) -> None:
        message = "$ctx.flow.tasks.outer.data"
        inner = {"tasks": [{"key": "inner", "task_type": "print", "task_params": {"msg": message}}]}
        problems = find(noop("outer"), {"task_type": "inline_flow", "task_params": {"flow_spec": inner}})
        assert codes(problems) == [("MC152", "/tasks/1/task_params/flow_spec/tasks/0/task_params/msg")]

    def test_a_proxied_task_reads_the_flow_that_it_stands_in(self) -> None:
        def choose(message: str) -> dict[str, Any]:
            task = {"task_type": "print", "task_params": {"msg": message}}
            return {
                "task_type": "switch",
                "task_params": {"control_value": 1, "default_case": {"task": task}},
            }

        assert find(noop("a"), choose("$ctx.flow.tasks.a.data")) == []
        assert codes(find(noop("a"), choose("$ctx.flow.tasks.b.data")))[0][0] == "MC152"

    def test_escaped_dollars_are_no_references(self) -> None:
        assert find({"task_type": "print", "task_params": {"msg": r"\$ctx..x and \${ctx..y}"}}) == []

    def test_references_of_custom_types_are_checked_too(self) -> None:
        task = {"task_type": "mine", "task_params": {"deep": [{"x": "$ctx.flow.tasks.nope.data"}]}}
        assert codes(find_problems({"tasks": [task]}, task_types={"mine"})) == [
            ("MC152", "/tasks/0/task_params/deep/0/x")
        ]

    def test_wirings_of_a_spread_may_fill_the_skeleton(self) -> None:
        params = {
            "items": [1],
            "mapping_params": {
                "skeleton": {"task_type": "print"},
                "wirings": ["ctx.item.value => ctx.skeleton.task_params.msg"],
            },
        }
        assert find({"task_type": "spread", "task_params": params}) == []

    def test_references_in_the_value_of_a_wiring_are_checked_like_its_paths(self) -> None:
        wirings = [
            {"value": "$ctx.flow.data.x", "dest": "ctx.flow.data.x"},
            {"value": {"a": ["$ctx.flow.tasks.nope.data"]}, "dest": "ctx.flow.data.x"},
            "$ctx.flow.data.x => ctx.flow.data.y",
        ]
        found = codes(find({"task_type": "wire", "task_params": {"wirings": wirings}}))
        assert found == [
            ("MC151", "/tasks/0/task_params/wirings/2"),
            ("MC152", "/tasks/0/task_params/wirings/1/value/a/0"),
        ]

    def test_wirings_of_a_wire_task_may_be_a_reference(self) -> None:
        assert find({"task_type": "wire", "task_params": {"wirings": "$ctx.flow.data.wirings"}}) == []
        found = codes(find({"task_type": "wire", "task_params": {"wirings": "$ctx.flow.tasks.nope.data"}}))
        assert found == [("MC152", "/tasks/0/task_params/wirings")]

    def test_wirings_of_a_wire_task_may_not_write_to_a_skeleton(self) -> None:
        wirings = ["ctx.flow.data.x => ctx.skeleton.x", "ctx.flow.data.x => ctx.flow.data"]
        assert codes(find({"task_type": "wire", "task_params": {"wirings": wirings}})) == [
            ("MC151", "/tasks/0/task_params/wirings/0"),
            ("MC151", "/tasks/0/task_params/wirings/1"),
        ]


class TestTemplates:
    def test_parameters_missing_anywhere_in_a_skeleton_are_no_problem(self) -> None:
        inner = {"tasks": [{"task_type": "print"}, {"task_type": "wait"}]}
        skeleton = {"task_type": "inline_flow", "task_params": {"flow_spec": inner}}
        params = {"items": [], "mapping_params": {"skeleton": skeleton}}
        assert find({"task_type": "spread", "task_params": params}) == []

    def test_unknown_parameters_anywhere_in_a_skeleton_are(self) -> None:
        inner = {"tasks": [{"task_type": "print", "task_params": {"mgs": 1}}]}
        skeleton = {"task_type": "inline_flow", "task_params": {"flow_spec": inner}}
        params = {"items": [], "mapping_params": {"skeleton": skeleton}}
        place = "/tasks/0/task_params/mapping_params/skeleton/task_params/flow_spec/tasks/0/task_params/mgs"
        assert codes(find({"task_type": "spread", "task_params": params})) == [("MC003", place)]


names = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"key": names}, optional={"precursors": st.lists(names), "successors": st.lists(names)}
        )
    )
)
def test_a_spec_without_problems_of_its_graph_has_an_order(tasks: list[dict[str, Any]]) -> None:
    from graphlib import CycleError, TopologicalSorter

    from mc.spec.task_graph import list_edges

    keys = [task["key"] for task in tasks]
    problems = find(*({**task, "task_type": "noop"} for task in tasks))
    if len(set(keys)) < len(keys):
        assert any(problem.code.startswith("MC103") for problem in problems)
        return
    edges = list_edges(keys, tasks)
    unknown = [edge for edge in edges if not set(edge) <= {"ROOT", *keys}]
    graph: dict[str, set[str]] = {}
    for source, dest in edges:
        graph.setdefault(dest, set()).add(source)
    try:
        TopologicalSorter(graph).prepare()
        is_cyclic = False
    except CycleError:
        is_cyclic = True
    assert bool(problems) is (is_cyclic or bool(unknown))


def test_keys_that_no_store_could_hold_are_problems() -> None:
    spec = {"key": "k" * 256, "tasks": [{"key": "a" * 256, "task_type": "noop"}]}
    assert [(problem.code[:5], problem.pointer) for problem in find_problems(spec)] == [
        ("MC005", "/key"),
        ("MC104", "/tasks/0/key"),
    ]


def spread(skeleton: dict[str, Any], *wirings: Any) -> dict[str, Any]:
    mapping = {"skeleton": skeleton, "wirings": list(wirings)}
    return {"task_type": "spread", "task_params": {"items": [1, 2], "mapping_params": mapping}}


class TestPlaces:
    def test_a_wiring_to_a_misspelt_key_of_the_skeleton_gets_the_nearest(self) -> None:
        problems = find(
            spread(
                {"task_type": "print"},
                "ctx.item.value => ctx.skeleton.task_prams.msg",
                {"source": "ctx.item.value", "dest": "ctx.skeleton.task_params.mgs"},
                "ctx.item.value => ctx.skeleton.cfg.alow_failure",
            )
        )
        assert {code for code, _ in codes(problems)} == {"MC003"}
        assert [problem.suggestion for problem in problems] == ["task_params", "msg", "allow_failure"]

    def test_a_wiring_may_lead_to_every_place_of_the_skeleton(self) -> None:
        skeleton = {"task_type": "mc.tasks.log"}
        ends = ("label", "data.x", "task_params", "task_params.msg.deep", "cfg", "cfg.priority", "precursors")
        assert find(spread(skeleton, *(f"ctx.item.value => ctx.skeleton.{end}" for end in ends))) == []

    def test_the_parameters_of_a_type_that_is_not_known_before_are_left_alone(self) -> None:
        wiring = "ctx.item.value => ctx.skeleton.task_params.colour"
        by_item = "ctx.item.key => ctx.skeleton.task_type"
        assert find(spread({"task_type": "noop"}, wiring, by_item)) == []
        task = spread({"task_type": "mine"}, wiring)
        assert find_problems({"tasks": [task]}, task_types={"mine", "spread"}) == []

    def test_the_skeleton_of_a_transform_may_be_anything(self) -> None:
        params = {"skeleton": {}, "wirings": ["ctx.item.value => ctx.skeleton.any.thing"]}
        dest = "ctx.skeleton.task_params.msg"
        inner = {"source": "ctx.item.value", "dest": dest, "transform": {"type": "mapping", "params": params}}
        assert find(spread({"task_type": "print"}, inner)) == []

    def test_a_start_rule_in_a_skeleton_needs_edges_that_are_wired(self) -> None:
        skeleton = noop(cfg={"start_when": "all_finished"}, precursors=[])
        assert find(spread(skeleton, "ctx.item.value => ctx.skeleton.precursors")) == []
        assert codes(find(spread(skeleton))) == [
            ("MC121", "/tasks/0/task_params/mapping_params/skeleton/cfg/start_when")
        ]


class TestFunctions:
    def check(self, function: str, *modules: str) -> list[tuple[str, str]]:
        from mc.flows.handlers.handler_registry import HandlerRegistry

        task = {"task_type": "call", "task_params": {"function": function}}
        case = {"task_type": "switch", "task_params": {"control_value": 1, "default_case": {"task": task}}}
        return codes(find_problems({"tasks": [case]}, task_types=HandlerRegistry(handler_modules=modules)))

    def test_a_function_outside_the_allowed_modules_is_a_problem(self) -> None:
        place = "/tasks/0/task_params/default_case/task/task_params/function"
        assert self.check("os:system") == [("MC112", place)]
        assert self.check("jsonx:dumps", "json") == [("MC112", place)]

    @pytest.mark.parametrize(
        "function", ["json:dumps", "json.decoder:JSONDecoder", "$ctx.flow.data.function"]
    )
    def test_a_function_of_an_allowed_module_or_one_named_later_is_none(self, function: str) -> None:
        assert self.check(function, "json") == []

    def test_without_a_registry_nobody_can_tell(self) -> None:
        assert find({"task_type": "call", "task_params": {"function": "os:system"}}) == []


@pytest.mark.parametrize(
    "key", ["cafe\u0301", "\u0915\u094d\u0937\u093f", "a\u00b7b", "\ufb01n", "\u2118", "\u00b5"]
)
def test_every_identifier_of_python_is_a_task_key_that_paths_can_name(key: str) -> None:
    assert key.isidentifier()
    tasks = [
        {"key": key, "task_type": "noop", "data": {"x": 1}},
        {
            "key": "b",
            "task_type": "wire",
            "task_params": {
                "wirings": [{"source": f"ctx.flow.tasks.{key}.data.x", "dest": "ctx.flow.data.y"}]
            },
        },
    ]
    flow = run_flow(flow_spec_to_flow({"tasks": tasks}))
    assert flow.data["y"] == 1


@pytest.mark.parametrize(
    "key", ["x\u200b", "\u00b2a", "a\n", "a\0", "a-b", "a.b", "a/b", "1a", "\u0661a", "\u0301a", ""]
)
def test_what_python_takes_for_no_identifier_is_no_task_key(key: str) -> None:
    assert not key.isidentifier()
    problems = find_problems({"tasks": [{"key": key, "task_type": "noop"}]})
    assert [problem.code for problem in problems] == ["MC104 invalid-key"]


class TestExamples:
    @pytest.mark.parametrize(
        ("cfg", "example"),
        [
            ({"retry": 3}, '{"max_attempts": 3, "delay": "10s"}'),
            ({"when": "x"}, '{"value": "$ctx.flow.data.n", "op": "gt", "arg": 3}'),
            ({"start_when": 3}, '{"any": [{"task": "a", "status": "FAILED"}]}'),
            (5, '{"timeout": "15m", "retry": {"max_attempts": 3}}'),
        ],
    )
    def test_where_something_nested_is_expected_an_example_is_shown(self, cfg: Any, example: str) -> None:
        (problem,) = find_problems({"tasks": [noop("a", cfg=cfg)]})
        assert (problem.expected or "").endswith(f", such as {example}")
        assert f", such as {example}." in problem.message

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ({"limit": 3}, '{"limit": 3}'),
            ({}, "an empty mapping"),
            ([{"a": [1, "x", None]}], '[{"a": [...]}]'),
            ({"a": "x" * 100}, "a mapping with a"),
            ([0] * 7, "a list of 7"),
        ],
    )
    def test_what_was_found_shows_its_shape_if_it_is_small(self, value: Any, found: str) -> None:
        (problem,) = find_problems({"tasks": [noop("a", cfg={"timeout": value})]})
        assert problem.found == found

    def test_every_example_is_what_the_schema_asks_for(self) -> None:
        from jsonschema import Draft202012Validator

        schema = load_flow_spec_schema()
        waiting: list[Any] = [schema]
        seen = 0
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting += node
            elif isinstance(node, dict):
                waiting += node.values()
                text = str(node.get("description", "")).partition(", such as ")[2]
                if text:
                    part = {key: value for key, value in node.items() if key != "$id"}
                    validator = Draft202012Validator({"$defs": schema["$defs"], **part})
                    assert list(validator.iter_errors(json.loads(text))) == []
                    seen += 1
        assert seen > 40

    def test_an_unknown_key_is_told_without_it(self) -> None:
        (problem,) = find_problems({"tasks": [noop("a", cfg={"retry": {"max_attempts": 1, "limit": 2}})]})
        assert problem.message == '"limit" is not a key of how often and when a failed task is tried again.'
