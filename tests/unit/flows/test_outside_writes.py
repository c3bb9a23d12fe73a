"""Statuses that are written into the task dicts which a flow hands out."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import NotJsonError, StatusError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler


class Forever(BaseTaskHandler):
    def tick_task(self) -> None:
        self.data["ticks"] = self.data.get("ticks", 0) + 1


class Sleeper(BaseTaskHandler):
    def initial_tick(self) -> None:
        self.wait_until(None)

    def intermediate_tick(self) -> None:
        self.complete(woken=True)


def task(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


def statuses(flow: Flow) -> dict[str, str]:
    return {key: each["status"] for key, each in flow.tasks.items()}


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(task_handlers={"forever": Forever, "sleeper": Sleeper}, clock=clock)


class TestFromOutside:
    def test_what_is_written_is_taken_up_at_the_next_tick(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "forever"), task("b")]})
        engine.tick_flow(flow)
        flow.tasks["a"]["status"] = "COMPLETED"
        assert engine.tick_flow(flow).completed == ["b"]
        assert flow.status == "COMPLETED"

    @pytest.mark.parametrize("task_type", ["forever", "sleeper"])
    def test_a_dict_that_was_kept_since_an_earlier_tick_counts_too(
        self, engine: FlowEngine, task_type: str
    ) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", task_type), task("b")]})
        kept = flow.tasks["a"]
        for _ in range(3):
            engine.tick_flow(flow)
        kept["status"] = "COMPLETED"
        assert engine.tick_flow(flow).completed == ["b"]

    def test_a_kept_dict_of_a_task_that_would_start_counts_too(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b"), task("c")]})
        kept = flow.tasks["c"]
        engine.tick_flow(flow)
        kept["status"] = "SKIPPED"
        engine.run_flow(flow)
        assert statuses(flow) == {"a": "COMPLETED", "b": "COMPLETED", "c": "SKIPPED"}

    def test_the_dict_of_an_added_task_counts(self, engine: FlowEngine) -> None:
        flow = Flow()
        flow.add_task(task("a"))["status"] = "SKIPPED"
        engine.tick_flow(flow)
        assert (flow.status, statuses(flow)) == ("COMPLETED", {"a": "SKIPPED"})

    def test_a_waiting_task_is_woken(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "sleeper")]})
        assert engine.run_flow(flow).status == "RUNNING"
        flow.tasks["a"]["status"] = "RUNNING"
        engine.tick_flow(flow)
        assert (flow.status, flow.tasks["a"]["data"]) == ("COMPLETED", {"woken": True})

    def test_a_task_that_is_made_to_wait_becomes_due(self, engine: FlowEngine, clock: ManualClock) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "forever")]})
        engine.tick_flow(flow)
        flow.tasks["a"].update(status="WAITING", next_tick_at="2000-01-01T00:01:00.000000+00:00")
        report = engine.tick_flow(flow)
        assert report.calls == 0
        assert report.next_tick_at is not None
        clock.advance(60)
        assert engine.tick_flow(flow).calls == 1

    def test_what_a_skip_dooms_is_skipped(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b"), task("z", precursors=[])]})
        flow.tasks["a"]["status"] = "SKIPPED"
        report = engine.tick_flow(flow)
        assert (report.skipped, report.completed) == (["a", "b"], ["z"])
        assert flow.status == "COMPLETED"

    def test_a_failure_from_outside_counts(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "forever"), task("b")]})
        engine.tick_flow(flow)
        flow.tasks["a"]["status"] = "FAILED"
        engine.tick_flow(flow)
        assert flow.status == "FAILED"

    def test_several_are_taken_up_in_the_order_of_the_spec(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task(key, precursors=[]) for key in "hgfedcba"]})
        for key in "abcdefgh":
            flow.tasks[key]["status"] = "SKIPPED"
        assert engine.tick_flow(flow).skipped == list("hgfedcba")

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            ("COMPLETED", "cannot go from PENDING to COMPLETED"),
            ("DONE", "'DONE' is not a status"),
            (5, "5 is not a status"),
            (None, "None is not a status"),
        ],
    )
    def test_what_is_not_allowed_is_an_error_and_is_undone(
        self, engine: FlowEngine, status: Any, message: str
    ) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b", precursors=[]), task("c", precursors=[])]})
        flow.tasks["a"]["status"] = status
        flow.tasks["b"]["status"] = "SKIPPED"
        with pytest.raises(StatusError, match=message):
            engine.tick_flow(flow)
        assert statuses(flow) == {"a": "PENDING", "b": "SKIPPED", "c": "PENDING"}
        flow.check_invariants()
        assert engine.run_flow(flow).status == "COMPLETED"

    def test_root_cannot_be_changed(self, engine: FlowEngine) -> None:
        flow = Flow()
        flow.tasks["ROOT"]["status"] = "PENDING"
        with pytest.raises(StatusError, match="'ROOT' cannot go from COMPLETED"):
            engine.tick_flow(flow)

    def test_data_that_json_cannot_hold_are_not_blamed_on_a_task(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        flow.data["x"] = {1}
        with pytest.raises(NotJsonError, match="/flow/data/x"):
            engine.tick_flow(flow)
        assert statuses(flow) == {"a": "PENDING"}
        flow.data["x"] = (1, 2)
        engine.tick_flow(flow)
        assert (flow.status, flow.data) == ("COMPLETED", {"x": [1, 2]})


class TestFlowStatus:
    def test_an_assigned_status_is_taken_up_at_the_next_tick(self, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b")]})
        engine.tick_flow(flow)
        flow.status = "PAUSED"
        assert engine.tick_flow(flow).calls == 0
        flow.status = "RUNNING"
        engine.tick_flow(flow)
        assert flow.status == "COMPLETED"

    @pytest.mark.parametrize("status", ["PENDING", "SKIPPED", "DONE"])
    def test_what_is_not_allowed_is_an_error_and_is_undone(self, engine: FlowEngine, status: str) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b")]})
        engine.tick_flow(flow)
        flow.status = status
        with pytest.raises(StatusError):
            engine.tick_flow(flow)
        assert flow.status == "RUNNING"
        assert engine.run_flow(flow).status == "COMPLETED"


class TestFromAHandler:
    def run(self, write: Any) -> Flow:
        engine = FlowEngine(task_handlers={"write": write, "forever": Forever})
        tasks = [
            task("x", "forever", precursors=[]),
            task("w", "write", precursors=[]),
            task("y", precursors=["x"]),
            task("z", precursors=[]),
        ]
        flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks})
        engine.tick_flow(flow)
        return flow

    def test_it_may_finish_other_tasks(self) -> None:
        flow = self.run(lambda flow: flow.tasks["x"].update(status="COMPLETED"))
        assert statuses(flow) == {"w": "COMPLETED", "x": "COMPLETED", "y": "PENDING", "z": "COMPLETED"}
        assert flow.tasks["x"]["data"] == {"ticks": 1}

    @pytest.mark.parametrize("status", ["COMPLETED", "DONE", 5])
    def test_what_is_not_allowed_fails_the_task_that_did_it(self, status: Any) -> None:
        flow = self.run(lambda flow: flow.tasks["y"].update(status=status))
        assert statuses(flow) == {"w": "FAILED", "x": "RUNNING", "y": "PENDING", "z": "COMPLETED"}
        assert flow.tasks["w"]["error"]["type"] == "StatusError"

    def test_its_own_dict_is_its_own_outcome(self) -> None:
        flow = self.run(lambda flow: flow.tasks["w"].update(status="SKIPPED"))
        assert statuses(flow)["w"] == "SKIPPED"


class TestTasksThatCanNeverStart:
    """Tasks that are added below one that was skipped."""

    @pytest.fixture
    def flow(self) -> Flow:
        """A flow in which `adder` adds a task below itself and a skipped one, and sets another one back."""

        def add(task_ctx: Any) -> None:
            task_ctx["flow"].add_task(task("added", precursors=["skipped", "adder"]))
            task_ctx["flow"].tasks["after"]["status"] = "PENDING"

        spec = {
            "tasks": [
                task("skipped", precursors=[], cfg={"when": {"any": []}}),
                task("adder", "add", precursors=["skipped"], cfg={"start_when": "all_finished"}),
                task("after", precursors=["skipped"]),
            ]
        }
        self.engine = FlowEngine(task_handlers={"add": add})
        return self.engine.flow_spec_to_flow(spec)

    def test_the_end_of_another_task_does_not_let_them_start(self, flow: Flow) -> None:
        while flow.status not in {"FAILED", "COMPLETED"}:
            self.engine.tick_flow(flow)
            flow.check_invariants()
        assert statuses(flow)["added"] == "SKIPPED"

    def test_they_are_skipped_in_the_order_of_the_flow(self, flow: Flow) -> None:
        skipped = []
        while flow.status not in {"FAILED", "COMPLETED"}:
            skipped += self.engine.tick_flow(flow).skipped
        assert skipped == ["skipped", "after", "after", "added"]


class TestSkippedAfterAFailure:
    def test_a_flow_whose_failed_task_is_skipped_has_no_failure(self) -> None:
        """The task failed in the same flow, whose others go on; somebody decides that it is not needed."""

        def fail(task: dict[str, Any]) -> None:
            raise ValueError("broken")

        engine = FlowEngine(task_handlers={"bad": fail, "forever": Forever})
        tasks = [task("bad", "bad", precursors=[]), task("other", "forever", precursors=[])]
        flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks})
        engine.tick_flow(flow)
        flow.tasks["bad"]["status"] = "SKIPPED"
        flow.tasks["other"]["status"] = "COMPLETED"
        engine.tick_flow(flow)
        flow.check_invariants()
        assert statuses(flow) == {"bad": "SKIPPED", "other": "COMPLETED"}
        assert flow.status == "COMPLETED"


class TestAnotherTry:
    """A person sets tasks of a failed flow PENDING again."""

    def test_a_failed_task_and_what_was_skipped_run_again_in_any_order(self) -> None:
        broken = [True]

        def handle(params: dict[str, Any]) -> dict[str, Any]:
            if broken:
                raise ValueError
            return {"seen": params["x"]}

        engine = FlowEngine(task_handlers={"bad": handle})
        for order in (["a", "b", "c"], ["c", "b", "a"]):
            broken[:] = [True]
            tasks = [task("a", "bad", task_params={"x": "$ctx.flow.data.x"}), task("b"), task("c")]
            flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "data": {"x": 1}, "tasks": tasks})
            engine.tick_flow(flow)
            assert statuses(flow) == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}
            broken.clear()
            flow.data["x"] = 2
            flow.change_status("RUNNING")
            for key in order:
                flow.change_task_status(key, "PENDING")
                flow.check_invariants()
            copy = Flow.from_flow_dict(flow.to_flow_dict())
            for each in (flow, copy):
                while each.status not in {"FAILED", "COMPLETED"}:
                    engine.tick_flow(each)
                    each.check_invariants()
                assert (each.status, each.count_tasks()) == ("COMPLETED", {"COMPLETED": 3})
                assert each.tasks["a"]["data"] == {"seen": 2}
                assert "error" not in each.tasks["a"]

    def test_a_join_counts_a_precursor_that_is_tried_again(self) -> None:
        tasks = [
            task("a", "bad", precursors=[], cfg={"allow_failure": True}),
            task("slow", "forever", precursors=[]),
            task("join", precursors=["a", "slow"], cfg={"start_when": "any_failed"}),
            task("other", precursors=["a", "slow"], cfg={"start_when": "all_finished"}),
        ]
        flow = Flow.from_flow_spec({"tasks": tasks})
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0, "forever": Forever})
        engine.tick_flow(flow)
        flow.change_task_status("a", "PENDING")
        flow.check_invariants()
        flow.change_task_status("slow", "COMPLETED")
        flow.check_invariants()
        assert statuses(flow)["other"] == "PENDING"
        engine.run_flow(flow)
        assert statuses(flow) == {
            "a": "FAILED",
            "slow": "COMPLETED",
            "join": "COMPLETED",
            "other": "COMPLETED",
        }

    def test_a_cancelled_task_begins_anew(self, clock: ManualClock) -> None:
        class Two(BaseTaskHandler):
            def initial_tick(self) -> None:
                self.data["begun"] = self.data.get("begun", 0) + 1

            def intermediate_tick(self) -> None:
                self.complete()

        engine = FlowEngine(task_handlers={"two": Two}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "two"), task("b")]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow)
        flow.change_status("RUNNING")
        flow.change_task_status("a", "PENDING")
        assert engine.run_flow(flow).status == "COMPLETED"
        assert flow.tasks["a"]["data"] == {"begun": 2}

    def test_what_was_ready_when_the_flow_ended_is_ready_again(self) -> None:
        tasks = [task("a", "bad", precursors=[]), task("b", precursors=[])]
        flow = Flow.from_flow_spec({"cfg": {"max_running_tasks": 1}, "tasks": tasks})
        broken = [True]
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0 if broken else None})
        engine.tick_flow(flow)
        assert statuses(flow) == {"a": "FAILED", "b": "PENDING"}
        broken.clear()
        flow.change_status("RUNNING")
        flow.change_task_status("a", "PENDING")
        assert engine.run_flow(flow).count_tasks() == {"COMPLETED": 2}
