"""Commits that threads share: what is ready to be written at the same time is written in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from typing import Any, TypeVar

from sqlalchemy import Connection

from mc.errors import StoreUnreachableError
from mc.store.database import Database

__all__ = ["SharedCommits"]

T = TypeVar("T")


class SharedCommits:
    """Writes that wait for each other while one is under way, and then share a transaction.

    Nobody waits for others that are not ready. Each write is done as a whole or not at all, as by
    `Database.write`: where one in a transaction fails, each of them is done by itself.

    Args:
        database: to write to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._waiting: list[_Write] = []
        self._is_led = False  # does a thread write, or is about to?

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction; see `Database.write`. What it changes must be its caller's alone.

        Two transactions might else wait for each other, as they do their works in different order.
        """
        mine = _Write(work)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._is_led = not self._is_led, True
            if not mine.leads:
                mine.is_ready = Event()
        try:
            if mine.is_ready is not None:
                mine.is_ready.wait()
            if mine.leads:
                self._lead()
        except BaseException:
            self._leave(mine)
            raise
        if mine.error is not None:
            raise mine.error
        result: T = mine.result if mine.is_done else self._database.write(work)
        return result

    def _lead(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        try:
            self._write(group)
        finally:
            self._let_next_lead()
            for each in group:
                if each.is_ready is not None:
                    each.is_ready.set()

    def _write(self, group: list[_Write]) -> None:
        try:
            results = self._database.write(lambda connection: [each.work(connection) for each in group])
        except StoreUnreachableError as error:  # perhaps after the commit, so that nothing may be repeated
            for each in group:
                each.error = error
        except Exception as error:  # noqa: BLE001 - of any of the works; whose, is found by doing each alone
            if len(group) == 1:
                group[0].error = error
        else:
            for each, result in zip(group, results, strict=True):
                each.result, each.is_done = result, True

    def _let_next_lead(self) -> None:
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].lead()

    def _leave(self, mine: _Write) -> None:
        """Take back the write of a thread that was interrupted, unless it was taken up."""
        with self._lock:
            was_waiting = mine in self._waiting
            if was_waiting:
                self._waiting.remove(mine)
        if was_waiting and mine.leads:
            self._let_next_lead()


class _Write:
    """What one thread wants written."""

    __slots__ = ("error", "is_done", "is_ready", "leads", "result", "work")

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.leads = False  # is its thread the one that writes what waits?
        self.is_ready: Event | None = None  # where the thread waits: it leads, or was taken up
        self.is_done = False
        self.result: Any = None
        self.error: Exception | None = None

    def lead(self) -> None:
        """Let the thread, which waits, write what waits."""
        self.leads = True
        if self.is_ready is not None:
            self.is_ready.set()
