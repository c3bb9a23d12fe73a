"""The executor `local`: jobs as processes of this host that nothing of their starter holds on to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mc.errors import ExecutorError, JobError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.host_processes import HostProcess, ProcessTable, wait_for_ends
from mc.jobs.executors.job_starter import LATER, JobStarter
from mc.jobs.executors.requests import check_max_workers, read_limits
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_boot_id, read_host

__all__ = ["LocalExecutor"]

_SAID: Final = 1_000  # characters of what an interpreter says of its own end
_KILL_SECONDS: Final = 5.0  # in which what got KILL is gone, unless it hangs in the kernel


class LocalExecutor:
    """Starts each job as a detached process, which outlives its starter, the terminal and `kill -9`.

    The interpreter that forks them is started with the first one, and kept for the next.

    Args:
        max_workers: how many jobs run at a time; the number of cores unless given.
        python: the interpreter of the script and of functions; this one unless given.
    """

    survives_starter = True
    is_local = True
    channel = Channel.FOLDER
    is_pulled = False

    def __init__(self, *, max_workers: int | None = None, python: str | None = None) -> None:
        self.max_workers: int | None = check_max_workers(max_workers) or os.cpu_count() or 1
        self._python = python or sys.executable
        self._starting = threading.Lock()
        self._starter: JobStarter | None = None
        self._close_starter: Callable[[], object] = lambda: None
        self._host = read_host()
        self._boot_id = read_boot_id()

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Start a process for each job, and return when each has claimed its folder.

        One whose folder is claimed already is not run again: the process that has it is returned.
        """
        answers: dict[str, str | ExecutorError] = {}
        ready: list[FolderJob] = []
        requests: list[bytes] = []
        for job in jobs:
            try:
                requests.append(json.dumps(_make_request(job)).encode() + b"\n")
                ready.append(job)
            except ExecutorError as error:
                answers[job.job.key] = error
        if not ready:
            return answers
        with self._starting:
            starter = self._find_starter()
            lines, said = starter.start(requests), starter.said
        for number, job in enumerate(ready):
            line = lines.get(number, LATER)
            if line != LATER:
                answers[job.job.key] = self._read_answer(job, line, said)
        return answers

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Look for the processes, by number and time of start; those of other hosts are UNKNOWN."""
        return {native_id: self._look(native_id) for native_id in native_ids}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Ask the scripts to end their jobs, or kill what is left, also of scripts that have ended."""
        processes = [process for process in map(self._read_native_id, native_ids) if process is not None]
        if not force:
            for process in processes:
                process.send(signal.SIGTERM)
            return
        give_up_at = time.monotonic() + _KILL_SECONDS
        while left := ProcessTable.read().find_remains(processes):
            for process in left:
                process.send(signal.SIGKILL)
            if time.monotonic() > give_up_at:
                break
            wait_for_ends(left, 0.5)

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return those whose folder a process has claimed, wherever it runs."""
        found = {}
        for job in jobs:
            # A claim that cannot be read is told when the job is started; here it must not hide the others.
            with suppress(JobError):
                native_id = _read_claim(job)
                if native_id is not None:
                    found[job.job.key] = native_id
        return found

    def check(self) -> None:
        """Raise `ExecutorError` where the interpreter is missing."""
        if shutil.which(self._python) is None:
            raise ExecutorError(
                f"Jobs cannot be started by {self._python}: there is no such program. Set `python` "
                f"in the settings of the executor to an interpreter."
            )

    def _find_starter(self) -> JobStarter:
        if self._starter is None or not self._starter.is_usable:
            if self._starter is not None:
                self._close_starter()
            self._starter = JobStarter(self._python)
            self._close_starter = weakref.finalize(self, self._starter.close)
        return self._starter

    def _read_answer(self, job: FolderJob, line: str, said: str) -> str | ExecutorError:
        match line.split():
            case ["claimed", pid, started]:
                return f"local:{self._host}:{self._boot_id}:{pid}:{started}"
            case ["taken"]:
                try:
                    return _read_claim(job) or ExecutorError(f"The claim of job {job.job.key!r} has gone.")
                except JobError as error:
                    return ExecutorError(f"Job {job.job.key!r} is claimed, but not told by whom: {error}")
        with suppress(OSError):  # it had nothing to say itself
            log = (job.folder / "script.log").read_bytes()
            said = log[-_SAID:].decode("utf-8", "backslashreplace").strip()
        return ExecutorError(
            f"The script of job {job.job.key!r} ended before it had its folder {job.folder}: {said}"
        )

    def _look(self, native_id: str) -> Liveness:
        host, boot_id = _read_place(native_id)
        if host != self._host:
            return Liveness.UNKNOWN
        if boot_id != self._boot_id:
            same_boot = boot_id is not None and boot_id.partition(".")[0] == self._boot_id.partition(".")[0]
            return Liveness.UNKNOWN if same_boot else Liveness.GONE
        process = self._read_native_id(native_id)
        if process is None:
            return Liveness.UNKNOWN
        return Liveness.ALIVE if process.is_alive() else Liveness.GONE

    def _read_native_id(self, native_id: str) -> HostProcess | None:
        """Return the process that is meant; None if it is not of this host since its last start."""
        if _read_place(native_id) != (self._host, self._boot_id):
            return None
        pid, _, started = native_id.split(":", 3)[3].partition(":")
        if not (pid.isdigit() and started.isdigit()):
            return None
        return HostProcess(pid=int(pid), started=int(started))


def _read_claim(job: FolderJob) -> str | None:
    claim = JobFolder(job.folder).read_claim()
    return None if claim is None else f"local:{claim.host}:{claim.boot_id}:{claim.pid}:{claim.started}"


def _read_place(native_id: str) -> tuple[str | None, str | None]:
    parts = native_id.split(":")
    return (parts[1], parts[2]) if len(parts) == 5 and parts[0] == "local" else (None, None)


def _make_request(job: FolderJob) -> Mapping[str, Any]:
    """Return what the script is told of a job: its folder, and what its requests limit."""
    seconds, memory = read_limits(job.job)
    if not os.access(job.folder, os.W_OK | os.X_OK):
        raise ExecutorError(
            f"The folder {job.folder} of job {job.job.key!r} is not there, or cannot be written; see who may."
        )
    return {"folder": str(job.folder), "timeout_seconds": seconds, "memory_bytes": memory}
