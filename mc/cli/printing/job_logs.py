"""The logs of jobs on stdout, piece by piece as they grow."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mc.cli.printing.output import printable
from mc.errors import JobError
from mc.printable import printable_lines

if TYPE_CHECKING:
    from mc.jobs.folder import JobFolder
    from mc.jobs.jobs import Jobs
    from mc.store.job_record import JobRecord

__all__ = ["LogPrinter", "read_logs"]

_PIECE: Final = 1 << 20  # bytes


class LogPrinter:
    """Prints what jobs write: as it is where stdout is no terminal, without control characters on one.

    Args:
        jobs: whose logs.
        streams: which of `stdout` and `stderr`.
        has_headings: say before each piece whose it is, where that changes.
    """

    def __init__(self, jobs: Jobs, streams: Sequence[str], *, has_headings: bool) -> None:
        self.streams = streams
        self.has_printed = False
        self._jobs = jobs
        self._has_headings = has_headings
        self._is_terminal = sys.stdout.isatty()
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}
        self._read: dict[tuple[str, str], int] = {}  # job and stream -> bytes
        self._last: tuple[str, str] | None = None
        self._is_at_line_start = True

    def can_begin(self, record: JobRecord) -> bool:
        """Tell whether a job has logs by now, or will have none."""
        return record.has_ended or self._jobs.folder(record.job.key).path.is_dir()

    def has_ended(self, record: JobRecord) -> bool:
        """Tell whether a job writes no more, noted or not."""
        if record.has_ended:
            return True
        try:
            return self._jobs.folder(record.job.key).read_outcome() is not None
        except JobError:  # which whoever takes the outcome in makes known
            return False

    def print(self, record: JobRecord) -> None:
        """Print what a job has written since it was printed last.

        Raises:
            JobError: its logs are not here.
        """
        folder = self._jobs.open_folder(record)
        for stream in self.streams:
            self._print_stream(record, folder, stream)
        sys.stdout.flush()

    def _print_stream(self, record: JobRecord, folder: JobFolder, stream: str) -> None:
        place = record.id, stream
        while data := folder.read_log(stream, self._read.get(place, 0), _PIECE):
            self._read[place] = self._read.get(place, 0) + len(data)
            if self._has_headings and place != self._last:
                self._print_heading(record, stream)
            self._last, self.has_printed = place, True
            self._is_at_line_start = data.endswith(b"\n")
            if self._is_terminal:
                sys.stdout.write(printable_lines(self._decode(place, data)))
            else:
                sys.stdout.flush()
                sys.stdout.buffer.write(data)

    def _print_heading(self, record: JobRecord, stream: str) -> None:
        before = "" if self._is_at_line_start else "\n"
        before += "\n" if self._last is not None else ""
        job = record.job
        print(f"{before}==> {printable(job.task_path)}, attempt {job.attempt}, {record.status}, {stream} <==")

    def _decode(self, place: tuple[str, str], data: bytes) -> str:
        if place not in self._decoders:
            self._decoders[place] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        return self._decoders[place].decode(data)


def read_logs(jobs: Jobs, record: JobRecord, streams: Sequence[str]) -> dict[str, Any]:
    """Return the logs of a job as JSON-safe data; where they are not here, `missing` says why."""
    job = record.job
    found: dict[str, Any] = {
        "key": job.key,
        "flow_key": job.flow_key,
        "task": job.task_path,
        "attempt": job.attempt,
        "status": record.status,
        "folder": str(jobs.folder(job.key).path),
    }
    try:
        folder = jobs.open_folder(record)
    except JobError as error:
        return {**found, "missing": error.message}
    return found | {name: folder.read_log(name).decode(errors="backslashreplace") for name in streams}
