"""The task type `inline_flow`: a sub-flow inside the task, saved with it."""

from __future__ import annotations

from typing import ClassVar

from mc.flows.flow import Flow
from mc.task_handlers.bases.base_sub_flow_task_handler import BaseSubFlowTaskHandler
from mc.task_handlers.bases.sub_flow import make_sub_flow

__all__ = ["InlineFlowTaskHandler", "TaskHandler"]


class InlineFlowTaskHandler(BaseSubFlowTaskHandler):
    """Runs `flow_spec`, `data` laid over its data; leaves `flow_data` and `results`."""

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"flow_spec"})

    def begin_sub_flow(self) -> Flow | None:
        """Make the sub-flow of the spec."""
        return make_sub_flow(self, self.read_param("flow_spec", dict), self.read_param("data", dict, {}))

    def on_sub_flow_completed(self, sub_flow: Flow) -> None:
        """Complete."""
        self.complete(flow_data=sub_flow.data, results=sub_flow.results or {})


TaskHandler = InlineFlowTaskHandler
