"""Whatever the spec: each task runs as it should, the flow ends, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.errors import GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from mc.task_handlers.base_task_handler import BaseTaskHandler

MAX_TICKS = 400
Trip = Callable[[Flow], Flow]


def stay(flow: Flow) -> Flow:
    return flow


def copy(flow: Flow) -> Flow:
    return Flow.from_flow_dict(flow.to_flow_dict())


def through_sorted_text(flow: Flow) -> Flow:
    return Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict(), sort_keys=True, allow_nan=False)))


class Act(BaseTaskHandler):
    """Does what its parameters say.

    `fails`: how many attempts fail; `polls`: ticks that find it unfinished; `waits`: seconds for which
    it then waits; `adds`: tasks that it adds; `writes`: statuses that it writes into other tasks.
    """

    def tick_task(self) -> None:
        params, data = self.params, self.data
        if "initialised" not in self.task:
            data.update(polls=params.get("polls", 0), waits=list(params.get("waits", ())))
            self.grow(params)
        if data["polls"]:
            data["polls"] -= 1
        elif data["waits"]:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=data["waits"].pop()))
        elif self.task["attempt"] <= params.get("fails", 0):
            raise ValueError(f"attempt {self.task['attempt']}")
        else:
            self.complete()

    def grow(self, params: dict[str, Any]) -> None:
        flow = self.task_ctx.flow
        for task in params.get("adds", ()):
            try:
                flow.add_task(task)
            except GraphError:
                continue  # its key is taken, an end is not there or has started, or it would close a cycle
        for key, status in params.get("writes", {}).items():
            if key in flow.tasks and key != self.task["key"]:
                flow.tasks[key]["status"] = status


class Recorder:
    def __init__(self) -> None:
        self.events: list[ChangeEvent] = []

    def on_change(self, event: ChangeEvent) -> None:
        error = {name: event.error[name] for name in ("type", "message")} if event.error else None
        self.events.append(event._replace(error=error))


def run(spec: dict[str, Any], trip: Trip = stay, strict: bool = True) -> tuple[Flow, list[ChangeEvent]]:
    """Tick a flow to its end, taking the trip between ticks, and return it with its history."""
    clock, recorder = ManualClock(), Recorder()
    engine = FlowEngine(task_handlers={"act": Act}, clock=clock, observers=[recorder])
    flow = engine.flow_spec_to_flow(spec) if strict else Flow.from_flow_spec(spec)
    while flow.status not in {"FAILED", "COMPLETED"}:
        report = engine.tick_flow(flow)
        flow.check_invariants()
        flow = trip(flow)
        flow.check_invariants()
        assert flow.ticks <= MAX_TICKS
        if flow.status == "RUNNING":
            assert report.next_tick_at is not None
            clock.advance(max((report.next_tick_at - clock.now()).total_seconds(), 0))
    assert report.next_tick_at is None
    return flow, recorder.events


@st.composite
def graphs(draw: st.DrawFn, max_tasks: int = 10) -> list[dict[str, Any]]:
    """Tasks with edges, in an order that need not be that of the edges."""
    count = draw(st.integers(0, max_tasks))
    names = draw(st.permutations([f"t{number}" for number in range(count)]))
    tasks = []
    for place, name in enumerate(names):
        earlier = st.lists(st.sampled_from(names[:place]), unique=True, max_size=4) if place else st.just([])
        task: dict[str, Any] = {"key": name, "task_type": "act", "precursors": draw(earlier)}
        tasks.append(task)
    return draw(st.permutations(tasks))


STATUSES = ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"]


@st.composite
def start_rules(draw: st.DrawFn, precursors: list[str]) -> Any:
    named = ["all_completed", "all_finished", "any_completed", "none_failed"]
    if not precursors:
        return draw(st.sampled_from(named))
    conditions = st.fixed_dictionaries(
        {
            "task": st.sampled_from(precursors),
            "status": st.sampled_from(STATUSES)
            | st.lists(st.sampled_from(STATUSES), min_size=1, unique=True),
        }
    )
    custom = st.builds(dict, any=st.lists(conditions, min_size=1, max_size=3)) | st.builds(
        dict, all=st.lists(conditions, min_size=1, max_size=3, unique_by=lambda condition: condition["task"])
    )
    return draw(st.sampled_from([*named, "any_failed"]) | custom)


@st.composite
def task_cfgs(draw: st.DrawFn, precursors: list[str]) -> dict[str, Any]:
    cfg: dict[str, Any] = {}
    if draw(st.booleans()):
        cfg["start_when"] = draw(start_rules(precursors))
    if draw(st.integers(0, 4)) == 0:
        cfg["when"] = {draw(st.sampled_from(["all", "any"])): []}
    if draw(st.booleans()):
        retry: dict[str, Any] = {"max_attempts": draw(st.integers(1, 3))}
        if draw(st.booleans()):
            retry.update(delay=draw(st.integers(0, 100)), backoff=2, jitter=draw(st.sampled_from([0, 0.5])))
        cfg["retry"] = retry
    if draw(st.integers(0, 2)) == 0:
        cfg["allow_failure"] = True
    if draw(st.integers(0, 3)) == 0:
        cfg["timeout"] = draw(st.integers(1, 150))
    if draw(st.integers(0, 3)) == 0:
        cfg["priority"] = draw(st.integers(-2, 2))
    return cfg


@st.composite
def wild_specs(draw: st.DrawFn) -> dict[str, Any]:
    tasks = draw(graphs(7))
    for task in tasks:
        cfg = draw(task_cfgs(task["precursors"]))
        if cfg:
            task["cfg"] = cfg
        task["task_params"] = {
            "fails": draw(st.sampled_from([0, 0, 0, 1, 2, 9])),
            "polls": draw(st.integers(0, 2)),
            "waits": draw(st.lists(st.integers(0, 100), max_size=2)),
        }
    cfg = {"fail_fast": draw(st.booleans())}
    if draw(st.booleans()):
        cfg["max_running_tasks"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 4)) == 0:
        cfg["timeout"] = draw(st.integers(1, 300))
    return {"key": "f", "cfg": cfg, "tasks": tasks}


@st.composite
def meddling_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Specs whose tasks add tasks and write statuses into other tasks."""
    spec = draw(wild_specs())
    spec["cfg"]["max_ticks"] = 60
    keys = [task["key"] for task in spec["tasks"]] + ["x0", "x1", "x2"]
    some_keys = st.lists(st.sampled_from(keys), unique=True, max_size=3)
    added = st.fixed_dictionaries(
        {
            "key": st.sampled_from(["x0", "x1", "x2"]),
            "task_type": st.just("act"),
            "precursors": some_keys,
            "successors": some_keys,
        }
    )
    for task in spec["tasks"]:
        if draw(st.booleans()):
            task["task_params"]["adds"] = draw(st.lists(added, max_size=2))
        if draw(st.integers(0, 2)) == 0:
            task["task_params"]["writes"] = draw(
                st.dictionaries(
                    st.sampled_from(keys), st.sampled_from([*STATUSES, "RUNNING", "PENDING"]), max_size=2
                )
            )
    return spec


class TestSuccess:
    def check(self, tasks: list[dict[str, Any]], trip: Trip) -> None:
        flow, events = run({"tasks": tasks}, trip)
        completed = [event.task_key for event in events if event.task_key and event.new_status == "COMPLETED"]
        started = [event.task_key for event in events if event.task_key and event.new_status == "RUNNING"]
        assert sorted(completed) == sorted(started) == sorted(task["key"] for task in tasks)
        done: set[str | None] = set()
        for event in events:
            if event.task_key and event.new_status == "RUNNING":
                assert {task["key"] for task in flow.get_precursors(event.task_key)} <= done | {"ROOT"}
            elif event.new_status == "COMPLETED":
                done.add(event.task_key)
        assert flow.status == "COMPLETED"

    @given(graphs(20))
    def test_each_task_runs_once_and_after_all_its_precursors(self, tasks: list[dict[str, Any]]) -> None:
        self.check(tasks, stay)

    @given(graphs(12))
    def test_also_through_a_flow_dict_after_every_tick(self, tasks: list[dict[str, Any]]) -> None:
        self.check(tasks, through_sorted_text)

    @given(graphs(20))
    def test_the_number_of_ticks_is_the_length_of_the_longest_path(self, tasks: list[dict[str, Any]]) -> None:
        flow, _ = run({"tasks": tasks})
        before = {task["key"]: task["precursors"] for task in tasks}

        def length(key: str) -> int:
            return 1 + max((length(other) for other in before[key]), default=0)

        assert flow.ticks == max((length(key) for key in before), default=1)


class TestAnySpec:
    @given(wild_specs())
    def test_every_accepted_spec_ends(self, spec: dict[str, Any]) -> None:
        flow, _ = run(spec)
        counts = flow.count_tasks()
        assert not counts.keys() & {"RUNNING", "WAITING"}
        uncalled_for = [
            task
            for task in flow.get_tasks_by_status("FAILED")
            if not task.get("cfg", {}).get("allow_failure")
        ]
        if uncalled_for:
            assert flow.status == "FAILED"
        else:
            assert flow.status == "COMPLETED" or flow.error is not None
        if flow.status == "COMPLETED":
            assert "PENDING" not in counts
        for task in flow.get_tasks_by_status("FAILED"):
            assert task["error"]["type"]
            assert task["error"]["message"]

    @given(wild_specs())
    def test_its_history_is_the_same_through_a_flow_dict_after_every_tick(self, spec: dict[str, Any]) -> None:
        flow, events = run(spec)
        for trip in (copy, through_sorted_text):
            other, others = run(spec, trip)
            assert others == events
            assert other.count_tasks() == flow.count_tasks()
            assert other.ticks == flow.ticks

    @given(wild_specs(), st.integers(0, 6))
    def test_a_round_trip_loses_nothing(self, spec: dict[str, Any], ticks: int) -> None:
        engine = FlowEngine(task_handlers={"act": Act}, clock=ManualClock())
        flow = engine.flow_spec_to_flow(spec)
        for _ in range(ticks):
            engine.tick_flow(flow)
        flow_dict = flow.to_flow_dict()
        for trip in (copy, through_sorted_text):
            assert trip(flow).to_flow_dict() == flow_dict
            assert list(trip(flow).tasks) == list(flow.tasks)

    @given(wild_specs())
    def test_the_spec_is_not_changed(self, spec: dict[str, Any]) -> None:
        before = json.dumps(spec)
        run(spec)
        assert json.dumps(spec) == before

    @given(meddling_specs())
    def test_tasks_that_meddle_with_others_change_nothing_of_this(self, spec: dict[str, Any]) -> None:
        flow, events = run(spec)
        other, others = run(spec, through_sorted_text)
        assert others == events
        assert other.to_flow_dict()["graph"]["order"] == flow.to_flow_dict()["graph"]["order"]
        assert other.count_tasks() == flow.count_tasks()
