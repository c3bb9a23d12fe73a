"""Pools of `concurrent.futures` as executors: what `threads` and `processes` have in common."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from functools import partial
from threading import Lock, Semaphore
from typing import ClassVar, Final
from uuid import uuid4

from mc.errors import ExecutorError, JobError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.interrupts import TurnThread
from mc.jobs.executors.local import LocalExecutor
from mc.jobs.executors.pool_job import PoolJob, leave_outcome
from mc.jobs.executors.requests import check_max_workers, read_limits
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_boot_id, read_host, read_start

__all__ = ["BasePoolExecutor"]

_logger = logging.getLogger(__name__)

_AHEAD: Final = 100  # jobs that wait in the pool for a worker of it, so that none waits for a look
_SILENT_SECONDS: Final = 1.0  # of waiting for calls, before that is told


class BasePoolExecutor(ABC):
    """Runs jobs in a pool that lives as long as the `run` or `loop` whose process has it.

    A job is called `KIND:HOST:BOOT_ID:PID:STARTED:POOL:FOLDER`, by the process that has the pool. Who works
    at it stands in its folder: nobody yet, a worker of the pool, or the script.

    Args:
        max_workers: how many jobs run at a time; the number of cores unless given.
    """

    survives_starter = False
    is_local = True
    channel = Channel.FOLDER
    is_pulled = False
    kind: ClassVar[str]
    owns_process: ClassVar[bool]  # whether a worker of the pool is a process that does nothing else

    def __init__(self, *, max_workers: int | None = None) -> None:
        self.workers: Final = check_max_workers(max_workers) or os.cpu_count() or 1
        self.max_workers: int | None = self.workers + _AHEAD
        pid = os.getpid()
        self._own = (
            f"{self.kind}:{read_host()}:{read_boot_id()}:{pid}:{read_start(pid) or 0}:{uuid4().hex[:8]}:"
        )
        self._processes = LocalExecutor()  # knows them by their claims
        # No lock is held where a pool is called: its threads come back here with locks of its own.
        self._held: dict[str, PoolJob] = {}  # what waits in the pool, or runs
        self._waiting: OrderedDict[str, PoolJob] = OrderedDict()
        self._mute: set[str] = set()  # what ended, and could not write its outcome
        self._futures: set[Future[bool]] = set()
        self._slots = Semaphore(self.workers)
        self._pool: Executor | None = None
        self._pool_lock = Lock()
        self._has_worked = False  # has the pool ended any job?
        self._trouble: str | None = None

    @abstractmethod
    def make_pool(self) -> Executor:
        """Return a new pool."""

    def submit(self, pool: Executor, call: Callable[[], bool]) -> Future[bool]:
        """Hand a call to a pool."""
        return pool.submit(call)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Take jobs into the pool; one whose folder is claimed already is not run again."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise ExecutorError(trouble, executor=self.kind)
        answers: dict[str, str | ExecutorError] = {}
        for job in jobs:
            native_id = f"{self._own}{job.folder}"
            answers[job.job.key] = native_id
            try:
                seconds, memory = read_limits(job.job)
            except ExecutorError as error:
                answers[job.job.key] = error
                continue
            if native_id not in self._held and not JobFolder(job.folder).is_claimed():
                pool_job = PoolJob(
                    folder=job.folder,
                    timeout_seconds=seconds,
                    memory_bytes=memory,
                    owns_process=self.owns_process,
                )
                self._held[native_id] = self._waiting[native_id] = pool_job
        self._fill()
        return answers

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell of jobs in this pool, and of others by the processes that have them."""
        self._fill()
        return {native_id: self._look(native_id) for native_id in native_ids}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Cancel what has not begun; ask the rest to end, which only commands can before their end."""
        for native_id in native_ids:
            folder = _folder_of(native_id)
            if self._waiting.pop(native_id, None) is not None:
                leave_outcome(folder.path, {}, time.time(), {"status": "CANCELLED"}, 0)
                self._held.pop(native_id, None)
                continue
            if folder.path.is_dir():
                try:
                    folder.ask_to_stop()
                except JobError as error:
                    raise ExecutorError(error.message) from error
            claim = _read_claim(folder) if force else None
            if claim is not None and (
                (folder.path / "script.log").exists() or self._look_at(claim) is Liveness.GONE
            ):
                self._processes.stop([claim], force=True)  # never a worker that lives: it does others' work

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return what is in this pool, and what any process has claimed."""
        found = {job.job.key: f"{self._own}{job.folder}" for job in jobs}
        return {
            job.job.key: found[job.job.key]
            for job in jobs
            if found[job.job.key] in self._held or JobFolder(job.folder).is_claimed()
        }

    def check(self) -> None:
        """Do nothing: it is this process."""
        return

    def close(self, *, at_once: bool = False) -> None:
        """End the pool: what has not begun is left to other runners, and what runs is waited for.

        Args:
            at_once: wait for nothing.

        Raises:
            KeyboardInterrupt: a person does not want to wait.
        """
        while self._waiting:
            self._held.pop(self._waiting.popitem(last=False)[0], None)
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            if at_once:
                raise KeyboardInterrupt
            _, running = wait(list(self._futures), _SILENT_SECONDS)
            if running:
                _logger.warning(
                    "calls of the executor %s are waited for (%d), which cannot be interrupted; Ctrl-C once "
                    "more gives them up",
                    self.kind,
                    len(running),
                    extra={"action": "pool_waits"},
                )
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            # In such a thread, or the end of the process would wait for the pool too.
            TurnThread(target=pool.shutdown, name=f"mc-{self.kind}").start()
            if not at_once:
                raise

    def _look(self, native_id: str) -> Liveness:
        if native_id in self._held:
            return Liveness.ALIVE
        folder = _folder_of(native_id)
        if native_id in self._mute or (folder.path / "outcome.json").exists():
            return Liveness.GONE
        claim = _read_claim(folder)
        if claim is None and folder.is_claimed():
            return Liveness.UNKNOWN
        if claim is None and native_id.startswith(self._own):
            return Liveness.GONE
        return self._look_at(claim or _process_of(native_id))

    def _look_at(self, process: str) -> Liveness:
        return self._processes.alive([process])[process]

    def _fill(self) -> None:
        """Hand to the pool what it has workers for."""
        while self._waiting and self._slots.acquire(blocking=False):
            try:
                native_id, pool_job = self._waiting.popitem(last=False)
            except KeyError:  # another thread took it
                self._slots.release()
                return
            pool = None
            try:
                pool = self._get_pool()
                future = self.submit(pool, pool_job.carry_out)
            except (OSError, RuntimeError) as error:  # a broken pool is a RuntimeError
                self._slots.release()
                self._held.pop(native_id, None)
                if pool is None:
                    self._give_up(f"{error}")
                return
            self._futures.add(future)
            future.add_done_callback(partial(self._end, native_id, pool))

    def _get_pool(self) -> Executor:
        with self._pool_lock:
            if self._pool is None:
                self._pool, self._has_worked = self.make_pool(), False
            return self._pool

    def _end(self, native_id: str, pool: Executor, future: Future[bool]) -> None:
        """Take note that a worker is done with a job, or that the pool broke."""
        self._futures.discard(future)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, BrokenExecutor):
            self._note_broken(native_id, pool)
        elif error is not None:
            folder = _folder_of(native_id).path
            _logger.warning(
                "the job in %s was not run: %s", folder, error, extra={"action": "pool_job_not_run"}
            )
        elif not future.cancelled():
            self._has_worked = True
            if not future.result():
                self._mute.add(native_id)
        self._held.pop(native_id, None)
        self._slots.release()
        if error is None:
            self._fill()

    def _note_broken(self, native_id: str, pool: Executor) -> None:
        """Forget a pool of which a worker was killed; the next look makes another one."""
        if self._pool is pool:
            self._pool = None
            _logger.warning(
                "a worker of the executor %s was killed; what its workers were at is LOST",
                self.kind,
                extra={"action": "pool_lost"},
            )
        if not self._has_worked and not _folder_of(native_id).is_claimed():
            self._give_up("they end before they take a job; stderr of this process tells why")

    def _give_up(self, why: str) -> None:
        """Leave what waits to a later start."""
        self._trouble = f"The workers of the pool cannot be started: {why}."
        while self._waiting:
            self._held.pop(self._waiting.popitem(last=False)[0], None)


def _folder_of(native_id: str) -> JobFolder:
    return JobFolder(native_id.split(":", 6)[-1])


def _process_of(native_id: str) -> str:
    """Return the process that has the pool, as `local` calls it."""
    return ":".join(["local", *native_id.split(":", 6)[1:5]])


def _read_claim(folder: JobFolder) -> str | None:
    """Return the process that has taken a job, as `local` calls it; None: nobody that can be read."""
    try:
        claim = folder.read_claim()
    except JobError:
        return None
    return None if claim is None else f"local:{claim.host}:{claim.boot_id}:{claim.pid}:{claim.started}"
