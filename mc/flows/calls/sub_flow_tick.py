"""A tick of a sub-flow as part of the tick of the task that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mc.durations import format_time
from mc.flows.calls.task_call import Calls, TaskCall
from mc.flows.formats.flow_rows import fetch_ahead
from mc.flows.services import SERVICES, Nesting, graph_task_key

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["make_sub_flow_ctx", "tick_sub_flow"]

# entries that belong to one task call; all others are the caller's own and reach every depth
_OF_ONE_CALL: Final = frozenset({"engine", "flow", "idempotency_key", "parent", "task"})


def make_sub_flow_ctx(task_ctx: TaskCall, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the `task_ctx` for ticking a sub-flow: `parent`, `extra`, and what is the caller's."""
    passed_on = {name: value for name, value in task_ctx.items() if name not in _OF_ONE_CALL}
    passed_on[SERVICES] = replace(task_ctx.services, nesting=_nest(task_ctx))
    return {**passed_on, "parent": task_ctx.path_ctx(), **(extra or {})}


def _nest(task_ctx: TaskCall) -> Nesting:
    """Return what a sub-flow of a call's task stands inside of."""
    around, task = task_ctx.services.nesting, task_ctx.task
    flow, key, holder = around.outermost_flow, around.outermost_task_key, around.resource_holder
    if flow is None and "flow" in task_ctx:
        flow, key = task_ctx.flow, graph_task_key(task_ctx)
    if "resources" in (task.get("cfg") or ()) and task["cfg"]["resources"]:
        holder = task.get("key")
    return Nesting(outermost_flow=flow, outermost_task_key=key, resource_holder=holder)


def tick_sub_flow(flow: Flow, task_ctx: TaskCall, extra: Mapping[str, Any] | None = None) -> Calls:
    """Make one tick of a sub-flow.

    The outer call's report and `has_effects` take up what happened. While the sub-flow is unfinished, the
    outer task is left RUNNING, or WAITING if the sub-flow can do nothing before a time or an event from
    outside.

    Args:
        flow: the sub-flow.
        task_ctx: the call of the outer task.
        extra: more entries for the `task_ctx` of the sub-flow's tasks.
    """
    ctx = make_sub_flow_ctx(task_ctx, extra)
    fetch_ahead(flow.state, format_time(task_ctx.now()))
    tick = task_ctx.engine.begin_tick(flow, ctx)
    made: list[TaskCall] = []
    try:
        for call in tick.calls():
            if call is not None:
                made.append(call)
            yield call
    finally:
        # only now do the calls know whether something inside them has effects
        if any(call.has_effects for call in made):
            task_ctx.has_effects = True
    report = tick.finish()
    flow.state.note_change()
    outer = task_ctx.report
    outer.calls += report.calls
    outer.progressed = outer.progressed or report.progressed
    outer.retried_at_once = outer.retried_at_once or report.retried_at_once
    task = task_ctx.task
    task.pop("next_tick_at", None)
    due = report.next_tick_time
    if due is None:
        task["status"] = "WAITING"
    elif due > tick.at:
        task["status"] = "WAITING"
        task["next_tick_at"] = due
    else:
        task["status"] = "RUNNING"
