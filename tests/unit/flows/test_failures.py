"""The one way in which failures are recorded, and what they do to the rest of a flow."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import Handler
from mc.task_handlers.base_task_handler import BaseTaskHandler


def task(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


def statuses(flow: Flow) -> dict[str, str]:
    return {key: each["status"] for key, each in flow.tasks.items()}


def fail(handler: Any, max_msg_len: int | None = None, **more: Any) -> dict[str, Any]:
    """Run one task with a handler that fails, and return the record of its failure."""
    engine = FlowEngine(task_handlers={"bad": handler}, max_msg_len=max_msg_len)
    flow = Flow.from_flow_spec({"tasks": [task("a", "bad", **more)]})
    report = engine.tick_flow(flow)
    assert (report.failed, flow.status, statuses(flow)) == (["a"], "FAILED", {"a": "FAILED"})
    json.dumps(flow.to_flow_dict(), allow_nan=False)
    record: dict[str, Any] = flow.tasks["a"]["error"]
    assert "types" not in record
    assert record["at"] == flow.finished_at == flow.tasks["a"]["finished_at"]
    return record


def raise_(error: BaseException) -> None:
    raise error


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")


class TestRecord:
    def test_an_exception_is_recorded_with_type_message_and_traceback(self) -> None:
        record = fail(lambda: raise_(ValueError("too hot")))
        assert (record["type"], record["message"]) == ("ValueError", "too hot")
        assert record["traceback"].startswith("Traceback")
        assert "test_failures.py" in record["traceback"]
        assert record["traceback"].rstrip().endswith("ValueError: too hot")

    def test_an_exception_without_message_has_its_type_as_message(self) -> None:
        assert fail(lambda: raise_(KeyError()))["message"] == "KeyError"

    def test_sys_exit_is_a_failure(self) -> None:
        assert fail(lambda: sys.exit("bye"))["type"] == "SystemExit"

    def test_stop_iteration_is_a_failure(self) -> None:
        assert fail(lambda: next(iter([])))["type"] == "StopIteration"

    def test_a_deep_recursion_is_a_failure_with_a_bounded_traceback(self) -> None:
        def dig() -> None:
            dig()

        record = fail(dig)
        assert record["type"] == "RecursionError"
        assert len(record["traceback"]) <= 8_000

    @pytest.mark.parametrize(("limit", "kept"), [(None, 4_000), (10, 10), (0, 0)])
    def test_a_long_message_is_shortened(self, limit: int | None, kept: int) -> None:
        record = fail(lambda: raise_(ValueError("x" * 9_000)), limit)
        assert record["message"] == "x" * kept + f"... ({9_000 - kept} more characters)"
        assert len(record["traceback"]) == 8_000

    def test_an_error_whose_message_cannot_be_read_is_recorded(self) -> None:
        record = fail(lambda: raise_(UnreadableError()))
        assert record["type"] == "UnreadableError"
        assert record["message"] == "(its message could not be read: RuntimeError)"

    def test_a_message_that_is_no_text_for_json_is_recorded(self) -> None:
        assert fail(lambda: raise_(ValueError("half \ud800")))["message"] == "half \\ud800"

    def test_a_handler_says_failed_and_why(self) -> None:
        def say(task: dict[str, Any]) -> None:
            task.update(status="FAILED", error="no milk")

        record = fail(say)
        assert (record["type"], record["message"]) == ("TaskFailed", "no milk")

    @pytest.mark.parametrize("where", ["error", "data"])
    def test_a_handler_says_failed_with_a_record_of_its_own(self, where: str) -> None:
        given = {"type": "Cold", "message": "brr" * 10, "degrees": -5}

        def say(task: dict[str, Any]) -> None:
            task.update(
                status="FAILED", **({"error": given} if where == "error" else {"data": {"error": given}})
            )

        record = fail(say, 4)
        assert (record["type"], record["degrees"]) == ("Cold", -5)
        assert record["message"] == "brrb... (26 more characters)"

    def test_a_handler_says_failed_without_a_reason(self) -> None:
        record = fail(lambda task: task.update(status="FAILED"))
        assert record["message"] == "The handler set the status FAILED without giving a reason."

    @pytest.mark.parametrize("reason", [Unreadable(), {"message": Unreadable()}], ids=["text", "record"])
    def test_a_reason_that_cannot_be_read_is_recorded(self, reason: Any) -> None:
        record = fail(lambda task: task.update(status="FAILED", error=reason))
        assert record["message"] == "(its message could not be read: RuntimeError)"

    def test_a_reason_with_half_a_letter_is_kept(self) -> None:
        record = fail(lambda task: task.update(status="FAILED", error={"message": "\ud800"}))
        assert record["message"] == "\\ud800"

    @pytest.mark.parametrize("status", ["DONE", "PENDING", 7, None, ["COMPLETED"]])
    def test_a_status_that_a_handler_may_not_set_is_a_failure(self, status: Any) -> None:
        record = fail(lambda task: task.update(status=status))
        assert record["type"] == "StatusError"
        assert repr(status) in record["message"]

    def test_a_task_without_a_handler_fails(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "nope")]})
        FlowEngine().tick_flow(flow)
        assert flow.tasks["a"]["error"]["type"] == "UnknownTaskTypeError"

    def test_without_a_store_a_task_fails_that_began_with_a_version_that_went_away(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", "own")]})
        begin = Handler(lambda task, ctx: None, version="1")
        FlowEngine(task_handlers={"own": begin}).tick_flow(flow)
        flow = Flow.from_flow_dict(flow.to_flow_dict())
        FlowEngine(task_handlers={"own": Handler(begin.call, version="2")}).tick_flow(flow)
        assert flow.tasks["a"]["error"]["type"] == "HandlerVersionError"
        assert "begun with version '1'" in flow.tasks["a"]["error"]["message"]

    @pytest.mark.parametrize("task_type", [None, 5, [], {}])
    def test_a_task_type_that_is_no_name_fails_its_task(self, task_type: Any) -> None:
        flow = Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": task_type}]})
        FlowEngine().tick_flow(flow)
        assert statuses(flow) == {"a": "FAILED"}

    def test_a_reference_that_leads_nowhere_names_the_missing_step(self) -> None:
        record = fail(lambda: None, task_params={"x": "$ctx.flow.data.a.b"})
        assert record["type"] == "PathError"
        assert "'a'" in record["message"]

    def test_a_condition_that_cannot_be_evaluated_fails_the_task(self) -> None:
        called: list[int] = []
        when = {"value": "$ctx.flow.data.x", "op": "gt", "arg": 1}
        assert fail(lambda: called.append(1), cfg={"when": when})["type"] == "PathError"
        assert called == []

    @pytest.mark.parametrize("cfg", [{"when": 5}, {"timeout": "never"}, {"when": {"op": []}}])
    def test_a_cfg_that_cannot_be_read_fails_the_task(self, cfg: dict[str, Any]) -> None:
        fail(lambda: None, cfg=cfg)

    @pytest.mark.parametrize("retry", [5, [1], {"max_attempts": "x"}, {"max_attempts": 2, "delay": "soon"}])
    def test_a_retry_policy_that_cannot_be_read_is_on_record(self, retry: Any) -> None:
        record = fail(lambda: raise_(ValueError("first")), cfg={"retry": retry})
        assert record["message"] == "first"
        assert record["retry_error"].startswith("cfg.retry cannot be used")


class TestOutput:
    """What a handler leaves must be JSON, wherever in its task it leaves it."""

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            ({1}, "/data/x"),
            (float("nan"), "/data/x"),
            ({1: 2}, "/data/x"),
            ("\ud800", "/data/x"),
            ([b"x"], "/data/x/0"),
        ],
        ids=repr,
    )
    def test_a_value_that_json_cannot_hold_fails_its_task_with_its_place(
        self, value: Any, place: str
    ) -> None:
        record = fail(lambda: {"x": value})
        assert record["type"] == "NotJsonError"
        assert place in record["message"]

    @pytest.mark.parametrize("name", ["label", "extra", "task_params", 5])
    def test_it_is_found_outside_data_too(self, name: Any) -> None:
        assert fail(lambda task: task.update({name: {"x": object()}}), label="l")["type"] == "NotJsonError"

    def test_a_value_that_contains_itself_fails_its_task(self) -> None:
        def tie(task: dict[str, Any]) -> None:
            task["data"]["self"] = task["data"]

        assert fail(tie)["type"] == "NotJsonError"

    @pytest.mark.parametrize(
        "data", [None, [1], "text", 5, Unreadable()], ids=["null", "list", "text", "number", "odd"]
    )
    def test_data_must_be_a_mapping(self, data: Any) -> None:
        fail(lambda task: task.update(data=data, status="COMPLETED"))

    def test_a_task_dict_that_was_emptied_is_a_failure(self) -> None:
        def empty(task: dict[str, Any]) -> None:
            task.clear()

        engine = FlowEngine(task_handlers={"bad": empty})
        flow = Flow.from_flow_spec({"tasks": [task("a", "bad")]})
        engine.tick_flow(flow)
        assert (flow.status, flow.tasks["a"]["key"], flow.tasks["a"]["data"]) == ("FAILED", "a", {})
        Flow.from_flow_dict(flow.to_flow_dict())

    def test_what_can_be_converted_is_converted(self) -> None:
        engine = FlowEngine(task_handler=lambda: {"t": (1, 2)})
        flow = Flow.from_flow_spec({"tasks": [task("a")]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["data"] == {"t": [1, 2]}

    def test_bad_flow_data_fail_the_task_that_wrote_them(self) -> None:
        def write(flow: Flow) -> None:
            flow.data["bad"] = {1}

        engine = FlowEngine(task_handlers={"bad": write})
        flow = Flow.from_flow_spec(
            {"data": {"ok": 1}, "tasks": [task("a", precursors=[]), task("b", "bad", precursors=[])]}
        )
        engine.tick_flow(flow)
        assert statuses(flow) == {"a": "COMPLETED", "b": "FAILED"}
        assert "/flow/data/bad" in flow.tasks["b"]["error"]["message"]
        assert flow.data == {"ok": 1, "bad": None}

    def test_a_handler_that_raises_answers_for_what_it_wrote_elsewhere(self) -> None:
        def spoil(flow: Flow) -> None:
            flow.tasks["c"]["status"] = "DONE"
            flow.data["x"] = {1}
            raise ValueError("on top")

        engine = FlowEngine(task_handlers={"bad": spoil})
        tasks = [task("a", "bad", precursors=[]), task("b", precursors=[]), task("c", precursors=["a"])]
        flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks})
        engine.tick_flow(flow)
        assert statuses(flow) == {"a": "FAILED", "b": "COMPLETED", "c": "SKIPPED"}
        assert flow.tasks["a"]["error"]["message"] == "on top"
        assert flow.tasks["a"]["error"]["also"].startswith(
            "NotJsonError: JSON cannot hold a value of type set"
        )


class TestFailFast:
    def spec(self, **cfg: Any) -> dict[str, Any]:
        return {
            "cfg": cfg,
            "tasks": [
                task("running", "running", precursors=[]),
                task("waiting", "waiting", precursors=[]),
                task("bad", "bad", precursors=[]),
                task("after_bad", precursors=["bad"]),
                task("after_that"),
                task("quick", precursors=[]),
                task("after_quick", precursors=["quick"]),
            ],
        }

    def engine(self, cancelled: list[str]) -> FlowEngine:
        class Running(BaseTaskHandler):
            def tick_task(self) -> None:
                """Leave the task RUNNING."""

            def cancel(self) -> None:
                cancelled.append(self.task["key"])

        class Waiting(Running):
            def tick_task(self) -> None:
                self.wait_until(None)

        handlers = {"bad": lambda: raise_(ValueError()), "running": Running, "waiting": Waiting}
        return FlowEngine(task_handlers=handlers)

    def test_the_flow_ends_and_what_runs_is_cancelled(self) -> None:
        cancelled: list[str] = []
        flow = Flow.from_flow_spec(self.spec())
        report = self.engine(cancelled).tick_flow(flow)
        assert flow.status == "FAILED"
        assert statuses(flow) == {
            "running": "CANCELLED",
            "waiting": "CANCELLED",
            "bad": "FAILED",
            "after_bad": "PENDING",
            "after_that": "PENDING",
            "quick": "CANCELLED",
            "after_quick": "PENDING",
        }
        assert cancelled == ["running", "waiting"]
        assert report.cancelled == ["running", "waiting", "quick"]
        assert report.next_tick_at is None

    def test_without_it_the_rest_goes_on(self) -> None:
        cancelled: list[str] = []
        engine = self.engine(cancelled)
        flow = Flow.from_flow_spec(self.spec(fail_fast=False))
        report = engine.tick_flow(flow)
        assert report.skipped == ["after_bad", "after_that"]
        assert engine.tick_flow(flow).completed == ["after_quick"]
        flow.tasks["running"]["status"] = flow.tasks["waiting"]["status"] = "COMPLETED"
        engine.tick_flow(flow)
        assert (flow.status, cancelled) == ("FAILED", [])

    def test_an_allowed_failure_does_not_fail_the_flow(self) -> None:
        spec = {
            "tasks": [
                task("bad", "bad", cfg={"allow_failure": True}),
                task("after"),
                task("other", precursors=[]),
            ]
        }
        flow = FlowEngine(task_handlers={"bad": lambda: 1 / 0}).run_flow(Flow.from_flow_spec(spec))
        assert flow.status == "COMPLETED"
        assert statuses(flow) == {"bad": "FAILED", "after": "SKIPPED", "other": "COMPLETED"}

    @pytest.mark.parametrize("fail_fast", [True, False])
    def test_a_flow_with_a_failure_is_never_completed(self, fail_fast: bool) -> None:
        spec = {"cfg": {"fail_fast": fail_fast}, "tasks": [task("a"), task("bad", "bad")]}
        flow = Flow.from_flow_spec(spec)
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0})
        with pytest.raises(FlowEngine.FlowError) as caught:
            engine.run_flow(flow)
        assert caught.value.flow is flow
        assert flow.status == "FAILED"

    def test_a_chain_of_fifty_thousand_is_skipped(self) -> None:
        tasks = [task("bad", "bad"), *(task(f"t{n}") for n in range(50_000))]
        flow = Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks})
        report = FlowEngine(task_handlers={"bad": lambda: 1 / 0}).tick_flow(flow)
        assert len(report.skipped) == 50_000
        assert (flow.status, flow.count_tasks()) == ("FAILED", {"FAILED": 1, "SKIPPED": 50_000})

    def test_a_failure_is_never_reported_as_completed_through_a_round_trip(self) -> None:
        flow = Flow.from_flow_spec(
            {"cfg": {"fail_fast": False}, "tasks": [task("bad", "bad"), task("b", precursors=[]), task("c")]}
        )
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0})
        engine.tick_flow(flow)
        flow = Flow.from_flow_dict(flow.to_flow_dict())
        engine.tick_flow(flow)
        assert flow.status == "FAILED"


class TestCancel:
    def test_a_flow_is_cancelled_with_what_runs(self) -> None:
        class Running(BaseTaskHandler):
            def tick_task(self) -> None:
                """Leave the task RUNNING."""

        engine = FlowEngine(task_handler=Running)
        flow = Flow.from_flow_spec({"tasks": [task("a"), task("b")]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow, "not needed")
        assert (flow.status, statuses(flow)) == ("CANCELLED", {"a": "CANCELLED", "b": "PENDING"})
        assert flow.error is not None
        assert flow.error["message"] == "not needed"
        engine.cancel_flow(flow)
        assert engine.run_flow(flow).status == "CANCELLED"

    def test_what_was_written_before_counts(self) -> None:
        flow = Flow.from_flow_spec({"tasks": [task("a", status="RUNNING")]})
        flow.tasks["a"]["status"] = "COMPLETED"
        FlowEngine().cancel_flow(flow)
        assert statuses(flow) == {"a": "COMPLETED"}

    @pytest.mark.parametrize("how", ["raises", "exits", "is async", "leaves what is not json"])
    def test_a_cancel_that_fails_is_recorded_and_the_others_are_called(self, how: str) -> None:
        cancelled: list[str] = []

        class Bad(BaseTaskHandler):
            def tick_task(self) -> None:
                """Leave the task RUNNING."""

            def cancel(self) -> Any:
                cancelled.append(self.task["key"])
                if how == "raises":
                    raise ValueError("stuck")
                if how == "exits":
                    sys.exit()
                if how == "is async":
                    return self.later()
                self.data["x"] = {1}
                return None

            async def later(self) -> None:
                """Do nothing."""

        engine = FlowEngine(task_handler=Bad)
        flow = Flow.from_flow_spec({"tasks": [task("a", precursors=[]), task("b", precursors=[])]})
        engine.tick_flow(flow)
        engine.cancel_flow(flow)
        assert (flow.status, cancelled) == ("CANCELLED", ["a", "b"])
        expected = {
            "raises": "ValueError",
            "exits": "SystemExit",
            "is async": "CoroutineHandlerError",
            "leaves what is not json": "NotJsonError",
        }
        assert flow.tasks["b"]["error"]["type"] == expected[how]
        json.dumps(flow.to_flow_dict(), allow_nan=False)

    def test_a_handler_that_cancels_its_own_flow_and_raises_is_on_record(self) -> None:
        def handle(flow: Flow, task_ctx: Any) -> None:
            task_ctx["engine"].cancel_flow(flow)
            raise ValueError("and more")

        flow = Flow.from_flow_spec({"tasks": [task("a", precursors=[]), task("b", precursors=[])]})
        FlowEngine(task_handler=handle).tick_flow(flow)
        assert (flow.status, statuses(flow)) == ("CANCELLED", {"a": "CANCELLED", "b": "CANCELLED"})
        assert flow.tasks["a"]["error"]["message"] == "and more"

    def test_a_keyboard_interrupt_leaves_a_flow_that_can_be_ticked_again(self) -> None:
        interrupt = [True]

        def handle(task: dict[str, Any]) -> None:
            task["status"] = "COMPLETED"
            if interrupt:
                interrupt.clear()
                signal.raise_signal(signal.SIGINT)

        engine = FlowEngine(task_handler=handle)
        flow = Flow.from_flow_spec({"tasks": [task("a", precursors=[]), task("b", precursors=[])]})
        with pytest.raises(KeyboardInterrupt):
            engine.tick_flow(flow)
        assert statuses(flow) == {"a": "RUNNING", "b": "PENDING"}
        flow.check_invariants()
        assert engine.run_flow(flow).status == "COMPLETED"


class TestFlowsOwnFailures:
    def test_results_are_read_when_the_flow_completes(self) -> None:
        spec = {
            "results": {"x": "$ctx.flow.tasks.a.data.v", "all": "$ctx.flow.data"},
            "data": {"d": [1]},
            "tasks": [task("a", "value")],
        }
        flow = FlowEngine(task_handlers={"value": lambda: {"v": {"w": 1}}}).run_flow(
            Flow.from_flow_spec(spec)
        )
        assert flow.results == {"x": {"w": 1}, "all": {"d": [1]}}
        flow.tasks["a"]["data"]["v"]["w"] = 2
        flow.data["d"].append(2)
        assert flow.results == {"x": {"w": 1}, "all": {"d": [1]}}

    def test_a_result_that_is_not_there_fails_the_flow_and_is_named(self) -> None:
        flow = Flow.from_flow_spec({"results": {"x": "$ctx.flow.tasks.a.data.v"}, "tasks": [task("a")]})
        FlowEngine().tick_flow(flow)
        assert (flow.status, statuses(flow), flow.results) == ("FAILED", {"a": "COMPLETED"}, None)
        assert flow.error is not None
        assert flow.error["type"] == "PathError"
        assert "ctx.flow.tasks.a.data.v" in flow.error["message"]

    @pytest.mark.parametrize("path", ["$ctx.flow", "$ctx.engine", 5])
    def test_a_result_that_is_not_data_fails_the_flow(self, path: Any) -> None:
        flow = Flow.from_flow_spec({"results": {"x": path}})
        FlowEngine().tick_flow(flow)
        assert flow.status == "FAILED"
        json.dumps(flow.to_flow_dict())

    def test_tasks_that_can_never_start_fail_the_flow(self) -> None:
        flow_dict = Flow.from_flow_spec({"tasks": [task("a"), task("b", precursors=[])]}).to_flow_dict()
        flow_dict["graph"]["tasks"]["a"]["cfg"] = {"start_when": {"all": [{"task": "b", "status": "FAILED"}]}}
        flow_dict["graph"]["edges"] = [
            {"src_key": "b", "dest_key": "a"},
            {"src_key": "ROOT", "dest_key": "b"},
        ]
        flow = Flow.from_flow_dict(flow_dict)
        FlowEngine().run_flow(flow)
        assert statuses(flow) == {"a": "SKIPPED", "b": "COMPLETED"}


class TestEntriesOfTheEngine:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("key", "zz"), ("task_type", "noop"), ("attempt", "q"), ("cfg", {"priority": "x"}), ("cfg", None)],
    )
    def test_a_handler_that_changes_one_fails_and_it_is_put_back(self, name: str, value: Any) -> None:
        def change(task: dict[str, Any]) -> None:
            task[name] = value

        spec = {"tasks": [{"key": "a", "task_type": "change", "cfg": {"priority": 1}}]}
        engine = FlowEngine(task_handlers={"change": change})
        flow = Flow.from_flow_spec(spec)
        engine.tick_flow(flow)
        task = flow.tasks["a"]
        assert task["status"] == "FAILED"
        assert task["error"]["type"] == "TaskHandlerError"
        assert f"changed {name}" in task["error"]["message"]
        assert (task["key"], task["task_type"], task["attempt"]) == ("a", "change", 1)
        assert task["cfg"] == {"priority": 1}
        assert Flow.from_flow_dict(flow.to_flow_dict()).to_flow_dict() == flow.to_flow_dict()

    def test_a_handler_that_sets_the_status_of_the_flow_fails(self) -> None:
        def end(flow: Flow) -> None:
            flow.status = "COMPLETED"

        engine = FlowEngine(task_handlers={"end": end})
        flow = Flow.from_flow_spec(
            {"tasks": [{"key": "a", "task_type": "end"}, {"key": "b", "task_type": "end"}]}
        )
        engine.tick_flow(flow)
        assert flow.status == "FAILED"
        assert "the flow's status" in flow.tasks["a"]["error"]["message"]

    def test_data_of_a_flow_that_are_no_mapping_fail_the_task_that_set_them(self) -> None:
        def set_data(flow: Flow) -> None:
            flow.data = [1]  # type: ignore[assignment]

        engine = FlowEngine(task_handlers={"set": set_data})
        flow = Flow.from_flow_spec({"data": {"x": 1}, "tasks": [{"key": "a", "task_type": "set"}]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["error"]["type"] == "FlowFormatError"
        assert flow.data == {"x": 1}

    def test_an_entry_that_was_removed_is_named(self) -> None:
        engine = FlowEngine(task_handlers={"clear": lambda task: task.clear()})
        flow = Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "clear"}]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["status"] == "FAILED"
        assert "changed key" in flow.tasks["a"]["error"]["message"]
