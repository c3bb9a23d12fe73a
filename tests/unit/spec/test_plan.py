from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from mc.errors import SpecError
from mc.houston import Houston
from mc.spec.planning.flow_shape import find_width
from mc.spec.planning.plan import FlowPlan, plan_flow_spec
from mc.spec.planning.plan_findings import FindingKind
from mc.spec.task_outputs import OUTPUTS
from mc.spec.task_types import BUILT_IN_TASK_TYPES


class AllTypes:
    def __contains__(self, name: object) -> bool:
        return True


def plan(*tasks: dict[str, Any], **spec: Any) -> FlowPlan:
    return plan_flow_spec({"tasks": list(tasks), **spec}, task_types=AllTypes())


def task(key: str, *precursors: str, task_type: str = "act", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": list(precursors), **more}


def found(planned: FlowPlan) -> list[tuple[str, str, str | None]]:
    return [(str(finding.kind), finding.pointer, finding.task) for finding in planned.findings]


def messages(planned: FlowPlan) -> list[str]:
    return [finding.message for finding in planned.findings]


class TestOrder:
    def test_the_rank_is_the_length_of_the_longest_path_to_a_task(self) -> None:
        planned = plan(task("d", "a", "c"), task("a"), task("c", "b"), task("b", "a"))
        assert [(each.key, each.rank) for each in planned.flow.tasks] == [
            ("a", 0),
            ("b", 1),
            ("c", 2),
            ("d", 3),
        ]

    def test_tasks_of_one_rank_stand_in_the_order_of_the_spec(self) -> None:
        planned = plan(task("z"), task("a"), task("m"))
        assert [each.key for each in planned.flow.tasks] == ["z", "a", "m"]

    def test_a_spec_without_tasks_has_an_empty_plan(self) -> None:
        planned = plan()
        assert (planned.flow.tasks, planned.flow.critical_path, planned.flow.width) == ((), (), 0)

    def test_ten_thousand_tasks_in_a_row_are_no_burden(self) -> None:
        planned = plan(*({"key": f"t{at}", "task_type": "noop"} for at in range(10_000)))
        assert (len(planned.flow.critical_path), planned.flow.width) == (10_000, 1)

    def test_a_spec_that_is_wrong_has_no_plan(self) -> None:
        with pytest.raises(SpecError) as caught:
            plan(task("a", "nobody"))
        assert caught.value.problems[0].pointer == "/tasks/0/precursors/0"

    def test_data_that_do_not_keep_to_the_params_have_no_plan(self) -> None:
        params = {"type": "object", "properties": {"n": {"type": "integer"}}}
        with pytest.raises(SpecError, match="/data/n"):
            plan_flow_spec({"params": params}, {"n": "x"})


class TestCriticalPath:
    def test_without_times_it_is_the_path_of_most_tasks(self) -> None:
        planned = plan(task("a"), task("b", "a"), task("c", "b"), task("x"), task("end", "x", "c"))
        assert planned.flow.critical_path == ("a", "b", "c", "end")
        assert planned.flow.seconds == 0

    def test_times_count_before_the_number_of_tasks(self) -> None:
        slow = task("slow", task_type="wait", task_params={"duration": "1h"})
        planned = plan(task("a"), task("b", "a"), slow, task("end", "b", "slow"))
        assert (planned.flow.critical_path, planned.flow.seconds) == (("slow", "end"), 3600)

    @pytest.mark.parametrize(
        ("spec", "seconds"),
        [
            ({"task_type": "act", "cfg": {"timeout": "2m"}}, 120),
            ({"task_type": "wait", "task_params": {"duration": "5m"}, "cfg": {"timeout": 60}}, 60),
            ({"task_type": "wait", "task_params": {"duration": "$ctx.flow.data.d"}}, 0),
            ({"task_type": "wait_for_signal", "task_params": {"signal": "s", "timeout": "1d"}}, 86_400),
            ({"task_type": "approval", "task_params": {"timeout": 30}}, 30),
            ({"task_type": "noop"}, 0),
        ],
    )
    def test_a_task_takes_what_it_declares(self, spec: dict[str, Any], seconds: float) -> None:
        assert plan({"key": "a", **spec}, data={"d": 5}).flow.seconds == seconds

    def test_sub_flows_count_with_what_is_inside_them(self) -> None:
        wait = {"key": "w", "task_type": "wait", "task_params": {"duration": 10}}
        inline = task("a", task_type="inline_flow", task_params={"flow_spec": {"tasks": [wait]}})
        loop = task(
            "b",
            "a",
            task_type="loop",
            task_params={"flow_spec": {"tasks": [wait]}, "max_iterations": 3.0, "delay": 1},
        )
        spread = task(
            "c",
            "b",
            task_type="spread",
            task_params={"items": [1, 2], "mapping_params": {"skeleton": wait, "wirings": []}},
        )
        cases = {"control_value": "$ctx.flow.data.x", "default_case": {"task": wait}}
        switch = task("d", "c", task_type="switch", task_params=cases)
        planned = plan(inline, loop, spread, switch)
        assert [each.seconds for each in planned.flow.tasks] == [10, 32, 10, 10]
        assert planned.flow.seconds == 62
        assert [flow.path for flow in planned.flows] == [(), ("a",), ("b",)]


def brute_width(count: int, edges: list[tuple[int, int]]) -> int:
    """Try every set of tasks."""
    reached: list[set[int]] = [set() for _ in range(count)]
    for start in reversed(range(count)):
        for source, dest in edges:
            if source == start:
                reached[start] |= {dest} | reached[dest]
    return max(
        size
        for size in range(count + 1)
        for chosen in itertools.combinations(range(count), size)
        if all(other not in reached[one] for one in chosen for other in chosen)
    )


class TestWidth:
    @pytest.mark.parametrize("seed", range(40))
    def test_it_is_the_size_of_the_largest_set_without_an_order(self, seed: int) -> None:
        chance = random.Random(seed)
        count, share = chance.randint(0, 8), chance.choice([0.1, 0.3, 0.6])
        pairs = itertools.combinations(range(count), 2)
        edges = [pair for pair in pairs if chance.random() < share]
        shown = [(str(source), str(dest)) for source, dest in edges]
        assert find_width([str(number) for number in range(count)], shown) == brute_width(count, edges)

    def test_it_is_not_the_size_of_the_largest_rank(self) -> None:
        # b and c follow a, d follows b: c may still run with d, and e from the start with all of them
        planned = plan(task("a"), task("b", "a"), task("c", "a"), task("d", "b"), task("e"))
        assert planned.flow.width == 3

    def test_max_running_tasks_limits_it(self) -> None:
        planned = plan(*(task(key) for key in "abcd"), cfg={"max_running_tasks": 2})
        assert (planned.flow.width, planned.flow.max_running) == (4, 2)

    def test_a_task_that_waits_for_one_of_two_may_run_beside_the_other_but_after_what_precedes_both(
        self,
    ) -> None:
        first = task("c", "a", "b", cfg={"start_when": "any_completed"})
        tasks = [task("z"), task("a", "z"), task("b", "z"), first, task("y")]
        assert plan(*tasks, cfg={"fail_fast": False}).flow.width == 4  # all but z

    def test_a_task_that_never_runs_takes_no_room(self) -> None:
        never = task("c", cfg={"when": {"any": []}})
        assert plan(task("a"), task("b"), never).flow.width == 2


class TestDeadEnds:
    def test_what_follows_a_task_that_is_always_skipped_never_starts(self) -> None:
        off = task("a", cfg={"when": {"value": 1, "op": "gt", "arg": 2}})
        planned = plan(off, task("b", "a"), task("c", "b"))
        assert found(planned) == [
            ("always-skipped", "/tasks/0/cfg/when", "a"),
            ("never-starts", "/tasks/1", "b"),
            ("never-starts", "/tasks/2", "c"),
        ]
        assert "because a never runs" in messages(planned)[1]
        assert [each.can_run for each in planned.flow.tasks] == [False, False, False]

    def test_a_join_that_allows_skipped_tasks_starts(self) -> None:
        off = task("a", cfg={"when": {"any": []}})
        join = task("b", "a", cfg={"start_when": "none_failed"})
        assert [kind for kind, _, _ in found(plan(off, join))] == ["always-skipped"]

    def test_a_task_that_waits_for_a_failure_which_ends_the_flow_never_starts(self) -> None:
        undo = task("undo", "a", cfg={"start_when": "any_failed"})
        planned = plan(task("a"), undo)
        assert found(planned) == [("never-starts", "/tasks/1", "undo")]
        assert "set cfg.allow_failure there" in messages(planned)[0]

    @pytest.mark.parametrize("allowed", [{"cfg": {"fail_fast": False}}, {}])
    def test_a_failure_that_the_flow_outlives_starts_it(self, allowed: dict[str, Any]) -> None:
        cfg = {} if allowed else {"cfg": {"allow_failure": True}}
        undo = task("undo", "a", cfg={"start_when": "any_failed"})
        assert found(plan(task("a", **cfg), undo, **allowed)) == []

    def test_a_rule_on_a_status_that_a_task_cannot_have_never_holds(self) -> None:
        rule = {"all": [{"task": "a", "status": ["FAILED", "CANCELLED"]}]}
        planned = plan(task("a", task_type="noop"), task("b", cfg={"start_when": rule}))
        assert found(planned) == [("never-starts", "/tasks/1", "b")]
        assert "how its precursors may end: a COMPLETED" in messages(planned)[0]

    def test_a_custom_type_may_end_in_any_way(self) -> None:
        rule = {"all": [{"task": "a", "status": "SKIPPED"}]}
        assert found(plan(task("a"), task("b", cfg={"start_when": rule}))) == []


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "kinds"),
        [
            ({"value": 2, "op": "gt", "arg": 1}, ["always-true"]),
            ({"value": "$ctx.flow.data.on", "op": "is_true"}, ["always-true"]),
            ({"value": "x-${ctx.flow.data.limits.low}", "op": "eq", "arg": "x-3"}, ["always-true"]),
            ({"value": "$ctx.flow.data.limits.low", "op": "lt", "arg": "x"}, ["always-fails"]),
            ({"value": "$ctx.flow.data.written", "op": "is_true"}, []),
            ({"value": "$ctx.flow.data.limits.high", "op": "gt", "arg": 1}, []),
            ({"value": "$ctx.flow.data.elsewhere", "op": "gt", "arg": 1}, []),
            ({"value": "$ctx.flow.tasks.given.data.n", "op": "eq", "arg": 7}, ["always-true"]),
            ({"value": "$ctx.flow.tasks.given.data.m", "op": "eq", "arg": 7}, []),
            ({"value": "$ctx.flow.tasks.custom.data.n", "op": "eq", "arg": 7}, []),
            ({"value": "$ctx.flow.key", "op": "eq", "arg": "f"}, []),
            ({"not": {"value": "$ctx.flow.data.on", "op": "is_true"}}, ["always-skipped"]),
        ],
    )
    def test_it_is_decided_where_all_that_it_reads_is_given_and_never_written(
        self, condition: dict[str, Any], kinds: list[str]
    ) -> None:
        wirings = [
            {"value": 1, "dest": "ctx.flow.data.written"},
            {"value": 1, "dest": "ctx.flow.data.limits.high"},
            {"value": 1, "dest": "ctx.flow.tasks.given.data.m"},
        ]
        planned = plan(
            task("given", task_type="noop", data={"n": 7, "m": 7}),
            task("custom", data={"n": 7}),
            task("wire", task_type="wire", task_params={"wirings": wirings}),
            task("last", "given", "custom", "wire", cfg={"when": condition}),
            data={"on": True, "written": True, "limits": {"low": 3, "high": 9}},
        )
        assert [kind for kind, _, where in found(planned) if where == "last"] == kinds

    def test_a_finding_names_the_data_that_it_rests_on(self) -> None:
        condition = {"value": "$ctx.flow.data.on", "op": "is_true"}
        (finding,) = plan(task("a", cfg={"when": condition}), data={"on": False}).findings
        assert finding.given == ("ctx.flow.data.on",)

    def test_data_given_with_the_spec_decide_too(self) -> None:
        condition = {"value": "$ctx.flow.data.on", "op": "is_true"}
        spec = {"tasks": [task("a", task_type="noop", cfg={"when": condition})], "data": {"on": False}}
        assert [str(finding.kind) for finding in plan_flow_spec(spec, {"on": True}).findings] == [
            "always-true"
        ]

    def test_a_part_that_is_decided_is_named_where_the_whole_is_not(self) -> None:
        condition = {
            "any": [
                {"value": "$ctx.flow.key", "op": "eq", "arg": "f"},
                {"not": {"value": 1, "op": "eq", "arg": 1}},
            ]
        }
        assert found(plan(task("a", cfg={"when": condition}))) == [
            ("always-false", "/tasks/0/cfg/when/any/1", "a")
        ]

    def test_a_wire_task_whose_wirings_are_a_reference_may_write_anywhere(self) -> None:
        wire = task("w", task_type="wire", task_params={"wirings": "$ctx.flow.data.wirings"})
        condition = {"value": "$ctx.flow.data.on", "op": "is_true"}
        last = task("a", "w", cfg={"when": condition})
        assert found(plan(wire, last, data={"on": False, "wirings": []})) == []

    def test_cases_that_no_control_value_reaches_are_never_chosen(self) -> None:
        cases = [
            {"condition": {"op": "lt", "arg": 0}, "task": {"task_type": "noop"}},
            {"condition": {"op": "ge", "arg": 0}, "task": {"task_type": "noop"}},
            {"condition": {"op": "eq", "arg": 7}, "task": {"task_type": "noop"}},
        ]
        params = {"control_value": 7, "cases": cases, "default_case": {"task": {"task_type": "noop"}}}
        assert found(plan(task("s", task_type="switch", task_params=params))) == [
            ("never-chosen", "/tasks/0/task_params/cases/0", "s"),
            ("never-chosen", "/tasks/0/task_params/cases/2", "s"),
            ("never-chosen", "/tasks/0/task_params/default_case", "s"),
        ]

    def test_the_condition_of_a_loop_is_looked_at(self) -> None:
        params = {
            "flow_spec": {"tasks": []},
            "max_iterations": 3,
            "until": {"value": 1, "op": "eq", "arg": 2},
        }
        assert found(plan(task("l", task_type="loop", task_params=params))) == [
            ("always-false", "/tasks/0/task_params/until", "l")
        ]

    def test_data_of_a_sub_flow_are_those_that_its_task_lays_over_its_own(self) -> None:
        conditions = {
            "own": {"value": "$ctx.flow.data.own", "op": "is_true"},
            "laid": {"value": "$ctx.flow.data.laid", "op": "is_true"},
            "unknown": {"value": "$ctx.flow.data.unknown", "op": "is_true"},
            "outer": {"value": "$ctx.parent.flow.data.outer", "op": "is_true"},
        }
        inner = {
            "data": {"own": True, "laid": False, "unknown": True},
            "tasks": [task(key, cfg={"when": condition}) for key, condition in conditions.items()],
        }
        params = {
            "flow_spec": inner,
            "data": {"laid": "$ctx.flow.data.outer", "unknown": "$ctx.flow.tasks.x.data.y"},
        }
        planned = plan(
            task("x"), task("in", "x", task_type="inline_flow", task_params=params), data={"outer": True}
        )
        assert [(kind, where) for kind, _, where in found(planned)] == [
            ("always-true", "in/own"),
            ("always-true", "in/laid"),
            ("always-true", "in/outer"),
        ]


class TestReferences:
    def read(self, path: str, *tasks: dict[str, Any], **spec: Any) -> list[str]:
        """Return what is said of a last task that reads a path."""
        reader = task("reader", *(each["key"] for each in tasks), task_params={"x": path})
        planned = plan(*tasks, reader, **spec)
        return [
            message
            for (kind, _, where), message in zip(found(planned), messages(planned), strict=True)
            if (kind, where) == ("nobody-writes", "reader")
        ]

    @pytest.mark.parametrize("name", sorted(OUTPUTS))
    def test_every_output_of_a_built_in_type_can_be_read(self, name: str) -> None:
        writer = {"key": "w", "task_type": name, "task_params": _PARAMS.get(name, {})}
        for output in OUTPUTS[name]:
            assert self.read(f"$ctx.flow.tasks.w.data.{output}", writer) == []
        (message,) = self.read("$ctx.flow.tasks.w.data.nothing", writer)
        assert f"task 'w' ({name}) has no 'nothing' in its data" in message

    def test_the_outputs_of_every_built_in_type_are_known(self) -> None:
        assert set(OUTPUTS) == BUILT_IN_TASK_TYPES

    def test_the_nearest_output_is_suggested(self) -> None:
        writer = {"key": "w", "task_type": "wait", "task_params": {"duration": 1}}
        (message,) = self.read("due at ${ctx.flow.tasks.w.data.due_ta}", writer)
        assert message.endswith("it has due_at. Did you mean 'due_at'?")

    def test_initial_data_and_wirings_count_as_writers(self) -> None:
        wirings = [{"value": 1, "dest": "ctx.flow.tasks.w.data.wired.deep"}]
        writer = task("w", task_type="noop", data={"given": 1})
        wire = task("wire", "w", task_type="wire", task_params={"wirings": wirings})
        assert self.read("$ctx.flow.tasks.w.data.given", writer, wire) == []
        assert self.read("$ctx.flow.tasks.w.data.wired.deep", writer, wire) == []

    def test_a_task_that_never_runs_writes_nothing(self) -> None:
        off = task("off", data={"given": 1}, cfg={"when": {"any": []}})
        after = {"cfg": {"start_when": "all_finished"}}
        planned = plan(
            off,
            task("a", "off", task_params={"x": "$ctx.flow.tasks.off.data.given"}, **after),
            task("b", "off", task_params={"x": "$ctx.flow.tasks.off.data.result"}, **after),
            task("idle", "off", task_params={"x": "$ctx.flow.tasks.off.data.result"}),
        )
        assert [(kind, where) for kind, _, where in found(planned)] == [
            ("always-skipped", "off"),
            ("never-starts", "idle"),
            ("nobody-writes", "b"),
        ]

    def test_what_a_custom_type_writes_is_not_known(self) -> None:
        assert self.read("$ctx.flow.tasks.w.data.whatever", task("w")) == []

    def test_a_switch_leaves_what_its_tasks_leave(self) -> None:
        cases = [{"condition": {"op": "eq", "arg": 1}, "task": {"task_type": "noop", "data": {"a": 1}}}]
        params = {
            "control_value": "$ctx.flow.key",
            "cases": cases,
            "default_case": {"task": {"task_type": "wait", "task_params": {"duration": 1}}},
        }
        writer = task("w", task_type="switch", task_params=params)
        assert self.read("$ctx.flow.tasks.w.data.a", writer) == []
        assert self.read("$ctx.flow.tasks.w.data.due_at", writer) == []
        assert len(self.read("$ctx.flow.tasks.w.data.b", writer)) == 1

    def test_a_result_that_the_sub_flow_does_not_declare_is_named(self) -> None:
        inner = {"results": {"url": "$ctx.flow.data.x"}, "data": {"x": 1}}
        writer = task("w", task_type="inline_flow", task_params={"flow_spec": inner})
        assert self.read("$ctx.flow.tasks.w.data.results.url", writer) == []
        (message,) = self.read("$ctx.flow.tasks.w.data.results.uri", writer)
        assert "declares no result 'uri'; its results are: url" in message

    def test_results_conditions_wirings_and_cases_are_read_too(self) -> None:
        missing = "ctx.flow.tasks.w.data.no"
        cases = [{"condition": {"op": "eq", "arg": f"${missing}"}, "task": {"task_type": "noop"}}]
        planned = plan(
            task("w", task_type="noop"),
            task("a", "w", cfg={"when": {"value": f"${missing}", "op": "is_true"}}),
            task("b", "w", task_type="wire", task_params={"wirings": [f"{missing} => ctx.flow.data.x"]}),
            task(
                "c", "w", task_type="switch", task_params={"control_value": "$ctx.flow.key", "cases": cases}
            ),
            results={"r": f"${missing}"},
        )
        assert [pointer for _, pointer, _ in found(planned)] == [
            "/tasks/1/cfg/when/value",
            "/tasks/2/task_params/wirings/0",
            "/tasks/3/task_params/cases/0/condition/arg",
            "/results/r",
        ]
        assert planned.findings[-1].task is None

    def test_references_inside_sub_flows_are_those_of_their_own_level(self) -> None:
        inner = {
            "tasks": [
                task("w", task_type="noop", data={"here": 1}),
                task("r", "w", task_params={"x": "$ctx.flow.tasks.w.data.here"}),
                task("p", "w", task_params={"x": "$ctx.parent.flow.tasks.w.data.here"}),
                task("d", "w", task_params={"x": "$ctx.flow.data.nobody"}),
            ]
        }
        planned = plan(
            task("w", task_type="noop"),
            task("in", "w", task_type="inline_flow", task_params={"flow_spec": inner}),
        )
        assert [(kind, where) for kind, _, where in found(planned)] == [
            ("nobody-writes", "in/p"),
            ("nobody-writes", "in/d"),
        ]
        assert found(planned)[0][1] == "/tasks/1/task_params/flow_spec/tasks/2/task_params/x"

    def test_sub_flows_of_items_are_looked_at_with_what_wirings_give_them(self) -> None:
        inner = {
            "tasks": [
                task("ok", task_params={"x": "$ctx.flow.data.name"}),
                task("no", task_params={"x": "$ctx.flow.data.nobody"}),
            ]
        }
        mapping = {
            "skeleton": {"task_type": "inline_flow", "task_params": {"flow_spec": inner}},
            "wirings": ["ctx.item.value => ctx.skeleton.task_params.data.name"],
        }
        params = {"items": [1], "mapping_params": mapping}
        planned = plan(task("s", task_type="spread", task_params=params))
        assert found(planned)[0][2] == "s/*/no"
        assert len(planned.findings) == 1

    def test_data_that_the_caller_has_to_give_are_listed(self) -> None:
        inner = {"tasks": [task("i", task_params={"x": "$ctx.parent.flow.data.deep"})]}
        planned = plan(
            task("a", task_params={"x": "$ctx.flow.data.needed", "y": "$ctx.flow.data.given"}),
            task("b", task_type="inline_flow", task_params={"flow_spec": inner}),
            data={"given": 1},
        )
        assert (planned.inputs, planned.findings) == (("needed", "deep"), ())


_FLOW: dict[str, Any] = {"flow_spec": {"tasks": []}}
_PARAMS: dict[str, dict[str, Any]] = {
    "approval": {},
    "call": {"function": "m:f"},
    "flow": _FLOW,
    "http": {"url": "https://example.org"},
    "inline_flow": _FLOW,
    "job": {"job_type": "m:f"},
    "log": {"msg": "x"},
    "loop": {**_FLOW, "max_iterations": 1},
    "print": {"msg": "x"},
    "shell": {"argv": ["true"]},
    "spread": {"items": [], "mapping_params": {"skeleton": {"task_type": "noop"}, "wirings": []}},
    "switch": {"control_value": "$ctx.flow.key", "default_case": {"task": {"task_type": "noop"}}},
    "wait": {"duration": 1},
    "wait_for_signal": {"signal": "s"},
    "wire": {"wirings": []},
}


def test_the_facade_plans_with_its_own_task_types() -> None:
    spec = {"tasks": [task("a", task_type="mine"), task("b", "a", task_type="mine")]}
    with Houston(task_handlers={"mine": lambda task: None}) as houston:
        assert houston.plan(spec).flow.critical_path == ("a", "b")
        with pytest.raises(SpecError, match="no task type"):
            houston.plan({"tasks": [task("a", task_type="other")]})


def test_the_page_explains_every_kind_of_finding() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "look-ahead.md").read_text(encoding="utf-8")
    assert [kind for kind in FindingKind if f"\n| `{kind}` | " not in page] == []
