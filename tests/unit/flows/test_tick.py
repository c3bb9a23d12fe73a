"""One tick: what it does, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler


def task(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


def statuses(flow: Flow) -> dict[str, str]:
    return {key: each["status"] for key, each in flow.tasks.items()}


class TwoTicks(BaseTaskHandler):
    """Needs two ticks."""

    def initial_tick(self) -> None:
        self.data["first"] = True

    def intermediate_tick(self) -> None:
        self.complete(second=True)


class TestOneTick:
    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED", "PAUSED", "BLOCKED"])
    def test_a_flow_that_is_not_live_is_left_alone(self, status: str) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a")]}, status=status)
        before = flow.to_flow_dict()
        report = FlowEngine().tick_flow(flow)
        assert flow.to_flow_dict() == before
        assert (report.calls, report.progressed, report.next_tick_at) == (0, False, None)

    def test_a_flow_without_tasks_completes(self) -> None:
        flow = Flow()
        FlowEngine().tick_flow(flow)
        assert flow.status == "COMPLETED"

    def test_what_becomes_ready_starts_in_the_next_tick(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b"), task("c")]})
        engine = FlowEngine()
        assert engine.tick_flow(flow).completed == ["a"]
        assert statuses(flow) == {"a": "COMPLETED", "b": "PENDING", "c": "PENDING"}
        assert engine.tick_flow(flow).started == ["b"]
        assert flow.status == "RUNNING"
        engine.tick_flow(flow)
        assert (flow.status, flow.ticks) == ("COMPLETED", 3)

    def test_what_a_condition_skips_frees_its_dependents_for_the_next_tick(self) -> None:
        for cfg in ({}, {"max_running_tasks": 5}):
            flow = Flow.from_flow_spec(
                {
                    "cfg": cfg,
                    "tasks": [
                        task("a", cfg={"when": {"any": []}}),
                        task("b", cfg={"start_when": "all_finished"}),
                    ],
                }
            )
            report = FlowEngine().tick_flow(flow)
            assert (report.skipped, report.started) == (["a"], [])
            assert FlowEngine().tick_flow(flow).completed == ["b"]

    def test_each_running_task_is_ticked_once_in_the_order_of_the_spec(self) -> None:
        order: list[str] = []

        class Note(BaseTaskHandler):
            def tick_task(self) -> None:
                order.append(self.task["key"])

        keys = ["z", "m", "a", "k"]
        flow = Flow.from_flow_spec({"tasks": [task(key, precursors=[]) for key in keys]})
        engine = FlowEngine(task_handler=Note)
        engine.tick_flow(flow)
        engine.tick_flow(flow)
        assert order == keys * 2

    def test_a_join_waits_for_all(self) -> None:
        flow = Flow.from_flow_spec(
            {
                "tasks": [
                    task("slow", "slow"),
                    task("quick", precursors=[]),
                    task("join", precursors=["slow", "quick"]),
                ]
            }
        )
        engine = FlowEngine(task_handlers={"slow": TwoTicks})
        engine.tick_flow(flow)
        assert statuses(flow) == {"slow": "RUNNING", "quick": "COMPLETED", "join": "PENDING"}
        engine.tick_flow(flow)
        assert engine.tick_flow(flow).completed == ["join"]
        assert flow.tasks["slow"]["data"] == {"first": True, "second": True}

    def test_a_failure_keeps_others_of_the_tick_from_being_ticked_only_where_it_ends_the_flow(self) -> None:
        tasks = [task("bad", "bad", precursors=[]), task("good", precursors=[])]
        flow = Flow.from_flow_spec({"tasks": tasks})
        report = FlowEngine(task_handlers={"bad": lambda: 1 / 0}).tick_flow(flow)
        assert (report.failed, report.completed, report.cancelled) == (["bad"], [], ["good"])
        flow = Flow.from_flow_spec({"tasks": tasks, "cfg": {"fail_fast": False}})
        report = FlowEngine(task_handlers={"bad": lambda: 1 / 0}).tick_flow(flow)
        assert (report.failed, report.completed) == (["bad"], ["good"])
        assert flow.status == "FAILED"

    def test_times_are_noted_by_the_engines_clock(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": TwoTicks}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow")]})
        engine.tick_flow(flow)
        clock.advance(90)
        engine.tick_flow(flow)
        assert flow.started_at == flow.tasks["a"]["started_at"] == "2000-01-01T00:00:00.000000+00:00"
        assert flow.finished_at == flow.tasks["a"]["finished_at"] == "2000-01-01T00:01:30.000000+00:00"

    def test_what_only_an_unfinished_attempt_has_is_gone_in_the_end(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": TwoTicks}, clock=clock)
        flow = Flow.from_flow_spec(
            {"tasks": [task("a", "slow", cfg={"timeout": 60}, task_params={"x": "$ctx.task.key"})]}
        )
        engine.run_flow(flow)
        assert set(flow.tasks["a"]) == {
            *(
                "key",
                "task_type",
                "task_params",
                "data",
                "status",
                "cfg",
                "attempt",
                "started_at",
                "finished_at",
            )
        }
        assert flow.tasks["a"]["task_params"] == {"x": "a"}

    def test_the_report_can_be_read(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        report = FlowEngine().tick_flow(flow)
        assert repr(report) == "TickReport(started=['a'], completed=['a'], calls=1)"


class TestContext:
    def test_a_handler_finds_flow_task_engine_and_what_the_caller_passed(self) -> None:
        seen: dict[str, Any] = {}

        def handle(task_ctx: Any) -> None:
            seen.update(task_ctx, key=task_ctx["idempotency_key"], absent=task_ctx.get("absent", 7))
            assert task_ctx.get("idempotency_key") == seen["key"]

        engine = FlowEngine(task_handler=handle)
        flow = Flow.from_flow_spec({"key": "f", "tasks": [task("a", "any")]})
        passed = {"mine": [1]}
        engine.tick_flow(flow, passed)
        assert seen["flow"] is flow
        assert seen["engine"] is engine
        assert seen["mine"] is passed["mine"]
        assert (seen["key"], seen["absent"]) == ("f/a/1", 7)
        assert passed == {"mine": [1]}

    def test_a_handler_is_given_the_arguments_that_it_names(self) -> None:
        seen: list[Any] = []
        engine = FlowEngine(
            task_handlers={
                "names": lambda flow, params: seen.append((flow.key, params)),
                "both": lambda task, task_ctx: seen.append((task["key"], task_ctx["flow"].key)),
                "one": lambda x: seen.append([x]),
                "none": lambda: seen.append("none"),
                "more": lambda task, extra=5, **rest: seen.append((task["key"], extra, set(rest))),
            }
        )
        tasks = [
            task(f"t_{name}", name, task_params={"x": 1}) for name in ("names", "both", "one", "none", "more")
        ]
        engine.run_flow(Flow.from_flow_spec({"key": "f", "tasks": tasks}))
        assert seen == [("f", {"x": 1}), ("t_both", "f"), [1], "none", ("t_more", 5, {"x"})]

    def test_what_a_function_returns_becomes_data(self) -> None:
        engine = FlowEngine(
            task_handlers={"map": lambda: {"x": (1, 2)}, "value": lambda: 7, "none": lambda: None}
        )
        flow = Flow.from_flow_spec(
            {"tasks": [task("a", "map", data={"y": 0}), task("b", "value"), task("c", "none")]}
        )
        engine.run_flow(flow)
        assert [flow.tasks[key]["data"] for key in "abc"] == [{"y": 0, "x": [1, 2]}, {"result": 7}, {}]

    def test_an_object_with_tick_task_is_a_handler(self) -> None:
        cancelled: list[str] = []

        class Poller:
            has_effects = False

            def tick_task(self, task: dict[str, Any]) -> None:
                task["status"] = "WAITING"

            def cancel(self, task: dict[str, Any]) -> None:
                cancelled.append(task["key"])

        engine = FlowEngine(task_handler=Poller())
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow)
        assert (statuses(flow), cancelled) == ({"a": "CANCELLED"}, ["a"])

    @pytest.mark.parametrize("is_old_spelling", [False, True])
    def test_functions_are_called_in_the_place_of_handlers(self, is_old_spelling: bool) -> None:
        flow = Flow.from_flow_spec(
            {"tasks": [task("a"), task("b", "mc.tasks.noop"), task("c", "print", task_params={"msg": 1})]}
        )
        seen: list[str] = []
        overrides = {
            "noop": lambda task: seen.append(task["key"]),
            "print": lambda task, task_ctx: seen.append("p"),
        }
        given = {"tick_fn_for_task_ctx_overrides": overrides}
        FlowEngine().run_flow(flow, **({"tick_kwargs": given} if is_old_spelling else given))
        assert seen == ["a", "b", "p"]

    def test_the_old_spelling_serves_coroutines_too(self) -> None:
        seen: list[str] = []

        async def work(task: dict[str, Any]) -> None:
            seen.append(task["key"])

        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        given = {"tick_fn_for_task_ctx_overrides": {"noop": work}}
        asyncio.run(FlowEngine().arun_flow(flow, None, None, given))
        assert seen == ["a"]

    def test_tick_kwargs_hold_nothing_else(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        with pytest.raises(TypeError, match=r"may hold tick_fn_for_task_ctx_overrides; found overrides"):
            FlowEngine().run_flow(flow, tick_kwargs={"overrides": {}})

    def test_options_of_an_engine_are_given_by_name(self) -> None:
        with pytest.raises(TypeError, match="positional"):
            FlowEngine({"add": lambda: None})

    def test_references_are_resolved_when_the_task_starts(self) -> None:
        flow = Flow.from_flow_spec(
            {
                "data": {"x": [1]},
                "tasks": [
                    task("a", "any", task_params={"p": "$ctx.flow.data.x", "t": "${ctx.task.key}!"}),
                    task("b", "any"),
                ],
            }
        )
        seen: list[Any] = []
        FlowEngine(task_handler=lambda params: seen.append(params) or {}).tick_flow(flow)
        assert seen == [{"p": [1], "t": "a!"}]
        seen[0]["p"].append(2)
        assert flow.data == {"x": [1]}


class TestLimits:
    def test_no_more_than_max_running_tasks_run(self) -> None:
        flow = Flow.from_flow_spec(
            {
                "cfg": {"max_running_tasks": 2},
                "tasks": [task(f"t{n}", "slow", precursors=[]) for n in range(5)],
            }
        )
        engine = FlowEngine(task_handlers={"slow": TwoTicks})
        started = []
        while flow.status not in {"FAILED", "COMPLETED"}:
            started.append(engine.tick_flow(flow).started)
            assert len(flow.get_running_tasks()) <= 2
        assert started == [["t0", "t1"], [], ["t2", "t3"], [], ["t4"], []]

    def test_higher_priorities_start_first_and_equal_ones_in_order(self) -> None:
        priorities = {"a": 0, "b": 5, "c": -1, "d": 5}
        flow = Flow.from_flow_spec(
            {
                "cfg": {"max_running_tasks": 1},
                "tasks": [
                    task(key, precursors=[], cfg={"priority": value}) for key, value in priorities.items()
                ],
            }
        )
        engine, started = FlowEngine(), []
        while flow.status not in {"FAILED", "COMPLETED"}:
            started += engine.tick_flow(flow).started
        assert started == ["b", "d", "a", "c"]

    def test_priorities_hold_among_tasks_that_were_held_back(self) -> None:
        flow = Flow.from_flow_spec(
            {
                "cfg": {"max_running_tasks": 1},
                "tasks": [task(f"t{n}", precursors=[], cfg={"priority": n}) for n in (9, 8, 1, 7, 6, 0)],
            }
        )
        flow.add_task(task("before", cfg={"priority": 10}, successors=["t8"]))
        engine, started = FlowEngine(), []
        while flow.status not in {"FAILED", "COMPLETED"}:
            started += engine.tick_flow(flow).started
        assert started == ["before", "t9", "t8", "t7", "t6", "t1", "t0"]

    def test_priorities_hold_when_one_of_them_is_skipped(self) -> None:
        places = [8, 11, 4, 1, 2, 3, 5, 10, 9, 6, 0, 7]  # taking 4 out of their heap leaves no heap
        flow = Flow.from_flow_spec(
            {
                "cfg": {"max_running_tasks": 1},
                "tasks": [task(f"t{place}", precursors=[], cfg={"priority": -place}) for place in places],
            }
        )
        engine = FlowEngine()
        started = list(engine.tick_flow(flow).started)
        flow.tasks["t4"]["status"] = "SKIPPED"
        while flow.status not in {"FAILED", "COMPLETED"}:
            started += engine.tick_flow(flow).started
        assert started == [f"t{place}" for place in range(12) if place != 4]

    def test_a_ready_task_that_is_skipped_keeps_the_flow_no_longer(self) -> None:
        tasks = [task("a"), task("b", precursors=["a"]), task("c", "skip", precursors=[])]
        flow = Flow.from_flow_spec({"tasks": tasks})
        FlowEngine(task_handlers={"skip": lambda flow: flow.tasks["b"].update(status="SKIPPED")}).tick_flow(
            flow
        )
        assert (flow.status, flow.ticks) == ("COMPLETED", 1)

    def test_a_flow_ends_after_its_own_max_ticks(self) -> None:
        flow = Flow.from_flow_spec({"cfg": {"max_ticks": 2}, "tasks": [task("a"), task("b"), task("c")]})
        engine = FlowEngine()
        engine.tick_flow(flow)
        assert flow.status == "RUNNING"
        engine.tick_flow(flow)
        assert flow.status == "FAILED"
        assert flow.error is not None
        assert (
            flow.error["message"] == "The flow was unfinished after cfg.max_ticks (2) ticks; still to do: c."
        )

    def test_a_flow_that_needs_exactly_its_max_ticks_completes(self) -> None:
        flow = Flow.from_flow_spec({"cfg": {"max_ticks": 3}, "tasks": [task("a"), task("b"), task("c")]})
        assert FlowEngine().run_flow(flow).status == "COMPLETED"


class TestCost:
    def steps_of_second_tick(self, spec: dict[str, Any], count_steps: Callable[..., int]) -> int:
        engine, flow = FlowEngine(), Flow.from_flow_spec(spec)
        engine.tick_flow(flow)
        return count_steps(lambda: engine.tick_flow(flow))

    def test_a_tick_costs_what_it_does_however_large_the_flow(self, count_steps: Callable[..., int]) -> None:
        def chain(length: int) -> dict[str, Any]:
            return {"tasks": [task(f"t{n}") for n in range(length)]}

        assert self.steps_of_second_tick(chain(3_000), count_steps) == self.steps_of_second_tick(
            chain(30), count_steps
        )

    def test_a_join_is_counted_down_not_looked_through(self, count_steps: Callable[..., int]) -> None:
        def run(width: int) -> int:
            tasks = [task(f"t{n}", precursors=[]) for n in range(width)]
            tasks.append(task("join", precursors=[each["key"] for each in tasks]))
            flow, engine = Flow.from_flow_spec({"tasks": tasks}), FlowEngine()
            return count_steps(lambda: engine.run_flow(flow))

        assert run(1_000) < 11 * run(100)

    def test_a_join_with_a_rule_is_counted_down_too(self, count_steps: Callable[..., int]) -> None:
        def run(width: int) -> int:
            tasks = [task(f"t{n}", precursors=[]) for n in range(width)]
            keys = [each["key"] for each in tasks]
            tasks.append(task("join", precursors=keys, cfg={"start_when": "none_failed"}))
            flow, engine = Flow.from_flow_spec({"tasks": tasks}), FlowEngine()
            return count_steps(lambda: engine.run_flow(flow))

        assert run(1_000) < 11 * run(100)
