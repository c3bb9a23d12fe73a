"""Jobs in a phrase: what they wait for, how far they are, how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mc.cli.printing.output import printable

if TYPE_CHECKING:
    from mc.store.job_record import JobRecord

__all__ = ["describe_job", "describe_progress"]

_LONGEST = 300  # characters


def describe_job(record: JobRecord) -> str:
    """Return what there is to say of a job besides its status; an empty text where that is all."""
    return printable(_describe(record), _LONGEST)


def describe_progress(record: JobRecord) -> str:
    """Return how far a job says that it is: `40 % 40 of 100`; an empty text where it does not say."""
    fraction, text = record.progress.get("fraction"), str(record.progress.get("text") or "")
    shown = f"{100 * fraction:.0f} %" if isinstance(fraction, int | float) else ""
    return f"{shown} {text}".strip()


def _describe(record: JobRecord) -> str:
    executor, error = record.job.executor, record.outcome.error if record.outcome is not None else None
    if record.status == "PENDING":
        return f"waits for a worker of {executor}" + (f": {record.reason}" if record.reason else "")
    if record.stop_reason is not None and not record.has_ended:
        return f"is asked to end: {record.stop_reason}"
    if record.status == "SUBMITTED":
        return f"waits for its start on {executor}"
    if record.status == "RUNNING":
        return describe_progress(record)
    if error is not None:
        return f"{error.get('type')}: {error.get('message')}"
    return record.reason or ""
