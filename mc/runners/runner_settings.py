"""Settings of a runner, which it is told once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mc.flows.jobs.job_rounds import JobRounds

__all__ = ["RunnerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """What a runner is told once; see `FlowRunner`."""

    owner: str
    lease_seconds: float
    heartbeat_seconds: float
    batch_size: int
    outage_seconds: float
    threads: int = 1
    jobs: JobRounds | None = None
    task_ctx: Mapping[str, Any] = field(default_factory=dict)
