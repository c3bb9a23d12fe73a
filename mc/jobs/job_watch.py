"""Watch over a store's jobs, which loads what they need only where there are some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from mc.flows.jobs.job_settings import JobSettings, ModuleSettings
from mc.store.flow_store import FlowStore

if TYPE_CHECKING:
    from mc.jobs.job_keeper import JobKeeper

__all__ = ["JobWatch"]

_IDLE_PAUSE: Final = timedelta(seconds=1)  # between two looks for jobs that others stored


class JobWatch:
    """The `JobRounds` of a runner: a `JobKeeper` from the first job on, one look at the database before.

    Args:
        store: the jobs.
        settings: of the application.
    """

    def __init__(self, store: FlowStore, settings: JobSettings | None = None) -> None:
        self._settings = settings or JobSettings()
        self.executor = self._settings.executor
        self._store = store
        self._look_at: datetime = store.clock.now()
        self._attending: ExitStack | None = None

    @property
    def due_at(self) -> datetime:
        """When to look again."""
        return self._keeper.due_at if self._is_at_work else self._look_at

    @property
    def _is_at_work(self) -> bool:
        return "_keeper" in self.__dict__

    @cached_property
    def _keeper(self) -> JobKeeper:
        from mc.jobs.job_keeper import JobKeeper

        keeper = JobKeeper(self._store, self._settings)
        if self._attending is not None:
            self._attending.enter_context(keeper.attend())
        return keeper

    def attend(self) -> AbstractContextManager[None]:
        """Return a block in which ends of jobs are looked for, so that those need not tell of them."""
        return self._keeper.attend() if self._is_at_work else self._attend()

    @contextmanager
    def _attend(self) -> Iterator[None]:
        with ExitStack() as attending:
            self._attending = attending
            try:
                yield
            finally:
                self._attending = None

    def turns_alone(self) -> Iterator[None]:
        """Yield once, and again for jobs that ended meanwhile; not at all where another process is at it."""
        return self._keeper.turns_alone()

    def check(self, executor: str) -> None:
        """Raise `ExecutorError` unless there is an executor of this name."""
        self._keeper.check(executor)

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules."""
        return self._settings.of_modules(executor)

    def look(self) -> bool:
        """See how far jobs are, and tell the flows of those that ended; return whether any did."""
        if not self._is_at_work and not self._store.has_unfinished_jobs():
            self._look_at = self._store.clock.now() + _IDLE_PAUSE
            return False
        return self._keeper.look()

    def start(self) -> None:
        """Start what waits for it, as far as there is room."""
        if self._is_at_work:
            self._keeper.start()

    def stop(self, flow_key: str) -> None:
        """Ask those jobs of a flow to end that are not wanted any more, without waiting for the next look."""
        if self._is_at_work or self._store.has_unfinished_jobs():
            self._keeper.stop(flow_key)

    def note_new(self) -> None:
        """Take note that a job was stored, or is to be stopped."""
        self._keeper.note_new()

    def has_unfinished(self, family_of: str) -> bool:
        """Tell whether a flow, or a stored sub-flow of it, waits for a job."""
        return self._is_at_work and self._keeper.has_unfinished(family_of)
