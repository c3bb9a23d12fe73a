"""Attendance to the ends of jobs: by a process that is at it, or by a command that each job starts."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mc.errors import JobError

__all__ = ["ask_for_turn", "attend", "is_attended", "then_lock", "turns_alone"]


_ATTENDED: Final = "attended"  # folder of files that are locked


@contextmanager
def attend(data_folder: Path) -> Iterator[Path]:
    """Give a block a file that is locked until it ends; jobs that name it begin no tick at their ends.

    Raises:
        JobError: the data folder cannot be written.
    """
    folder = data_folder / _ATTENDED
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JobError(
            f"The data folder {data_folder} cannot be written: {error.strerror}. Make room there and see who "
            f"may write, or set another one as data in mc.toml.",
            path=str(data_folder),
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(fd)


def is_attended(data_folder: Path) -> bool:
    """Tell whether any process of this host looks for the ends of jobs."""
    folder = data_folder / _ATTENDED
    return any(_is_locked(path) for path in folder.iterdir()) if folder.is_dir() else False


def then_lock(data_folder: Path) -> Path:
    """Return the file that the command locks which jobs start at their ends."""
    return data_folder / "then.lock"


def ask_for_turn(data_folder: Path) -> bool:
    """Have the process that has its turn at the ends of jobs take another one.

    Returns:
        Whether there is such a process.
    """
    lock = then_lock(data_folder)
    if not _is_locked(lock):
        return False
    _again(lock).touch()
    return _is_locked(lock)  # or it has ended without having seen that


def turns_alone(data_folder: Path) -> Iterator[None]:
    """Yield once, and once more for all jobs that ended meanwhile; not at all where another process is at it.

    So a burst of ends is a few ticks, and none is missed: whoever finds the lock taken leaves a file, and
    looks for the lock once more.
    """
    lock = then_lock(data_folder)
    again = _again(lock)
    data_folder.mkdir(parents=True, exist_ok=True)
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(fd):
                again.touch()
                if not _lock(fd):
                    return
            again.unlink(missing_ok=True)
            yield
        finally:
            os.close(fd)
        if not again.exists():
            return


def _again(lock: Path) -> Path:
    return Path(f"{lock}.again")


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
