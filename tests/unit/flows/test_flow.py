"""The graph of a flow: building it, asking it, changing it while it runs."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from mc.errors import CycleError, GraphError, StatusError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.state.flow_state import FlowState
from mc.task_handlers.base_task_handler import BaseTaskHandler


def keys(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["key"] for task in tasks]


def noop(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "noop", **more}


def diamond() -> Flow:
    return Flow.from_flow_spec(
        {
            "key": "diamond",
            "tasks": [
                noop("a"),
                noop("b", precursors=["a"]),
                noop("c", precursors=["a"]),
                noop("d", precursors=["b", "c"]),
            ],
        }
    )


class Unfinished(BaseTaskHandler):
    def tick_task(self) -> None:
        """Leave the task RUNNING."""


def snapshot(flow: Flow) -> dict[str, Any]:
    return flow.to_flow_dict()


class TestMaking:
    def test_arguments_go_by_position(self) -> None:
        flow = Flow("k", {"fail_fast": False}, {"x": 1}, "label", "PAUSED", 2, "parent")
        assert (flow.key, flow.cfg, flow.data, flow.label) == ("k", {"fail_fast": False}, {"x": 1}, "label")
        assert (flow.status, flow.depth, flow.parent_key) == ("PAUSED", 2, "parent")

    def test_arguments_go_by_keyword(self) -> None:
        flow = Flow(parent_key="p", depth=1, status="RUNNING", label="l", data={}, cfg={}, key="k")
        assert (flow.key, flow.status, flow.depth, flow.parent_key) == ("k", "RUNNING", 1, "p")

    def test_a_key_is_generated(self) -> None:
        prefix, _, rest = Flow().key.partition(":")
        assert prefix == "flow"
        assert uuid.UUID(rest).version == 4
        assert Flow.generate_key() != Flow.generate_key()

    def test_a_status_that_is_none_is_refused(self) -> None:
        with pytest.raises(StatusError, match="'SLEEPING' is not a status"):
            Flow(status="SLEEPING")

    def test_an_empty_flow_has_only_root(self) -> None:
        flow = Flow()
        assert list(flow.tasks) == []
        assert len(flow.tasks) == 0
        assert flow.tasks["ROOT"]["status"] == "COMPLETED"
        assert flow.has_incomplete_tasks() is False
        assert keys(flow.get_tail_tasks()) == ["ROOT"]

    def test_nothing_of_the_caller_is_aliased_or_changed(self) -> None:
        cfg, data = {"max_ticks": 3}, {"list": [1]}
        spec = {"cfg": cfg, "data": data, "tasks": [noop("a", task_params={"x": [1]}, data={"y": {}})]}
        before = copy.deepcopy(spec)
        flow = Flow.from_flow_spec(spec)
        flow.data["list"].append(2)
        flow.cfg["max_ticks"] = 4
        flow.tasks["a"]["task_params"]["x"].append(2)
        flow.tasks["a"]["data"]["y"]["z"] = 1
        assert flow.spec is not None
        flow.spec["tasks"].clear()
        FlowEngine().run_flow(flow)
        assert spec == before

    def test_the_kept_spec_does_not_follow_the_flow(self) -> None:
        flow = diamond()
        flow.tasks["a"]["task_params"]["x"] = 1
        flow.data["x"] = 1
        assert flow.spec is not None
        assert "task_params" not in flow.spec["tasks"][0]
        assert "data" not in flow.spec

    def test_an_added_task_is_copied(self) -> None:
        task = noop("a", task_params={"x": [1]})
        flow = Flow()
        flow.add_task(task)["task_params"]["x"].append(2)
        assert task == noop("a", task_params={"x": [1]})

    def test_overrides_replace_what_the_spec_says(self) -> None:
        flow = Flow.from_flow_spec({"key": "k", "data": {"x": 1}}, key="other", data={"y": 2}, depth=3)
        assert (flow.key, flow.data, flow.depth) == ("other", {"y": 2}, 3)

    def test_keys_are_generated_the_same_each_time(self) -> None:
        spec = {"tasks": [{"task_type": "noop"}, noop("task_1"), {"task_type": "noop"}]}
        assert list(Flow.from_flow_spec(spec).tasks) == ["task_1_", "task_1", "task_3"]

    def test_any_task_type_and_entry_is_taken(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [{"key": "not an identifier", "task_type": 7, "colour": "red"}]})
        assert flow.tasks["not an identifier"]["colour"] == "red"

    @pytest.mark.parametrize(
        "tasks", [["a"], [noop("a", precursors=[[]])], [noop("a", cfg={"start_when": {"all": [{}]}})]]
    )
    def test_a_malformed_list_of_tasks_is_a_graph_error(self, tasks: list[Any]) -> None:
        with pytest.raises(GraphError, match="malformed"):
            Flow.from_flow_spec({"tasks": tasks})


class TestWhatPrecedesWhat:
    def test_a_task_without_edges_follows_the_one_before_it(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [noop("a"), noop("b"), noop("c", precursors=[])]})
        assert keys(flow.get_precursors(flow.tasks["a"])) == ["ROOT"]
        assert keys(flow.get_precursors(flow.tasks["b"])) == ["a"]
        assert keys(flow.get_precursors(flow.tasks["c"])) == ["ROOT"]

    def test_successors_are_edges_too(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [noop("z", precursors=[]), noop("a", successors=["z"])]})
        assert keys(flow.get_precursors("z")) == ["a"]
        assert keys(flow.get_successors("a")) == ["z"]

    def test_precursors_and_successors_of_a_diamond(self) -> None:
        flow = diamond()
        assert keys(flow.get_precursors(flow.tasks["d"])) == ["b", "c"]
        assert keys(flow.get_successors(task=flow.tasks["a"])) == ["b", "c"]
        assert keys(flow.get_precursors(task=flow.tasks["a"])) == ["ROOT"]
        assert keys(flow.get_tail_tasks()) == ["d"]

    def test_has_edge(self) -> None:
        flow = diamond()
        assert flow.has_edge("a", "b")
        assert flow.has_edge(src_key="ROOT", dest_key="a")
        assert not flow.has_edge("b", "a")
        assert not flow.has_edge("a", "d")
        assert not flow.has_edge("a", "nowhere")

    def test_an_edge_is_there_once(self) -> None:
        flow = diamond()
        flow.add_edge({"src_key": "a", "dest_key": "b"})
        flow.add_edge(edge={"src_key": "a", "dest_key": "b"})
        assert keys(flow.get_precursors("b")) == ["a"]

    def test_a_named_precursor_takes_the_place_of_root(self) -> None:
        flow = diamond()
        flow.add_task(noop("e", precursors=["ROOT", "a"]))
        assert keys(flow.get_precursors("e")) == ["a"]

    def test_successors_come_in_the_order_of_the_spec(self) -> None:
        flow = diamond()
        flow.add_task(noop("e", successors=["d", "b"]))
        flow.add_edge({"src_key": "e", "dest_key": "c"})
        assert keys(flow.get_successors("e")) == ["b", "c", "d"]
        assert keys(Flow.from_flow_dict(flow.to_flow_dict()).get_successors("e")) == ["b", "c", "d"]

    def test_unknown_tasks_are_named(self) -> None:
        with pytest.raises(GraphError, match="has no task 'x'"):
            diamond().get_precursors("x")


class TestQuestions:
    def test_tasks_is_a_mapping_in_the_order_of_the_spec(self) -> None:
        flow = diamond()
        assert list(flow.tasks) == ["a", "b", "c", "d"]
        assert len(flow.tasks) == 4
        assert "a" in flow.tasks
        assert flow.tasks.get("x") is None
        assert flow.tasks["a"]["key"] == "a"
        assert dict(flow.tasks.items())["b"] is flow.tasks["b"]

    def test_what_can_be_ticked(self) -> None:
        flow = diamond()
        engine = FlowEngine(task_handler=Unfinished)
        assert keys(flow.get_nearest_tickable_pending_tasks()) == ["a"]
        engine.tick_flow(flow)
        assert keys(flow.get_running_tasks()) == ["a"]
        assert flow.get_nearest_tickable_pending_tasks() == []
        assert keys(flow.get_tickable_tasks()) == ["a"]
        assert flow.num_tickable_tasks == 1
        assert keys(flow.get_tasks_by_status("PENDING")) == ["b", "c", "d"]
        assert flow.count_tasks() == {"PENDING": 3, "RUNNING": 1}
        assert flow.has_incomplete_tasks() is True

    def test_running_and_ready_tasks_can_be_ticked_in_the_order_of_the_spec(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [noop("a", precursors=[]), noop("b", precursors=[])]})
        flow.tasks["b"]["status"] = "RUNNING"
        assert keys(flow.get_tickable_tasks()) == ["a", "b"]

    def test_filters(self) -> None:
        flow = diamond()
        assert keys(flow.filter_tasks({"task_type": "noop", "key": "b"})) == ["b"]
        assert keys(flow.filter_tasks([lambda task: task["key"] > "a", lambda task: task["key"] < "d"])) == [
            "b",
            "c",
        ]
        assert keys(flow.filter_tasks(filters=lambda task: task["key"] == "c")) == ["c"]
        assert keys(flow.filter_tasks()) == ["a", "b", "c", "d"]

    def test_root_is_filtered_only_where_asked_for(self) -> None:
        flow = diamond()
        assert keys(flow.filter_tasks({"status": "COMPLETED"})) == []
        assert keys(flow.filter_tasks({"status": "COMPLETED"}, include_root_task=True)) == ["ROOT"]
        assert keys(flow.filter_tasks({"status": "COMPLETED"}, True)) == ["ROOT"]

    def test_a_finished_flow_has_nothing_to_tick(self) -> None:
        flow = Flow.from_flow_spec(
            {"tasks": [{"key": "a", "task_type": "nowhere"}, noop("b", precursors=[])]}
        )
        flow.cfg["max_running_tasks"] = 1
        FlowEngine().tick_flow(flow)
        assert flow.status == "FAILED"
        assert flow.get_nearest_tickable_pending_tasks() == []
        assert flow.num_tickable_tasks == 0

    def test_a_failure_is_described_with_its_tasks(self) -> None:
        flow = Flow.from_flow_spec(
            {
                "cfg": {"fail_fast": False},
                "tasks": [noop(f"t{n}", task_type="x", precursors=[]) for n in range(7)],
            }
        )
        FlowEngine().tick_flow(flow)
        described = flow.describe_failure()
        assert described is not None
        assert described.startswith("task 't0': UnknownTaskTypeError: There is no task type 'x'.")
        assert described.endswith("and 2 more tasks failed")
        assert diamond().describe_failure() is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("edge", "message"),
        [
            ({"src_key": "a", "dest_key": "ROOT"}, "leads into ROOT"),
            ({"src_key": "ROOT", "dest_key": "ROOT"}, "leads into ROOT"),
            ({"src_key": "a", "dest_key": "x"}, "names 'x', which is not a task"),
            ({"src_key": "x", "dest_key": "a"}, "names 'x', which is not a task"),
            ({"src_key": "a"}, "An edge is"),
            ({"src_key": "a", "dest_key": 3}, "An edge is"),
        ],
    )
    def test_an_impossible_edge_changes_nothing(self, edge: dict[str, Any], message: str) -> None:
        flow = diamond()
        before = snapshot(flow)
        with pytest.raises(GraphError, match=message):
            flow.add_edge(edge)
        assert snapshot(flow) == before

    def test_a_cycle_is_named_and_changes_nothing(self) -> None:
        flow = diamond()
        before = snapshot(flow)
        with pytest.raises(CycleError, match=r"d -> a -> b -> d|d -> a -> c -> d") as caught:
            flow.add_edge({"src_key": "d", "dest_key": "a"})
        assert caught.value.cycle[0] == caught.value.cycle[-1] == "d"
        assert snapshot(flow) == before

    def test_a_task_cannot_wait_for_itself(self) -> None:
        flow = diamond()
        with pytest.raises(CycleError, match="a -> a"):
            flow.add_edge({"src_key": "a", "dest_key": "a"})
        with pytest.raises(CycleError):
            flow.add_task(noop("e", precursors=["e"]))
        assert "e" not in flow.tasks

    def test_a_cycle_is_refused_when_a_flow_is_built(self) -> None:
        with pytest.raises(CycleError, match=r"a -> b -> a|b -> a -> b"):
            Flow.from_flow_spec({"tasks": [noop("a", precursors=["b"]), noop("b", precursors=["a"])]})

    @pytest.mark.parametrize(
        "task",
        [
            noop("a"),
            noop("ROOT"),
            noop("e", precursors=["x"]),
            noop("e", successors=["x"]),
            noop("e", successors=["ROOT"]),
            noop("e", precursors="ab"),
            noop("e", precursors=[["a"]]),
            noop("e", precursors=["d"], successors=["a"]),
            noop("e", successors=["b", "started"]),
            noop("e", cfg={"start_when": "sometimes"}),
            noop("e", cfg={"start_when": {"all": [{}]}}),
            noop("e", cfg={"start_when": {"any": [{"task": "x", "status": "FAILED"}]}}),
            noop("e", cfg={"priority": "high"}),
            noop("e", cfg=[1]),
            noop("e", next_tick_at="soon"),
            noop("e", status="WAITING", next_tick_at="2000-01-01T00:00:00Z", precursors=["x"]),
            noop("e", status="FAILED", precursors=["x"]),
            {"key": 5, "task_type": "noop"},
        ],
        ids=str,
    )
    def test_an_impossible_task_changes_nothing(self, task: dict[str, Any]) -> None:
        flow = diamond()
        flow.add_task(noop("started", status="RUNNING"))
        before, queued = snapshot(flow), flow.num_tickable_tasks
        with pytest.raises(GraphError):
            flow.add_task(task)
        assert snapshot(flow) == before
        assert flow.num_tickable_tasks == queued
        flow.check_invariants()

    def test_a_status_that_is_none_is_refused(self) -> None:
        flow = diamond()
        before = snapshot(flow)
        with pytest.raises(StatusError, match="'DONE' is not a status"):
            flow.add_task(noop("e", status="DONE"))
        assert snapshot(flow) == before

    def test_what_has_started_gets_no_new_precursor(self) -> None:
        flow = diamond()
        flow.tasks["a"]["status"] = "RUNNING"
        flow.add_task(noop("e"))
        before = snapshot(flow)
        with pytest.raises(GraphError, match="cannot precede 'a', which is RUNNING"):
            flow.add_edge({"src_key": "e", "dest_key": "a"})
        assert snapshot(flow) == before

    def test_an_edge_from_a_completed_task_may_lead_anywhere(self) -> None:
        flow = Flow()
        flow.add_task(noop("done", status="COMPLETED"))
        flow.add_task(noop("too", status="COMPLETED"))
        flow.add_edge({"src_key": "done", "dest_key": "too"})
        assert flow.has_edge("done", "too")


class TestGrowing:
    """A flow gets tasks and edges while it runs."""

    def run(self, spec: dict[str, Any], grow: Callable[[Flow], None]) -> tuple[Flow, list[str]]:
        ran: list[str] = []

        def handle(task: dict[str, Any], flow: Flow) -> None:
            ran.append(task["key"])
            if task["key"] == "grow":
                grow(flow)

        engine = FlowEngine(task_handler=handle)
        flow = Flow.from_flow_spec(spec)
        while flow.status not in {"FAILED", "COMPLETED"}:
            engine.tick_flow(flow)
            flow.check_invariants()
        return flow, ran

    def test_a_handler_adds_tasks_after_and_before_existing_ones(self) -> None:
        def grow(flow: Flow) -> None:
            flow.add_task(noop("middle", precursors=["grow"], successors=["last"]))
            flow.add_task(noop("first", successors=["middle"]))
            flow.add_task(noop("after", precursors=["last"]))

        flow, ran = self.run({"tasks": [noop("grow"), noop("last")]}, grow)
        assert flow.status == "COMPLETED"
        assert ran == ["grow", "first", "middle", "last", "after"]

    def test_a_ready_task_waits_for_what_is_put_before_it(self) -> None:
        def grow(flow: Flow) -> None:
            flow.add_task(noop("new", successors=["other"]))

        spec = {
            "cfg": {"max_running_tasks": 1},
            "tasks": [noop("grow", precursors=[]), noop("other", precursors=[])],
        }
        _, ran = self.run(spec, grow)
        assert ran == ["grow", "new", "other"]

    def test_a_task_added_without_precursors_starts_in_the_next_tick(self) -> None:
        flow, ran = self.run(
            {"tasks": [noop("grow")]}, lambda flow: flow.add_task({"task_type": "noop"}) and None
        )
        assert ran == ["grow", "task_2"]
        assert flow.ticks == 2

    def test_an_edge_added_by_a_handler_is_kept(self) -> None:
        spec = {"tasks": [noop("grow"), noop("a"), noop("b", precursors=["grow"])]}
        _, ran = self.run(spec, lambda flow: flow.add_edge({"src_key": "b", "dest_key": "a"}))
        assert ran == ["grow", "b", "a"]

    def test_a_task_added_behind_a_failure_is_skipped(self) -> None:
        def grow(flow: Flow) -> None:
            flow.add_task(noop("late", precursors=["bad"]))

        flow, _ = self.run(
            {
                "tasks": [
                    noop("bad", status="FAILED", cfg={"allow_failure": True}),
                    noop("grow", precursors=[]),
                ]
            },
            grow,
        )
        assert flow.status == "COMPLETED"
        assert flow.tasks["late"]["status"] == "SKIPPED"

    def test_a_task_added_behind_completed_ones_starts(self) -> None:
        _, ran = self.run(
            {"tasks": [noop("a"), noop("grow")]},
            lambda flow: flow.add_task(noop("z", precursors=["a"])) and None,
        )
        assert ran == ["a", "grow", "z"]

    def test_a_handler_that_would_close_a_cycle_fails(self) -> None:
        flow, _ = self.run(
            {"tasks": [noop("grow"), noop("b")]},
            lambda flow: flow.add_edge({"src_key": "b", "dest_key": "grow"}),
        )
        assert flow.tasks["grow"]["error"]["type"] == "CycleError"
        assert flow.status == "FAILED"

    def test_what_waits_for_a_retry_can_be_held_back(self) -> None:
        attempts: list[str] = []

        def handle(task: dict[str, Any]) -> None:
            attempts.append(task["key"])
            if task["key"] == "a" and task["attempt"] == 1:
                raise ValueError

        engine = FlowEngine(task_handler=handle)
        flow = Flow.from_flow_spec({"tasks": [noop("a", cfg={"retry": {"max_attempts": 2}})]})
        engine.tick_flow(flow)
        flow.add_task(noop("before", successors=["a"]))
        engine.run_flow(flow)
        assert attempts == ["a", "before", "a"]


class TestCost:
    """Adding to a graph does not walk it."""

    def chain(self, length: int) -> Flow:
        return Flow.from_flow_spec({"tasks": [noop(f"t{n}") for n in range(length)]})

    @pytest.mark.parametrize(
        "grow",
        [
            lambda flow: flow.add_task(noop("new", precursors=[list(flow.tasks)[-1]])),
            lambda flow: flow.add_task(noop("new", successors=["t0"])),
            lambda flow: flow.add_task(noop("new", precursors=["t3"], successors=["t4"])),
            lambda flow: flow.add_edge({"src_key": "t1", "dest_key": list(flow.tasks)[-1]}),
        ],
        ids=["at the end", "at the front", "in the middle", "an edge"],
    )
    def test_one_more_costs_the_same_in_a_small_and_a_large_flow(
        self, grow: Callable[[Flow], object], count_steps: Callable[..., int]
    ) -> None:
        small, large = self.chain(10), self.chain(2_000)
        list(small.tasks), list(large.tasks)
        assert abs(count_steps(lambda: grow(large)) - count_steps(lambda: grow(small))) < 50

    def test_many_tasks_put_in_front_do_not_move_the_rest(self, count_steps: Callable[..., int]) -> None:
        def grow(flow: Flow) -> None:
            first = "t0"
            for number in range(100):
                flow.add_task(noop(f"new{number}", successors=[first]))
                first = f"new{number}"

        small, large = self.chain(10), self.chain(2_000)
        assert count_steps(lambda: grow(large)) < 1.1 * count_steps(lambda: grow(small))

    def test_a_graph_can_be_built_edge_by_edge_from_either_end(self, count_steps: Callable[..., int]) -> None:
        def build(count: int, numbers: Callable[[int], Any]) -> Flow:
            flow = Flow()
            for number in range(count):
                flow.add_task(noop(f"t{number}"))
            for number in numbers(count - 1):
                flow.add_edge({"src_key": f"t{number}", "dest_key": f"t{number + 1}"})
            return flow

        for numbers in (range, lambda count: reversed(range(count))):
            small = count_steps(lambda numbers=numbers: build(50, numbers))
            large = count_steps(lambda numbers=numbers: build(500, numbers))
            assert large < 11 * small

    def test_a_join_is_counted_edge_by_edge(self, count_steps: Callable[..., int]) -> None:
        def build(count: int) -> Flow:
            flow = Flow()
            flow.add_task(noop("first"))
            flow.add_task(noop("join", precursors=["first"]))
            for number in range(count):
                flow.add_task(noop(f"t{number}", successors=["join"]))
            return flow

        assert count_steps(lambda: build(500)) < 11 * count_steps(lambda: build(50))

    def test_moving_a_ladder_touches_each_task_once(self, count_steps: Callable[..., int]) -> None:
        def move(rungs: int) -> int:
            flow = Flow()
            flow.add_task(noop("n0"))
            for number in range(rungs):
                flow.add_task(noop(f"m{number}", precursors=[f"n{number}"]))
                flow.add_task(noop(f"n{number + 1}", precursors=[f"m{number}", f"n{number}"]))
            last = "ROOT"
            for number in range(3 * rungs):
                flow.add_task(noop(f"x{number}", precursors=[last]))
                last = f"x{number}"
            steps = count_steps(lambda: flow.add_edge({"src_key": last, "dest_key": "n0"}))
            flow.check_invariants()
            return steps

        assert move(200) < 11 * move(20)

    def test_flows_that_are_kept_for_a_retry_are_found_without_a_search(
        self, count_steps: Callable[..., int]
    ) -> None:
        def look(count: int) -> int:
            state, tasks = FlowState(), [noop(f"t{number}") for number in range(count)]
            for task in tasks:
                state.keep_for_retry(task, FlowState(f"{task['key']}/1", parent_task_key=task["key"]))
            return count_steps(lambda: [state.find_kept_sub_flow(task) for task in tasks])

        assert look(500) < 11 * look(50)
