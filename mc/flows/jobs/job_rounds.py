"""Rounds of jobs: what a runner asks of whoever starts them and looks after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mc.flows.jobs.job_settings import ModuleSettings

__all__ = ["JobRounds"]


class JobRounds(Protocol):
    """Starts the jobs of a store, sees how far they are, and takes their outcomes in.

    Attributes:
        executor: name of the executor that starts what names none.
    """

    executor: str

    @property
    def due_at(self) -> datetime:
        """When to look again."""

    def attend(self) -> AbstractContextManager[None]:
        """Return a block in which ends of jobs are looked for, so that those need not tell of them."""

    def turns_alone(self) -> Iterator[None]:
        """Yield once, and again for jobs that ended meanwhile; not at all where another process is at it."""

    def check(self, executor: str) -> None:
        """Raise `ExecutorError` unless there is an executor of this name."""

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules."""

    def look(self) -> bool:
        """See how far jobs are, and tell the flows of those that ended; return whether any did."""

    def start(self) -> None:
        """Start what waits for it, as far as there is room."""

    def stop(self, flow_key: str) -> None:
        """Ask those jobs of a flow to end that are not wanted any more, without waiting for the next look."""

    def note_new(self) -> None:
        """Take note that a job was stored, or is to be stopped."""

    def has_unfinished(self, family_of: str) -> bool:
        """Tell whether a flow, or a stored sub-flow of it, waits for a job."""
