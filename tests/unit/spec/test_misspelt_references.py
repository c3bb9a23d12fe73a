"""Texts that look like references are findings of a validation."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mc.flows.calls.task_context import FlowView
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.spec.checks.references import FLOW_PLACES
from mc.spec.validation import Inspection, inspect_flow_spec


def look(msg: Any) -> Inspection:
    task = {"key": "a", "task_type": "print", "task_params": {"msg": msg}}
    return inspect_flow_spec({"data": {"z": 1}, "tasks": [task]})


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "suggestion"),
        [
            ("${flow.data.z}", "$ctx.flow.data.z"),
            ("$flow.data.z", "$ctx.flow.data.z"),
            ("see $flow.data.z.", "${ctx.flow.data.z}"),
            ("see ${flow.data.z} there", "${ctx.flow.data.z}"),
            ("${ flow.data.z }", "$ctx.flow.data.z"),
            ("${ctx.flow.data.z} and ${ ctx.flow.data.y }", "${ctx.flow.data.y}"),
            ("see $ctx.flow.data.z", "${ctx.flow.data.z}"),
            ("$CTX.flow.data.z", "$ctx.flow.data.z"),
            ("${Ctx.flow.data.z}", "$ctx.flow.data.z"),
            ("$ {ctx.flow.data.z}", "$ctx.flow.data.z"),
            ("$(ctx.flow.data.z)", "$ctx.flow.data.z"),
            ('$ctx["flow"].data', '$ctx["flow"].data'),
            ("$ctx", "$ctx.flow.data.x"),
            ("${ctx}", "$ctx.flow.data.x"),
            ("${data.z}", "$ctx.flow.data.z"),
            ("$tasks.a.data.x", "$ctx.flow.tasks.a.data.x"),
            ("got $task.data.x", "${ctx.task.data.x}"),
            ("$parent.flow.data.x", "$ctx.parent.flow.data.x"),
            ("$item.value", "$ctx.item.value"),
            ("$context.flow.data.z", "$ctx.flow.data.z"),
            ("round ${loop.idx}", "${ctx.loop.idx}"),
            (r"\\$flow.data.z", "${ctx.flow.data.z}"),
        ],
    )
    def test_what_has_a_dollar(self, text: str, suggestion: str) -> None:
        (problem,), warnings = look(text)
        assert (problem.code, problem.pointer) == ("MC153 misspelt-reference", "/tasks/0/task_params/msg")
        assert problem.suggestion == suggestion
        assert r"\$ for a plain dollar" in (problem.expected or "")
        assert warnings == []

    @pytest.mark.parametrize(
        "text", ["${flow.data.z}", "${ ctx.flow.data.z }", "$(ctx.flow.data.z)", "${ctx}"]
    )
    def test_the_message_shows_the_whole_of_it(self, text: str) -> None:
        (problem,), _ = look(f"see {text}.")
        assert problem.message.startswith(f'"{text}" looks like a reference')

    def test_a_whole_reference_with_more_behind_it(self) -> None:
        (problem,), _ = look("$ctx.flow.data.q and more")
        assert problem.code == "MC150 invalid-path"
        assert "inside a text write ${ctx.path}" in problem.message

    @pytest.mark.parametrize("where", ["params", "when", "value of a wiring"])
    def test_wherever_references_are_read(self, where: str) -> None:
        text = "$flow.data.z"
        spec: dict[str, Any] = {"tasks": [{"key": "a", "task_type": "noop"}]}
        if where == "params":
            spec["tasks"][0] = {"task_type": "print", "task_params": {"msg": {"deep": [0, text]}}}
        elif where == "when":
            spec["tasks"][0]["cfg"] = {"when": {"value": text, "op": "eq", "arg": 1}}
        else:
            wiring = {"value": [text], "dest": "ctx.flow.data.x"}
            spec["tasks"][0] = {"task_type": "wire", "task_params": {"wirings": [wiring]}}
        (problem,), _ = inspect_flow_spec(spec)
        assert problem.code == "MC153 misspelt-reference"

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "$5",
                "costs 5$",
                "$HOME and ${HOME}",
                "$x",
                "${x}",
                "$flow",
                "cash$flow",
                "$.data.x",
                "$data.x",
                "$$",
            ),
            *(r"\$flow.data.z", r"\${flow.data.z}", r"\$ctx.flow.data.z in a text", r"\\\$flow.data.z"),
            *("${ctx.flow.data.z}", '${ctx.flow.data["$flow.data.z"]}', "$ctx.flow.data.z"),
            *("{}", "{0}", "{{", "}}", "{{.Id}}", "{{ x | filter }}", "{% if x %}", '{"a": {"b": 1}}', "{x}"),
            *("flow.data.z", "ctx.yaml", "ctx.flow.data.x => ctx.flow.data.y"),
        ],
    )
    def test_other_texts_are_left_alone(self, text: str) -> None:
        assert look(text) == ([], [])

    def test_a_text_that_is_escaped_is_what_it_says(self) -> None:
        spec = {"tasks": [{"key": "a", "task_type": "own", "task_params": {"x": r"\$flow.data.z"}}]}
        engine = FlowEngine(task_handlers={"own": lambda x: x})
        assert engine.run_flow(engine.flow_spec_to_flow(spec)).tasks["a"]["data"] == {
            "result": "$flow.data.z"
        }


class TestWarnings:
    @pytest.mark.parametrize(
        ("text", "suggestion"),
        [
            ("{{x}}", "${ctx.flow.data.x}"),
            ("Hello {{ flow.data.name }}", "${ctx.flow.data.name}"),
            ("{{ctx.flow.data.x}}", "${ctx.flow.data.x}"),
            ("{{data.x}}", "${ctx.flow.data.x}"),
            ("a {ctx.flow.data.x}", "${ctx.flow.data.x}"),
            ("ctx.flow.data.x", "$ctx.flow.data.x"),
        ],
    )
    def test_what_has_no_dollar_may_be_meant_for_others(self, text: str, suggestion: str) -> None:
        problems, (warning,) = look(text)
        assert problems == []
        assert (warning.code, warning.suggestion) == ("MC153 misspelt-reference", suggestion)

    @pytest.mark.parametrize(
        ("path", "suggestion"),
        [
            ("ctx.data.z", "ctx.flow.data.z"),
            ("ctx.tasks.a.data", "ctx.flow.tasks.a.data"),
            ("ctx.flwo.data.z", "ctx.flow.data.z"),
            ("ctx.flow.z", "ctx.flow.data.z"),
            ("ctx.flow.dta.z", "ctx.flow.data.z"),
        ],
    )
    def test_a_path_that_leads_to_no_place_of_a_context(self, path: str, suggestion: str) -> None:
        problems, (warning,) = look(f"${path}")
        assert problems == []
        assert (warning.code, warning.suggestion) == ("MC150 invalid-path", suggestion)

    def test_what_the_caller_of_a_tick_may_pass_is_none(self) -> None:
        assert look("$ctx.request.user") == ([], [])

    def test_the_places_of_a_flow_are_those_that_paths_can_read(self) -> None:
        assert FlowView.readable_attributes == FLOW_PLACES


class TestAPathThatIsNotThere:
    @pytest.mark.parametrize(
        ("path", "meant"),
        [
            ("ctx.data.z", "ctx.flow.data.z"),
            ("ctx.z", "ctx.flow.data.z"),
            ("ctx.flow.z", "ctx.flow.data.z"),
            ("ctx.tasks.a.data.n", "ctx.flow.tasks.a.data.n"),
            ("ctx.a.data.n", "ctx.flow.tasks.a.data.n"),
            ("ctx.flow.a.data.n", "ctx.flow.tasks.a.data.n"),
            ("ctx.flow.tasks.a.n", "ctx.flow.tasks.a.data.n"),
            ("ctx.data.other", "ctx.flow.data"),
            ("ctx.flow.data.zet", "zeta"),
        ],
    )
    def test_the_nearest_real_one_is_suggested(self, path: str, meant: str) -> None:
        message = self.fail_with(path)
        assert message.endswith(f" Did you mean {meant!r}?")

    def test_nothing_internal_is_shown(self) -> None:
        message = self.fail_with("ctx.nothing.at_all")
        assert message == (
            "Path 'ctx.nothing.at_all': there is no 'nothing' in 'ctx', a mapping with extra, flow, task."
        )

    @staticmethod
    def fail_with(path: str) -> str:
        spec = {
            "data": {"z": 1, "zeta": 2},
            "tasks": [
                {"key": "a", "task_type": "noop", "data": {"n": 1}},
                {"key": "b", "task_type": "print", "task_params": {"msg": f"${path}"}},
            ],
        }
        flow = Flow.from_flow_spec(spec)
        engine = FlowEngine()
        ctx = {"extra": 1, "mc.inside": {"x": 1}, "service": object()}
        for _ in range(3):
            engine.tick_flow(flow, ctx)
        message: str = flow.tasks["b"]["error"]["message"]
        return message


def test_long_texts_are_looked_at_in_a_moment() -> None:
    began = time.perf_counter()
    for piece in ("$", "{{", "{{a.", "${ctx.", "\\", "\\\\$flow.data.x ", "${ ", "$ctx.a.", "ctx.flow.data."):
        look(piece * 20_000)
    assert time.perf_counter() - began < 20
