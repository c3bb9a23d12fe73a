"""The server that runs jobs for a worker: `python job_server.py`, with a pipe of the worker as its stdin.

It reads one line of JSON for each job, forks a process that runs it, and writes one when that has the job
and one when that has ended. When the pipe is closed, as by the death of the worker, it ends its jobs and
itself. It has one thread, or what is forked could find a lock that nobody gives back.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

if TYPE_CHECKING or __package__:
    from mc.jobs.script import job_call  # so that processes of jobs have it already
    from mc.jobs.script.job_files import note_trouble, read_json
    from mc.jobs.script.job_processes import die_with, kill_remains
    from mc.jobs.script.job_request import read_request, run_request, use_null_as_stdin
else:  # a script, and the files beside it
    import job_call
    from job_files import note_trouble, read_json
    from job_processes import die_with, kill_remains
    from job_request import read_request, run_request, use_null_as_stdin

__all__ = ["ForkServer", "job_call"]

_READ = 65536  # bytes
_HANDLED = (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD)


class ForkServer:
    """Runs jobs, each in a process of its own that is forked from this one."""

    def __init__(self) -> None:
        self._folders: dict[int, str] = {}  # of jobs, by number of their process
        self._is_closing = False
        self._is_killing = False
        self._line = b""  # the one that has not ended
        self._wakeup_in, self._wakeup_out = os.pipe()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Return when stdin is closed, or SIGTERM was sent, and all jobs have ended; SIGQUIT kills them."""
        for fd in (self._wakeup_in, self._wakeup_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup_out, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, self._take_signal)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # its worker decides what becomes of it
        self._selector.register(self._wakeup_in, selectors.EVENT_READ, self._drain)
        self._selector.register(0, selectors.EVENT_READ, self._read)
        gc.collect()
        gc.freeze()  # or each process that is forked would copy it all
        was_closing = False
        while True:
            if self._is_closing and not was_closing:
                was_closing = True
                self._stop_all()
            if self._is_killing:
                self._is_killing = False
                self._kill_all()
            self._reap()
            if self._is_closing and not self._folders:
                return
            for key, _ in self._selector.select():
                key.data()

    def _take_signal(self, number: int, _: object) -> None:
        self._is_closing = self._is_closing or number != signal.SIGCHLD
        self._is_killing = self._is_killing or number == signal.SIGQUIT

    def _drain(self) -> None:
        try:
            os.read(self._wakeup_in, _READ)
        except BlockingIOError:
            pass  # another round has read it

    def _read(self) -> None:
        data = os.read(0, _READ)
        if not data:
            self._selector.unregister(0)
            self._is_closing = True
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            request = read_request(line)
            if request is None:
                note_trouble(f"no request to run a job: {line[:200]!r}")
            elif self._is_closing:
                self._tell({"folder": request["folder"], "exit_code": None})
            else:
                self._start(request)

    def _start(self, request: dict[str, Any]) -> None:
        server = os.getpid()
        signal.pthread_sigmask(
            signal.SIG_BLOCK, _HANDLED
        )  # or what is forked would take one as the server does
        try:
            pid = os.fork()
            if pid == 0:
                self._run(request, server)
            self._folders[pid] = request["folder"]
        except OSError as error:
            note_trouble(f"no process could be started for {request['folder']}: {error.strerror}")
            self._tell({"folder": request["folder"], "exit_code": None})
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def _run(self, request: dict[str, Any], server: int) -> NoReturn:
        """Run a job in the process that was forked for it, which lets go of all that is the server's."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (*_HANDLED, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            die_with(server, signal.SIGTERM)
            use_null_as_stdin()
            self._selector.close()
            os.close(self._wakeup_in)
            os.close(self._wakeup_out)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            run_request(request, lambda line: self._tell_claim(request["folder"], line), is_served=True)
        finally:
            os._exit(1)

    def _tell_claim(self, folder: str, line: str) -> None:
        if line != "taken":
            _, pid, started = line.split()
            self._tell({"folder": folder, "pid": int(pid), "started": int(started)})

    def _tell(self, answer: dict[str, Any]) -> None:
        """Write a line, whole: it is short, and no other one can stand in it."""
        try:
            os.write(1, json.dumps(answer).encode() + b"\n")
        except OSError:
            self._is_closing = True  # nobody reads it any more

    def _reap(self) -> None:
        while self._folders:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            folder = self._folders.pop(pid, None)
            if folder is None:
                continue
            if os.WIFSIGNALED(status):
                kill_remains(pid, _read_mark(folder, pid))
            self._tell({"folder": folder, "exit_code": _read_code(status)})

    def _stop_all(self) -> None:
        for pid in self._folders:
            for number in (signal.SIGTERM, signal.SIGCONT):
                os.kill(pid, number)

    def _kill_all(self) -> None:
        for pid, folder in self._folders.items():
            kill_remains(pid, _read_mark(folder, pid))


def _read_code(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _read_mark(folder: str, pid: int) -> str | None:
    """Return by what the processes of a job are known whose script has ended."""
    try:
        claim = read_json(os.path.join(folder, "claim.json"))
        return f"{pid}:{claim['started']}" if claim["pid"] == pid else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # it never began, or its folder has gone


if __name__ == "__main__":
    ForkServer().serve()
    sys.exit(0)
