"""Retries and timeouts of stored flows, each tick made by a runner that has just been started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.durations import format_time
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import check_store

RETRY = {"max_attempts": 5, "delay": "10s", "backoff": 2, "max_delay": "1m", "jitter": 0.3}

Tick = Callable[[], Flow]


class Stuck(BaseTaskHandler):
    """Waits for an event that never comes, and tells when it is stopped."""

    has_effects = False

    def tick_task(self) -> None:
        self.wait_until(None)

    def cancel(self) -> None:
        self.task_ctx.engine.logger.warning("stopped %s", self.task["key"])


def fail(task: dict[str, Any]) -> None:
    raise ConnectionError(f"attempt {task['attempt']}")


def make_engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(task_handlers={"fail": fail, "stuck": Stuck}, clock=clock)


@pytest.fixture
def tick(store_url: str, store_name: str, store: FlowStore, clock: ManualClock) -> Iterator[Tick]:
    """A function that ticks all that is due by a new store, engine and runner, and returns flow `f`."""
    ticks = 0

    def tick() -> Flow:
        nonlocal ticks
        ticks += 1
        options = {"partial_from": 1} if store_name == "sqlite in parts" else {}
        opened = store if store_name == "memory" else FlowStore(store_url, clock=clock, **options)
        FlowRunner(opened, make_engine(clock), owner=f"runner {ticks}").tick()
        check_history(opened, "f")
        if opened is not store:
            opened.close()
        return store.load("f")

    yield tick
    check_store(store)


def submit(store: FlowStore, spec: dict[str, Any]) -> None:
    store.create(Flow.from_flow_spec(spec, key="f"))


def pass_time_until_due(store: FlowStore, clock: ManualClock) -> float:
    """Set the clock to when the store has something to do, and return how many seconds that took."""
    due_at = store.next_due_at()
    assert due_at is not None
    seconds: float = (due_at - clock.now()).total_seconds()
    clock.advance(seconds)
    return seconds


def passed(clock: ManualClock, began: Any) -> timedelta:
    return timedelta(seconds=(clock.now() - began).total_seconds())


def test_attempts_come_at_the_times_at_which_they_come_without_a_store(
    store: FlowStore, tick: Tick, clock: ManualClock
) -> None:
    spec = {"tasks": [{"key": "t", "task_type": "fail", "cfg": {"retry": RETRY}}]}
    alone = Flow.from_flow_spec(spec, key="f")
    with pytest.raises(FlowError):
        make_engine(ManualClock(clock.now())).run_flow(alone)
    submit(store, spec)
    flow, delays = tick(), []
    while flow.status == "RUNNING":
        assert flow.tasks["t"]["next_tick_at"] == format_time(store.next_due_at())
        assert store.claim(owner="too early") == []
        delays.append(pass_time_until_due(store, clock))
        flow = tick()
    assert flow.tasks["t"]["attempts"] == [
        {**record, "error": {**record["error"], "traceback": kept["error"]["traceback"]}}
        for record, kept in zip(alone.tasks["t"]["attempts"], flow.tasks["t"]["attempts"], strict=True)
    ]
    assert len(delays) == len(set(delays)) == 4
    for delay, middle in zip(delays, (10, 20, 40, 60), strict=True):
        assert middle * 0.7 <= delay <= min(middle * 1.3, 60)
    attempts = store.history.attempts("f")
    assert [(each.attempt, each.status, each.owner) for each in attempts] == [
        (number, "FAILED", f"runner {number}") for number in range(1, 6)
    ]
    assert [each.error["message"] for each in attempts if each.error] == [f"attempt {n}" for n in range(1, 6)]
    assert all(each.started_at and each.started_at == each.finished_at for each in attempts)


FOR_EVER = {"key": "t", "task_type": "fail", "cfg": {"retry": {"max_attempts": None}}}


@pytest.mark.parametrize(
    "task",
    [
        FOR_EVER,
        {"key": "t", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [FOR_EVER]}}},
        {
            "key": "t",
            "task_type": "switch",
            "task_params": {"control_value": 1, "default_case": {"task": FOR_EVER}},
        },
    ],
    ids=["alone", "inside a sub-flow", "inside a switch"],
)
def test_a_retry_without_limit_and_delay_gives_way_to_others(
    store: FlowStore, tick: Tick, task: dict[str, Any]
) -> None:
    submit(store, {"tasks": [task]})
    store.create(Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "noop"}]}, key="other"))
    for number in (1, 2):
        flow = tick()
        outer = flow.tasks["t"]
        inner = outer.get("proxied_task", outer)
        sub_flow = flow.find_sub_flow(outer)
        if sub_flow is not None:
            inner = sub_flow.tasks["t"]
        assert inner["attempt"] == 100 * number
        assert flow.status == "RUNNING"
    assert store.load("other").status == "COMPLETED"


def test_attempts_inside_a_switch_are_kept(store: FlowStore, tick: Tick, clock: ManualClock) -> None:
    chosen = {"task_type": "fail", "cfg": {"retry": {"max_attempts": 3, "delay": 5}}}
    params = {"control_value": 1, "default_case": {"task": chosen}}
    submit(store, {"tasks": [{"key": "t", "task_type": "switch", "task_params": params}]})
    began = clock.now()
    while tick().status == "RUNNING":
        pass_time_until_due(store, clock)
    kept = store.load("f").tasks["t"]["proxied_attempts"]
    assert [(record["attempt"], record["error"]["message"]) for record in kept] == [
        (1, "attempt 1"),
        (2, "attempt 2"),
        (3, "attempt 3"),
    ]
    times = [format_time(began + timedelta(seconds=seconds)) for seconds in (0, 5, 10)]
    assert [record["started_at"] for record in kept] == times
    assert [record["finished_at"] for record in kept] == times
    assert {(record["task"], record["outer_attempt"]) for record in kept} == {("t", 1)}


INLINE = {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [{"task_type": "stuck"}]}}}
STUCK_TASKS: dict[str, dict[str, Any]] = {
    "a task that waits": {"task_type": "stuck"},
    "a task that waits for a time": {"task_type": "wait", "task_params": {"duration": "1d"}},
    "a task that waits for a signal": {"task_type": "wait_for_signal", "task_params": {"signal": "go"}},
    "a proxied task": {
        "task_type": "switch",
        "task_params": {"control_value": 1, "default_case": {"task": {"task_type": "stuck"}}},
    },
    "an inline sub-flow": INLINE,
    "a stored sub-flow": {**INLINE, "task_type": "flow"},
    "a spread": {
        "task_type": "spread",
        "task_params": {"items": [1, 2], "mapping_params": {"skeleton": {"task_type": "stuck"}}},
    },
}


@pytest.mark.parametrize("stuck", STUCK_TASKS.values(), ids=STUCK_TASKS)
class TestTimeouts:
    def test_the_time_of_each_attempt_is_counted_from_its_stored_start(
        self, store: FlowStore, tick: Tick, clock: ManualClock, stuck: dict[str, Any]
    ) -> None:
        retry = {"max_attempts": 2, "delay": 30, "on": ["TimeoutError"]}
        cfg = {"timeout": 60, "retry": retry, "allow_failure": True}
        after = {"key": "after", "task_type": "noop", "cfg": {"start_when": "any_failed"}}
        submit(store, {"tasks": [{**stuck, "key": "t", "cfg": cfg}, after]})
        began, ends = clock.now(), []
        flow = tick()
        clock.advance(59)
        assert tick().tasks["t"]["status"] == "WAITING"
        while flow.status == "RUNNING":
            pass_time_until_due(store, clock)
            flow = tick()
            ends.append(passed(clock, began).total_seconds())
        attempts = [each for each in store.history.attempts("f") if each.task_key == "t"]
        seconds = [
            ((each.started_at - began).total_seconds(), (each.finished_at - began).total_seconds())
            for each in attempts
            if each.started_at and each.finished_at
        ]
        assert seconds == [(0, 60), (90, 150)]
        assert {each.error["type"] for each in attempts if each.error} == {"TimeoutError"}
        assert ends[-1] == 150
        assert flow.status == "COMPLETED"
        assert flow.count_tasks() == {"COMPLETED": 1, "FAILED": 1}
        assert self.unfinished_children(store) == []

    def test_what_runs_is_stopped_when_the_time_of_the_flow_is_up(
        self, store: FlowStore, tick: Tick, clock: ManualClock, stuck: dict[str, Any], caplog: Any
    ) -> None:
        submit(store, {"cfg": {"timeout": "1m"}, "tasks": [{**stuck, "key": "t"}]})
        tick()
        clock.advance(59.5)
        assert tick().status == "RUNNING"
        assert pass_time_until_due(store, clock) == 0.5
        flow = tick()
        assert (flow.status, flow.tasks["t"]["status"]) == ("FAILED", "CANCELLED")
        assert flow.error is not None
        assert flow.error["message"] == "The flow ran for longer than its cfg.timeout (1m)."
        tick()  # a stored sub-flow is cancelled by whoever ticks it next
        assert self.unfinished_children(store) == []
        if "stuck" in str(stuck):
            assert "stopped" in caplog.text

    def unfinished_children(self, store: FlowStore) -> list[str]:
        return [each.key for each in store.query(status=["PENDING", "RUNNING"]) if each.key != "f"]


INNER = {"key": "i", "task_type": "stuck", "cfg": {"timeout": 60, "allow_failure": True}}
AFTER_INNER = {
    "key": "after",
    "task_type": "noop",
    "precursors": ["i"],
    "cfg": {"start_when": "any_failed"},
}
ROUND = {"tasks": [INNER, AFTER_INNER]}
TIMED_INSIDE: dict[str, dict[str, Any]] = {
    "an inline sub-flow": {"task_type": "inline_flow", "task_params": {"flow_spec": ROUND}},
    "a stored sub-flow": {"task_type": "flow", "task_params": {"flow_spec": ROUND}},
    "a loop": {"task_type": "loop", "task_params": {"flow_spec": ROUND, "max_iterations": 1}},
    "a spread": {
        "task_type": "spread",
        "task_params": {
            "items": [1, 2],
            "mapping_params": {"skeleton": {"task_type": "stuck", "cfg": INNER["cfg"]}},
        },
    },
    "a switch": {
        "task_type": "switch",
        "task_params": {
            "control_value": 1,
            "default_case": {"task": {"task_type": "stuck", "cfg": INNER["cfg"]}},
        },
    },
}


@pytest.mark.parametrize("outer", TIMED_INSIDE.values(), ids=TIMED_INSIDE)
def test_a_task_inside_a_task_has_a_time_of_its_own(
    store: FlowStore, tick: Tick, clock: ManualClock, outer: dict[str, Any], caplog: Any
) -> None:
    submit(store, {"tasks": [{**outer, "key": "t"}]})
    tick()
    clock.advance(59)
    assert tick().status == "RUNNING"
    assert pass_time_until_due(store, clock) == 1
    tick()
    assert tick().status == "COMPLETED"  # a stored sub-flow wakes the flow around it
    assert "stopped" in caplog.text


@pytest.mark.parametrize("task_type", ["inline_flow", "flow"])
def test_a_sub_flow_has_a_time_of_its_own(
    store: FlowStore, tick: Tick, clock: ManualClock, task_type: str
) -> None:
    spec = {"cfg": {"timeout": 60}, "tasks": [{"key": "i", "task_type": "stuck"}]}
    submit(store, {"tasks": [{"key": "t", "task_type": task_type, "task_params": {"flow_spec": spec}}]})
    tick()
    assert pass_time_until_due(store, clock) == 60
    tick()
    flow = tick()
    assert flow.status == "FAILED"
    assert "The flow ran for longer than its cfg.timeout (60)." in (flow.describe_failure() or "")


@pytest.mark.parametrize("kind", ["flow", "inline_flow"])
def test_a_retry_sees_the_name_of_what_failed_in_a_sub_flow(
    store: FlowStore, tick: Tick, clock: ManualClock, kind: str
) -> None:
    params = {"flow_spec": {"tasks": [{"key": "x", "task_type": "fail"}]}}
    for key, rule in (("one", {"on": ["OSError"]}), ("two", {"not_on": ["ConnectionError"]})):
        task = {
            "key": "t",
            "task_type": kind,
            "task_params": params,
            "cfg": {"retry": {"max_attempts": 2, **rule}},
        }
        store.create(Flow.from_flow_spec({"tasks": [task]}, key=key))
    submit(store, {"tasks": [{"key": "t", "task_type": "noop"}]})
    for _ in range(4):
        tick()
    assert {key: store.load(key).tasks["t"]["attempt"] for key in ("one", "two")} == {"one": 2, "two": 1}
