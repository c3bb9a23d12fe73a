"""Executors: ways to start jobs somewhere, to see whether they live, and to stop them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mc.errors import ExecutorError
    from mc.flows.jobs.job import Job

__all__ = ["BY_HAND", "EXECUTORS", "AttendedExecutor", "Channel", "Executor", "FolderJob", "Liveness"]

BY_HAND: Final = "manual:"  # the begin of what jobs are called that people do, whatever their executor's name
EXECUTORS: Final = "mc.executors"  # the group of entry points in which executors are found by name


class Liveness(StrEnum):
    """What an executor knows of a job that it started."""

    ALIVE = "alive"  # it waits for its turn there, or runs
    GONE = "gone"  # it does not run any more, however it ended
    UNKNOWN = "unknown"  # nothing can be said from here, or not now


class Channel(StrEnum):
    """By which way the outcome of a job comes back."""

    FOLDER = "folder"  # in the job's folder, from where any tick takes it in
    DATABASE = "database"  # from a worker, which takes the job in the database, and ends it there


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderJob:
    """A job and its folder: there all that it needs was written, and there it leaves its outcome.

    By the channel of the database nothing is written there: a worker that knows the key finds all.
    """

    job: Job
    folder: Path


class Executor(Protocol):
    """Starts, looks and stops, in batches; never asked whether a job succeeded: jobs tell that themselves.

    Attributes:
        survives_starter: whether jobs go on when the process that started them has ended. Others run inside
            of a `run` or `loop`, and a tick that ends refuses them.
        is_local: whether only the host that started a job sees it and its folder.
        max_workers: how many jobs are under way at a time; the rest waits in the database. None: no limit.
        channel: by which outcomes come back.
        is_pulled: whether its workers take jobs that wait out of the database, so that none is started.
    """

    survives_starter: bool
    is_local: bool
    max_workers: int | None
    channel: Channel
    is_pulled: bool

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Start jobs.

        Returns:
            By key of the job, what the executor calls it, or why that one can never be started here. Those
            that are left out are tried again.

        Raises:
            ExecutorError: none could be started now, because the executor cannot be reached.
        """

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell of jobs whether they live; those that are left out are UNKNOWN."""

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """End jobs with all that they started, and wait for none of them to end. Harmless for ended ones.

        Args:
            native_ids: of the jobs.
            force: they were asked before, or have ended and may have left something behind.
        """

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return, by key, what the executor calls those of the jobs that were started there already."""

    def check(self) -> None:
        """Raise `ExecutorError` where it cannot be reached from here now; asked by people only."""


@runtime_checkable
class AttendedExecutor(Protocol):
    """What executors have besides whose jobs do not survive their starter."""

    def close(self, *, at_once: bool = False) -> None:
        """End with the `run` or `loop` that the executor works in; it may be used again after that.

        What has not begun is GONE then, and what runs is waited for.

        Args:
            at_once: wait for nothing, because a person interrupted it.
        """
