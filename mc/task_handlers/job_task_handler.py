"""The task type `job`: calls a function outside of the tick, as a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc.flows.calls.missing_handlers import put_off_unless_allowed
from mc.flows.jobs.job import Outcome
from mc.task_handlers.bases.base_job_task_handler import BaseJobTaskHandler

__all__ = ["JobTaskHandler", "TaskHandler"]


class JobTaskHandler(BaseJobTaskHandler):
    """Calls the function `job_type` with `job_params` as keywords; leaves `result` and `job_key`."""

    def make_work(self) -> Mapping[str, Any]:
        """Return the call."""
        function = self.read_param("job_type", str)
        put_off_unless_allowed(function, self.task_ctx)
        self.task_ctx.engine.registry.callables.find_function(function)
        return {"type": "function", "function": function, "kwargs": self.read_param("job_params", dict, {})}

    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return what the function returned."""
        left = {"job_key": self.task["job_key"]}
        return {**left, "result": outcome.result} if outcome.status == "COMPLETED" else left


TaskHandler = JobTaskHandler
