"""A job as it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mc.flows.jobs.job import Job, JobState, Outcome
from mc.statuses import FINISHED_JOB_STATUSES

__all__ = ["JobEnding", "JobRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as its row tells of it.

    Attributes:
        id: SHA-256 of the job's key, in hexadecimal digits.
        job: what is to be done.
        status: see `mc.statuses.JobStatus`.
        place: the host that starts and sees it; None where any can.
        owner: the runner that started it, or the worker that works on it.
        token: grows each time that somebody takes it.
        native_id: what its executor calls it.
        progress: what it told of its progress last: `fraction`, `text`, `at`.
        stop_reason: why it is to be stopped; None: it is not.
        stop_asked_at: since when.
        outcome: what it said of its end.
        reason: why it was not started, or is LOST.
        created_at: when its task asked for it.
        submitted_at: when it was handed to its executor.
        started_at: when it began.
        finished_at: when it ended.
        is_overdue: whether its lease is over.
    """

    id: str
    job: Job
    status: str
    place: str | None = None
    owner: str | None = None
    token: int = 0
    native_id: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    stop_reason: str | None = None
    stop_asked_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    created_at: datetime
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    is_overdue: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end, however."""
        return self.status in FINISHED_JOB_STATUSES

    @property
    def since(self) -> datetime:
        """When it came to its status, as far as that is known."""
        times = {"SUBMITTED": self.submitted_at, "RUNNING": self.started_at or self.submitted_at}
        return (times.get(self.status) if not self.has_ended else self.finished_at) or self.created_at

    @property
    def told_progress(self) -> str:
        """How far it says that it is: `40 % 40 of 100`; an empty text where it does not say."""
        fraction, text = self.progress.get("fraction"), str(self.progress.get("text") or "")
        shown = f"{100 * fraction:.0f} %" if isinstance(fraction, int | float) else ""
        return f"{shown} {text}".strip()

    @property
    def state(self) -> JobState:
        """What a task is told of it."""
        return JobState(
            status=self.status, outcome=self.outcome, native_id=self.native_id, reason=self.reason
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-safe data for people and programs."""
        from mc.durations import format_time

        job = self.job
        times = ("created_at", "submitted_at", "started_at", "stop_asked_at", "finished_at")
        found: dict[str, Any] = {
            "key": job.key,
            "flow_key": job.flow_key,
            "task": job.task_path,
            "attempt": job.attempt,
            "status": self.status,
            "executor": job.executor,
            "place": self.place,
            "owner": self.owner,
            "native_id": self.native_id,
            "priority": job.priority,
            "requests": dict(job.requests),
            "timeout_seconds": job.timeout_seconds,
            "progress": self.progress or None,
            "stop_reason": self.stop_reason,
            "reason": self.reason,
            "outcome": self.outcome.to_dict() if self.outcome is not None else None,
        }
        for name in times:
            value = getattr(self, name)
            found[name] = format_time(value) if value is not None else None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnding:
    """How a job ended.

    Attributes:
        record: of the job, as it was read.
        status: COMPLETED, FAILED, CANCELLED or LOST.
        outcome: what it said; None where it said nothing.
        reason: why it is LOST or CANCELLED, or was not started.
    """

    record: JobRecord
    status: str
    outcome: Outcome | None = None
    reason: str | None = None
