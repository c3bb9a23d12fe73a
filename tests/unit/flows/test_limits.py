"""Limits of size: what grows is refused before it is put together, and told with its place."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.context.sizes import Limits, json_size, largest_part
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston

SMALL = Limits(value_bytes=10_000, task_bytes=20_000, flow_bytes=100_000)


def run(spec: dict[str, Any], limits: Limits = SMALL, **engine: Any) -> Flow:
    made = FlowEngine(clock=ManualClock(), limits=limits, **engine)
    flow = made.flow_spec_to_flow(spec)
    try:
        made.run_flow(flow, max_ticks=500)
    except FlowError:
        assert flow.status == "FAILED"
    return flow


def failure(flow: Flow) -> tuple[str, str]:
    (task,) = flow.filter_tasks({"status": "FAILED"})
    return task["error"]["type"], task["error"]["message"]


DOUBLED = "${ctx.flow.data.s}${ctx.flow.data.s}"


def double(times: int) -> dict[str, Any]:
    wirings = [{"value": DOUBLED, "dest": "ctx.flow.data.s"}]
    return {
        "data": {"s": "x" * 100},
        "tasks": [{"task_type": "wire", "task_params": {"wirings": wirings}}] * times,
    }


def test_a_text_that_doubles_ends_at_the_limit() -> None:
    tracemalloc.start()
    flow = run(double(60), Limits())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kind, message = failure(flow)
    assert kind == "SizeError"
    assert "at most 16,000,000 may be" in message
    assert "flow.data.s" in message
    assert len(flow.data["s"]) <= 16_000_000
    assert peak < 150_000_000


@pytest.mark.parametrize(
    "value",
    [
        "${ctx.flow.data.s}" * 3_000,
        ["$ctx.flow.data.s"] * 3_000,
        {"a": [{"b": "${ctx.flow.data.s} and ${ctx.flow.data.s}"}] * 3_000},
        "${ctx.flow.data}" * 3_000,
    ],
)
def test_many_references_are_refused_before_memory_is_used(value: Any) -> None:
    spec = {"data": {"s": "x" * 5_000}, "tasks": [{"task_type": "print", "task_params": {"msg": value}}]}
    kind, message = failure(run({**spec, "tasks": [{"task_type": "noop"}, *spec["tasks"]]}))
    assert (kind, "at most 10,000" in message) == ("SizeError", True)


def test_wirings_write_no_more_than_a_flow_may_have() -> None:
    wirings = [f"ctx.flow.data.s => ctx.flow.data.a{at}" for at in range(200)]
    flow = run(
        {"data": {"s": "x" * 5_000}, "tasks": [{"task_type": "wire", "task_params": {"wirings": wirings}}]}
    )
    kind, message = failure(flow)
    assert (kind, "What the wirings write" in message) == ("WiringError", True)
    assert list(flow.data) == ["s"]


def test_a_skeleton_that_is_copied_for_each_item_counts_each_time() -> None:
    mapping = {
        "source": "ctx.flow.data.items",
        "dest": "ctx.flow.data.out",
        "transform": {"type": "mapping", "params": {"skeleton": {"t": "x" * 5_000}, "wirings": []}},
    }
    spec = {
        "data": {"items": [0] * 100},
        "tasks": [{"task_type": "wire", "task_params": {"wirings": [mapping]}}],
    }
    assert "What the wirings write" in failure(run(spec))[1]


def test_what_a_task_leaves_is_measured_and_its_place_named() -> None:
    def leave(task: dict[str, Any]) -> None:
        task["data"].update(small=1, deep={"list": [1, "x" * 50_000]})
        task["status"] = "COMPLETED"

    flow = run({"tasks": [{"key": "a", "task_type": "leave"}]}, task_handlers={"leave": leave})
    kind, message = failure(flow)
    assert kind == "SizeError"
    assert "50,002 bytes at /data/deep/list/1" in message
    assert flow.tasks["a"]["data"] == {}


def leave_some(task: dict[str, Any]) -> None:
    task["data"]["text"] = "x" * 15_000
    task["status"] = "COMPLETED"


def test_all_tasks_together_have_a_limit() -> None:
    tasks = [{"key": f"t{at}", "task_type": "leave"} for at in range(10)]
    flow = run({"tasks": tasks}, task_handlers={"leave": leave_some})
    assert flow.tasks["t5"]["status"] == "COMPLETED"
    assert flow.tasks["t6"]["status"] == "FAILED"
    assert "the data of all tasks of a flow may have 100,000" in failure(flow)[1]


def test_attempts_that_failed_do_not_count() -> None:
    def fail(task: dict[str, Any]) -> None:
        leave_some(task)
        if task["attempt"] < 30:
            raise ValueError

    cfg = {"retry": {"max_attempts": 40}}
    flow = run({"tasks": [{"key": "a", "task_type": "fail", "cfg": cfg}]}, task_handlers={"fail": fail})
    assert (flow.status, flow.tasks["a"]["attempt"]) == ("COMPLETED", 30)


def test_a_failed_call_leaves_no_more_than_a_task_may_have() -> None:
    def fail(task: dict[str, Any]) -> None:
        task["data"]["text"] = "x" * 50_000
        raise ValueError("no")

    flow = run({"tasks": [{"key": "a", "task_type": "fail"}]}, task_handlers={"fail": fail})
    assert (flow.tasks["a"]["data"], failure(flow)) == ({}, ("ValueError", "no"))


def test_the_data_of_the_flow_count_too() -> None:
    def write(flow: Flow) -> None:
        flow.data["big"] = ["x" * 200_000]

    flow = run({"data": {"kept": 1}, "tasks": [{"task_type": "write"}]}, task_handlers={"write": write})
    kind, message = failure(flow)
    assert (kind, flow.data) == ("SizeError", {"kept": 1})
    assert "200,002 bytes at /flow/data/big/0" in message


def test_the_count_goes_on_where_a_flow_is_stored_and_exported() -> None:
    tasks = [{"key": f"t{at}", "task_type": "leave"} for at in range(10)]
    with Houston(
        "sqlite://", clock=ManualClock(), task_handlers={"leave": leave_some}, limits=SMALL
    ) as houston:
        houston.submit({"key": "f", "tasks": tasks})
        for _ in range(3):
            houston.runner.tick(max_flows=1)
        copied = houston.export("f")
        houston.import_(copied, key="g")
        for _ in range(30):
            houston.tick()
        for key in ("f", "g"):
            flow = houston.load(key)
            assert flow.tasks["t5"]["status"] == "COMPLETED"
            assert flow.tasks["t6"]["error"]["type"] == "SizeError"


@pytest.mark.parametrize(
    ("value", "size"),
    [("é", 4), ({"a": [1, "b"]}, 2 + 2 + 3 + 4 + 8 + 3), (None, 8), (10**400, 443), ([], 2)],
)
def test_sizes_are_about_those_of_the_text(value: Any, size: int) -> None:
    assert json_size(value) == size


def test_the_part_that_makes_a_value_large_is_found() -> None:
    value = {"a": 1, "b/c": [{"d": "x" * 100}, "y" * 30]}
    assert largest_part(value, "") == ("/b~1c/0/d", 102)
    assert largest_part(["x"] * 100, "/data")[0] == "/data"
