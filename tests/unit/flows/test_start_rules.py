"""Start rules: `start_when` and `when`."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from mc.errors import GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine

# what becomes of a precursor -> a task that this becomes of
KINDS: dict[str, dict[str, Any]] = {
    "COMPLETED": {"task_type": "noop"},
    "FAILED": {"task_type": "bad", "cfg": {"allow_failure": True}},
    "SKIPPED": {"task_type": "noop", "cfg": {"when": {"any": []}}},
    "CANCELLED": {"task_type": "cancelled"},
}
HANDLERS = {"bad": lambda: 1 / 0, "cancelled": lambda task: task.update(status="CANCELLED")}


def run(rule: Any, *precursors: str) -> str:
    """Return what becomes of a task whose precursors end so, each in a tick of its own."""
    tasks: list[dict[str, Any]] = []
    for number, status in enumerate(precursors):
        tasks += [
            {"key": f"delay_{number}_{step}", "task_type": "noop", **({} if step else {"precursors": []})}
            for step in range(number)
        ]
        before = [tasks[-1]["key"]] if number else []
        tasks.append({"key": f"p{number}", "precursors": before, **KINDS[status]})
    keys = [f"p{number}" for number in range(len(precursors))]
    tasks.append(
        {"key": "it", "task_type": "noop", "precursors": keys, "cfg": {"start_when": rule} if rule else {}}
    )
    engine, flow = FlowEngine(task_handlers=HANDLERS), Flow.from_flow_spec({"tasks": tasks})
    while flow.status not in {"FAILED", "COMPLETED"}:
        engine.tick_flow(flow)
        flow.check_invariants()
    assert flow.status == "COMPLETED"
    status: str = flow.tasks["it"]["status"]
    return status


def expected(rule: str, precursors: tuple[str, ...]) -> bool:
    completed, failed = precursors.count("COMPLETED"), precursors.count("FAILED")
    return {
        "all_completed": completed == len(precursors),
        "all_finished": True,
        "any_completed": completed > 0,
        "any_failed": failed > 0,
        "none_failed": failed + precursors.count("CANCELLED") == 0,
    }[rule]


class TestNamedRules:
    @pytest.mark.parametrize(
        "rule", ["all_completed", "all_finished", "any_completed", "any_failed", "none_failed"]
    )
    def test_each_rule_for_all_ends_of_two_precursors(self, rule: str) -> None:
        for precursors in product(KINDS, repeat=2):
            wanted = "COMPLETED" if expected(rule, precursors) else "SKIPPED"
            assert (precursors, run(rule, *precursors)) == (precursors, wanted)

    def test_the_default_is_all_completed(self) -> None:
        for precursors in product(KINDS, repeat=2):
            assert run(None, *precursors) == run("all_completed", *precursors)

    def started_after(self, rule: str, first: str) -> bool:
        """Tell whether a task starts as soon as the first of its two precursors has ended."""
        tasks = [
            {"key": "first", "precursors": [], **KINDS[first]},
            {"key": "slow", "task_type": "slow", "precursors": []},
            {"key": "it", "task_type": "noop", "precursors": ["first", "slow"], "cfg": {"start_when": rule}},
        ]
        engine = FlowEngine(task_handlers={**HANDLERS, "slow": lambda task: task.update(status="WAITING")})
        flow = Flow.from_flow_spec({"tasks": tasks})
        engine.tick_flow(flow)
        return engine.tick_flow(flow).completed == ["it"]

    def test_any_rules_do_not_wait_for_the_others(self) -> None:
        assert self.started_after("any_completed", "COMPLETED")
        assert self.started_after("any_failed", "FAILED")
        assert not self.started_after("any_completed", "FAILED")

    def test_the_others_wait_for_all(self) -> None:
        for rule in ("all_completed", "all_finished", "none_failed"):
            assert not self.started_after(rule, "COMPLETED")

    def test_a_started_task_is_not_started_again_by_a_second_precursor(self) -> None:
        tasks = [
            {"key": "a", "task_type": "noop"},
            {"key": "b", "task_type": "noop"},
            {
                "key": "it",
                "task_type": "noop",
                "precursors": ["a", "b"],
                "cfg": {"start_when": "any_completed"},
            },
        ]
        flow = FlowEngine().run_flow(Flow.from_flow_spec({"tasks": tasks}))
        assert flow.tasks["it"]["attempt"] == 1


class TestCustomRules:
    @pytest.mark.parametrize("group", ["all", "any"])
    def test_each_rule_for_all_ends_of_two_precursors(self, group: str) -> None:
        rule = {
            group: [{"task": "p0", "status": "FAILED"}, {"task": "p1", "status": ["SKIPPED", "COMPLETED"]}]
        }
        for precursors in product(KINDS, repeat=2):
            verdicts = [precursors[0] == "FAILED", precursors[1] in ("SKIPPED", "COMPLETED")]
            wanted = "COMPLETED" if (all if group == "all" else any)(verdicts) else "SKIPPED"
            assert (precursors, run(rule, *precursors)) == (precursors, wanted)

    def test_the_tasks_that_it_names_are_precursors(self) -> None:
        tasks = [
            {"key": "a", "task_type": "noop"},
            {
                "key": "it",
                "task_type": "noop",
                "cfg": {"start_when": {"any": [{"task": "z", "status": "COMPLETED"}]}},
            },
            {"key": "z", "task_type": "noop", "precursors": ["a"]},
        ]
        flow = Flow.from_flow_spec({"tasks": tasks})
        assert flow.has_edge("z", "it")
        added = flow.add_task(
            {"task_type": "noop", "cfg": {"start_when": {"all": [{"task": "z", "status": "FAILED"}]}}}
        )
        assert flow.has_edge("z", added["key"])
        FlowEngine().run_flow(flow)
        assert (flow.tasks["it"]["status"], flow.tasks[added["key"]]["status"]) == ("COMPLETED", "SKIPPED")

    @pytest.mark.parametrize("rule", ["never", 5, None, {}, {"all": 5}, {"any": [{"task": "a"}]}])
    def test_a_rule_that_is_none_is_refused(self, rule: Any) -> None:
        with pytest.raises(GraphError):
            Flow.from_flow_spec({"tasks": [{"key": "a"}, {"key": "b", "cfg": {"start_when": rule}}]})


class TestWhen:
    def run(self, when: Any, data: dict[str, Any]) -> Flow:
        spec = {
            "data": data,
            "tasks": [
                {"key": "a", "task_type": "noop", "cfg": {"when": when}},
                {"key": "b", "task_type": "noop", "precursors": ["a"], "cfg": {"start_when": "none_failed"}},
                {"key": "c", "task_type": "noop", "precursors": ["a"]},
            ],
        }
        return FlowEngine().run_flow(Flow.from_flow_spec(spec))

    def test_a_condition_that_holds_starts_the_task(self) -> None:
        flow = self.run({"value": "$ctx.flow.data.x", "op": "gt", "arg": 1}, {"x": 2})
        assert [flow.tasks[key]["status"] for key in "abc"] == ["COMPLETED"] * 3

    def test_a_condition_that_does_not_hold_skips_the_task(self) -> None:
        flow = self.run({"value": "$ctx.flow.data.x", "op": "gt", "arg": 1}, {"x": 1})
        assert [flow.tasks[key]["status"] for key in "abc"] == ["SKIPPED", "COMPLETED", "SKIPPED"]
        assert flow.tasks["a"]["attempt"] == 0

    def test_a_condition_is_read_when_the_task_would_start(self) -> None:
        tasks = [
            {"key": "a", "task_type": "set"},
            {
                "key": "b",
                "task_type": "noop",
                "cfg": {"when": {"value": "$ctx.flow.data.x", "op": "eq", "arg": 5}},
            },
        ]
        engine = FlowEngine(task_handlers={"set": lambda flow: flow.data.update(x=5)})
        flow = engine.run_flow(Flow.from_flow_spec({"data": {"x": 0}, "tasks": tasks}))
        assert flow.tasks["b"]["status"] == "COMPLETED"


class TestWhyATaskWasSkipped:
    def ended(self, *tasks: dict[str, Any]) -> dict[str, Any]:
        """Run tasks, through a flow dict after each tick; return key -> (status, cause of a skip)."""
        engine = FlowEngine(task_handlers=HANDLERS)
        flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks})
        while flow.status not in {"FAILED", "COMPLETED"}:
            engine.tick_flow(flow)
            flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
            flow.check_invariants()
        return {
            key: (task["status"], task.get("skipped_for"))
            for key, task in flow.tasks.items()
            if key != "ROOT"
        }

    def test_what_could_not_run_because_of_a_failure_counts_as_failed(self) -> None:
        ended = self.ended(
            {"key": "build", "task_type": "bad"},
            {"key": "test", "task_type": "noop"},
            {"key": "report", "task_type": "noop"},
            {"key": "deploy", "task_type": "noop", "cfg": {"start_when": "none_failed"}},
            {
                "key": "cleanup",
                "task_type": "noop",
                "precursors": ["test"],
                "cfg": {"start_when": "any_failed"},
            },
        )
        cause = {"task": "build", "status": "FAILED"}
        assert ended == {
            "build": ("FAILED", None),
            "test": ("SKIPPED", cause),
            "report": ("SKIPPED", cause),
            "deploy": ("SKIPPED", cause),
            "cleanup": ("COMPLETED", None),
        }

    def test_what_was_skipped_by_choice_does_not(self) -> None:
        ended = self.ended(
            {"key": "off", "task_type": "noop", "cfg": {"when": {"any": []}}},
            {"key": "behind", "task_type": "noop"},
            {"key": "cleanup", "task_type": "noop", "cfg": {"start_when": "any_failed"}},
            {
                "key": "join",
                "task_type": "noop",
                "precursors": ["behind"],
                "cfg": {"start_when": "none_failed"},
            },
            {
                "key": "last",
                "task_type": "noop",
                "precursors": ["cleanup"],
                "cfg": {"start_when": "none_failed"},
            },
        )
        assert ended == {
            "off": ("SKIPPED", None),
            "behind": ("SKIPPED", None),
            "cleanup": ("SKIPPED", None),
            "join": ("COMPLETED", None),
            "last": ("COMPLETED", None),
        }

    def test_a_failure_counts_before_a_cancellation(self) -> None:
        join = {
            "key": "join",
            "task_type": "noop",
            "precursors": ["b", "a"],
            "cfg": {"start_when": "any_completed"},
        }
        ended = self.ended(
            {"key": "a", "task_type": "bad", "precursors": []},
            {"key": "b", "task_type": "cancelled", "precursors": []},
            join,
        )
        assert ended["join"] == ("SKIPPED", {"task": "a", "status": "FAILED"})
