"""The keeper of a store's jobs: starts them, sees how far they are, and takes their outcomes in.

An executor is never asked whether a job succeeded. A job leaves its outcome in its folder; what is gone
without one is LOST.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mc.errors import ExecutorError, JobError, McError
from mc.flows.jobs.executor import AttendedExecutor, Channel, Executor, FolderJob, Liveness
from mc.flows.jobs.job_settings import JobSettings
from mc.jobs.attendance import attend, is_attended, then_lock, turns_alone
from mc.jobs.executors.requests import read_requests
from mc.jobs.find_executor import make_executor
from mc.jobs.folder import JobFolder, JobUnreadableError
from mc.jobs.large_results import LargeResults
from mc.jobs.module_path import with_own_path
from mc.store.flow_store import FlowStore
from mc.store.job_record import JobEnding, JobRecord

__all__ = ["JobKeeper"]

_logger = logging.getLogger(__name__)

_HANDED_OVER: Final = timedelta(hours=1)  # in which a worker takes a job that was sent to it
_START_SECONDS: Final = 60.0  # in which whoever took a job hands it to its executor
_LEASE: Final = timedelta(minutes=15)  # without a sign of life, after which others may call a job LOST
_MOST_STARTED: Final = 100  # at once
_SHORTEST_PAUSE: Final = 0.05  # seconds between two looks at jobs that are young
_LONGEST_PAUSE: Final = 2.0
_IDLE_PAUSE: Final = 1.0  # where nothing is under way
_FRUITFUL: Final = 4  # a look is one if of so many jobs one has ended
_REST: Final = 5  # times as long as another look took, before the next one
_REFUSED_PAUSE: Final = timedelta(seconds=30)  # until an executor is tried again that could not be reached
_GRACE: Final = timedelta(seconds=20)  # in which a job ends that was asked to


class JobKeeper:
    """Starts the jobs of one store and looks after them; any number of keepers may, in any processes.

    Args:
        store: the jobs.
        settings: of the application.
        owner: who takes jobs, for people.
    """

    def __init__(
        self, store: FlowStore, settings: JobSettings | None = None, owner: str | None = None
    ) -> None:
        settings = settings or JobSettings()
        self.due_at: datetime = store.clock.now()
        self.executor = settings.executor
        self.data_folder: Final = Path(settings.data_folder or "mc-data").absolute()
        self._store = store
        self._settings = settings
        self._host = os.uname().nodename
        self._owner = owner or f"{self._host}:{os.getpid()}"
        self._executors: dict[str, Executor] = {}
        self._has_new = True  # jobs may wait for their start
        self._refused: dict[str, datetime] = {}  # executor -> when to try again
        self._renewed: dict[str, datetime] = {}  # job -> when its lease was prolonged last
        self._attending: ExitStack | None = None  # while this process looks for the ends of its jobs
        self._attended_by: Path | None = None
        self._asked: set[str] = set()  # jobs that were asked to end
        self._told: set[str] = set()  # executors of which it was said that they need a loop

    @contextmanager
    def attend(self) -> Iterator[None]:
        """Look after the ends of jobs for a block: those that it starts do not begin a tick at their ends."""
        is_interrupted = False
        with ExitStack() as attending:
            self._attending = attending
            try:
                yield
            except KeyboardInterrupt:
                is_interrupted = True
                raise
            finally:
                self._attending = None
                try:
                    self._close_executors(is_interrupted)
                finally:
                    self._attended_by = None

    def _close_executors(self, at_once: bool) -> None:
        """End what works only as long as this process attends: pools, in which calls are waited for."""
        for executor in self._executors.values():
            if isinstance(executor, AttendedExecutor):
                executor.close(at_once=at_once)

    def turns_alone(self) -> Iterator[None]:
        """Yield once, and again for jobs that ended meanwhile; not at all where another process is at it."""
        for _ in turns_alone(self.data_folder):
            self.note_new()  # or the next look would not be due yet, and miss why there is another turn
            yield

    def check(self, executor: str) -> None:
        """Raise `ExecutorError` unless there is an executor of this name."""
        self._find(executor)

    def note_new(self) -> None:
        """Take note that a job was stored, or is to be stopped."""
        self._has_new = True
        self.due_at = self._store.clock.now()

    def has_unfinished(self, family_of: str) -> bool:
        """Tell whether a flow, or a stored sub-flow of it, waits for a job."""
        return self._store.jobs.has_unfinished(family_of)

    def _find(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = make_executor(name, self._settings.executors)
        return self._executors[name]

    # --- starting --------------------------------------------------------------------------

    def start(self) -> None:
        """Start what waits for it, as far as there is room."""
        if not self._has_new:
            return
        self._has_new = False
        now = self._store.clock.now()
        for name in sorted(self._store.jobs.executors_with_work(), key=self._is_elsewhere):
            if self._refused.get(name, now) > now:
                self._has_new = True
                continue
            try:
                executor = self._find(name)
                if executor.is_pulled:
                    continue
                if not executor.survives_starter and self._attending is None:
                    self._tell_that_they_wait(name)
                    continue
                while self._start_some(name, executor):
                    pass
            except ExecutorError as error:
                self._refused[name] = now + _REFUSED_PAUSE
                self._has_new = True
                _warn(f"no job of the executor {name} could be started", "jobs_not_started", error)

    def _is_elsewhere(self, name: str) -> bool:
        """Tell whether an executor may keep others waiting until it answers."""
        try:
            return not self._find(name).is_local
        except ExecutorError:  # told where its jobs are started
            return True

    def _tell_that_they_wait(self, name: str) -> None:
        """Say once that a tick cannot start jobs, unless a process of this host does."""
        if name not in self._told and not is_attended(self.data_folder):
            self._told.add(name)
            _logger.warning(
                "jobs of the executor %s wait for a `houston run` or `houston loop`: they do not outlive a "
                "tick",
                name,
                extra={"action": "jobs_wait_for_loop"},
            )

    def _start_some(self, name: str, executor: Executor) -> bool:
        """Start jobs of an executor; return whether there may be more to start."""
        jobs = self._store.jobs
        records = jobs.take_pending(
            name,
            owner=self._owner,
            seconds=_START_SECONDS,
            limit=_MOST_STARTED,
            most=executor.max_workers,
            place=self._host if executor.is_local else None,
        )
        if records:
            self._submit(executor, records)
        return len(records) == _MOST_STARTED

    def _submit(self, executor: Executor, records: Sequence[JobRecord]) -> None:
        """Hand jobs to their executor, and note what came of it."""
        jobs, now = self._store.jobs, self._store.clock.now()
        ready: list[FolderJob] = []
        endings: list[JobEnding] = []
        for record in records:
            try:
                ready.append(self._write_folder(executor, record))
            except (ExecutorError, JobError) as error:
                endings.append(_refused(record, error))
        by_key = {record.job.key: record for record in records}
        try:
            started = dict(executor.start(ready)) if ready else {}
        except ExecutorError as error:
            given_back = [by_key[each.job.key] for each in ready]
            jobs.give_back(given_back, error.message, _REFUSED_PAUSE.total_seconds())
            raise
        finally:
            jobs.end(endings)
        refused = {key: found for key, found in started.items() if isinstance(found, ExecutorError)}
        jobs.end(
            [
                JobEnding(record=by_key[key], status="FAILED", reason=error.message)
                for key, error in refused.items()
            ]
        )
        native_ids = {key: found for key, found in started.items() if isinstance(found, str)}
        lease = _LEASE if executor.channel == Channel.FOLDER else _HANDED_OVER
        jobs.note_started(native_ids, [by_key[key] for key in native_ids], lease.total_seconds())
        left = [by_key[each.job.key] for each in ready if each.job.key not in started]
        if left:
            jobs.give_back(left, "its executor has no room")
        self.due_at = min(self.due_at, now + timedelta(seconds=_SHORTEST_PAUSE))

    def _write_folder(self, executor: Executor, record: JobRecord) -> FolderJob:
        folder = self._folder(record)
        if executor.channel == Channel.FOLDER:
            folder.write_job(
                with_own_path(record.job) if executor.is_local else record.job,
                secrets_folder=self._settings.secrets_folder,
                then=self._then(),
                cpus=read_requests(record.job).cpus if executor.is_local else None,  # others see to it
                is_durable=not executor.is_local,  # what runs here is LOST with the power
            )
        return FolderJob(job=record.job, folder=folder.path)

    def _then(self) -> dict[str, Any] | None:
        """Return what a job does at its end, lest its flow wait for the next tick."""
        if self._settings.then is None:
            return None
        then: dict[str, Any] = {"argv": list(self._settings.then)}
        then["lock"] = str(then_lock(self.data_folder))
        if self._attending is not None and self._attended_by is None:
            self._attended_by = self._attending.enter_context(attend(self.data_folder))
        if self._attended_by is not None:
            then["attended_by"] = str(self._attended_by)
        return then

    def _folder(self, record: JobRecord) -> JobFolder:
        return JobFolder.of(self.data_folder, record.job.key)

    # --- looking ---------------------------------------------------------------------------

    def look(self) -> bool:
        """See how far jobs are, and tell the flows of those that ended; return whether any did."""
        now = self._store.clock.now()
        of_workers = self._of_workers()
        records = self._store.jobs.list_live([self._host], of_workers)
        by_executor: dict[str, list[JobRecord]] = {}
        for record in records:
            by_executor.setdefault(record.job.executor, []).append(record)
        ended = 0
        for name, group in by_executor.items():
            try:
                executor = self._find(name)
                look_at = self._look_at_workers if name in of_workers else self._look_at
                ended += look_at(executor, group, now)
            except ExecutorError as error:
                _warn(f"the jobs of the executor {name} cannot be seen", "jobs_not_seen", error)
        self._has_new = True  # what others stored, or room for what waits
        youngest = self._store.jobs.newest_unfinished(of_workers) if of_workers else None
        seen_at = self._store.clock.now()
        pause = self._pause(records, now, youngest)
        if ended * _FRUITFUL < len(records):  # or many jobs that last are looked at all the time
            pause = max(pause, _REST * (seen_at - now).total_seconds())
        self.due_at = seen_at + timedelta(seconds=pause)
        return ended > 0

    def _of_workers(self) -> Sequence[str]:
        """Return the names of the executors whose workers tell of their jobs in the database."""
        found = []
        for name in self._store.jobs.executors_at_work():
            with suppress(ExecutorError):  # told where its jobs are looked at
                if self._find(name).channel == Channel.DATABASE:
                    found.append(name)
        return found

    @staticmethod
    def _pause(records: Sequence[JobRecord], now: datetime, youngest: datetime | None) -> float:
        """Return the seconds until the next look: a tenth of the age of the youngest job under way.

        Args:
            records: of those that are looked at.
            now: the present.
            youngest: when the youngest one of the others was stored.
        """
        since = [record.submitted_at for record in records if record.submitted_at is not None]
        since += [youngest] if youngest is not None else []
        if not since:
            return _IDLE_PAUSE
        return min(max((now - max(since)).total_seconds() / 10, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _look_at(self, executor: Executor, records: Sequence[JobRecord], now: datetime) -> int:
        """Look at the jobs of one executor; return how many ended."""
        elsewhere = [each for each in records if each.place not in (None, self._host)]
        endings = [
            _lost(record, f"its host {record.place} gave no sign of it for long")
            for record in elsewhere
            if not _may_be_found(record, now)
        ]
        here = [record for record in records if record.place in (None, self._host)]
        endings += self._take_outcomes(here)
        told = {ending.record.id for ending in endings}
        left = [record for record in here if record.id not in told]
        known = [record for record in left if record.native_id is not None]
        alive = executor.alive([str(record.native_id) for record in known]) if known else {}
        gone = [each for each in known if alive.get(str(each.native_id)) == Liveness.GONE]
        found = self._take_outcomes(gone)  # of those that ended between the two looks
        told = {ending.record.id for ending in found}
        endings += found
        vanished = [
            record
            for record in gone
            if record.id not in told and (record.is_overdue or self._is_here(record))
        ]
        if not executor.survives_starter:
            vanished = self._let_wait(vanished)
        if vanished:  # what they started may live on
            executor.stop([str(record.native_id) for record in vanished], force=True)
        endings += [_gone(record) for record in vanished]
        self._note(
            [record for record in known if record not in gone],
            {record.id for record in known if alive.get(str(record.native_id)) == Liveness.ALIVE},
            endings,
            now,
        )
        self._stop(executor, [each for each in known if each.stop_reason and each not in gone], now)
        self._mend(executor, [each for each in left if each.native_id is None and each.is_overdue])
        return len(self._store.jobs.end(endings)) if endings else 0

    def _let_wait(self, vanished: Sequence[JobRecord]) -> list[JobRecord]:
        """Let jobs wait again that had not begun when their starter ended; return the others."""
        idle = [each for each in vanished if each.stop_reason is None and not self._folder(each).is_claimed()]
        self._store.jobs.give_back(idle, "the run or loop that was to run it has ended")
        return [each for each in vanished if each not in idle]

    def _look_at_workers(self, executor: Executor, records: Sequence[JobRecord], now: datetime) -> int:
        """Look at jobs of which workers should have told, or that none is to take; return how many ended.

        A job that is sent to workers twice is run once: the second worker finds it taken.
        """
        endings, left = [], []
        for record in records:
            if record.status == "RUNNING":
                why = f"its worker {record.owner} gave no sign of it for too long"
                endings.append(_lost(record, why) if record.stop_reason is None else _cancelled(record))
            elif record.stop_reason is not None:
                endings.append(_cancelled(record))
            else:
                left.append(record)
        unwanted = [each.record for each in endings if each.record.stop_reason is not None]
        if unwanted:
            executor.stop([record.native_id or record.job.key for record in unwanted], force=True)
        self._store.jobs.give_back(left, "no worker took it")
        return len(self._store.jobs.end(endings)) if endings else 0

    def _is_here(self, record: JobRecord) -> bool:
        """Tell whether a job's folder can be seen here: others, with another data folder, may see more.

        What is gone and cannot be seen is LOST when its lease is over.
        """
        folder = self._folder(record)
        try:
            folder.read_outcome()
        except JobUnreadableError as error:
            _logger.warning("%s", error.message, extra={"action": "job_folder_unreadable"})
            return False
        if not folder.path.exists():
            _logger.warning(
                "the folder %s of job %s is not here; is another data folder set where it was started?",
                folder.path,
                record.job.key,
                extra={"action": "job_folder_not_here"},
            )
            return False
        return True

    def _take_outcomes(self, records: Iterable[JobRecord]) -> list[JobEnding]:
        """Return how those jobs ended that have left an outcome."""
        endings: list[JobEnding] = []
        for record in records:
            try:
                outcome = self._folder(record).read_outcome()
            except JobUnreadableError:
                continue
            except JobError as error:
                endings.append(_lost(record, error.message))
                continue
            if outcome is not None:
                outcome = LargeResults(self._settings).set_apart(record.job.work, outcome, in_folder=True)
                why = record.stop_reason if outcome.status == "CANCELLED" else None
                endings.append(JobEnding(record=record, status=outcome.status, outcome=outcome, reason=why))
        return endings

    def _note(
        self, records: Sequence[JobRecord], alive: set[str], endings: list[JobEnding], now: datetime
    ) -> None:
        """Note what is new of jobs that are under way; those that gave no sign for too long are LOST."""
        looks: list[tuple[JobRecord, dict[str, Any]]] = []
        for record in records:
            folder = self._folder(record)
            try:
                news = _news_of(record, folder)
                beat = folder.read_heartbeat()
            except JobError as error:  # it may be in the middle of writing
                _logger.info("%s", error.message, extra={"action": "job_folder_unreadable"})
                news, beat = {}, None
            is_alive = record.id in alive or (beat is not None and now - beat < _LEASE)
            renewed = self._renewed.get(record.id)
            if is_alive and (renewed is None or now - renewed > _LEASE / 3):
                news["is_alive"] = True
                self._renewed[record.id] = now
            if not is_alive and record.is_overdue:
                endings.append(_lost(record, f"it gave no sign of life for {_LEASE.total_seconds():g} s"))
            elif news:
                looks.append((record, news))
        if looks:
            self._store.jobs.note_look(looks, _LEASE.total_seconds())

    def stop(self, flow_key: str) -> None:
        """Ask those jobs of a flow to end that are not wanted any more, without waiting for the next look."""
        records = self._store.jobs.list(flow_key=flow_key, statuses=("SUBMITTED", "RUNNING"))
        for record in records:
            if record.stop_reason and record.native_id and record.place in (None, self._host):
                try:
                    executor = self._find(record.job.executor)
                    if executor.channel == Channel.FOLDER:
                        self._stop(executor, [record], self._store.clock.now())
                except ExecutorError as error:
                    _warn(f"the job {record.job.key} is not stopped yet", "job_not_stopped", error)

    def _stop(self, executor: Executor, records: Sequence[JobRecord], now: datetime) -> None:
        """Have jobs ended that are not wanted, by force where they did not end when they were asked."""
        late = [each for each in records if each.stop_asked_at and now - each.stop_asked_at > _GRACE]
        asked = [each for each in records if each not in late and each.id not in self._asked]
        self._asked.update(each.id for each in asked)
        for group, force in ((asked, False), (late, True)):
            if group:
                executor.stop([str(each.native_id) for each in group], force=force)

    def _mend(self, executor: Executor, records: Sequence[JobRecord]) -> None:
        """Find jobs whose starter vanished before it noted what its executor calls them; start the others."""
        if not records:
            return
        jobs = [FolderJob(job=record.job, folder=self._folder(record).path) for record in records]
        found = executor.find(jobs)
        by_key = {record.job.key: record for record in records}
        self._store.jobs.note_started(found, [by_key[key] for key in found], _LEASE.total_seconds())
        self._store.jobs.give_back(
            [record for record in records if record.job.key not in found],
            "whoever was to start it vanished before it did",
        )


def _warn(what: str, action: str, error: ExecutorError) -> None:
    _logger.warning("%s: %s", what, error.message, extra={"action": action})


def _news_of(record: JobRecord, folder: JobFolder) -> dict[str, Any]:
    """Return what a job's folder tells of it that is not noted yet."""
    news: dict[str, Any] = {}
    claim = folder.read_claim() if record.status == "SUBMITTED" else None
    if claim is not None:
        news |= {"status": "RUNNING", "started_at": claim.at}
    progress = folder.read_progress()
    if progress is not None:
        told = {"fraction": progress.fraction, "text": progress.text, "at": progress.at}
        if told != record.progress:
            news["progress"] = told
    return news


def _may_be_found(record: JobRecord, now: datetime) -> bool:
    """Tell whether the host that took a job may still start it, or find it: its first lease is short."""
    return record.native_id is None and record.submitted_at is not None and now - record.submitted_at < _LEASE


def _refused(record: JobRecord, error: McError) -> JobEnding:
    return JobEnding(record=record, status="FAILED", reason=error.message)


def _lost(record: JobRecord, reason: str) -> JobEnding:
    return JobEnding(record=record, status="LOST", reason=reason)


def _cancelled(record: JobRecord) -> JobEnding:
    return JobEnding(record=record, status="CANCELLED", reason=record.stop_reason)


def _gone(record: JobRecord) -> JobEnding:
    if record.stop_reason is not None:
        return _cancelled(record)
    return _lost(
        record,
        f"it does not run any more, and left no outcome: it was killed, its machine went down, or it could "
        f"not write to its folder ({record.native_id}).",
    )
