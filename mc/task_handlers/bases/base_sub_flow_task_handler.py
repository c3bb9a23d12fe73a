"""The base class of task types whose sub-flow lives inside the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mc.flows.calls.failure import failure_names
from mc.flows.calls.sub_flow_tick import make_sub_flow_ctx, tick_sub_flow
from mc.flows.calls.task_call import Calls, TaskCall
from mc.flows.flow import Flow
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.sub_flow import make_failure

__all__ = ["BaseSubFlowTaskHandler", "drop_sub_flow"]


class BaseSubFlowTaskHandler(BaseTaskHandler):
    """Runs a sub-flow inside the task: one tick of the task is one tick of the sub-flow.

    The living sub-flow is kept beside the flow, and `sub_flow` in the task dict is its key, so that a tick
    costs what it does and not what the sub-flow is big; a store writes it as rows of its own, `to_flow_dict`
    writes it into the task as `flow_dict`. Where it ends in another way than COMPLETED, it is kept for a
    person's retry, which goes on inside of it.
    """

    has_effects: ClassVar[bool] = False  # its tasks tell

    def begin_sub_flow(self) -> Flow | None:
        """Return a new sub-flow to run, or None where the task has settled its status without one."""
        raise TypeError(f"{type(self).__name__} must define begin_sub_flow.")

    def on_sub_flow_completed(self, sub_flow: Flow) -> None:
        """Take over what the sub-flow left and settle the task's status."""
        raise TypeError(f"{type(self).__name__} must define on_sub_flow_completed.")

    def make_extra_ctx(self) -> Mapping[str, Any]:
        """Return what the sub-flow's tasks find in their context besides what this task finds."""
        return {}

    def describe_sub_flow(self) -> str:
        """Return what the sub-flow is called in an error."""
        return "The sub-flow"

    def tick_task(self) -> Calls:
        """Tick the sub-flow; begin one where there is none."""
        sub_flow = self._find_sub_flow()
        if sub_flow is None:
            sub_flow = self.begin_sub_flow()
            if sub_flow is None:
                return
            self.task_ctx.flow.state.keep_sub_flow(self.task, sub_flow.state)
        yield from tick_sub_flow(sub_flow, self.task_ctx, self.make_extra_ctx())
        if sub_flow.status in FINISHED_FLOW_STATUSES:
            if sub_flow.status != "COMPLETED":
                self.keep_for_retry(sub_flow)
                failure, names = sub_flow.describe_failure(), failure_names(sub_flow)
                raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())
            drop_sub_flow(self.task_ctx, self.task)
            self.task["status"] = "RUNNING"
            self.on_sub_flow_completed(sub_flow)
            if self.task["status"] == "COMPLETED":
                self.task["sub_flow"] = sub_flow.key  # what it ran, for those who look at it

    def cancel(self) -> None:
        """Cancel the sub-flow and what runs in it."""
        sub_flow = self._find_sub_flow()
        if sub_flow is not None:
            if sub_flow.status not in FINISHED_FLOW_STATUSES:
                ctx = make_sub_flow_ctx(self.task_ctx, self.make_extra_ctx())
                self.task_ctx.engine.begin_tick(sub_flow, ctx).cancel()
            self.keep_for_retry(sub_flow)

    def keep_for_retry(self, sub_flow: Flow) -> None:
        """Keep the sub-flow, which ended, for a person's retry, which goes on inside of it."""
        self.task_ctx.flow.state.keep_for_retry(self.task, sub_flow.state)

    def _find_sub_flow(self) -> Flow | None:
        """Return the living sub-flow."""
        return self.task_ctx.flow.find_sub_flow(self.task) if "flow" in self.task_ctx else None


def drop_sub_flow(task_ctx: TaskCall, task: dict[str, Any]) -> None:
    """Forget the sub-flow of a task."""
    if "flow" in task_ctx:
        task_ctx.flow.state.drop_sub_flow(task)
