"""The base of task types whose work is done by jobs."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from mc.context.interpolation import interpolate
from mc.context.json_values import dumps
from mc.context.late_dict import LateDict
from mc.durations import parse_duration
from mc.errors import JobError, JobLostError, SizeError
from mc.flows.jobs.job import Job, JobState, Outcome
from mc.flows.jobs.job_settings import ModuleSettings
from mc.flows.jobs.result_reference import ResultReference
from mc.flows.services import JobService
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["BaseJobTaskHandler"]

_SECRET: Final = re.compile(r"\$\{secret\.[^}]*\}")


class BaseJobTaskHandler(BaseTaskHandler):
    """Starts a job at the first tick of an attempt, and is WAITING until the job has ended.

    The job is stored with the task, so that neither is without the other. `cfg.timeout` is kept where it
    runs, from its start on: a job that waits for its turn loses nothing of it.
    """

    has_effects: ClassVar[bool] = False

    @abstractmethod
    def make_work(self) -> Mapping[str, Any]:
        """Return what the job is to do, as JSON data; see `docs/reference/job-folder.md`.

        Raises:
            McError: the task's parameters are wrong, or the application does not allow it.
        """

    @abstractmethod
    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return what is laid over the task's data, whether the job is COMPLETED or FAILED."""

    def initial_tick(self) -> Any:
        """Start the job."""
        self.start_job(self.make_work())

    def start_job(self, work: Mapping[str, Any], work_digest: str | None = None) -> None:
        """Start a job for this attempt, and wait for it; or take the result of one that did the same.

        Args:
            work: see `make_work`.
            work_digest: the same for jobs that do the same; None: the job is started, whatever others did.

        Raises:
            ExecutorError: there is no such executor.
        """
        service = self._service
        timeout = (self.task.get("cfg") or {}).get("timeout")
        job = Job(
            key=self.task_ctx["idempotency_key"],
            flow_key=(self.task_ctx.services.nesting.outermost_flow or self.task_ctx.flow).key,
            task_path=self.task_ctx.path,
            attempt=int(self.task.get("attempt", 1)),
            executor=self.executor,
            work=work,
            requests=self.read_param("requests", dict, {}),
            timeout_seconds=parse_duration(timeout) if timeout is not None else None,
            priority=int((self.task.get("cfg") or {}).get("priority") or 0),
            work_digest=work_digest,
        )
        done = service.take_done(job) if work_digest is not None else None
        if done is not None:
            self.task["job_key"], outcome = done
            self._take_over(outcome)
            return
        service.start(job)
        self.task["job_key"] = job.key
        self.task.pop("deadline_at", None)  # the job keeps it
        self._wait(service)

    def intermediate_tick(self) -> Any:
        """See whether the job has ended."""
        service = self._service
        state = service.poll(self.task["job_key"])
        if state.status == "COMPLETED" and state.outcome is not None:
            self._take_over(state.outcome)
        elif state.status == "FAILED":
            self._fail(state)
        elif state.status == "LOST":
            raise JobLostError(
                f"The job {self.task['job_key']!r} is LOST: {state.reason or 'it left no outcome.'}",
                job_key=self.task["job_key"],
            )
        elif state.status == "CANCELLED":
            why = f": {state.reason.rstrip('.')}" if state.reason else ""
            raise JobError(f"The job {self.task['job_key']!r} was cancelled{why}.")
        else:
            self._wait(service)

    def _take_over(self, outcome: Outcome) -> None:
        left, apart = self.read_outcome(outcome), outcome.result_apart
        if apart is not None and "result" in left:
            limit = self.task_ctx.engine.limits.task_bytes
            if apart["bytes"] > limit:
                raise SizeError(
                    f"The result of job {self.task['job_key']!r} has {apart['bytes']:,} bytes, but a task "
                    f"may leave {limit:,}. Let the job write it to a file, and return where that is.",
                    size=apart["bytes"],
                    limit=limit,
                )
            reference = ResultReference.of(apart, self.task["job_key"])
            late = LateDict({**left}, {"result": str(reference)}, self._service.read_result)
            self.task["data"] = late.over(self.data)
            left = {}
        self.complete(**left)

    def cancel(self) -> None:
        """Stop the job."""
        key = self.task.get("job_key")
        if key and "initialised" in self.task:
            self._service.cancel(key, f"The task {self.task.get('key')!r} was cancelled.")

    def read_texts(self, name: str) -> dict[str, str]:
        """Return a parameter that is a mapping of texts, in which the spec may name secrets.

        Its handler leaves the parameter uninterpolated: its references are resolved here, and what they bring
        may name none, or data could take a secret to where they like.

        Args:
            name: of the parameter.

        Raises:
            SpecError: it is no mapping of texts and numbers, or a reference brings a secret's name.
        """
        raw = self.read_param(name, object, {})
        given = interpolate(raw, self.task_ctx.path_ctx())
        if not isinstance(given, dict):
            raise self.spec_error(f"task_params.{name} must be a mapping")
        texts: dict[str, str] = {}
        for key, value in given.items():
            if isinstance(value, dict | list):
                raise self.spec_error(f"task_params.{name}: {key!r:.50} must be a text or a number")
            written = str(raw[key]) if isinstance(raw, dict) else ""
            texts[key] = self.refuse_secrets(value, f"{name}: {key!r:.50}", written)
        return texts

    def refuse_secrets(self, value: Any, place: str, written: str = "") -> str:
        """Return a value as text; raise `SpecError` where it names other secrets than the spec itself does.

        Args:
            value: with its references resolved.
            place: for messages.
            written: what stands in the spec in its place.
        """
        text = value if isinstance(value, str) else dumps(value)
        if _SECRET.findall(text) != _SECRET.findall(written):
            raise self.spec_error(
                f"task_params.{place}: what a reference brings names a secret, which only the spec itself "
                f"may; write ${{secret.NAME}} there"
            )
        return text

    @property
    def executor(self) -> str:
        """Name of the executor that starts the job."""
        name: str = (
            self.read_param("executor", str, None) or self._flow_cfg("executor") or self._service.executor
        )
        return name

    def read_module_settings(self) -> ModuleSettings:
        """Return what the settings of the executor say to job modules.

        Raises:
            ExecutorError: that is not what was expected.
        """
        return self._service.of_modules(self.executor)

    @property
    def _service(self) -> JobService:
        return self.task_ctx.services.jobs or self.task_ctx.engine.own_jobs

    def _flow_cfg(self, name: str) -> Any:
        return self.task_ctx.flow.cfg.get(name)

    def _wait(self, service: JobService) -> None:
        pause = service.poll_seconds
        self.wait_until(None if pause is None else self.task_ctx.now() + timedelta(seconds=pause))

    def _fail(self, state: JobState) -> None:
        error: dict[str, Any] = {}
        if state.outcome is not None:
            self.data.update(self.read_outcome(state.outcome))
            error = dict(state.outcome.error or {})
        error.setdefault("type", "JobError")
        error.setdefault("message", state.reason or "The job failed and did not say why.")
        error.setdefault("types", [error["type"]])
        self.task["error"] = error
        self.task["status"] = "FAILED"
