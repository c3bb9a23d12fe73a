"""The task type `job`: calls a function, or does the work of a job module, outside of the tick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc.flows.calls.missing_handlers import put_off_unless_allowed
from mc.flows.handlers.callables import import_module
from mc.flows.handlers.code_version import function_version, module_version
from mc.flows.jobs.job import Outcome
from mc.spec.digest import spec_digest
from mc.task_handlers.bases.base_job_task_handler import BaseJobTaskHandler

__all__ = ["JobTaskHandler", "TaskHandler"]


class JobTaskHandler(BaseJobTaskHandler):
    """Does `job_type` with `job_params`; leaves `result` and `job_key`.

    A function `module:function` is called with them as keywords. A job module `package.module` builds, runs
    and parses a work directory of its own.
    """

    def initial_tick(self) -> Any:
        """Start the job, or with `dedupe` take the result of one that did the same by the same code."""
        work = self.make_work()
        digest = None
        if self.read_param("dedupe", bool, False):
            digest = spec_digest({"work": work, "code": self._code_version()})
        self.start_job(work, digest)

    def _code_version(self) -> str:
        job_type = self.read_param("job_type", str)
        if ":" in job_type:
            return function_version(self.task_ctx.engine.registry.callables.find_function(job_type))
        return module_version(import_module(job_type, job_type))

    def make_work(self) -> Mapping[str, Any]:
        """Return the call."""
        job_type, params = self.read_param("job_type", str), self.read_param("job_params", dict, {})
        callables = self.task_ctx.engine.registry.callables
        if ":" in job_type:
            put_off_unless_allowed(job_type, self.task_ctx)
            callables.find_function(job_type)
            return {"type": "function", "function": job_type, "kwargs": params}
        from mc.flows.handlers.job_modules import CARRY_OUT, check_job_module, entry_of

        put_off_unless_allowed(entry_of(job_type), self.task_ctx)
        settings = self.read_module_settings()
        check_job_module(job_type, callables, settings, self.executor)
        kwargs = {"job_type": job_type, "params": params, "config": dict(settings.config)}
        if settings.fake:
            kwargs["fake"] = True
        return {"type": "function", "function": CARRY_OUT, "kwargs": kwargs}

    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return what the function returned."""
        left = {"job_key": self.task["job_key"]}
        return {**left, "result": outcome.result} if outcome.status == "COMPLETED" else left


TaskHandler = JobTaskHandler
