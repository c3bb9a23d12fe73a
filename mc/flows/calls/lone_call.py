"""A task that is ticked outside a flow's graph: a proxied one, or one in a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mc.context.interpolation import has_references, interpolate
from mc.durations import format_time
from mc.flows.calls.missing_handlers import note_if_missing, settle_version
from mc.flows.calls.task_call import TaskCall
from mc.flows.handlers.handler_registry import NO_HANDLER, adapt_handler
from mc.flows.services import SERVICES
from mc.flows.tick_report import TickReport
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Task
    from mc.flows.services import EngineServices

__all__ = ["prepare_task_call"]


def prepare_task_call(
    engine: EngineServices, task: Task, task_ctx: Mapping[str, Any] | None, override: Any = None
) -> TaskCall | None:
    """Start a task if it is PENDING, resolve its references, and return the call that advances it.

    Returns:
        None if it is finished, failed before it could be called, or is left as it is because the runner of
        the flow lacks its handler.
    """
    task.setdefault("task_params", {})
    task.setdefault("data", {})
    status = task.setdefault("status", "PENDING")
    if status in FINISHED_TASK_STATUSES:
        return None
    if override is None and isinstance(task_ctx, TaskCall) and note_if_missing(task, task_ctx):
        return None
    call = SingleTaskCall(task_ctx or {})
    call["task"] = call.task = task
    call["engine"] = engine
    call.setdefault(SERVICES, engine.services)
    call.outer_report = task_ctx.report if isinstance(task_ctx, TaskCall) else TickReport()
    task["status"] = "RUNNING"
    if status == "PENDING":
        task["started_at"] = format_time(call.now())
    try:
        if override is None:
            call.handler = engine.resolve_handler(task.get("task_type"))
            settle_version(task, call.handler)
        else:
            call.handler = adapt_handler(override)
        params = task["task_params"]
        if params and "initialised" not in task and has_references(params):
            ctx = call.path_ctx() if "flow" in call else call
            task["task_params"] = interpolate(params, ctx, skip=call.handler.uninterpolated_params)
    except Exception as error:  # noqa: BLE001 - recorded in the task
        call.handler = NO_HANDLER
        call.settle(error)
        return None
    return call


class SingleTaskCall(TaskCall):
    """A call of a task that is in no graph; its outcome stands in the task dict alone."""

    __slots__ = ("outer_report",)

    outer_report: TickReport

    @property
    def report(self) -> TickReport:
        """The report of the tick that the task is ticked in."""
        return self.outer_report
