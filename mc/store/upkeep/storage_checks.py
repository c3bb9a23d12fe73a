"""Looks at what the database stands on: its disk, its settings for durability, its clock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, select, text

from mc.durations import format_duration, parse_time
from mc.store.databases.base import Dialect
from mc.store.databases.network_mounts import find_mount
from mc.store.finding import Finding, Severity

__all__ = ["check_disk", "check_durability", "check_storage"]

_LEAST_FREE: Final = 200 * 1024 * 1024  # bytes
_LARGE_LOG: Final = 64 * 1024 * 1024
_LARGEST_SKEW: Final = 5.0  # seconds
_MIB: Final = 1024 * 1024
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

# server's setting -> values with which a commit survives a loss of power
_POSTGRESQL: Final = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}
_MYSQL: Final = {"innodb_flush_log_at_trx_commit": ("1", "3"), "innodb_doublewrite": ("on", "1")}


def check_storage(connection: Connection, dialect: Dialect, url: URL, now: datetime) -> Iterator[Finding]:
    """Yield what may cost committed work, and what soon stops the work.

    Args:
        connection: in a transaction that reads.
        dialect: its kind of database.
        url: of the database.
        now: the time by the drivers' clock.
    """
    yield check_durability(connection)
    if not dialect.is_private(url):
        if dialect.name == "sqlite":
            yield from check_disk(Path(url.database or ""))
            yield from _check_rights(Path(url.database or ""))
        else:
            yield _check_clock(connection, dialect, now)


def check_durability(connection: Connection) -> Finding:
    """Return whether the database is set to keep what was committed, come what may."""
    kind = connection.dialect.name
    if kind == "sqlite":
        return _check_journal(connection)
    if kind == "postgresql":
        found = {name: connection.scalar(text(f"SHOW {name}")) for name in _POSTGRESQL}
        return _judge_settings(found, _POSTGRESQL)
    found = {name: connection.scalar(text(f"SELECT @@{name}")) for name in _MYSQL}
    return _judge_settings(found, _MYSQL)


def _check_journal(connection: Connection) -> Finding:
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


def _judge_settings(found: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]) -> Finding:
    values = {name: str(value).lower() for name, value in found.items()}
    wrong = [f"{name} is {value}" for name, value in values.items() if value not in wanted[name]]
    return Finding(
        code="journal",
        severity=Severity.PROBLEM if wrong else Severity.OK,
        message=f"The server may forget commits when the power fails: {', '.join(wrong)}."
        if wrong
        else "The server is set to keep what was committed when the power fails.",
        advice="Change it in the server's configuration, unless you can do without those commits."
        if wrong
        else "",
        details=values,
    )


def _check_rights(path: Path) -> Iterator[Finding]:
    closed = [str(place) for place in (path, path.parent) if not os.access(place, os.W_OK)]
    if closed:
        yield Finding(
            code="rights",
            severity=Severity.NOTE,
            message=f"This user may look at the database, but cannot write to {' and '.join(closed)}; its "
            f"houston tick would end with 3.",
            advice="Let drivers run as a user who may, or make the file and its directory writable.",
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


def _check_clock(connection: Connection, dialect: Dialect, now: datetime) -> Finding:
    skew = (parse_time(connection.scalars(select(dialect.now())).one()) - now).total_seconds()
    wrong = abs(skew) > _LARGEST_SKEW
    ahead = "ahead of" if skew > 0 else "behind"
    return Finding(
        code="clock",
        severity=Severity.PROBLEM if wrong else Severity.OK,
        message=f"The server's clock is {format_duration(abs(skew))} {ahead} this machine's."
        if wrong
        else "The clocks of the server and of this machine agree.",
        advice="Let both be set by NTP: flows are due by the drivers' clocks, leases end by the server's."
        if wrong
        else "",
        details={"seconds": round(skew, 3)},
    )
