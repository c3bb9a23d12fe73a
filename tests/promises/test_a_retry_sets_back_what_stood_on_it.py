"""What a person's retry or skip means for what has ended because something else failed or was skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import ControlError
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.partial_flows import never_read_whole

Spec = dict[str, Any]


def task(key: str, task_type: str, *precursors: str, params: Spec | None = None, **cfg: Any) -> Spec:
    task_params = {"task_params": params} if params else {}
    return {"key": key, "task_type": task_type, "precursors": list(precursors), "cfg": cfg, **task_params}


class Desk:
    """A flow in memory, taken through its dict after each tick; tasks `flaky` fail until mended."""

    def __init__(self) -> None:
        self.is_broken = True
        self.calls: list[str] = []
        self.clock = ManualClock()
        self.engine = FlowEngine(task_handlers={"flaky": self.act, "note": self.note}, clock=self.clock)

    def note(self, task_ctx: Any) -> None:
        self.calls.append(task_ctx["idempotency_key"])

    def act(self, task_ctx: Any) -> None:
        self.note(task_ctx)
        if self.is_broken:
            raise ValueError

    def begin(self, *tasks: Spec) -> dict[str, str]:
        """Run tasks as far as they go, and return their statuses."""
        spec = {"key": "f", "cfg": {"fail_fast": False}, "tasks": list(tasks)}
        self.start(self.engine.flow_spec_to_flow(spec))
        return self.run()

    def run(self) -> dict[str, str]:
        for _ in range(10):
            self.tick()
        return self.statuses()

    def statuses(self) -> dict[str, str]:
        flow = self.flow()
        flow.check_invariants()
        return {key: found["status"] for key, found in flow.tasks.items()}

    def mend(self, *tasks: str) -> dict[str, str]:
        """Let nothing fail any more, retry, and return the statuses right after that."""
        self.is_broken = False
        self.ask("retry", *tasks)
        return self.statuses()

    def start(self, flow: Flow) -> None:
        self.in_memory = flow

    def flow(self) -> Flow:
        return self.in_memory

    def tick(self) -> None:
        self.engine.tick_flow(self.in_memory)
        self.in_memory = Flow.from_flow_dict(json.loads(json.dumps(self.in_memory.to_flow_dict())))

    def ask(self, kind: str, *tasks: str, **given: Any) -> None:
        self.engine.control(self.in_memory, kind, tasks=tasks, by="ann", **given)


class StoredDesk(Desk):
    """The same in a store; what a runner reads of it is no more than what it needs."""

    def start(self, flow: Flow) -> None:
        self.store = FlowStore("sqlite://", clock=self.clock, partial_from=1)
        self.runner = FlowRunner(self.store, self.engine)
        self.store.create(flow)

    def flow(self) -> Flow:
        return self.store.load("f")

    def tick(self) -> None:
        with never_read_whole():
            assert not self.runner.tick().errors

    def ask(self, kind: str, *tasks: str, **given: Any) -> None:
        with never_read_whole():
            assert self.runner.control("f", make_control(kind, tasks=tasks, by="ann", **given)).done


@pytest.fixture(params=[Desk, StoredDesk], ids=["in memory", "stored"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = request.param()
    yield made
    if isinstance(made, StoredDesk):
        made.store.close()


def test_what_stood_on_a_failure_is_decided_anew_and_nothing_else(desk: Desk) -> None:
    assert desk.begin(
        task("t0", "flaky"),
        task("t3", "note", "t0"),
        task("t4", "note", "t3", start_when={"any": [{"task": "t3", "status": "SKIPPED"}]}),
        task("clean", "note", "t3", start_when="any_failed"),
        task("report", "note", "clean", "t4", start_when="all_finished"),
        task("other", "note"),
        task("either", "note", "other", "t0", start_when="any_completed"),
    ) == {"t0": "FAILED", "t3": "SKIPPED"} | dict.fromkeys(
        ("t4", "clean", "report", "other", "either"), "COMPLETED"
    )
    assert desk.mend() == dict.fromkeys(("t0", "t3", "t4", "clean", "report"), "PENDING") | dict.fromkeys(
        ("other", "either"), "COMPLETED"
    )
    desk.calls.clear()
    assert desk.run() == {"t4": "SKIPPED", "clean": "SKIPPED"} | dict.fromkeys(
        ("t0", "t3", "report", "other", "either"), "COMPLETED"
    )
    assert desk.calls == ["f/t0/2", "f/t3/1", "f/report/2"]
    assert desk.flow().status == "COMPLETED"


def test_a_clean_up_runs_again_where_the_task_fails_again(desk: Desk) -> None:
    desk.begin(task("a", "flaky"), task("clean", "note", "a", start_when="any_failed"))
    desk.ask("retry")
    assert desk.run() == {"a": "FAILED", "clean": "COMPLETED"}
    assert desk.calls == ["f/a/1", "f/clean/1", "f/a/2", "f/clean/2"]


def test_one_task_that_is_retried_sets_back_what_stood_on_it_alone(desk: Desk) -> None:
    desk.begin(
        *(task(key, "flaky") for key in "ab"),
        *(task(f"clean_{key}", "note", key, start_when="any_failed") for key in "ab"),
        task("clean_up", "note", "a", "b", start_when="any_failed"),
    )
    assert desk.mend("a") == {"a": "PENDING", "b": "FAILED", "clean_a": "PENDING"} | dict.fromkeys(
        ("clean_b", "clean_up"), "COMPLETED"
    )


def test_what_runs_because_of_the_failure_is_stopped(desk: Desk) -> None:
    ask = task("ask", "wait_for_signal", "a", params={"signal": "what_now"}, start_when="any_failed")
    last = task("last", "wait", params={"duration": "1h"})
    assert desk.begin(task("a", "flaky"), ask, last) == {"a": "FAILED"} | dict.fromkeys(
        ("ask", "last"), "WAITING"
    )
    assert desk.mend() == {"a": "PENDING", "ask": "PENDING", "last": "WAITING"}
    desk.clock.advance(3600)
    assert desk.run() == {"a": "COMPLETED", "ask": "SKIPPED", "last": "COMPLETED"}


@pytest.mark.parametrize("container", ["inline_flow", "flow"])
def test_inside_a_container_too(desk: Desk, container: str) -> None:
    inner = [task("a", "flaky"), task("clean", "note", "a", start_when="any_failed"), task("b", "note")]
    flow_spec = {"cfg": {"fail_fast": False}, "tasks": inner}
    desk.begin(task("outer", container, params={"flow_spec": flow_spec}))
    desk.mend()
    assert desk.run() == {"outer": "COMPLETED"}
    assert [key.rpartition("outer/1/")[2] for key in desk.calls] == ["a/1", "b/1", "clean/1", "a/2"]


@pytest.mark.parametrize("container", ["inline_flow", "flow"])
def test_a_container_that_stood_on_a_failure_begins_anew(desk: Desk, container: str) -> None:
    inner = task("inner", container, "a", params={"flow_spec": {"tasks": [task("x", "note")]}})
    inner["cfg"] = {"start_when": "all_finished"}
    assert desk.begin(task("a", "flaky"), inner) == {"a": "FAILED", "inner": "COMPLETED"}
    assert desk.mend() == {"a": "PENDING", "inner": "PENDING"}
    assert desk.run() == {"a": "COMPLETED", "inner": "COMPLETED"}
    assert [key.removeprefix("f/") for key in desk.calls] == ["a/1", "inner/1/x/1", "a/2", "inner/2/x/1"]


def test_what_was_skipped_for_a_failure_is_decided_anew_when_a_person_skips_what_failed(desk: Desk) -> None:
    wait = task("wait", "wait", params={"duration": "1h"})
    desk.begin(
        task("a", "flaky"),
        wait,
        task("b", "note", "a"),
        task("go", "note", "b", start_when="none_failed"),
        task("clean", "note", "b", start_when="any_failed"),
    )
    assert desk.statuses() == {"a": "FAILED", "wait": "WAITING", "clean": "COMPLETED"} | dict.fromkeys(
        ("b", "go"), "SKIPPED"
    )
    desk.ask("skip", "a")
    assert desk.run() == {"a": "SKIPPED", "b": "SKIPPED", "wait": "WAITING"} | dict.fromkeys(
        ("go", "clean"), "COMPLETED"
    )
    assert "skipped_for" not in desk.flow().tasks["b"]


def test_skipping_what_failed_counts_it_once(desk: Desk) -> None:
    waits = [task(key, "wait", params={"duration": "1h"}) for key in "bc"]
    join = task("join", "note", "a", "b", "c", start_when="all_finished")
    any_of = task("any", "note", "a", "b", start_when="any_completed")
    desk.begin(task("a", "flaky"), *waits, join, any_of)
    desk.ask("skip", "a")
    assert desk.run() == {"a": "SKIPPED"} | dict.fromkeys("bc", "WAITING") | dict.fromkeys(
        ("join", "any"), "PENDING"
    )
    desk.clock.advance(3600)
    assert set(desk.run().values()) == {"COMPLETED", "SKIPPED"}


def test_a_flow_whose_results_are_missing_is_not_retried_in_vain(desk: Desk) -> None:
    spec = {"key": "f", "results": {"sum": "$ctx.flow.data.sum"}, "tasks": [task("a", "note")]}
    desk.start(desk.engine.flow_spec_to_flow(spec))
    desk.run()
    assert desk.flow().status == "FAILED"
    with pytest.raises(ControlError, match=r"would fail again at once: .*'sum'.*houston set f"):
        desk.ask("retry")
    assert desk.flow().status == "FAILED"
    desk.ask("set", data={"sum": 3})
    desk.ask("retry")
    desk.run()
    assert (desk.flow().status, desk.flow().results, desk.calls) == ("COMPLETED", {"sum": 3}, ["f/a/1"])
