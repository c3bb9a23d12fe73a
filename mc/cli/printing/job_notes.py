"""Jobs in a phrase: what they wait for, how far they are, how they ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mc.cli.printing.output import printable
from mc.flows.jobs.executor import BY_HAND

if TYPE_CHECKING:
    from mc.jobs.jobs import Jobs
    from mc.store.job_record import JobRecord

__all__ = ["describe_job", "print_last_lines", "with_jobs"]

_LONGEST = 300  # characters
_LONGEST_LINE = 1_000


def describe_job(record: JobRecord) -> str:
    """Return what there is to say of a job besides its status; an empty text where that is all."""
    return printable(_describe(record), _LONGEST)


def with_jobs(rows: Iterable[tuple[str, ...]], records: Iterable[JobRecord]) -> list[tuple[str, ...]]:
    """Return the rows of tasks, of which the last cell is a note, with what their jobs do where it is empty.

    Args:
        rows: of which the first cell is the task's path.
        records: jobs that have not ended.
    """
    notes = {record.job.task_path: describe_job(record) for record in records}
    return [row if row[-1] else (*row[:-1], notes.get(row[0], "")) for row in rows]


def print_last_lines(jobs: Jobs, record: JobRecord, *, of_whom: str = "") -> None:
    """Print the last lines that a job wrote, with an empty line before; nothing where it wrote nothing."""
    stream, lines = jobs.last_lines(record)
    if lines:
        print(f"\nthe end of {stream}{printable(of_whom)}:")
        for line in lines:
            print(f"  {printable(line, _LONGEST_LINE)}")


def _describe(record: JobRecord) -> str:
    executor, error = record.job.executor, record.outcome.error if record.outcome is not None else None
    if record.status == "PENDING":
        return f"waits for a worker of {executor}" + (f": {record.reason}" if record.reason else "")
    if record.stop_reason is not None and not record.has_ended:
        return f"is asked to end: {record.stop_reason}"
    if record.status == "SUBMITTED" and (record.native_id or "").startswith(BY_HAND):
        return "waits for its work directory: houston job build, run, ingest"
    if record.status == "SUBMITTED":
        return f"was handed to {executor}, and was not seen at work yet"
    if record.status == "RUNNING":
        return record.told_progress
    if error is not None:
        return f"{error.get('type')}: {error.get('message')}"
    return record.reason or ""
