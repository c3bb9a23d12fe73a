"""Job server of a worker: a process that runs jobs without starting an interpreter for each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT
from typing import Any, Final

from mc.errors import ExecutorError
from mc.jobs.script.job_files import write_all

__all__ = ["EndedJob", "JobServer"]

_SCRIPT: Final = Path(__file__).parent / "script" / "job_server.py"
_READ: Final = 65536  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that a server does not run any more; how it ended stands in its folder.

    Attributes:
        folder: of the job, as it was submitted.
        exit_code: of the process that ran it: 0 COMPLETED, 1 FAILED or CANCELLED, 74 the claim or the outcome
            could not be written, 75 it was claimed already, -N that process was killed by signal N. None:
            nothing is known, because the server died, was closed, or had no room for a process; where the
            folder is not claimed, the job was never started.
    """

    folder: str
    exit_code: int | None


class JobServer:
    """Runs jobs in folders for this process, and none of them longer than this process lives.

    The server is a process of its own, which is started with the first job, and again with the next one after
    it died. Any thread may submit; one at a time polls. What is forked from this process has its own server.

    When this process ends, however it does, the server ends all jobs with all that they started: TERM, and
    KILL after the grace of the job. Such a job says that it was lost, and its task is tried again.

    Args:
        python: the interpreter of jobs, and of the functions that they call; this one unless given.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or sys.executable
        self._forget()
        own = weakref.WeakMethod(self._let_go)

        def let_go() -> None:
            method = own()
            if method is not None:
                method()

        os.register_at_fork(after_in_child=let_go)

    def _forget(self) -> None:
        self._changed = threading.Condition()  # held where the attributes below are changed
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._running: Counter[str] = Counter()
        self._rest = b""
        self._is_closed = False

    def _let_go(self) -> None:
        """Close what was inherited of the server of the process that this one was forked from."""
        process = self._process
        self._forget()
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.returncode = 0  # it is no child of this process

    @property
    def running(self) -> int:
        """How many jobs were submitted whose end was not polled yet."""
        return self._running.total()

    def submit(
        self, folder: Path | str, timeout_seconds: float | None = None, memory_bytes: int | None = None
    ) -> None:
        """Have a job run; its end is told by `poll`.

        It waits where the server does because some hundred ends were not polled.

        Args:
            folder: of the job.
            timeout_seconds: besides that of the job; None: no limit.
            memory_bytes: of address space for each process of its command; None: no limit.

        Raises:
            ExecutorError: the server cannot be started, or was closed.
        """
        request = {"folder": str(folder), "timeout_seconds": timeout_seconds, "memory_bytes": memory_bytes}
        with self._changed:
            if self._is_closed:
                raise ExecutorError(f"The job in {folder} cannot be started: its job server was closed.")
            if self._process is None:
                self._process = self._start()
            self._running[str(folder)] += 1
            process = self._process
            self._changed.notify_all()
        assert process.stdin is not None
        with self._writing, suppress(BrokenPipeError):  # it died, and `poll` tells so
            write_all(process.stdin.fileno(), json.dumps(request).encode() + b"\n")

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - this interpreter, and a script of this package
                [self._python, str(_SCRIPT)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # or Ctrl-C would end it before its worker says so
            )
        except OSError as error:
            raise ExecutorError(
                f"The job server cannot be started by {self._python}: {error.strerror}."
            ) from error

    def poll(self, timeout: float) -> list[EndedJob]:
        """Return the jobs that ended since the last call; empty if none did in time.

        Args:
            timeout: seconds for which it waits for the first of them.
        """
        give_up_at = time.monotonic() + timeout
        with self._reading:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._process is not None, give_up_at - time.monotonic())
                    process = self._process
                if process is None or not _is_ready(process, give_up_at - time.monotonic()):
                    return []
                ended = self._read(process)
                if ended or time.monotonic() >= give_up_at:
                    return ended

    def _read(self, process: subprocess.Popen[bytes]) -> list[EndedJob]:
        """Return the ends that the server tells; all of its jobs if it died."""
        assert process.stdout is not None
        data = process.stdout.read(_READ) or b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        answers: list[dict[str, Any]] = [json.loads(line) for line in lines]
        ended = [
            EndedJob(folder=answer["folder"], exit_code=answer["exit_code"])
            for answer in answers
            if "exit_code" in answer
        ]
        with self._changed:
            self._running -= Counter(job.folder for job in ended)
            if not data:
                ended += [EndedJob(folder=each, exit_code=None) for each in self._running.elements()]
                self._end(process)
        return ended

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with self._writing:
            process.stdin.close()
        process.stdout.close()
        process.wait()
        self._process, self._rest = None, b""
        self._running.clear()

    def close(self, *, kill: bool = False) -> list[EndedJob]:
        """End the server and all that it runs, and return the jobs that ended since the last `poll`.

        It returns when they have ended. Another thread may call it with `kill` meanwhile.

        Args:
            kill: do not give the jobs time to end by themselves.
        """
        with self._changed:
            self._is_closed = True
            process = self._process
            if process is None:
                return []
        if kill:
            process.send_signal(SIGQUIT)
        assert process.stdin is not None
        with self._writing:
            process.stdin.close()
        ended = []
        with self._reading:
            while self._process is process:
                ended += self._read(process)
        return ended


def _is_ready(process: subprocess.Popen[bytes], seconds: float) -> bool:
    poll = select.poll()
    assert process.stdout is not None
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(max(0.0, seconds) * 1_000))
