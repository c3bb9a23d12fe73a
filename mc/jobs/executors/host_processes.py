"""Processes of this host: whether they live, what belongs to them, and when they end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from mc.jobs.script.job_files import read_start

__all__ = ["HostProcess", "ProcessTable", "wait_for_ends"]

_PROC: Final = Path("/proc")
_MARK: Final = b"MC_JOB_PROCESS="  # in the environment of all that a job's command starts


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProcess:
    """A process, told from later ones of the same number.

    Attributes:
        pid: its number.
        started: when it began, in clock ticks since the host's start; 0 where the host does not say.
    """

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Tell whether it runs; one that has ended and waits for its parent does not."""
        return read_start(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal; harmless if it has ended or is another user's."""
        with suppress(ProcessLookupError, PermissionError):
            if self.is_alive():
                os.kill(self.pid, number)

    @property
    def mark(self) -> bytes:
        """What stands in the environment of the processes that it started as a script of a job."""
        return _MARK + f"{self.pid}:{self.started}".encode()


class _Row(NamedTuple):
    process: HostProcess
    parent: int
    leader: int  # of the group of groups that `setsid` makes


class ProcessTable:
    """The processes of the host at one moment; empty where there is no `/proc`."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._rows = {row.process.pid: row for row in rows}

    @classmethod
    def read(cls) -> Self:
        """Read it from the kernel."""
        if not _PROC.is_dir():
            return cls(())
        found = (_read_row(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
        return cls(row for row in found if row is not None)

    def find_remains(self, scripts: Sequence[HostProcess]) -> list[HostProcess]:
        """Return what belongs to scripts of jobs: themselves, what descends from them or bears their mark.

        What a script left behind when it was killed has other parents, but still bears its mark, unless it
        was started with an empty environment; then it is found as long as another one with the mark is in
        its group of `setsid`.
        """
        if not scripts:
            return []
        own = {script.pid for script in scripts if self._has(script)}
        marks = {script.mark for script in scripts}
        own |= {pid for pid in self._rows if pid != os.getpid() and not marks.isdisjoint(_read_marks(pid))}
        leaders = {self._rows[pid].leader for pid in own} & {script.pid for script in scripts}
        own |= {pid for pid, row in self._rows.items() if row.leader in leaders}
        children: dict[int, list[int]] = {}
        for pid, row in self._rows.items():
            children.setdefault(row.parent, []).append(pid)
        found = list(own)
        for pid in found:
            new = [child for child in children.get(pid, ()) if child not in own]
            own.update(new)
            found += new
        # Scripts last: they collect what their children leave.
        found.sort(key=lambda pid: self._rows[pid].process in scripts)
        return [self._rows[pid].process for pid in found]

    def _has(self, process: HostProcess) -> bool:
        row = self._rows.get(process.pid)
        return row is not None and row.process == process


def _read_row(pid: int) -> _Row | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None  # it has ended
    if fields[0] in (b"Z", b"X"):
        return None
    return _Row(HostProcess(pid=pid, started=int(fields[19])), int(fields[1]), int(fields[3]))


def _read_marks(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or is another user's


def wait_for_ends(processes: Iterable[HostProcess], seconds: float) -> None:
    """Return when the processes have ended, or after that time."""
    give_up_at = time.monotonic() + seconds
    for process in processes:
        if not hasattr(os, "pidfd_open"):
            _look_again_and_again(process, give_up_at)
            continue
        try:
            fd = os.pidfd_open(process.pid)
        except OSError:
            continue  # it has ended
        try:
            if process.is_alive():
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(max(0.0, give_up_at - time.monotonic()) * 1_000)
        finally:
            os.close(fd)


def _look_again_and_again(process: HostProcess, give_up_at: float) -> None:
    while process.is_alive() and time.monotonic() < give_up_at:
        time.sleep(0.02)
