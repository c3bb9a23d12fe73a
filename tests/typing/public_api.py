"""Public names as type checkers see them; checked by mypy, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_type

import mc
from mc.clock import Clock, ManualClock, SystemClock
from mc.errors import CycleError, FlowError, GraphError, MaxTicksError, McError, Problem, SpecError
from mc.flows.flow import Flow, Task
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import HandlerRegistry, task_handler
from mc.flows.observer import ChangeEvent, Observer
from mc.flows.tick_report import TickReport
from mc.runners.immediate_control import ControlReport
from mc.runners.many_flows import ManyReport
from mc.runners.runner_report import RunnerReport
from mc.statuses import FlowStatus, TaskStatus
from mc.store.flow_summary import FlowSummary
from mc.store.saving.flow_deleter import Deletion
from mc.task_handlers.base_task_handler import BaseTaskHandler


class Recorder:
    def on_change(self, event: ChangeEvent) -> None:
        assert_type(event.task_key, str | None)
        assert_type(event.error, dict[str, Any] | None)


class Handler(BaseTaskHandler):
    def initial_tick(self) -> None:
        assert_type(self.data, dict[str, Any])
        assert_type(self.params, dict[str, Any])
        assert_type(self.task_ctx.flow, Flow)
        assert_type(self.task_ctx.now(), datetime)
        self.complete(x=1)


@task_handler("greet")
def greet(params: dict[str, Any]) -> dict[str, str]:
    return {"greeting": f"Hello {params['name']}"}


observer: Observer = Recorder()
clocks: list[Clock] = [SystemClock(), ManualClock()]
engine = FlowEngine(task_handlers={"mine": Handler}, clock=clocks[0], observers=[observer], max_msg_len=10)
FlowEngine(task_handlers=[greet], handler_modules=["package"])
FlowEngine(handler_modules="package")
FlowEngine(task_handler=greet)

flow = engine.flow_spec_to_flow({"tasks": []}, key="k", data={"x": 1})
assert_type(flow, Flow)
assert_type(engine.flow_dict_to_flow({}), Flow)
assert_type(engine.flow_to_flow_dict(flow), dict[str, Any])
assert_type(engine.flow_spec_to_flow_dict({}), dict[str, Any])
assert_type(FlowEngine.flow_spec_to_flow({"tasks": []}, key="k", data={"x": 1}), Flow)
assert_type(FlowEngine.flow_dict_to_flow({}), Flow)
assert_type(FlowEngine.flow_to_flow_dict(flow), dict[str, Any])
assert_type(FlowEngine.flow_spec_to_flow_dict(flow_spec={}), dict[str, Any])
assert_type(engine.tick_flow(flow), TickReport)
assert_type(engine.tick_flow(flow, {"x": 1}, tick_fn_for_task_ctx_overrides={"noop": greet}), TickReport)
assert_type(engine.tick_flow_until_has_no_pending(flow), TickReport)
assert_type(engine.run_flow(flow, max_ticks=3, tick_kwargs={}), Flow)
assert_type(engine.run_flow(flow, tick_fn_for_task_ctx_overrides={"noop": greet}), Flow)
assert_type(asyncio.run(engine.atick_flow(flow)), TickReport)
assert_type(asyncio.run(engine.arun_flow(flow)), Flow)
assert_type(engine.registry, HandlerRegistry)
assert_type(engine.FlowError, type[FlowError])
assert_type(greet({}), dict[str, str])  # a marked function is still itself


async def use_the_facade() -> None:
    async with mc.AsyncHouston("sqlite://", task_handlers=[greet], lease_seconds=3) as houston:
        assert_type(houston, mc.AsyncHouston)
        assert_type(await houston.submit({}, key="k"), str)
        assert_type(await houston.list(status="RUNNING", limit=3), Sequence[FlowSummary])
        assert_type(await houston.run({}, raise_on_failure=True), Flow)
        assert_type(await houston.tick(max_flows=3), RunnerReport)
        assert_type(await houston.loop(interval=0.1), RunnerReport)
        assert_type(await houston.retry("k", ["a"], by="ada"), ControlReport)
        assert_type(await houston.retry_many(mc.FlowSelection(since="1d"), by="ada"), ManyReport)
        assert_type(await houston.delete("k"), Deletion)
        assert_type(await houston.count(mc.FlowSelection(status=["FAILED"])), int)
        assert_type(await houston.call(lambda parts: parts.db), str)


report = mc.tick_flow(mc.flow_spec_to_flow({}))
assert_type(report.started, list[str])
assert_type(report.failed, list[str])
assert_type(report.progressed, bool)
assert_type(report.next_tick_at, datetime | None)
assert_type(report.to_dict(), dict[str, Any])

assert_type(Flow("k", {}, {}, "label", "PENDING", 0, None), Flow)
assert_type(Flow.from_flow_spec({}), Flow)
assert_type(Flow.from_flow_dict({}), Flow)
assert_type(flow.to_flow_dict(), dict[str, Any])
assert_type(flow.tasks, Mapping[str, Task])
assert_type(flow.data, dict[str, Any])
assert_type(flow.add_task({"task_type": "noop"}), dict[str, Any])
assert_type(flow.has_edge("a", "b"), bool)
assert_type(flow.get_precursors("a"), list[Task])
assert_type(flow.get_successors(flow.tasks["a"]), list[Task])
assert_type(flow.filter_tasks({"status": TaskStatus.PENDING}, include_root_task=True), list[Task])
assert_type(flow.filter_tasks(lambda task: bool(task["data"])), list[Task])
assert_type(flow.get_tasks_by_status(TaskStatus.RUNNING), list[Task])
assert_type(flow.get_nearest_tickable_pending_tasks(), list[Task])
assert_type(flow.has_incomplete_tasks(), bool)
assert_type(flow.num_tickable_tasks, int)
assert_type(flow.count_tasks(), dict[str, int])
assert_type(flow.status, str)
assert_type(Flow.generate_key(), str)
assert_type(FlowStatus("PENDING"), FlowStatus)

try:
    flow.add_edge({"src_key": "a", "dest_key": "b"})
except CycleError as error:
    graph_error: GraphError = error
except SpecError as error:
    assert_type(error.problems, tuple[Problem, ...])
except (FlowError, MaxTicksError) as error:
    mc_error: McError = error
    assert_type(error.message, str)
