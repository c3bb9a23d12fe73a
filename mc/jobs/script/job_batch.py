"""Batch of jobs, each run by a detached process of its own that is forked from one interpreter."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import note_trouble
    from mc.jobs.script.job_request import read_request, run_request, use_null_as_stdin
else:  # a script, and the files beside it
    from job_files import note_trouble
    from job_request import read_request, run_request, use_null_as_stdin

__all__ = ["NO_ROOM", "run_batch"]

NO_ROOM = 71  # exit code: the host had no room for more processes
_WRONG_LINE = 65


def run_batch() -> int:
    """Start a process for each job that stands on stdin, one line of JSON each.

    For each job, its process writes a line to stdout: the number of its line on stdin, from 0, and
    `claimed PID STARTED` or `taken`. Where the host has no room for a process, `later` stands there instead.

    Returns:
        The exit code: 0, 65 a line could not be read, 71 not all could be started.
    """
    with os.fdopen(0, "rb", closefd=False) as file:
        *lines, rest = file.read().split(b"\n")
    use_null_as_stdin()
    code = 0
    for number, line in enumerate(lines):
        request = read_request(line)
        if request is None:
            note_trouble(f"line {number} is no request to run a job")
            code = _WRONG_LINE
            continue
        try:
            pid = os.fork()
        except OSError as error:
            note_trouble(f"no process could be started: {error.strerror}")
            for left in range(number, len(lines)):
                _tell(left, "later")
            return NO_ROOM
        if pid == 0:
            os.setsid()
            run_request(request, lambda line, number=number: _tell(number, line))  # type: ignore[misc]
    return _WRONG_LINE if rest else code


def _tell(number: int, line: str) -> None:
    """Tell whoever started this process; one short write, which no other one can stand in."""
    try:
        os.write(1, f"{number} {line}\n".encode())
    except OSError:
        pass  # it has ended, the jobs go on
