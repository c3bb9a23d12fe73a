"""What the store asks of a kind of database: opening it, locking, its clock, what its errors mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, Select
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import StoreError

__all__ = ["Dialect"]


class Dialect(ABC):
    """One kind of database.

    Attributes:
        name: as in the URL.
        locks_what_it_sorts: whether a locking query that sorts locks also the rows beyond its limit.
    """

    name: ClassVar[str]
    locks_what_it_sorts: ClassVar[bool] = False

    @abstractmethod
    def normalise(self, url: URL) -> URL:
        """Return the URL under which every connection finds the same database.

        Raises:
            StoreUnreachableError: it names a driver that the store does not use.
        """

    @abstractmethod
    def is_private(self, url: URL) -> bool:
        """Tell whether the database lives in this process and has one connection only."""

    @abstractmethod
    def open(self, url: URL, busy_seconds: float, file_mode: int | None) -> Engine:
        """Return an engine that has connected to nothing yet.

        Where the options of a connection say `mc_write`, its transactions see what others commit
        meanwhile, except on SQLite, where they keep other writers out from their start. Without it a
        transaction only reads, and sees the database as it stood at one moment.

        Args:
            url: as `normalise` returned it.
            busy_seconds: how long a transaction waits for a lock.
            file_mode: permissions of a file that is made; None: by the process's umask.

        Raises:
            StoreUnreachableError: the driver is not installed, or the place cannot be used.
        """

    @abstractmethod
    def now(self) -> ColumnElement[str]:
        """Return an expression for the database's time, ISO 8601 UTC with microseconds."""

    @abstractmethod
    def lock_rows(self, query: Select[Any]) -> Select[Any]:
        """Return a query that locks the rows it finds and passes over those locked by others."""

    @abstractmethod
    def migration_lock(self, connection: Connection, busy_seconds: float) -> AbstractContextManager[object]:
        """Return a lock that keeps other migrations of the same tables out while one is under way.

        Args:
            connection: in the transaction of the migration.
            busy_seconds: how long to wait for it.
        """

    @abstractmethod
    def explain(self, error: BaseException | None, url: URL) -> tuple[type[StoreError], str]:
        """Return what an error of the driver means: the class to raise and a sentence with advice.

        `StoreBusyError` means that nothing of the transaction was done and that it may be tried again.
        """

    def tidy(self, engine: Engine) -> None:
        """Give room back, at a moment when there is nothing else to do; it waits for nobody."""
        return

    def blames_statement(self, error: BaseException | None) -> bool:
        """Tell whether an error that `explain` lays on the server or on its settings may come of a statement.

        It is asked about statements that are not the store's, on a connection that is still there.
        """
        return False
