"""One database: transactions, tried again when a lock is in the way, and errors in plain words."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mc.clock import Clock
from mc.durations import format_time
from mc.errors import StoreBusyError, StoreError, StoreUnreachableError
from mc.store.dialects import Dialect, find_dialect
from mc.store.schema_version import bring_up_to_date

__all__ = ["BUSY_SECONDS", "Database"]

T = TypeVar("T")

BUSY_SECONDS: Final = 30.0  # for so long a transaction waits for other writers


class Database:
    """Opens a database at the first transaction and brings its tables up to date.

    Args:
        url: as SQLAlchemy reads it, `sqlite:///mc.sqlite3`.
        clock: for the times at which migrations are applied.
        busy_seconds: how long a transaction waits for a lock.

    Raises:
        StoreUnreachableError: the text is not a URL, or of a kind of database that is not supported.
    """

    def __init__(self, url: str, clock: Clock, busy_seconds: float = BUSY_SECONDS) -> None:
        try:
            parsed = make_url(url)
        except SQLAlchemyError as error:
            raise StoreUnreachableError(
                f"{str(url)[:100]!r} is not a database URL. Write one such as sqlite:///mc.sqlite3."
            ) from error
        self.dialect: Dialect = find_dialect(parsed)
        self._url = self.dialect.normalise(parsed)
        self._clock = clock
        self._busy_seconds = busy_seconds
        # One connection cannot hold two transactions, so threads take turns.
        self._turn: AbstractContextManager[object] = (
            RLock() if self.dialect.is_private(self._url) else nullcontext()
        )
        self._opening = RLock()
        self._opened_in = 0  # process
        self._engine: Engine | None = None
        self._writer: Engine | None = None

    @property
    def shown_url(self) -> str:
        """The URL for people: without password and options."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds in one transaction that only reads."""
        return self._transact(work, writes=False)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does in one transaction: committed when it returns, rolled back if it raises.

        Other writers are kept out from its start. It may be called more than once, because the
        whole transaction is tried again where the database was busy.

        Raises:
            StoreBusyError: others held the lock for longer than `busy_seconds`.
            StoreUnreachableError: the database cannot be opened or has gone away.
            StoreError: the database refused.
        """
        return self._transact(work, writes=True)

    def close(self) -> None:
        """Close all connections; the next transaction opens new ones."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose(close=self._opened_in == os.getpid())
            self._engine = self._writer = None
            self._opened_in = 0

    def _transact(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        if self._opened_in != os.getpid():
            self._open()
        return self._attempt(work, writes)

    def _open(self) -> None:
        with self._opening:
            if self._opened_in == os.getpid():
                return
            self.close()  # connections must not be shared with the process that this one was forked from
            self._engine = self.dialect.open(self._url, self._busy_seconds)
            self._writer = self._engine.execution_options(mc_write=True)
            bring_up_to_date(
                read=lambda work: self._attempt(work, writes=False),
                write=lambda work: self._attempt(work, writes=True),
                now=format_time(self._clock.now()),
            )
            self._opened_in = os.getpid()

    def _attempt(self, work: Callable[[Connection], T], writes: bool) -> T:
        engine = self._writer if writes else self._engine
        assert engine is not None
        give_up_at = time.monotonic() + self._busy_seconds
        while True:
            try:
                with self._turn, engine.begin() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                problem = self._explain(error)
                if not isinstance(problem, StoreBusyError) or time.monotonic() >= give_up_at:
                    raise problem from error
                time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 - no secret, only to part two rivals

    def _explain(self, error: SQLAlchemyError) -> StoreError:
        original = error.orig if isinstance(error, DBAPIError) else error
        kind, advice = self.dialect.explain(original, self._url)
        text = str(original).strip().rstrip(".") or type(original).__name__
        opening = "cannot be used" if issubclass(kind, StoreUnreachableError) else "refused"
        return kind(f"The database {self.shown_url} {opening}: {text}. {advice}".rstrip(), url=self.shown_url)
