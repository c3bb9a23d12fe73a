"""A job, which a tick starts and any later tick finds ended; and what it says of its own end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Job", "JobState", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt of a task that is done elsewhere.

    Attributes:
        key: the attempt's idempotency key, which is the job's name on every executor.
        flow_key: of the stored flow that is made due by its end.
        task_path: of the task, `outer/inner` inside others.
        attempt: of the task, from 1.
        executor: name of the executor that starts it.
        work: what is to be done, as JSON data; see `docs/reference/job-folder.md`.
        requests: what it needs of its place: `cpus`, `memory`, `gpus`, `time`.
        timeout_seconds: counted from its start, not from when it was asked for; None: no limit.
        priority: of its task; higher ones are started first.
        work_digest: the same for all jobs that do the same by the same code, of which one may take the
            result of another; None: it takes part in that with none.
    """

    key: str
    flow_key: str
    task_path: str
    attempt: int
    executor: str
    work: Mapping[str, Any]
    requests: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None
    priority: int = 0
    work_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job says of its own end.

    Attributes:
        status: COMPLETED, FAILED or CANCELLED.
        result: what its function returned, or its command printed as JSON.
        exit_code: of its command; None where it did not end by itself.
        signal: number of the signal that ended its command.
        stdout: what its command wrote, as much as is kept of it.
        stderr: likewise.
        error: `type`, `message`, and where known `traceback` and `types`, the names that `cfg.retry` may
            call it by; None where it is COMPLETED.
        started_at: ISO 8601.
        finished_at: ISO 8601.
        host: where it ran.
        pid: of the process that ran it.
        usage: what it used: `cpu_seconds`, `max_rss_bytes`.
        result_apart: `sha256` and `bytes` of a result that stayed in the job's folder, or with `is_shared`
            is in the place that all hosts see; see `mc.jobs.large_results`.
    """

    status: str
    result: Any = None
    exit_code: int | None = None
    signal: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    error: Mapping[str, Any] | None = None
    started_at: str | None = None
    finished_at: str | None = None
    host: str | None = None
    pid: int | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    result_apart: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what the job wrote; what this version does not know is left out."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__ if name in record})

    def to_dict(self) -> dict[str, Any]:
        """Return the record, without what is not known."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: value for name, value in values if value is not None and value != {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """How far a job is.

    Attributes:
        status: see `mc.statuses.JobStatus`.
        outcome: what it said of its end; None as long as it has not, and of one that is LOST.
        native_id: what its executor calls it; None until it was started.
        reason: why it is LOST or was not started, in one sentence.
    """

    status: str
    outcome: Outcome | None = None
    native_id: str | None = None
    reason: str | None = None
