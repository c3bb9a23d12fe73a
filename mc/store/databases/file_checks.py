"""Checks of an SQLite file: its journal, who may write to it, its disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from mc.store.databases.network_mounts import find_mount
from mc.store.finding import Finding, Severity

__all__ = ["check_disk", "check_journal", "check_rights"]

_LEAST_FREE: Final = 200 * 1024 * 1024  # bytes
_LARGE_LOG: Final = 64 * 1024 * 1024
_MIB: Final = 1024 * 1024
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def check_journal(connection: Connection) -> Finding:
    """Return whether SQLite waits for the disk at each commit."""
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    right = mode == "memory" or (mode == "wal" and synchronous == 2)
    return Finding(
        code="journal",
        severity=Severity.OK if right else Severity.PROBLEM,
        message=f"SQLite's journal mode is {mode}, and each commit "
        + ("waits for the disk." if synchronous == 2 else f"is synchronous to level {synchronous} only."),
        advice="" if right else "See what else opens the file and changes its mode; mc uses WAL and FULL.",
        details={"journal_mode": mode, "synchronous": synchronous},
    )


def check_rights(path: Path) -> Iterator[Finding]:
    """Yield what this user may not do with a database's file."""
    closed = [str(place) for place in (path, path.parent) if not os.access(place, os.W_OK)]
    if closed:
        yield Finding(
            code="rights",
            severity=Severity.NOTE,
            message=f"This user may look at the database, but cannot write to {' and '.join(closed)}; its "
            f"houston tick would end with 3.",
            advice="Let runners run as a user who may, or make the file and its directory writable.",
            details={"closed": closed},
        )


def check_disk(path: Path) -> Iterator[Finding]:
    """Yield what there is to say of the disk under an SQLite file."""
    usage = shutil.disk_usage(path.parent)
    log = path.with_name(path.name + "-wal")
    log_size = log.stat().st_size if log.exists() else 0
    free = f"{usage.free // _MIB} MiB"
    full = usage.free < _LEAST_FREE
    yield Finding(
        code="disk",
        severity=Severity.PROBLEM if full else Severity.OK,
        message=f"{free} are free on the disk; the database has {path.stat().st_size // _MIB} MiB, its "
        f"write-ahead log {log_size // _MIB} MiB.",
        advice="Make room before nothing can be saved any more." if full else "",
        details={"free": usage.free, "size": path.stat().st_size, "wal_size": log_size},
    )
    if log_size > _LARGE_LOG:
        yield Finding(
            code="large-wal",
            severity=Severity.NOTE,
            message="The write-ahead log is large: a connection has been reading for a long time, and as "
            "long as it does, the log cannot be taken over into the database.",
            advice="Find the program that keeps the file open, and let it end its transaction; the next tick "
            "then cuts the log off.",
            details={"wal_size": log_size},
        )
    mount = find_mount(str(path))
    if mount is not None:
        yield _judge_mount(mount.path, mount.kind)


def _judge_mount(path: str, kind: str) -> Finding:
    in_memory = kind in _IN_MEMORY
    return Finding(
        code="file-system",
        severity=Severity.NOTE if in_memory else Severity.OK,
        message=f"The database lies on {path} ({kind}), "
        + ("which is lost when the machine goes down." if in_memory else "a local file system."),
        advice="Keep what matters on a disk." if in_memory else "",
        details={"path": path, "kind": kind},
    )
