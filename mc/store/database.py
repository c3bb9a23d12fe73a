"""One database: transactions, tried again when a lock is in the way, and errors in plain words."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mc.clock import Clock
from mc.durations import format_time
from mc.errors import McError, StoreBusyError, StoreError, StoreUnreachableError
from mc.store.databases.base import BATCH, Dialect
from mc.store.databases.database_url import hide_password, parse_url, refuse_options
from mc.store.databases.held_transaction import HeldTransaction
from mc.store.databases.kinds import FILE_MODE
from mc.store.databases.shown_url import mask_url
from mc.store.schema.epochs import read_epoch
from mc.store.schema.upgrade import bring_up_to_date

__all__ = ["BUSY_SECONDS", "Database"]

T = TypeVar("T")

_CONNECTIONS: Final = 5  # that are kept open
BUSY_SECONDS: Final = 30.0  # for so long a transaction waits for other writers
_LONGEST_SHOWN: Final = 100  # characters of a text in a message
_MOST_CONFLICTS: Final = 20  # in a row; more are no accident


class Database:
    """Opens a database at the first transaction and brings its tables up to date, unless told not to.

    Args:
        url: as SQLAlchemy reads it, `sqlite:///mc.sqlite3`, `postgresql://user@host/database`.
        clock: for the times at which upgrades are applied.
        busy_seconds: how long a transaction waits for a lock.
        upgrades: False leaves the tables as they are, or not there at all.
        file_mode: permissions of an SQLite file that is made; None: by the process's umask.

    Raises:
        DatabaseUrlError: the text is not a URL, or of a kind of database that is not supported.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        busy_seconds: float = BUSY_SECONDS,
        *,
        upgrades: bool = True,
        file_mode: int | None = FILE_MODE,
    ) -> None:
        self.dialect: Dialect
        self.dialect, self._url = parse_url(url)
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._upgrades = upgrades
        self._file_mode = file_mode
        self._connections = _CONNECTIONS
        # One connection cannot hold two transactions, so threads take turns; also where there is one writer
        # at a time, because SQLite waits for its lock by looking for it now and then.
        self._write_turn: AbstractContextManager[object] = (
            RLock() if self.dialect.has_one_writer else nullcontext()
        )
        self._read_turn = self._write_turn if self.dialect.is_private(self._url) else nullcontext()
        self._held: HeldTransaction | None = None
        self._opening = RLock()
        self._opened_in = 0  # process
        self._engine: Engine | None = None
        self._writer: Engine | None = None
        self._holder: Engine | None = None  # for functions of users, where the dialect wants that
        # The connection for writing, where there is one writer at a time, while nobody writes: to get one for
        # each transaction takes longer than to write.
        self._kept: list[Connection] = []
        self._left_behind: list[Connection] = []  # of processes that this one was forked from
        self.epoch = ""  # of the database as it was opened; see mc.store.schema.epochs

    @property
    def shown_url(self) -> str:
        """The URL for people: without password and options."""
        return mask_url(self._url.set(query={}).render_as_string(hide_password=False))

    @property
    def url(self) -> URL:
        """The URL under which the database is opened."""
        return self._url

    def upgrade(self) -> list[int]:
        """Bring the tables up to date, and return the numbers of the upgrades that this took.

        Raises:
            SchemaVersionError: they are newer than this code; nothing was changed.
        """
        if self._opened_in != os.getpid():
            self._open()
        return self._upgrade()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds in one transaction that only reads."""
        return self._transact(work, writes=False)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does in one transaction: committed when it returns, rolled back if it raises.

        On SQLite other writers are kept out from its start; elsewhere it locks the rows that it is
        about to change. It may be called more than once, because the whole transaction is tried again
        where a rival was in the way, or the connection was lost before the commit.

        Raises:
            StoreBusyError: others held the lock for longer than `busy_seconds`.
            StoreUnreachableError: the database cannot be opened or has gone away.
            StoreError: the database refused.
        """
        return self._transact(work, writes=True)

    def hold(self, work: Callable[[Connection], object]) -> HeldTransaction:
        """Begin a transaction that writes, do `work` in it, and return it open; see `write`."""
        if self._opened_in != os.getpid():
            self._open()
        writer = self._find_holder()
        blames = self.dialect.blames_statement
        held = self._repeat(
            lambda _: HeldTransaction.begin(writer, self._write_turn, work, self._explain, blames)
        )
        if self.dialect.is_private(self._url):
            self._held = held
        return held

    @property
    def is_held(self) -> bool:
        """Whether a transaction is held on the only connection of a database in memory."""
        return self._held is not None and self._held.is_open

    def keep_connections(self, number: int) -> None:
        """Keep so many connections to a server open once they were needed; ten more may be in use.

        Where fewer were kept so far, the next transaction opens new ones.
        """
        if number > self._connections and not self.dialect.has_one_writer:
            self._connections = number
            self.close()

    def close(self) -> None:
        """Close all connections; the next transaction opens new ones."""
        with self._opening:
            is_own = self._opened_in == os.getpid()
            engines = (self._engine, self._holder)
            self._engine = self._writer = self._holder = None
            while self._kept:
                kept = self._kept.pop()
                if is_own:
                    kept.close()
                else:
                    self._left_behind.append(kept)  # it must not even be rolled back here
            for engine in engines:
                if engine is not None:
                    engine.dispose(close=is_own)
            self._opened_in = 0

    def tidy(self) -> None:
        """Give room back that the database's work has taken, unless somebody is in the way."""
        if self.dialect.is_private(self._url):
            return  # its one connection may be in a transaction of another thread
        if self._engine is not None and self._opened_in == os.getpid():
            self.dialect.tidy(self._engine)

    def _transact(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        if self._opened_in != os.getpid():
            self._open()
        return self._attempt(work, writes)

    def _open(self) -> None:
        with self._opening:
            if self._opened_in == os.getpid():
                return
            self.close()  # connections must not be shared with the process that this one was forked from
            self._engine = engine = self._connect(self.dialect.open)
            self._writer = engine.execution_options(mc_write=True)
            try:
                if self._upgrades:
                    self._upgrade()
                    self.epoch = self._attempt(read_epoch, writes=False)
            except BaseException:
                engine.dispose()  # a database that was refused is not kept open
                raise
            self._opened_in = os.getpid()

    def _find_holder(self) -> Engine:
        """Return the engine for transactions in which functions of users execute statements."""
        if not self.dialect.joins_statements:
            assert self._writer is not None
            return self._writer
        with self._opening:
            if self._holder is None:
                opened = self._connect(self.dialect.open_for_functions)
                self._holder = opened.execution_options(mc_write=True)
            return self._holder

    def _connect(self, open_engine: Callable[[URL, float, int | None, int], Engine]) -> Engine:
        """Return an engine that has made a connection."""
        try:
            engine = open_engine(self._url, self._busy_seconds, self._file_mode, self._connections)
            self.dialect.adopt(engine.dialect)
            event.listen(engine, "do_execute", self._run_batch)
            self._repeat(lambda _: engine.connect().close())
        except McError as error:
            if type(error) is StoreError:  # neither the server nor a file is at fault
                raise refuse_options(self._url, getattr(error.__cause__, "orig", None) or error) from None
            raise
        except Exception as error:  # noqa: BLE001 - whatever a driver raises for options that it does not know
            raise refuse_options(self._url, error) from None
        return engine

    def _run_batch(self, cursor: Any, _text: str, _parameters: Any, context: Any) -> bool:
        """Execute what is to be sent together in the place of a statement; False where it is just one."""
        statements = context.execution_options.get(BATCH)
        if statements is None:
            return False
        self.dialect.run_batch(cursor, statements)
        return True

    def _upgrade(self) -> list[int]:
        return bring_up_to_date(
            read=lambda work: self._attempt(work, writes=False),
            write=lambda work: self._attempt(work, writes=True),
            lock=lambda connection: self.dialect.upgrade_lock(connection, self._busy_seconds),
            now=format_time(self._clock.now()),
        )

    def _attempt(self, work: Callable[[Connection], T], writes: bool) -> T:
        engine = self._writer if writes else self._engine
        assert engine is not None

        def transact(attempts: _Attempts) -> T:
            with self._write_turn if writes else self._read_turn:
                if self._held is not None and self._held.is_open and not writes:
                    return work(self._held.connection)  # by this thread: it is its turn
                if writes and self.dialect.has_one_writer:
                    return self._write_kept(engine, work, attempts)
                with engine.connect() as connection, connection.begin():
                    result = work(connection)
                    attempts.committing = True
            return result

        return self._repeat(transact)

    def _write_kept(self, engine: Engine, work: Callable[[Connection], T], attempts: _Attempts) -> T:
        """Do `work` in a transaction of the connection that is kept for it, in this thread's turn."""
        try:
            connection = self._kept.pop()
        except IndexError:
            connection = engine.connect()
        try:
            with connection.begin():
                result = work(connection)
                attempts.committing = True
        except BaseException:
            connection.close()
            raise
        if self._writer is engine:
            self._kept.append(connection)
        else:
            connection.close()  # others have closed the database meanwhile
        return result

    def _repeat(self, transact: Callable[[_Attempts], T]) -> T:
        attempts = _Attempts(self._busy_seconds)
        while True:
            try:
                return transact(attempts)
            except SQLAlchemyError as error:
                problem = self._explain(error)
                if not attempts.may_repeat(error, problem):
                    raise problem from error
            except UnicodeEncodeError as error:  # of a driver, about what a statement was given
                text = error.object[:_LONGEST_SHOWN]
                raise StoreError(
                    f"{text!r} is no text that a database holds: UTF-8 cannot hold it."
                ) from error
            attempts.wait()

    def _explain(self, error: SQLAlchemyError) -> StoreError:
        original = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, PoolTimeoutError):
            return StoreBusyError(
                f"All connections of this process to {self.shown_url} are in use; use fewer threads.",
                url=self.shown_url,
            )
        if isinstance(error, PendingRollbackError):
            # Who asked for the schema was told nothing of the loss; the statement after that is refused.
            return StoreUnreachableError(
                f"The database {self.shown_url} cannot be used: the connection was lost. Try again.",
                url=self.shown_url,
            )
        kind, advice = self.dialect.explain(original, self._url)
        said = " ".join(self.dialect.text_of(original).split()).rstrip(".") or type(original).__name__
        text = hide_password(said, self._url)
        opening = "cannot be used" if issubclass(kind, StoreUnreachableError) else "refused"
        end = "" if text.endswith("?") else "."
        return kind(
            f"The database {self.shown_url} {opening}: {text}{end} {advice}".rstrip(), url=self.shown_url
        )


class _Attempts:
    """Whether and when a transaction that failed is done again."""

    def __init__(self, busy_seconds: float) -> None:
        self.committing = False
        self._give_up_at = time.monotonic() + busy_seconds
        self._conflicts = self._losses = 0

    def may_repeat(self, error: SQLAlchemyError, problem: StoreError) -> bool:
        """Tell whether nothing of the transaction was done and another attempt may succeed."""
        committing, self.committing = self.committing, False
        if isinstance(problem, StoreBusyError):
            return time.monotonic() < self._give_up_at
        if isinstance(error, IntegrityError):
            # A rival wrote the same between a look and a write; the next look finds what it wrote.
            self._conflicts += 1
            return self._conflicts <= _MOST_CONFLICTS
        was_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if (was_lost or isinstance(error, PendingRollbackError)) and not committing:
            # The connection was lost, perhaps long ago while it was idle, and the work with it.
            self._losses += 1
            return self._losses <= 1
        return False

    def wait(self) -> None:
        """Let rivals go first."""
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 - no secret, only to part two rivals
