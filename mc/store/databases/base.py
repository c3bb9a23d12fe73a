"""Contract of a kind of database: its URLs, connections, statements, errors and checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import URL, Column, Connection, Engine, Select, Table, create_mock_engine
from sqlalchemy.engine.interfaces import Dialect as SqlalchemyDialect
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import StoreError

if TYPE_CHECKING:
    from mc.store.finding import Finding

__all__ = ["BATCH", "SORTED_BY_KEY", "BatchStatement", "Dialect", "Place"]

# Options of a table whose rows are few and short, and lie in the order of the primary key where that saves a
# look-up. SQLAlchemy takes those of other databases for nothing.
SORTED_BY_KEY: Final[dict[str, Any]] = {"sqlite_with_rowid": False}


BATCH: Final = "mc_batch"  # the execution option that holds the statements of a batch


@dataclass(slots=True)
class BatchStatement:
    """A statement that is sent together with others.

    Attributes:
        text: as the driver takes it.
        parameters: of each execution.
        changed: how many rows it changed.
    """

    text: str
    parameters: Sequence[Any]
    changed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an empty database can be that lasts for a trial.

    Attributes:
        url: of the database.
        create: statement that makes it, in a transaction of the database beside it; empty: opening it does.
        drop: statement that removes it; empty: there is none to execute.
        files: what is removed afterwards, the database's own file first; none on a server.
    """

    url: URL
    create: str = ""
    drop: str = ""
    files: tuple[Path, ...] = ()


class Dialect(ABC):
    """One kind of database.

    Attributes:
        name: as in the URL.
        sqlalchemy_name: of SQLAlchemy's dialect that writes its statements.
        locks_what_it_sorts: whether a locking query that sorts locks also the rows beyond its limit.
        has_one_writer: whether one transaction at a time writes, so that the threads of a process take turns,
            and share commits. Where several do, each thread's round trips and its wait for the disk go on
            beside those of others, and the server lets commits share the disk's flush.
        joins_statements: whether several statements go to the server as one text. What a function of a user
            executes must be one statement, so that none is slipped in; it gets connections of its own.
    """

    name: ClassVar[str]
    sqlalchemy_name: ClassVar[str]
    locks_what_it_sorts: ClassVar[bool] = False
    has_one_writer: ClassVar[bool] = False
    joins_statements: ClassVar[bool] = False

    # --- URLs

    @abstractmethod
    def check_url(self, url: URL, text: str) -> None:
        """Refuse a URL that is not of the form that this kind of database has.

        Args:
            url: what was made of the text.
            text: as somebody wrote it; may hold a password, in the wrong place too.

        Raises:
            DatabaseUrlError: in words that name the right form and no password.
        """

    @abstractmethod
    def normalise(self, url: URL) -> URL:
        """Return the URL under which every connection finds the same database.

        Raises:
            StoreUnreachableError: it names a driver that the store does not use.
        """

    @abstractmethod
    def is_private(self, url: URL) -> bool:
        """Tell whether the database lives in this process and has one connection only."""

    def check_existence(self, url: URL) -> None:
        """Refuse a database that is not there where opening it would make it.

        Raises:
            StoreUnreachableError: there is none.
        """
        return

    @abstractmethod
    def beside(self, url: URL, name: str) -> Place:
        """Return where an empty database can be made in the same place as another one.

        Args:
            url: of the other one, as `normalise` returned it.
            name: of letters, digits and underscores.

        Raises:
            StoreError: the other one has no place.
        """

    # --- connections

    @abstractmethod
    def open(self, url: URL, busy_seconds: float, file_mode: int | None, connections: int) -> Engine:
        """Return an engine that has connected to nothing yet.

        Where the options of a connection say `mc_write`, its transactions see what others commit
        meanwhile, except on SQLite, where they keep other writers out from their start. Without it a
        transaction only reads, and sees the database as it stood at one moment.

        Args:
            url: as `normalise` returned it.
            busy_seconds: how long a transaction waits for a lock.
            file_mode: permissions of a file that is made; None: by the process's umask.
            connections: to a server that are kept open; ten more may be in use.

        Raises:
            StoreUnreachableError: the driver is not installed, or the place cannot be used.
        """

    def open_for_functions(
        self, url: URL, busy_seconds: float, file_mode: int | None, connections: int
    ) -> Engine:
        """Return what `open` does, for transactions in which functions of users execute statements.

        It is asked only of a dialect that joins statements.
        """
        return self.open(url, busy_seconds, file_mode, connections)

    def record(self, executor: Callable[..., object]) -> MockConnection:
        """Return a connection to no database, which hands statements to a function; no driver is needed."""
        connection = create_mock_engine(f"{self.sqlalchemy_name}://", executor)
        self.adopt(connection.dialect)
        return connection

    def send_batch(self, connection: Connection, statements: Sequence[BatchStatement]) -> None:
        """Let `run_batch` execute statements in a transaction, errors being those of SQLAlchemy."""
        text = ";\n".join([statement.text for statement in statements])  # what logs show
        connection.exec_driver_sql(text, execution_options={BATCH: statements})

    @abstractmethod
    def run_batch(self, cursor: Any, statements: Sequence[BatchStatement]) -> None:
        """Execute statements in order, in one round trip if possible, and note how many rows each changed.

        Args:
            cursor: of the driver. Where a statement fails, those behind it are not executed.
            statements: none that returns rows.
        """

    def adopt(self, dialect: SqlalchemyDialect) -> None:
        """Let `dialect_of` find this object where SQLAlchemy's dialect is used."""
        dialect.mc_dialect = self  # type: ignore[attr-defined]

    def tidy(self, engine: Engine) -> None:
        """Give room back, at a moment when there is nothing else to do; it waits for nobody."""
        return

    # --- statements

    @abstractmethod
    def now(self) -> ColumnElement[str]:
        """Return an expression for the database's time, ISO 8601 UTC with microseconds."""

    @abstractmethod
    def lock_rows(self, query: Select[Any]) -> Select[Any]:
        """Return a query that locks the rows it finds and passes over those locked by others."""

    def lock_named_rows(self, query: Select[Any], table: Table) -> Select[Any]:
        """Return what `lock_rows` does of a query for primary keys of a table; no other row is locked."""
        return self.lock_rows(query)

    @abstractmethod
    def upgrade_lock(self, connection: Connection, busy_seconds: float) -> AbstractContextManager[object]:
        """Return a lock that keeps other upgrades of the same tables out while one is under way.

        Args:
            connection: in the transaction of the upgrade.
            busy_seconds: how long to wait for it.
        """

    def bulk_insert(self, connection: Connection, table: Table, columns: Sequence[Column[Any]]) -> str | None:
        """Return an INSERT of many rows by one parameter; None where the driver is quick at many rows.

        The parameter is the JSON text of an array of rows, each an array of values in the order of the
        columns: whole numbers, texts and nulls. The rows are added in their order. The text is for the
        driver, and kept for each other connection of this kind.
        """
        return None

    def bulk_update(
        self,
        connection: Connection,
        table: Table,
        values: Sequence[Column[Any]],
        keys: Sequence[Column[Any]],
    ) -> str | None:
        """Return an UPDATE of many rows by one parameter, as `bulk_insert` does.

        Args:
            connection: to the database.
            table: whose rows are changed.
            values: columns that are written; their new values come first in a row.
            keys: columns that a row must equal to be changed; their values come after those.
        """
        return None

    def exact_text(self, length: int) -> str:
        """Return the type of texts up to a length that are compared and sorted letter by letter."""
        return f"VARCHAR({length})"

    def long_text(self) -> str:
        """Return the type of texts of any length, compared like `exact_text`."""
        return "TEXT"

    def sparse_index(self, name: str, table: str, column: str, *, is_long: bool) -> str:
        """Return the statement for an index on a column that few rows have, without the others if possible.

        Args:
            name: of the index.
            table: its name.
            column: its name.
            is_long: texts in it are of any length, and are only looked up by what they equal.
        """
        return f"CREATE INDEX {name} ON {table} ({column}) WHERE {column} IS NOT NULL"

    def row_id(self) -> str:
        """Return the type of a primary key of 64 bits that the database counts up."""
        return "BIGINT"

    @abstractmethod
    def json_entry(self, column: str, name: str) -> str:
        """Return an expression, as text, for an entry of the JSON object that a column holds as text."""

    # --- errors

    @abstractmethod
    def explain(self, error: BaseException | None, url: URL) -> tuple[type[StoreError], str]:
        """Return what an error of the driver means: the class to raise and a sentence with advice.

        `StoreBusyError` means that nothing of the transaction was done and that it may be tried again.
        """

    def text_of(self, error: BaseException | None) -> str:
        """Return what the driver says in its error, without a code in front."""
        return str(error)

    def blames_statement(self, error: BaseException | None) -> bool:
        """Tell whether an error that `explain` lays on the server or on its settings may come of a statement.

        It is asked about statements that are not the store's, on a connection that is still there.
        """
        return False

    # --- checks

    @abstractmethod
    def check_durability(self, connection: Connection) -> Finding:
        """Return whether the database is set to keep what was committed, come what may."""

    @abstractmethod
    def check_place(self, connection: Connection, url: URL, now: datetime) -> Iterator[Finding]:
        """Yield what there is to say of what the database stands on: its disk, its clock.

        Args:
            connection: in a transaction that reads.
            url: of a database that is not private.
            now: the time by this machine's clock.
        """
