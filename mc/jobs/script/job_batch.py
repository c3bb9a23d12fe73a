"""Batch of jobs, each run by a detached process of its own that is forked from one interpreter."""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import note_trouble
    from mc.jobs.script.job_request import read_request, run_request, use_null_as_stdin
else:  # a script, and the files beside it
    from job_files import note_trouble
    from job_request import read_request, run_request, use_null_as_stdin

__all__ = ["JobBatch"]

_READ = 65536  # bytes


class JobBatch:
    """Starts a process for each job that is asked for on stdin, with one line of JSON each.

    For each, a line is written to stdout: the number of its line on stdin, from 0, and `claimed PID STARTED`
    or `taken`, as its process says, or `later` where the host has no room for one. Another one with `ended`
    follows when the process has ended. Processes go on when this one ends.
    """

    def __init__(self) -> None:
        self._count = 0  # of lines that were read
        self._numbers: dict[int, int] = {}  # of lines, by number of the process
        self._wakeup_in, self._wakeup_out = os.pipe()

    def run(self) -> None:
        """Return when stdin is closed."""
        for fd in (self._wakeup_in, self._wakeup_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it wakes the loop
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # its starter decides what becomes of it
        rest = b""
        while True:
            ready, _, _ = select.select((0, self._wakeup_in), (), ())
            if self._wakeup_in in ready:
                os.read(self._wakeup_in, _READ)
                self._reap()
            if 0 in ready:
                data = os.read(0, _READ)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._start(line)

    def _start(self, line: bytes) -> None:
        number, request = self._count, read_request(line)
        self._count += 1
        if request is None:
            note_trouble(f"line {number} is no request to run a job")
            _tell(number, "ended")
            return
        try:
            pid = os.fork()
        except OSError as error:
            note_trouble(f"no process could be started: {error.strerror}")
            _tell(number, "later")
            return
        if pid == 0:
            os.setsid()
            signal.set_wakeup_fd(-1)
            os.close(self._wakeup_in)
            os.close(self._wakeup_out)
            use_null_as_stdin()
            run_request(request, lambda line: _tell(number, line))
        self._numbers[pid] = number

    def _reap(self) -> None:
        while self._numbers:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _tell(self._numbers.pop(pid), "ended")


def _tell(number: int, line: str) -> None:
    """Tell whoever started this process; one short write, which no other one can stand in."""
    try:
        os.write(1, f"{number} {line}\n".encode())
    except OSError:
        pass  # it has ended, the jobs go on
