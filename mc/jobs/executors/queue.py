"""The executor `queue`: jobs wait in the database until a worker, `houston work`, takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.requests import check_max_workers

__all__ = ["BaseWorkersExecutor", "QueueExecutor"]


class BaseWorkersExecutor:
    """Knows nothing of jobs that have begun: their rows say all, whatever an engine says of its messages."""

    survives_starter = True
    is_local = False
    channel = Channel.DATABASE
    is_pulled = False

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Know nothing: workers tell of their jobs themselves, and engines call what has ended pending."""
        return {}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Do nothing: a worker sees in the database that its job is to end, or that it is not wanted."""

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Find none: a job that is sent twice is run once, by the worker that takes it first."""
        return {}

    def check(self) -> None:
        """Do nothing: there is nothing but the database to reach."""


class QueueExecutor(BaseWorkersExecutor):
    """Starts nothing: workers on any host that reaches the database pull its jobs.

    Args:
        max_workers: how many of its jobs run at a time, whoever runs them; no limit unless given.
    """

    is_pulled = True

    def __init__(self, *, max_workers: int | None = None) -> None:
        self.max_workers = check_max_workers(max_workers)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Start none."""
        return {}
