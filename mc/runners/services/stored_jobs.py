"""Jobs of a stored flow, while it is ticked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from mc.errors import ExecutorError, McError, StoreUnreachableError
from mc.flows.jobs.job import Job, JobState, Outcome
from mc.flows.jobs.job_rounds import JobRounds
from mc.flows.jobs.job_settings import DEFAULT_EXECUTOR, ModuleSettings
from mc.flows.jobs.result_reference import ResultReference
from mc.store.flow_store import FlowStore
from mc.store.rows.wakes import JOB
from mc.store.saving.flow_saver import Outbox

__all__ = ["StoredJobs"]

_MOST_READ: Final = 100  # jobs at once

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJobs:
    """The `JobService` of one stored flow while it is ticked.

    What is started or stopped goes into the outbox, and so into the transaction of the flow's next save.

    Args:
        store: where the jobs are.
        outbox: of the flow.
        rounds: of the runner; None: it starts no jobs.
        on_outage: told where the store cannot be read: that is no failure of the task, so nothing may
            be saved of its call.
    """

    store: FlowStore
    outbox: Outbox
    rounds: JobRounds | None
    on_outage: Callable[[StoreUnreachableError], object]
    poll_seconds: None = None  # the end of a job makes its flow due
    _ended: dict[str, JobState] = field(default_factory=dict)  # of jobs that were read together
    _unread: dict[str, None] = field(default_factory=dict)  # keys of others that woke the flow

    @property
    def executor(self) -> str:
        """Name of the executor that starts what names none."""
        return self.rounds.executor if self.rounds is not None else DEFAULT_EXECUTOR

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules."""
        return self.rounds.of_modules(executor) if self.rounds is not None else ModuleSettings()

    def start(self, job: Job) -> None:
        """Store a job with the flow's next save."""
        if self.rounds is None:
            raise ExecutorError(
                f"Task {job.task_path!r} needs a job, and this runner starts none. Tick the flow by `houston "
                f"tick` or `Houston(...)`, or give `FlowRunner(jobs=...)` a `JobWatch`.",
                task_key=job.task_path,
            )
        self.rounds.check(job.executor)
        self.outbox.jobs.setdefault(job.key, job)

    def take_done(self, job: Job) -> tuple[str, Outcome] | None:
        """Return key and outcome of a stored job with the same work that is COMPLETED, if there is one."""
        if job.work_digest is None:
            return None
        try:
            found = self.store.jobs.find_done(job.work_digest)
        except StoreUnreachableError as error:
            self.on_outage(error)
            raise
        if found is None or found.outcome is None:
            return None
        outcome = found.outcome
        if outcome.result_apart is not None:
            reference = ResultReference.of(outcome.result_apart, found.job.key)
            try:
                result = self.store.read_result(str(reference))
            except McError as error:
                _logger.info("%s", error.message, extra={"action": "result_not_taken"})
                return None
            if reference.is_shared:
                self.outbox.results.add(reference.sha256)
            elif found.job.flow_key != job.flow_key:  # whose files go with that
                outcome = replace(outcome, result=result, result_apart=None)
        self.outbox.taken.append((job, found.job.key))
        return found.job.key, outcome

    def poll(self, key: str) -> JobState:
        """Return how far a job is."""
        if key in self.outbox.jobs:
            return JobState(status="PENDING")
        if key in self._ended:
            return self._ended.pop(key)
        try:
            self._read_ended(key)
            return self._ended.pop(key, None) or self.store.jobs.get(key).state
        except StoreUnreachableError as error:
            self.on_outage(error)
            raise

    def read_result(self, reference: str) -> Any:
        """Return a result that is kept in a file."""
        return self.store.read_result(reference)

    def _read_ended(self, key: str) -> None:
        """Read how those jobs ended that woke the flow: a burst of ends is few queries."""
        if not self._unread:
            woke = (wake.reason for wake in self.outbox.acted_upon if wake.kind == JOB and wake.reason)
            self._unread.update(dict.fromkeys(woke))
        if key not in self._unread:
            return
        del self._unread[key]
        keys = [key, *islice(self._unread, _MOST_READ)]
        for each in keys[1:]:
            del self._unread[each]
        found = self.store.jobs.get_many(keys)
        self._ended.update({each: record.state for each, record in found.items() if record.has_ended})

    def cancel(self, key: str, reason: str) -> None:
        """Have a job stopped after the flow's next save."""
        if self.outbox.jobs.pop(key, None) is None:
            self.outbox.stopped[key] = reason
