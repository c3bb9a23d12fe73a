"""The task type `flow`: a sub-flow with a record of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mc.context.json_values import copy_json
from mc.flows.calls.sub_flow_tick import tick_sub_flow
from mc.flows.calls.task_call import Calls
from mc.flows.flow import Flow
from mc.flows.services import SubFlowState
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.sub_flow import make_failure, make_sub_flow

__all__ = ["FlowTaskHandler", "TaskHandler"]


class FlowTaskHandler(BaseTaskHandler):
    """Starts `flow_spec` as a flow and waits for it; leaves `flow_key`, `flow_data` and `results`.

    Who keeps and ticks the sub-flow is the business of the `SubFlowService`: a store, or memory.
    """

    has_effects: ClassVar[bool] = False
    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"flow_spec"})

    def begin_sub_flow(self) -> Flow | None:
        """Return a new sub-flow to run, or None where the task has settled its status without one."""
        return make_sub_flow(self, self.read_param("flow_spec", dict), self.read_param("data", dict, {}))

    def on_sub_flow_completed(self, state: SubFlowState) -> None:
        """Complete."""
        self.complete(flow_data=copy_json(state.data), results=copy_json(state.results or {}))

    def on_sub_flow_failed(self, state: SubFlowState) -> None:
        """Fail."""
        what = f"The sub-flow {self.data['flow_key']!r}"
        raise make_failure(state.status, state.failure, state.failure_names, what)

    def make_extra_ctx(self) -> Mapping[str, Any]:
        """Return what tasks find in their context besides, where the sub-flow is ticked with this task."""
        return {}

    def tick_task(self) -> Calls:
        """Start the sub-flow at the first tick; then see how far it is."""
        service = self.task_ctx.services.sub_flows
        if self.task.pop("retries_sub_flow", False):
            reason = f"The task {self.task.get('key')!r} that waits for it was retried."
            by, left = f"flow {self.task_ctx.flow.key}", self.task.pop("flow_dict", None)
            if service.retry(self.data["flow_key"], left, by, reason):
                self.wait_until(None)
                return
        if "initialised" not in self.task:
            sub_flow = self.begin_sub_flow()
            if sub_flow is None:
                return
            self.data["flow_key"] = sub_flow.key
            service.start(sub_flow, self.task_ctx.flow)
            if service.find(sub_flow.key) is None:
                self.wait_until(None)  # the store writes it with this task's next save and wakes the task
                return
        ticked_here = service.find(self.data["flow_key"])
        if ticked_here is not None:
            yield from tick_sub_flow(ticked_here, self.task_ctx, self.make_extra_ctx())
        state = service.poll(self.data["flow_key"])
        if state.status == "COMPLETED":
            self.on_sub_flow_completed(state)
        elif state.status in FINISHED_FLOW_STATUSES:
            self._keep(self.data["flow_key"])
            self.on_sub_flow_failed(state)
        elif ticked_here is None:
            self.wait_until(None)

    def cancel(self) -> None:
        """Cancel the sub-flow."""
        key = self.data.get("flow_key")
        if key and "initialised" in self.task:
            reason = f"The task {self.task.get('key')!r} that waits for it was cancelled."
            if self.task_ctx.services.sub_flows.cancel(key, reason):
                self._keep(key)

    def _keep(self, key: str) -> None:
        """Remember the sub-flow, which ended in another way than COMPLETED, for a person's retry."""
        self.task["kept"] = {"flow_key": key}
        left = self.task_ctx.services.sub_flows.leave(key)
        if left is not None:
            self.task["kept"]["flow_dict"] = left


TaskHandler = FlowTaskHandler
