"""Files of a job folder, written whole or not at all, and the names of processes in them."""

from __future__ import annotations

import errno
import json
import os
import time

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "VERSION",
    "claim_folder",
    "format_timestamp",
    "keep_trouble",
    "make_claim",
    "note_trouble",
    "read_boot_id",
    "read_host",
    "read_json",
    "read_start",
    "write_all",
    "write_json",
    "write_whole",
]

VERSION = 1  # of the format of job folders
_NUMBERING_OF_HOSTS = 0xEFFFFFFC  # PROC_PID_INIT_INO of Linux, outside of all containers
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def format_timestamp(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601 in UTC, with microseconds."""
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{micros:06d}+00:00"


class _Trouble:
    log: str | None = None  # where it is written; None: to stderr


def keep_trouble(log: str) -> None:
    """Let `note_trouble` write to a file, which is made when there is any."""
    _Trouble.log = log


def note_trouble(text: str) -> None:
    """Write a line to the file of `keep_trouble`, or to stderr where there is none."""
    line = f"{format_timestamp(time.time())} {text}\n".encode("utf-8", "replace")
    fd = 2
    try:
        if _Trouble.log is not None:
            fd = os.open(_Trouble.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        pass  # its folder has gone
    try:
        os.write(fd, line)
    except OSError:
        pass  # the trouble is a full disk
    finally:
        if fd != 2:
            os.close(fd)


def read_json(path: str) -> Any:
    """Return what a file of JSON holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    with open(path, "rb") as file:
        text = file.read()
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its values stand too deep inside each other") from error


def write_json(path: str, value: Any) -> None:
    """Write JSON to a file, which is there whole or not at all, also after a loss of power.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, json.dumps(value, allow_nan=False).encode())


def write_whole(path: str, data: bytes) -> None:
    """Write a file, readable to its owner alone, which is there whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    _place(path, data, os.replace)


def _place(path: str, data: bytes, put: Callable[[str, str], None]) -> None:
    """Write a file beside its place, and put it there."""
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        put(beside, path)
    except BaseException:
        _remove(beside)
        raise
    if put is os.link:  # it has two names
        _remove(beside)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was never made


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes to a file descriptor that blocks."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_host() -> str:
    """Return the name of this host."""
    return os.uname().nodename


def read_boot_id() -> str:
    """Return what tells one start of this host from the next; empty where the system does not say.

    In a container that numbers its processes itself, `.` and the number of that numbering follow: two
    containers may have one name and one kernel, and know nothing of each other's processes.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot_id = file.read().strip().decode()
        numbering = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return ""
    return boot_id if numbering == _NUMBERING_OF_HOSTS else f"{boot_id}.{numbering}"


def read_start(pid: int) -> int | None:
    """Return when a process began, which tells it from a later one of the same number.

    Returns:
        Clock ticks since the host's start, 0 where the system does not say; None: there is no such process,
        or it has ended.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _read_start_without_proc(pid)
    except PermissionError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _read_start_without_proc(pid: int) -> int | None:
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is somebody else's, but it is there
    return 0


def make_claim() -> dict[str, Any]:
    """Return who this process is, as it stands in `claim.json`."""
    pid = os.getpid()
    return {
        "host": read_host(),
        "pid": pid,
        "boot_id": read_boot_id(),
        "started": read_start(pid) or 0,
        "at": format_timestamp(time.time()),
    }


def claim_folder(folder: str, claim: dict[str, Any]) -> bool:
    """Write `claim.json`; False if one is there already, and the job is another process's.

    Raises:
        OSError: it cannot be written.
    """
    path = os.path.join(folder, "claim.json")
    data = json.dumps(claim).encode()
    try:
        _place(path, data, os.link)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claim_without_links(path, data)
    return True


def _claim_without_links(path: str, data: bytes) -> bool:
    """Claim where files have one name only: for a moment, the claim is there and still empty."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True
