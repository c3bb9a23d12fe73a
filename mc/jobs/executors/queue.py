"""The executor `queue`: jobs wait in the database until a worker, `houston work`, takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.requests import check_max_workers

__all__ = ["QueueExecutor"]


class QueueExecutor:
    """Starts nothing: workers on any host that reaches the database pull its jobs.

    Args:
        max_workers: how many of its jobs run at a time, whoever runs them; no limit unless given.
    """

    survives_starter = True
    is_local = False
    channel = Channel.DATABASE
    is_pulled = True

    def __init__(self, *, max_workers: int | None = None) -> None:
        self.max_workers = check_max_workers(max_workers)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Start none."""
        return {}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Know nothing: workers tell of their jobs in the database."""
        return {}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Do nothing: a worker sees in the database that a job is to end."""

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Find none."""
        return {}

    def check(self) -> None:
        """Do nothing: there is nothing but the database to reach."""
