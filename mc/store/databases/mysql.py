"""MariaDB and MySQL by PyMySQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Select,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import DatabaseUrlError, StoreBusyError, StoreError, StoreUnreachableError
from mc.store.databases.base import BatchStatement, Dialect, Place
from mc.store.databases.server_checks import judge_clock, judge_settings
from mc.store.databases.server_url import check_driver, check_server_url, missing_driver
from mc.store.finding import Finding

__all__ = ["MARIADB", "MYSQL", "MariadbDialect", "MysqlDialect"]

T = TypeVar("T")

_DRIVER: Final = "mysql+pymysql"
_LONGEST_STATEMENT: Final = 600  # seconds; longer than any statement of the store, shorter than for ever
_LONGEST_BATCH: Final = 250_000  # characters, of up to four bytes each, that are sent together


class MysqlDialect(Dialect):
    """MariaDB 10.6 or later and MySQL 8: rows are locked one by one, claims pass over locked ones."""

    name = "mysql"
    sqlalchemy_name = "mysql"
    locks_what_it_sorts = True
    joins_statements = True  # in batches

    def check_url(self, url: URL, text: str) -> None:
        check_server_url(url, text)

    def normalise(self, url: URL) -> URL:
        url = check_driver(url, _DRIVER)
        if not url.database:
            raise DatabaseUrlError(
                "The URL names no database; write one such as mysql://user@host/database.",
                expected="database",
            )
        return url

    def is_private(self, url: URL) -> bool:
        return False

    def beside(self, url: URL, name: str) -> Place:
        return Place(
            url=url.set(database=name), create=f"CREATE DATABASE {name}", drop=f"DROP DATABASE {name}"
        )

    def open(self, url: URL, busy_seconds: float, file_mode: int | None, connections: int) -> Engine:
        return self._open(url, busy_seconds, connections, for_functions=False)

    def open_for_functions(
        self, url: URL, busy_seconds: float, file_mode: int | None, connections: int
    ) -> Engine:
        return self._open(url, busy_seconds, connections, for_functions=True)

    def _open(self, url: URL, busy_seconds: float, connections: int, *, for_functions: bool) -> Engine:
        patience = max(2, round(busy_seconds))
        try:
            from pymysql.constants import CLIENT, SERVER_STATUS

            from mc.store.databases.mysql_cursor import LimitedCursor

            engine = create_engine(
                url,
                connect_args={
                    "cursorclass": LimitedCursor,
                    # an UPDATE counts rows that it finds, and batches are sent as one text
                    "client_flag": CLIENT.FOUND_ROWS | (0 if for_functions else CLIENT.MULTI_STATEMENTS),
                    "charset": "utf8mb4",
                    "connect_timeout": patience,
                    # a server that vanished gives no answer at all
                    "read_timeout": _LONGEST_STATEMENT + patience,
                    "write_timeout": _LONGEST_STATEMENT,
                },
                pool_timeout=busy_seconds,
                pool_size=connections,
                pool_reset_on_return=None,  # see _reset
            )
        except ImportError as error:
            raise missing_driver("MariaDB or MySQL", "PyMySQL", "mysql") from error

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(f"SET SESSION {_session_settings(connection, patience)}")
                cursor.execute("SELECT @@max_allowed_packet")
                (connection.max_allowed_packet,) = cursor.fetchone()
            connection.is_for_functions = for_functions

        @event.listens_for(engine, "reset")
        def _reset(connection: Any, _record: Any, _state: Any) -> None:
            # a round trip that few need: most transactions have ended
            if connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
                connection.rollback()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if not connection.get_execution_options().get("mc_write"):
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

        return engine

    def now(self) -> ColumnElement[str]:
        return func.date_format(func.utc_timestamp(6), "%Y-%m-%dT%H:%i:%s.%f+00:00")

    def lock_rows(self, query: Select[Any]) -> Select[Any]:
        return query.with_for_update(skip_locked=True)

    def lock_named_rows(self, query: Select[Any], table: Table) -> Select[Any]:
        # each row that another index leads to would be locked too
        return self.lock_rows(query.with_hint(table, "FORCE INDEX (PRIMARY)"))

    @contextmanager
    def upgrade_lock(self, connection: Connection, busy_seconds: float) -> Iterator[None]:
        # Statements that change tables commit, so the lock must outlive the transaction.
        name = "concat('mc_migrate:', left(sha2(database(), 256), 40))"
        got = connection.scalar(text(f"SELECT get_lock({name}, :seconds)"), {"seconds": busy_seconds})
        if got != 1:
            raise StoreBusyError(
                "Another process is bringing the tables up to date and takes longer than expected; try again."
            )
        try:
            yield
            connection.exec_driver_sql("COMMIT")  # before the next process looks
        finally:
            connection.execute(text(f"DO release_lock({name})"))

    def bulk_update(
        self,
        connection: Connection,
        table: Table,
        values: Sequence[Column[Any]],
        keys: Sequence[Column[Any]],
    ) -> str | None:
        quote = connection.dialect.identifier_preparer.quote
        columns = [*values, *keys]
        shape = ", ".join(
            f"c{place} {column.type.compile(connection.dialect)} PATH '$[{place}]'"
            for place, column in enumerate(columns)
        )
        pairs = [f"changed.{quote(column.name)} = given.c{place}" for place, column in enumerate(columns)]
        changes, same = ", ".join(pairs[: len(values)]), " AND ".join(pairs[len(values) :])
        # the order of the join is forced, so that rows are found and locked by their keys alone
        rows = f"JSON_TABLE(%s, '$[*]' COLUMNS ({shape})) AS given"
        join = f"{rows} STRAIGHT_JOIN {table.name} AS changed ON {same}"
        return f"UPDATE {join} SET {changes}"  # noqa: S608 - our own names

    def run_batch(self, cursor: Any, statements: Sequence[BatchStatement]) -> None:
        texts = [(statement, text) for statement in statements for text in _texts_of(cursor, statement)]
        for part in _parts(texts, 1 if cursor.connection.is_for_functions else len(texts)):
            cursor.execute(";".join([text for _, text in part]))
            for place, (statement, _) in enumerate(part):
                if place:
                    cursor.nextset()
                statement.changed += cursor.rowcount

    def exact_text(self, length: int) -> str:
        return f"VARCHAR({length}) {_EXACT}"

    def long_text(self) -> str:
        return f"LONGTEXT {_EXACT}"  # TEXT ends at 64 KiB

    def sparse_index(self, name: str, table: str, column: str, *, is_long: bool) -> str:
        return f"CREATE INDEX {name} ON {table} ({column}{'(100)' if is_long else ''})"

    def json_entry(self, column: str, name: str) -> str:
        return f"json_value({column}, '$.{name}')"

    def explain(self, error: BaseException | None, url: URL) -> tuple[type[StoreError], str]:
        number = error.args[0] if error is not None and error.args else None
        if not isinstance(number, int):
            return StoreError, ""
        return _MEANINGS.get(number, (StoreError, ""))

    def blames_statement(self, error: BaseException | None) -> bool:
        return error is not None and error.args[:1] != () and error.args[0] in _OF_STATEMENTS

    def text_of(self, error: BaseException | None) -> str:
        parts = error.args if error is not None else ()
        return str(parts[1] if len(parts) > 1 and isinstance(parts[0], int) else error)

    def check_durability(self, connection: Connection) -> Finding:
        found = {name: connection.scalar(text(f"SELECT @@{name}")) for name in _DURABLE}
        return judge_settings(found, _DURABLE)

    def check_place(self, connection: Connection, url: URL, now: datetime) -> Iterator[Finding]:
        yield judge_clock(connection.scalars(select(self.now())).one(), now)


class MariadbDialect(MysqlDialect):
    """The same by its own name, under which statements are written with its own reserved words."""

    name = "mariadb"
    sqlalchemy_name = "mariadb"


def _texts_of(cursor: Any, statement: BatchStatement) -> Iterator[str]:
    """Yield a statement with its parameters put in; an INSERT of many rows stays one."""
    from pymysql.cursors import RE_INSERT_VALUES

    insert = RE_INSERT_VALUES.match(statement.text) if len(statement.parameters) > 1 else None
    if insert is None or insert[3]:
        yield from (cursor.mogrify(statement.text, each) for each in statement.parameters)
        return
    beginning, values = insert[1], insert[2].rstrip()
    rows = [(beginning, cursor.mogrify(values, each)) for each in statement.parameters]
    yield from (beginning + ",".join([row for _, row in part]) for part in _parts(rows, len(rows)))


def _parts(texts: Sequence[tuple[T, str]], most: int) -> Iterator[Sequence[tuple[T, str]]]:
    """Cut texts into parts of at most so many, and so long that a server takes them."""
    begin = size = 0
    for place, (_, written) in enumerate(texts):
        size += len(written)
        if place > begin and (size > _LONGEST_BATCH or place - begin == most):
            yield texts[begin:place]
            begin, size = place, len(written)
    if texts:
        yield texts[begin:]


MYSQL: Final = MysqlDialect()
MARIADB: Final = MariadbDialect()

# "Key", "key" and "key " would count as equal. Each of the two reads in the comments what is meant for it.
_EXACT: Final = "CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */"
# server's setting -> values with which a commit survives a loss of power
_DURABLE: Final = {"innodb_flush_log_at_trx_commit": ("1", "3"), "innodb_doublewrite": ("on", "1")}

_CHECK_SERVER: Final = (
    "Check that the server runs and that host, port, database and user in the URL are right."
)
_BUSY: Final = "Another transaction was in the way; try again."
_ENDED: Final = "The server ended the connection; try again."
_ROOM: Final = "Make room on the server's disk."
_READ_ONLY: Final = "The server takes no writes; name the primary in the URL."
_RIGHTS: Final = "Check user and password in the URL, and what the user is granted."
_MEANINGS: Final[dict[int, tuple[type[StoreError], str]]] = {
    1020: (StoreBusyError, _BUSY),  # record has changed since last read
    1205: (StoreBusyError, "Another transaction holds a lock; try again."),
    1213: (StoreBusyError, _BUSY),  # deadlock
    1040: (StoreBusyError, "The server has no connection left; raise max_connections or use fewer runners."),
    1203: (StoreBusyError, "The user has no connection left; raise max_user_connections."),
    0: (StoreUnreachableError, _CHECK_SERVER),  # the driver's own: the connection is closed
    2002: (StoreUnreachableError, _CHECK_SERVER),
    2003: (StoreUnreachableError, _CHECK_SERVER),
    2006: (StoreUnreachableError, _ENDED),
    2013: (StoreUnreachableError, _ENDED),
    1053: (StoreUnreachableError, _ENDED),
    1317: (StoreUnreachableError, "The statement was cancelled; look at the server."),
    1927: (StoreUnreachableError, _ENDED),
    1969: (StoreUnreachableError, "The statement took too long; look at the server."),
    3024: (StoreUnreachableError, "The statement took too long; look at the server."),
    1021: (StoreUnreachableError, _ROOM),
    1114: (StoreUnreachableError, _ROOM),
    1290: (StoreUnreachableError, _READ_ONLY),
    1792: (StoreUnreachableError, _READ_ONLY),
    1836: (StoreUnreachableError, _READ_ONLY),
    1044: (StoreUnreachableError, _RIGHTS),
    1045: (StoreUnreachableError, _RIGHTS),
    1142: (StoreUnreachableError, _RIGHTS),
    1049: (StoreUnreachableError, "Create the database, or name another."),
    1153: (StoreError, "A flow or task is larger than max_allowed_packet of the server; raise it."),
}

_OF_STATEMENTS: Final = {
    *(1044, 1045, 1049, 1142),  # what the statement may not touch, or what is not there
    *(1317, 1969, 3024),  # it took too long, or was cancelled
}


def _session_settings(connection: Any, busy_seconds: int) -> str:
    settings = {
        "innodb_lock_wait_timeout": busy_seconds,
        "lock_wait_timeout": busy_seconds,  # of tables, while they are changed
        "idle_transaction_timeout": _LONGEST_STATEMENT,
        "max_statement_time": _LONGEST_STATEMENT,
        "default_storage_engine": "InnoDB",
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",  # nothing is cut off silently
    }
    if "MariaDB" not in connection.get_server_info():
        del settings["idle_transaction_timeout"], settings["max_statement_time"]
        settings["max_execution_time"] = _LONGEST_STATEMENT * 1000
    return ", ".join(f"{name} = {value}" for name, value in settings.items())
