"""A spread fails when more items fail than it tolerates, or too few can be COMPLETED, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from mc.errors import FlowError, FlowFormatError
from mc.flows.controls.apply_control import apply_control
from mc.flows.controls.control import Control, ControlKind
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.spec.validation import find_problems

WAYS = [
    {},
    {"container_task_type": "flow"},
    {"item_container": "flow"},
    {"item_container": "flow", "container_task_type": "flow"},
]
VALUE = "ctx.item.value => ctx.skeleton.task_params.value"
TYPES = {"act", "spread"}
WANTED = {"value": "$ctx.task.task_params.value", "op": "ne", "arg": "skipped"}


def spec_of(items: Any, cfg: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    skeleton = {"task_type": "act", "cfg": {"when": WANTED, **(cfg or {})}}
    mapping = {"skeleton": skeleton, "wirings": [VALUE]}
    params = {"items": items, "mapping_params": mapping, **params}
    return {"tasks": [{"key": "t", "task_type": "spread", "task_params": params}]}


class Bench:
    """Runs spreads whose items fail where they are `bad`, and notes which were called."""

    def __init__(self) -> None:
        self.called: list[Any] = []
        self.is_mended = False
        self.engine = FlowEngine(task_handlers={"act": self.act})

    def act(self, task: dict[str, Any]) -> dict[str, Any]:
        value = task["task_params"]["value"]
        self.called.append(value)
        if value == "bad" and not self.is_mended:
            raise ValueError("bad")
        return {"is": value}

    def run(self, items: Any, cfg: dict[str, Any] | None = None, **params: Any) -> Flow:
        flow = Flow.from_flow_spec(spec_of(items, cfg, **params))
        self.go_on(flow)
        return flow

    def go_on(self, flow: Flow) -> None:
        try:
            self.engine.run_flow(flow)
        except FlowError:
            assert flow.status == "FAILED"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def message_of(flow: Flow) -> str:
    message: str = flow.tasks["t"]["error"]["message"]
    return message


GOOD = {"is": "good"}


@pytest.mark.parametrize("way", WAYS)
class TestLimits:
    """In each container."""

    def test_failures_that_are_tolerated_leave_null(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["good", "bad", "good", "bad"], tolerated_failures=2, **way)
        assert flow.tasks["t"]["data"]["results"] == [GOOD, None, GOOD, None]
        assert flow.status == "COMPLETED"
        flow = bench.run({"a": "bad", "b": "good"}, min_completed="50%", **way)
        assert flow.tasks["t"]["data"]["results"] == {"a": None, "b": GOOD}

    def test_the_first_failure_too_many_stops_it_at_once(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["bad", "good", "bad", "good"], tolerated_failures="25%", **way)
        assert flow.tasks["t"]["status"] == "FAILED"
        assert "FailureLimitError: 2 of 4 items failed, and tolerated_failures is 1." in message_of(flow)
        assert "ValueError: bad" in message_of(flow)
        assert bench.called == ["bad", "good", "bad"]

    def test_it_stops_when_too_few_can_be_completed(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["good", "skipped", "bad", "good", "good"], min_completed=4, **way)
        assert flow.tasks["t"]["status"] == "FAILED"
        assert (
            "Of 5 items at most 3 can be COMPLETED, and min_completed is 4: 1 failed and 1 were skipped."
            in message_of(flow)
        )
        assert bench.called == ["good", "bad"]

    def test_skipped_items_alone_can_be_too_many(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["good", "skipped", "good"], min_completed=3, **way)
        assert flow.tasks["t"]["status"] == "FAILED"
        assert bench.called == ["good"]

    def test_those_that_may_fail_count_for_one_limit_only(self, bench: Bench, way: dict[str, Any]) -> None:
        allowed = {"allow_failure": True}
        flow = bench.run(["bad", "bad", "good"], allowed, tolerated_failures=0, **way)
        assert flow.tasks["t"]["data"]["results"] == [None, None, GOOD]
        flow = bench.run(["bad", "bad", "good"], allowed, min_completed=2, **way)
        assert flow.tasks["t"]["status"] == "FAILED"

    def test_an_attempt_that_is_followed_by_another_does_not_count(
        self, bench: Bench, way: dict[str, Any]
    ) -> None:
        items = ["bad", "good", "good"]
        flow = bench.run(items, {"retry": {"max_attempts": 3}}, tolerated_failures=1, **way)
        assert flow.tasks["t"]["data"]["results"] == [None, GOOD, GOOD]
        assert bench.called.count("bad") == 3

    def test_when_enough_are_completed_the_rest_go_on(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["good"] * 3, min_completed=1, **way)
        assert flow.tasks["t"]["data"]["results"] == [GOOD] * 3

    def test_a_retry_tries_all_that_failed_again(self, bench: Bench, way: dict[str, Any]) -> None:
        flow = bench.run(["bad", "good", "bad", "good"], tolerated_failures=1, **way)
        bench.is_mended, bench.called = True, []
        apply_control(bench.engine, flow, Control(kind=ControlKind.RETRY, by="ada"))
        bench.go_on(flow)
        assert flow.tasks["t"]["data"]["results"] == [{"is": "bad"}, GOOD, {"is": "bad"}, GOOD]
        assert bench.called == ["bad", "bad", "good"]

    def test_more_than_there_are_cannot_be_completed(self, bench: Bench, way: dict[str, Any]) -> None:
        for items, least in (([], 1), (["good"] * 2, 3)):
            flow = bench.run(items, min_completed=least, **way)
            assert f"task_params.min_completed is {least}, and there are {len(items)} items" in message_of(
                flow
            )
        assert bench.called == []
        assert bench.run([], min_completed="100%", tolerated_failures=5, **way).status == "COMPLETED"


def test_the_limits_go_with_the_flow_through_its_dict(bench: Bench) -> None:
    one_by_one = {"cfg": {"max_running_tasks": 1}}
    flow = Flow.from_flow_spec({**spec_of(["bad", "good"], tolerated_failures=1), **one_by_one})
    bench.engine.tick_flow(flow)
    flow_dict = flow.to_flow_dict()
    copy = bench.engine.flow_dict_to_flow(flow_dict)
    bench.go_on(copy)
    assert copy.tasks["t"]["data"]["results"] == [None, GOOD]
    flow_dict["graph"]["tasks"]["t"]["flow_dict"]["cfg"]["tolerated_failures"] = "some"
    with pytest.raises(FlowFormatError, match="/graph/tasks/t/flow_dict/cfg/tolerated_failures"):
        bench.engine.flow_dict_to_flow(flow_dict)


@pytest.mark.parametrize("limit", [-1, "10", "101%", "1e1%", True, 1.5, [1]])
def test_a_limit_that_a_reference_gives_wrong_fails_the_spread(bench: Bench, limit: Any) -> None:
    flow = bench.run(["good"], tolerated_failures=limit)
    assert "expected a whole number of at least 0, or a percentage" in message_of(flow)


@pytest.mark.parametrize(
    ("count", "limit", "means"),
    [(15, "10%", 1), (9, "99.9%", 8), (7, "0%", 0), (29, "100%", 29), (3, 2.0, 2)],
)
def test_percentages_are_rounded_down(bench: Bench, count: int, limit: Any, means: int) -> None:
    items = ["bad"] * means + ["good"] * (count - means)
    assert bench.run(items, tolerated_failures=limit).status == "COMPLETED"
    if means < count:
        assert bench.run(["bad", *items[:-1]], tolerated_failures=limit).status == "FAILED"


class TestValidation:
    """What cannot be kept to is a problem of the spec."""

    @pytest.mark.parametrize(
        ("params", "name", "code"),
        [
            ({"min_completed": 3}, "min_completed", "MC123 contradiction"),
            ({"min_completed": 2, "tolerated_failures": 1}, "tolerated_failures", "MC123 contradiction"),
            ({"min_completed": "50%", "tolerated_failures": 2}, "tolerated_failures", "MC123 contradiction"),
            ({"min_completed": "101%"}, "min_completed", "MC006 wrong-form"),
            ({"tolerated_failures": -1}, "tolerated_failures", "MC005 out-of-range"),
            ({"tolerated_failures": True}, "tolerated_failures", "MC001 wrong-type"),
        ],
    )
    def test_with_a_list(self, params: dict[str, Any], name: str, code: str) -> None:
        (problem,) = find_problems(spec_of([1, 2], **params), task_types=TYPES)
        assert (problem.pointer, problem.code) == (f"/tasks/0/task_params/{name}", code)

    def test_percentages_also_without_one(self) -> None:
        params = {"min_completed": "90%", "tolerated_failures": "20%"}
        (problem,) = find_problems(spec_of("$ctx.flow.data.items", **params), task_types=TYPES)
        assert problem.code == "MC123 contradiction"

    @pytest.mark.parametrize(
        "params",
        [
            {"min_completed": 2, "tolerated_failures": 0},
            {"min_completed": "90%", "tolerated_failures": "10%"},
            {"min_completed": "$ctx.flow.data.n", "tolerated_failures": "99.5%"},
            {"min_completed": "0%", "tolerated_failures": "100.0%"},
        ],
    )
    def test_what_can_be_kept_to_is_none(self, params: dict[str, Any]) -> None:
        assert not find_problems(spec_of([1, 2], **params), task_types=TYPES)
