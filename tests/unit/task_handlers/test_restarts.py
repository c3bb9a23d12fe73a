"""A flow that is serialised and read again after any of its ticks ends as if nothing had happened."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler

MOST_TICKS = 400


class CountDown(BaseTaskHandler):
    """Takes as many ticks as `ticks` says; `fail_at` is the attempt that fails."""

    def tick_task(self) -> None:
        done = self.data["ticks"] = self.data.get("ticks", 0) + 1
        if done >= self.params["ticks"]:
            self.data["ticks"] = 0
            if self.task.get("attempt", 1) <= self.params["failures"]:
                raise ConnectionError("once more")
            self.complete(key=self.task_ctx["idempotency_key"])


LEAVES = st.one_of(
    st.just({"task_type": "noop"}),
    st.builds(
        lambda ticks, failures, retry: {
            "task_type": "count_down",
            "task_params": {"ticks": ticks, "failures": failures},
            "cfg": {"retry": {"max_attempts": 2, "delay": retry}, "allow_failure": True},
        },
        st.integers(1, 3),
        st.integers(0, 2),
        st.sampled_from([0, 5]),
    ),
    st.builds(lambda n: {"task_type": "wait", "task_params": {"duration": n}}, st.integers(0, 20)),
)


def spec_of(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    tasks = [{**task, "key": f"t{number}"} for number, task in enumerate(tasks)]
    if len(tasks) > 1:
        tasks[1] = {**tasks[1], "precursors": []}
    return {"tasks": tasks, "results": {"first": "$ctx.flow.tasks.t0.data"}}


def composites(tasks: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    specs = st.lists(tasks, min_size=1, max_size=3).map(spec_of)
    return st.one_of(
        st.builds(
            lambda name, spec: {"task_type": name, "task_params": {"flow_spec": spec}},
            st.sampled_from(["inline_flow", "flow"]),
            specs,
        ),
        st.builds(
            lambda spec, rounds, delay: {
                "task_type": "loop",
                "task_params": {
                    "flow_spec": spec,
                    "max_iterations": 3,
                    "until": {"value": "$ctx.loop.idx", "op": "ge", "arg": rounds},
                    "delay": delay,
                },
            },
            specs,
            st.integers(0, 2),
            st.sampled_from([0, 7]),
        ),
        st.builds(
            lambda task, container: {
                "task_type": "spread",
                "task_params": {
                    "items": {"a": 1, "b": 2},
                    "container_task_type": container,
                    "mapping_params": {"skeleton": task, "wirings": ["ctx.item => ctx.skeleton.data.item"]},
                },
            },
            tasks,
            st.sampled_from(["inline_flow", "flow"]),
        ),
        st.builds(
            lambda task: {
                "task_type": "switch",
                "task_params": {"control_value": 1, "default_case": {"task": task}},
            },
            tasks,
        ),
    )


TASKS = st.recursive(LEAVES, composites, max_leaves=5)


def run(spec: dict[str, Any], restarts: set[int]) -> tuple[dict[str, Any], int]:
    """Tick a flow to its end, reading it anew from JSON text after the given ticks."""
    clock = ManualClock()
    engine = FlowEngine(task_handlers={"count_down": CountDown}, clock=clock)
    flow = Flow.from_flow_spec({**spec, "key": "f"})
    ticks = 0
    while flow.status in ("PENDING", "RUNNING"):
        report = engine.tick_flow(flow)
        ticks += 1
        assert ticks < MOST_TICKS
        if ticks in restarts:
            flow = Flow.from_flow_dict(json.loads(json.dumps(flow.to_flow_dict())))
        flow.check_invariants()
        if report.next_tick_at is not None:
            clock.advance((report.next_tick_at - clock.now()).total_seconds())
    assert not flow.state.list_sub_flows()
    return without_tracebacks(flow.to_flow_dict()), ticks


def without_tracebacks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_tracebacks(part) for name, part in value.items() if name != "traceback"}
    if isinstance(value, list):
        return [without_tracebacks(part) for part in value]
    return value


@given(spec=st.lists(TASKS, min_size=1, max_size=3).map(spec_of), data=st.data())
def test_a_restart_after_any_ticks_changes_nothing(spec, data):
    expected, ticks = run(spec, set())
    restarts = data.draw(st.sets(st.integers(1, ticks)))
    assert run(spec, restarts) == (expected, ticks)
    assert run(spec, set(range(1, ticks + 1))) == (expected, ticks)


@given(spec=st.lists(TASKS, min_size=1, max_size=3).map(spec_of))
def test_a_flow_that_is_stopped_anywhere_leaves_nothing_behind(spec):
    _, ticks = run(spec, set())
    for stop_after in range(1, ticks):
        clock = ManualClock()
        engine = FlowEngine(task_handlers={"count_down": CountDown}, clock=clock)
        flow = Flow.from_flow_spec({**spec, "key": "f"})
        for _ in range(stop_after):
            report = engine.tick_flow(flow)
            if report.next_tick_at is not None:
                clock.advance((report.next_tick_at - clock.now()).total_seconds())
        engine.cancel_flow(flow)
        flow.check_invariants()
        assert flow.status == "CANCELLED"
        assert not flow.state.list_sub_flows()
        assert engine.services.sub_flows._flows == {}
        assert not any("flow_dict" in task or "proxied_task" in task for task in flow.filter_tasks())
