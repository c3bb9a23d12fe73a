"""The executor `local`: jobs as processes of this host that nothing of their starter holds on to."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mc.errors import ExecutorError, JobError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.host_processes import HostProcess, ProcessTable, wait_for_ends
from mc.jobs.executors.requests import is_count, read_limits
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_boot_id, read_host

__all__ = ["LocalExecutor"]

_SCRIPT: Final = Path(__file__).parents[1] / "script" / "run_job.py"
_START_SECONDS: Final = 60.0  # in which a script says that it has its job; a host under load is slow
_KILL_SECONDS: Final = 5.0  # in which what got KILL is gone, unless it hangs in the kernel


class LocalExecutor:
    """Starts each job as a detached process, which outlives its starter, the terminal and `kill -9`.

    Args:
        max_workers: how many jobs run at a time; the number of cores unless given.
        python: the interpreter of the script and of functions; this one unless given.
    """

    survives_starter = True
    is_local = True
    channel = Channel.FOLDER
    is_pulled = False

    def __init__(self, *, max_workers: int | None = None, python: str | None = None) -> None:
        if max_workers is None:
            max_workers = os.cpu_count() or 1
        if not is_count(max_workers):
            raise ExecutorError(
                f"`max_workers` of the executor 'local' is {max_workers!r}; expected a number "
                f"of jobs, from 1."
            )
        self.max_workers: int | None = max_workers
        self._python = python or sys.executable
        self._host = read_host()
        self._boot_id = read_boot_id()

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Start a process for each job, and return when each has claimed its folder.

        One whose folder is claimed already is not run again: the process that has it is returned.
        """
        answers: dict[str, str | ExecutorError] = {}
        started: dict[str, subprocess.Popen[bytes]] = {}
        waiting = []
        try:
            for job in jobs:
                try:
                    started[job.job.key] = self._start_script(job)
                    waiting.append(job)
                except ExecutorError as error:
                    answers[job.job.key] = error
                except OSError as error:
                    if not started:
                        raise ExecutorError(
                            f"The executor 'local' cannot start {self._python}: {error.strerror}."
                        ) from error
                    break  # the host has no room for more now
        finally:
            lines = _read_first_lines(started)
        for job in waiting:
            line = lines.get(job.job.key)
            if line is not None:  # or it is too slow: asked again, it is found by its claim
                answers[job.job.key] = self._read_answer(job, line)
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

    def _start_script(self, job: FolderJob) -> subprocess.Popen[bytes]:
        options = ["--detach", *_make_options(job), str(job.folder)]
        command = [self._python, "-E", "-s", "-S", str(_SCRIPT), *options]
        try:
            log = os.open(job.folder / "script.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ExecutorError(
                f"The folder {job.folder} of job {job.job.key!r} cannot be written: {error.strerror}."
            ) from error
        try:
            return subprocess.Popen(  # noqa: S603 - this interpreter, and a script of this package
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        finally:
            os.close(log)

    def _read_answer(self, job: FolderJob, line: str) -> str | ExecutorError:
        match line.split():
            case ["claimed", pid, started]:
                return f"local:{self._host}:{self._boot_id}:{pid}:{started}"
            case ["taken"]:
                try:
                    return _read_claim(job) or ExecutorError(f"The claim of job {job.job.key!r} has gone.")
                except JobError as error:
                    return ExecutorError(f"Job {job.job.key!r} is claimed, but not told by whom: {error}")
        tail = (job.folder / "script.log").read_bytes()[-1_000:].decode("utf-8", "backslashreplace")
        return ExecutorError(
            f"The script of job {job.job.key!r} ended before it had its folder {job.folder}: {tail.strip()}"
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


def _make_options(job: FolderJob) -> list[str]:
    """Return what a job's requests limit, as options of the script."""
    seconds, memory = read_limits(job.job)
    options = [] if memory is None else ["--memory-bytes", str(memory)]
    return options if seconds is None else [*options, "--timeout-seconds", str(seconds)]


def _read_first_lines(started: Mapping[str, subprocess.Popen[bytes]]) -> dict[str, str]:
    """Return the first line of what each process writes, empty if it ends without one."""
    lines: dict[str, str] = {}
    give_up_at = time.monotonic() + _START_SECONDS
    with selectors.DefaultSelector() as selector:
        for key, process in started.items():
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, key)
        while selector.get_map() and (seconds := give_up_at - time.monotonic()) > 0:
            for ready, _ in selector.select(seconds):
                # One short line, written at once.
                lines[ready.data] = os.read(ready.fd, 4096).decode("ascii", "replace")
                selector.unregister(ready.fileobj)
    for key, process in started.items():
        assert process.stdout is not None
        process.stdout.close()
        if key in lines:
            process.wait()  # it ended when the job's own process began
    return lines
