"""Jobs of flows that run without a store: they live as long as their process."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

from mc.clock import Clock
from mc.errors import ExecutorError, JobError, JobNotFoundError
from mc.flows.jobs.executor import Channel, Executor, FolderJob, Liveness
from mc.flows.jobs.job import Job, JobState, Outcome
from mc.flows.jobs.job_settings import DEFAULT_EXECUTOR, JobSettings, ModuleSettings
from mc.jobs.find_executor import make_executor
from mc.jobs.folder import JobFolder
from mc.jobs.module_path import with_own_path

__all__ = ["InMemoryJobs"]


class InMemoryJobs:
    """The `JobService` of an engine: jobs in a temporary folder, which goes with it.

    What there is no room for waits, and is started when a task looks for its job.

    Args:
        clock: of the engine; unused by jobs, which go by the machine's.
        settings: of the executors.
    """

    poll_seconds: Final = 0.05

    def __init__(self, clock: Clock, settings: JobSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings or JobSettings()
        self.executor = self._settings.executor or DEFAULT_EXECUTOR
        self._executors: dict[str, Executor] = {}
        self._jobs: dict[str, Job] = {}
        self._native_ids: dict[str, str] = {}
        self._ended: dict[str, JobState] = {}
        self._place: Path | None = None

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules."""
        return self._settings.of_modules(executor)

    def start(self, job: Job) -> None:
        """Start a job, if there is room."""
        if self._find(job.executor).channel != Channel.FOLDER:
            raise ExecutorError(
                f"The executor {job.executor!r} needs a store, from which its workers take jobs. Run the "
                f"flow by `Houston(...)` or `houston run`, or name another executor.",
                executor=job.executor,
            )
        self._jobs.setdefault(job.key, job)
        self._start_waiting()

    def take_done(self, job: Job) -> tuple[str, Outcome] | None:
        """Return key and outcome of a COMPLETED job of this process with the same work, if there is one."""
        for key, state in reversed(self._ended.items()):
            if state.status == "COMPLETED" and state.outcome and key in self._jobs:
                if self._jobs[key].work_digest == job.work_digest:
                    return key, state.outcome
        return None

    def poll(self, key: str) -> JobState:
        """Return how far a job is."""
        if key in self._ended:
            return self._ended[key]
        job = self._jobs.get(key)
        if job is None:
            raise JobNotFoundError(
                f"The job {key!r} is not of this process: the flow was ticked without a store, and jobs of "
                f"such flows end with their process.",
                key=key,
            )
        if key not in self._native_ids:
            self._start_waiting()
            return self._ended.get(key) or JobState(status="PENDING")
        native_id = self._native_ids[key]
        is_gone = self._find(job.executor).alive([native_id]).get(native_id) == Liveness.GONE
        state = self._read(key, native_id)  # after the look, lest one that ends between be lost
        if state is None and is_gone:
            state = JobState(status="LOST", native_id=native_id, reason=f"{native_id} left no outcome.")
        if state is None:
            return JobState(status="RUNNING", native_id=native_id)
        self._ended[key] = state
        self._native_ids.pop(key)
        self._start_waiting()
        return state

    def read_result(self, reference: str) -> object:
        """Return a result that is kept in a file: here, all are in memory."""
        raise JobNotFoundError(f"The result {reference!r:.200} is of no job of this process.")

    def cancel(self, key: str, reason: str) -> None:
        """Stop a job."""
        native_id = self._native_ids.get(key)
        if native_id is not None:
            self._find(self._jobs[key].executor).stop([native_id])
        self._ended.setdefault(key, JobState(status="CANCELLED", reason=reason))

    def _start_waiting(self) -> None:
        for key, job in self._jobs.items():
            if key in self._native_ids or key in self._ended:
                continue
            executor = self._find(job.executor)
            under_way = sum(self._jobs[each].executor == job.executor for each in self._native_ids)
            if executor.max_workers is not None and under_way >= executor.max_workers:
                continue
            folder = self._folder(key)
            folder.write_job(
                with_own_path(job) if executor.is_local else job, secrets_folder=self._settings.secrets_folder
            )
            found = executor.start([FolderJob(job=job, folder=folder.path)]).get(key)
            if isinstance(found, ExecutorError):
                self._ended[key] = JobState(status="FAILED", reason=found.message)
            elif found is not None:
                self._native_ids[key] = found

    def _read(self, key: str, native_id: str) -> JobState | None:
        try:
            outcome = self._folder(key).read_outcome()
        except JobError as error:
            return JobState(status="LOST", native_id=native_id, reason=error.message)
        if outcome is None:
            return None
        return JobState(status=outcome.status, outcome=outcome, native_id=native_id)

    def _folder(self, key: str) -> JobFolder:
        if self._place is None:
            self._place = Path(tempfile.mkdtemp(prefix="mc-jobs-"))
            weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        return JobFolder.of(self._place, key)

    def _find(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = make_executor(name, self._settings.executors)
        return self._executors[name]
