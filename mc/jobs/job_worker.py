"""Workers: they take jobs in the database, run them on their host, and end them in the database."""

from __future__ import annotations

import logging
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mc.errors import ExecutorError, JobError, StoreUnreachableError
from mc.flows.jobs.job_settings import JobSettings
from mc.jobs.attendance import ask_for_turn, is_attended
from mc.jobs.executors.requests import read_limits, read_requests
from mc.jobs.folder import JobFolder
from mc.jobs.job_server import EndedJob, JobServer
from mc.jobs.large_results import LargeResults
from mc.jobs.module_path import with_own_path
from mc.store.flow_store import FlowStore
from mc.store.job_record import JobEnding, JobRecord

__all__ = ["JobWorker", "Queue", "WorkerReport"]

_logger = logging.getLogger(__name__)

_SHORTEST_PAUSE: Final = 0.02  # seconds between two looks for jobs, right after there was one
_LONGEST_PAUSE: Final = 1.0
_LOOK_SECONDS: Final = 1.0  # between two looks whether a job is still wanted
_BEATS: Final = 6  # in the time of a lease
_OUTAGE_PAUSE: Final = 2.0
_MOST_TAKEN: Final = 50  # at once
_STOPPED: Final = "its worker was stopped."
_STARTED: Final[list[subprocess.Popen[bytes]]] = []  # that outlive their worker, until they have ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue that a worker takes jobs from.

    Attributes:
        name: of its executor.
        max_workers: so many of its jobs may run at a time, whoever runs them; None: no limit.
    """

    name: str
    max_workers: int | None = None


@dataclass(slots=True, kw_only=True)
class WorkerReport:
    """What a worker did.

    Attributes:
        ended: how many of its jobs ended, by status.
    """

    ended: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _JobAtWork:
    """A job that this worker runs."""

    record: JobRecord
    folder: JobFolder
    progress: Mapping[str, Any] = field(default_factory=dict)  # as it was noted last
    stop_reason: str | None = None


class JobWorker:
    """Runs jobs of a store, each as a process of its own that ends with this one.

    Args:
        store: the jobs.
        settings: of the application.
        queues: from which jobs are taken, the first before the others.
        slots: how many jobs run at a time.
        lease_seconds: how long a job is kept for this worker if it vanishes; then it is LOST.
        outage_seconds: how long to wait for a database that has gone away.
        on_change: told of each job that began (`RUNNING`) or ended, with its status.
    """

    def __init__(
        self,
        store: FlowStore,
        settings: JobSettings,
        *,
        queues: Sequence[Queue] = (),
        slots: int = 1,
        lease_seconds: float = 60.0,
        outage_seconds: float = 600.0,
        on_change: Callable[[str, JobRecord], object] = lambda _status, _record: None,
    ) -> None:
        host = os.uname().nodename
        self.owner: Final = f"{host}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.report = WorkerReport()
        self._store = store
        self._settings = settings
        self._data_folder = Path(settings.data_folder or "mc-data").absolute()
        self._results = LargeResults(settings)
        self._queues = queues
        self._slots = slots
        self._beat_seconds = lease_seconds / _BEATS
        self._outage_seconds = outage_seconds
        self._on_change = on_change
        self._claims = store.jobs.claims(owner=self.owner, host=host, lease_seconds=lease_seconds)
        self._server = JobServer()
        self._runs: dict[str, _JobAtWork] = {}  # by folder
        self._endings: list[JobEnding] = []  # that are not written yet
        self._unbegun: list[JobRecord] = []  # for other workers
        self._pause = _SHORTEST_PAUSE
        self._take_at = self._look_at = self._beat_at = 0.0
        self._stops = 0  # how often it was asked to end
        self._then: subprocess.Popen[bytes] | None = None
        self._is_then_due = False

    def stop(self) -> None:
        """Take no more jobs, and end when those that run have; asked again, end them. From any thread."""
        self._stops += 1

    @property
    def running(self) -> Sequence[JobRecord]:
        """The jobs that it runs."""
        return [run.record for run in self._runs.values()]

    def run(self, max_seconds: float | None = None, *, until_idle: bool = False) -> WorkerReport:
        """Take jobs and run them, until it is stopped.

        Args:
            max_seconds: when to take no more; never unless given.
            until_idle: end when no job waits.

        Raises:
            StoreUnreachableError: the database is not there at the start, or has gone away for too long.
        """
        self._store.jobs.executors_with_work()  # or a wrong URL would be waited for like an outage
        ends_at = None if max_seconds is None else time.monotonic() + max_seconds
        try:
            while not (self._stops and not self._runs):
                if ends_at is not None and time.monotonic() >= ends_at:
                    self._stops = max(self._stops, 1)
                if self._stops > 1:
                    break
                self._turn(self._take_more)
                if until_idle and not self._runs and self._pause > _SHORTEST_PAUSE:
                    break
        finally:
            self.close()
        return self.report

    def run_job(self, key: str) -> str | None:
        """Run the job with that key to its end, unless another worker has it or it has ended.

        Returns:
            Its status then; None: it was not run.
        """
        statuses: list[str] = []
        on_change, self._on_change = self._on_change, lambda status, _: statuses.append(status)

        def take() -> None:
            if not statuses and (record := self._claims.take(key)) is not None:
                self._begin([record])

        try:
            self._turn(take)
            while self._runs or self._endings:
                self._turn(lambda: None)
        finally:
            self._on_change = on_change
            self._settle_then(is_last=True)
        return statuses[-1] if statuses else None

    def close(self) -> None:
        """End what runs, and tell at once that it is LOST, so that nobody waits for the leases."""
        self._note_ends(self._server.close(kill=True), lost_because=_STOPPED)
        for run in self._runs.values():
            self._endings.append(JobEnding(record=run.record, status="LOST", reason=_STOPPED))
        self._runs.clear()
        self._write_endings()
        self._settle_then(is_last=True)

    # --- one turn --------------------------------------------------------------------------

    def _turn(self, take: Callable[[], None]) -> None:
        """Do what is due, and wait a moment for a job to end."""
        gives_up_at, is_told = time.monotonic() + self._outage_seconds, False
        while True:
            try:
                self._write_endings()
                self._look_after()
                take()
                break
            except StoreUnreachableError as error:
                if time.monotonic() > gives_up_at:
                    raise
                if not is_told:
                    is_told = True
                    _logger.warning("%s", error.message, extra={"action": "worker_waits_for_database"})
                self._collect(_OUTAGE_PAUSE)
        self._collect(self._wait())
        self._write_endings()
        self._settle_then()

    def _wait(self) -> float:
        times = [self._take_at] if len(self._runs) < self._slots and not self._stops else []
        if self._runs:
            times += [self._look_at, self._beat_at]
        return max(min(times, default=0.0) - time.monotonic(), 0.0)

    def _take_more(self) -> None:
        now = time.monotonic()
        if self._stops or now < self._take_at:
            return
        for queue in self._queues:
            room = min(self._slots - len(self._runs), _MOST_TAKEN)
            found = self._claims.take_next(queue.name, room, queue.max_workers) if room > 0 else []
            if found:
                self._begin(found)
                self._pause = 0.0
        self._take_at = now + self._pause
        self._pause = min(max(2 * self._pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _begin(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            folder = JobFolder.of(self._data_folder, record.job.key)
            try:
                timeout_seconds, memory_bytes = read_limits(record.job)
                folder.write_job(
                    with_own_path(record.job),
                    secrets_folder=self._settings.secrets_folder,
                    cpus=read_requests(record.job).cpus,
                    is_durable=False,  # or it is lost, as after any end of this host
                )
                self._server.submit(folder.path, timeout_seconds, memory_bytes)
            except (ExecutorError, JobError) as error:
                self._endings.append(JobEnding(record=record, status="FAILED", reason=error.message))
            else:
                self._runs[str(folder.path)] = _JobAtWork(record=record, folder=folder)
                self._on_change("RUNNING", record)
        now = time.monotonic()
        self._look_at = max(self._look_at, now + _LOOK_SECONDS)
        self._beat_at = max(self._beat_at, now + self._beat_seconds)

    def _look_after(self) -> None:
        """Prolong leases, note progress, and have jobs stopped that are not wanted any more."""
        now = time.monotonic()
        if not self._runs or now < min(self._look_at, self._beat_at):
            return
        records = [run.record for run in self._runs.values()]
        news = {run.record.id: found for run in self._runs.values() if (found := _read_news(run))}
        if now >= self._beat_at or news:
            mine = self._claims.keep_up(records, news)
            self._beat_at = now + self._beat_seconds
        else:
            mine = self._claims.see(records)
        self._look_at = now + _LOOK_SECONDS
        for run in self._runs.values():
            reason = mine.get(run.record.id, "it is not this worker's any more")
            if reason is not None and run.stop_reason is None:
                run.stop_reason = reason
                run.folder.ask_to_stop()

    def _collect(self, seconds: float) -> None:
        """Wait so long for jobs to end, and take note of how they did."""
        ended = self._server.poll(seconds)
        if ended:
            self._take_at = 0.0  # there is room
        self._note_ends(ended)

    def _note_ends(self, ended: Sequence[EndedJob], lost_because: str | None = None) -> None:
        for end in ended:
            run = self._runs.pop(end.folder, None)
            if run is None:
                continue
            if end.exit_code is None and not run.folder.is_claimed():
                self._unbegun.append(run.record)
                self._take_at = time.monotonic() + _LONGEST_PAUSE  # this host has no room for processes now
            else:
                ending = _read_ending(run, end.exit_code, lost_because)
                if ending.outcome is not None:
                    kept = self._results.set_apart(run.record.job.work, ending.outcome, in_folder=False)
                    ending = replace(ending, outcome=kept)
                self._endings.append(ending)

    def _write_endings(self) -> None:
        self._claims.give_back(self._unbegun, "its worker could not begin it")
        self._unbegun = []
        if not self._endings:
            return
        done = self._store.jobs.end(self._endings)
        self._endings = []
        for ending in done:
            self.report.ended[ending.status] = self.report.ended.get(ending.status, 0) + 1
            self._on_change(ending.status, ending.record)
        self._is_then_due |= bool(done)

    def _settle_then(self, *, is_last: bool = False) -> None:
        """Start what lets the flows of ended jobs go on, unless somebody is at it.

        Args:
            is_last: this is not called again when one that was started before has ended.
        """
        if self._then is not None and self._then.poll() is not None:
            self._then = None
        is_at_it = self._then is not None and not is_last
        if not self._is_then_due or is_at_it or not self._settings.then:
            return
        self._is_then_due = False
        if is_attended(self._data_folder) or ask_for_turn(self._data_folder):
            return
        _STARTED[:] = [process for process in _STARTED if process.poll() is None]
        try:
            self._then = subprocess.Popen(  # noqa: S603 - the application names it
                self._settings.then,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            _STARTED.append(self._then)
        except OSError as error:
            _logger.warning("%s could not be started: %s", self._settings.then[0], error.strerror)


def _read_news(run: _JobAtWork) -> Mapping[str, Any] | None:
    """Return how far a job says that it is, unless that was noted."""
    try:
        progress = run.folder.read_progress()
    except JobError:  # it may be in the middle of writing
        return None
    if progress is None:
        return None
    told = {"fraction": progress.fraction, "text": progress.text, "at": progress.at}
    if told == run.progress:
        return None
    run.progress = told
    return told


def _read_ending(run: _JobAtWork, exit_code: int | None, lost_because: str | None) -> JobEnding:
    try:
        outcome = run.folder.read_outcome()
    except JobError as error:
        return JobEnding(record=run.record, status="LOST", reason=error.message)
    if outcome is None:
        how = "was killed" if exit_code is None or exit_code < 0 else f"ended with exit code {exit_code}"
        return JobEnding(
            record=run.record,
            status="LOST" if run.stop_reason is None else "CANCELLED",
            reason=run.stop_reason
            or lost_because
            or f"its process {how} and left no outcome in {run.folder.path}.",
        )
    reason = run.stop_reason if outcome.status == "CANCELLED" else None
    return JobEnding(record=run.record, status=outcome.status, outcome=outcome, reason=reason)
