"""All that is known of one job, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mc.cli.printing.job_notes import describe_job
from mc.cli.printing.output import format_time_short, show_seconds, to_json_text
from mc.durations import format_duration

if TYPE_CHECKING:
    from mc.flows.jobs.job import Outcome
    from mc.store.job_record import JobRecord

__all__ = ["describe_whole_job"]


def describe_whole_job(record: JobRecord, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and values of all that is known of a job.

    Args:
        record: of the job.
        folder: of the job on this host, where it may not be.
    """
    job = record.job
    yield "job", job.key
    yield "flow", job.flow_key
    yield "task", f"{job.task_path}, attempt {job.attempt}"
    yield "status", record.status
    yield "executor", f"{job.executor} on {record.place}" if record.place else job.executor
    yield "folder", str(folder) if folder.is_dir() else f"{folder}, which is not on this host"
    for name in ("created", "submitted", "started", "finished"):
        at = getattr(record, f"{name}_at")
        if at is not None:
            yield name, format_time_short(at)
    if record.started_at is not None and record.finished_at is not None:
        yield "took", show_seconds((record.finished_at - record.started_at).total_seconds())
    if job.timeout_seconds is not None:
        yield "timeout", format_duration(job.timeout_seconds)
    if job.requests:
        yield "requests", to_json_text(dict(job.requests))
    yield "work", to_json_text(dict(job.work))
    if record.owner:
        yield "owner", record.owner
    if record.native_id:
        yield "called", record.native_id
    if record.progress:
        yield "progress", f"{record.told_progress} at {format_time_short(record.progress.get('at'))}"
    if record.outcome is None:
        note = describe_job(record)
        if note:
            yield "note", note
    else:
        yield from _describe_outcome(record.outcome)


def _describe_outcome(outcome: Outcome) -> Iterator[tuple[str, str]]:
    ran = f"on {outcome.host}, process {outcome.pid}" if outcome.host else ""
    ended = f"exit code {outcome.exit_code}" if outcome.exit_code is not None else ""
    ended = f"signal {outcome.signal}" if outcome.signal is not None else ended
    yield "outcome", ", ".join(filter(None, (outcome.status, ended, ran)))
    if outcome.error is not None:
        yield "error", f"{outcome.error.get('type')}: {outcome.error.get('message')}"
    if outcome.result is not None:
        yield "result", to_json_text(outcome.result)
    if outcome.usage:
        yield "usage", to_json_text(dict(outcome.usage))
