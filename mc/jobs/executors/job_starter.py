"""Starter of jobs on this host: an interpreter that forks a detached process for each."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mc.errors import ExecutorError
from mc.jobs.script.job_files import write_all

__all__ = ["DIED", "LATER", "JobStarter"]

LATER: Final = "later"  # the host has no room for the process of a job now
DIED: Final = "ended"  # the process of a job ended before it had claimed its folder
_SCRIPT: Final = Path(__file__).parents[1] / "script" / "run_job.py"
_START_SECONDS: Final = 60.0  # in which a script says that it has its job; a host under load is slow
_READ: Final = 65536  # bytes
_SAID: Final = 1_000  # bytes of what an interpreter says of its own end


class JobStarter:
    """An interpreter that starts jobs, until it is closed; the jobs go on.

    Attributes:
        said: what it had to say itself of what was started last.

    Args:
        python: the interpreter.

    Raises:
        ExecutorError: it cannot be started.
    """

    def __init__(self, python: str) -> None:
        self.said = ""
        self._python = python
        self._owner = os.getpid()
        self._surroundings = _see_surroundings()
        self._count = 0  # of requests that were made
        self._rest = b""
        self._trouble = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [python, "-E", "-s", "-S", str(_SCRIPT), "--batch"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a script of this package
                command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._trouble
            )
        except OSError as error:
            self._trouble.close()
            raise ExecutorError(f"The executor 'local' cannot start {python}: {error.strerror}.") from error

    @property
    def is_usable(self) -> bool:
        """Whether it lives, is this process's own, and has the environment that it would be given now."""
        is_own = self._owner == os.getpid()
        return is_own and self._process.poll() is None and self._surroundings == _see_surroundings()

    def start(self, requests: Sequence[bytes]) -> Mapping[int, str]:
        """Start a process for each request, and return what it answers, by number of the request.

        Left out is what is too slow: asked again, it is found by its claim.

        Raises:
            ExecutorError: none could be started.
        """
        first, self._count = self._count, self._count + len(requests)
        said_before = self._trouble.seek(0, os.SEEK_END)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended without having read them
            write_all(self._process.stdin.fileno(), b"".join(requests))
        answers: dict[int, str] = {}
        give_up_at = time.monotonic() + _START_SECONDS
        while len(answers) < len(requests):
            lines = self._read_lines(give_up_at)
            if lines is None:
                self._process.kill()  # it would start more of them; those that it started go on
                break
            if not lines and self._rest == b"":
                self._note_end(answers, len(requests))
                break
            for line in lines:
                number, _, answer = line.decode("ascii", "replace").partition(" ")
                if number.isdigit() and int(number) >= first:
                    answers.setdefault(int(number) - first, answer)
        self._trouble.seek(said_before)
        self.said = self._trouble.read(_SAID).decode("utf-8", "backslashreplace").strip()
        if not answers and self._process.returncode is not None and self._process.returncode < 0:
            raise ExecutorError(
                f"The executor 'local' started no job: {self._python} was killed by signal "
                f"{-self._process.returncode}. {self.said}"
            )
        return answers

    def _read_lines(self, give_up_at: float) -> Sequence[bytes] | None:
        """Return the next whole lines, none at the end; None: nothing came in time."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        lines: list[bytes] = []
        while not lines:
            if not poll.poll(max(0.0, give_up_at - time.monotonic()) * 1_000):
                return None
            data = self._process.stdout.read(_READ)
            if not data:
                self._rest = b""
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def _note_end(self, answers: dict[int, str], count: int) -> None:
        """Take note that it ended: by itself, which it would do again, or because somebody killed it."""
        if self._process.wait() >= 0:
            for number in range(count):
                answers.setdefault(number, DIED)

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout, self._trouble):
            assert pipe is not None
            pipe.close()
        if self._owner == os.getpid():
            self._process.kill()  # it has started all that it was asked for
            self._process.wait()
        else:
            self._process.returncode = 0  # it is no child of this process


def _see_surroundings() -> tuple[object, ...]:
    """Return what jobs inherit of this process."""
    folder = Path().stat()  # it may have been deleted, which a path would not survive
    return os.environ.copy(), folder.st_dev, folder.st_ino
