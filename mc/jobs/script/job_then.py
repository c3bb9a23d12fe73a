"""Command after a job, which lets its flow go on unless somebody else is at it."""

from __future__ import annotations

import fcntl
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mc.jobs.script.job_files import note_trouble
else:
    from job_files import note_trouble

__all__ = ["begin_then"]


def begin_then(then: dict[str, Any], log: str) -> None:
    """Start a command that is no part of the job and outlives this process, if it is needed.

    It is not where the process that started the job still looks after it, nor where the same command is at
    work: that one does its work once more, because of the file that is left for it.

    Args:
        then: `argv`; `lock`, the file that the command locks; `attended_by`, a file that whoever looks after
            the job locks.
        log: path of a file for what it writes.
    """
    if _is_locked(then.get("attended_by")):
        return
    lock = then.get("lock")
    if lock and _is_locked(lock):
        _touch(lock + ".again")
        if _is_locked(lock):  # or it has ended without having seen that
            return
    _start_detached(then["argv"], log)


def _is_locked(path: str | None) -> bool:
    if not path:
        return False
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _touch(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        note_trouble(f"{path} cannot be written: {error.strerror}")


def _start_detached(argv: list[str], log: str) -> None:
    if os.fork() != 0:
        return
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.execvp(argv[0], argv)  # noqa: S606 - who wrote the job named it
    except OSError as error:
        note_trouble(f"{argv[0]!r} could not be started: {error.strerror}")
    finally:
        os._exit(127)
