"""PostgreSQL by psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    Select,
    Table,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import DatabaseUrlError, StoreBusyError, StoreError, StoreUnreachableError
from mc.store.databases.base import BatchStatement, Dialect, Place
from mc.store.databases.server_checks import judge_clock, judge_settings
from mc.store.databases.server_url import check_driver, check_server_url, missing_driver
from mc.store.finding import Finding

__all__ = ["POSTGRESQL", "PostgresqlDialect"]

_DRIVER: Final = "postgresql+psycopg"
_LONGEST_STATEMENT: Final = 600  # seconds; longer than any statement of the store, shorter than for ever
_UPGRADE_LOCK: Final = 0x6D63  # "mc"; beside it the lock is named by the schema


class PostgresqlDialect(Dialect):
    """PostgreSQL: rows are locked one by one, and claims pass over those that others hold."""

    name = "postgresql"
    sqlalchemy_name = "postgresql"

    def check_url(self, url: URL, text: str) -> None:
        check_server_url(url, text)

    def normalise(self, url: URL) -> URL:
        return check_driver(url, _DRIVER)

    def is_private(self, url: URL) -> bool:
        return False

    def beside(self, url: URL, name: str) -> Place:
        options = f"{_options_of(url)} -c search_path={name}".strip()
        return Place(
            url=url.update_query_dict({"options": options}),
            create=f"CREATE SCHEMA {name}",
            drop=f"DROP SCHEMA {name} CASCADE",
        )

    def open(self, url: URL, busy_seconds: float, file_mode: int | None, connections: int) -> Engine:
        try:
            engine = create_engine(
                url,
                isolation_level="READ COMMITTED",
                connect_args=_connect_args(url, busy_seconds),
                use_native_hstore=False,  # which would be looked up at each connection
                pool_timeout=busy_seconds,
                pool_size=connections,
            )
        except ImportError as error:
            raise missing_driver("PostgreSQL", "psycopg 3", "postgres") from error

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # of the driver's own attributes, because they need no round trip
            driver: Any = connection.connection.driver_connection
            writes = connection.get_execution_options().get("mc_write", False)
            if driver.read_only != (not writes):  # None at first
                driver.read_only = not writes
                driver.isolation_level = _COMMITTED if writes else _SNAPSHOT

        return engine

    def now(self) -> ColumnElement[str]:
        utc: ColumnElement[Any] = literal_column("clock_timestamp() AT TIME ZONE 'UTC'")
        return func.to_char(utc, 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')

    def lock_rows(self, query: Select[Any]) -> Select[Any]:
        return query.with_for_update(skip_locked=True)

    def upgrade_lock(self, connection: Connection, busy_seconds: float) -> AbstractContextManager[object]:
        # ends with the transaction, and waits no longer than lock_timeout says
        named = text("SELECT pg_advisory_xact_lock(:mc, hashtext(current_schema()))")
        connection.execute(named, {"mc": _UPGRADE_LOCK})
        return nullcontext()

    def bulk_insert(self, connection: Connection, table: Table, columns: Sequence[Column[Any]]) -> str | None:
        # psycopg needs longer to send each of many rows than the server needs to write it
        names = ", ".join(column.name for column in columns)
        values = ", ".join(_given(place, column) for place, column in enumerate(columns))
        rows = "jsonb_array_elements(CAST(%s AS jsonb)) WITH ORDINALITY AS given(entry, place)"
        return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {rows} ORDER BY place"  # noqa: S608 - our own names

    def bulk_update(
        self,
        connection: Connection,
        table: Table,
        values: Sequence[Column[Any]],
        keys: Sequence[Column[Any]],
    ) -> str | None:
        quote = connection.dialect.identifier_preparer.quote
        pairs = [(quote(column.name), _given(place, column)) for place, column in enumerate([*values, *keys])]
        changes = ", ".join(f"{name} = {given}" for name, given in pairs[: len(values)])
        same = " AND ".join(f"changed.{name} = {given}" for name, given in pairs[len(values) :])
        rows = "jsonb_array_elements(CAST(%s AS jsonb)) AS entry"
        return f"UPDATE {table.name} AS changed SET {changes} FROM {rows} WHERE {same}"  # noqa: S608 - our own names

    def run_batch(self, cursor: Any, statements: Sequence[BatchStatement]) -> None:
        cursors = [cursor.connection.cursor() for _ in statements]
        with _pipeline_of(cursor.connection):
            for statement, own in zip(statements, cursors, strict=True):
                if len(statement.parameters) == 1:
                    own.execute(statement.text, statement.parameters[0])
                else:
                    own.executemany(statement.text, statement.parameters)
        for statement, own in zip(statements, cursors, strict=True):
            statement.changed = own.rowcount

    def exact_text(self, length: int) -> str:
        # in the order of the other databases, and quicker compared than by the rules of a language
        return f'VARCHAR({length}) COLLATE "C"'

    def sparse_index(self, name: str, table: str, column: str, *, is_long: bool) -> str:
        how = "USING hash " if is_long else ""  # a sorted one refuses texts of more than 2,700 bytes
        return f"CREATE INDEX {name} ON {table} {how}({column}) WHERE {column} IS NOT NULL"

    def json_entry(self, column: str, name: str) -> str:
        return f"(CAST({column} AS json) ->> '{name}')"

    def explain(self, error: BaseException | None, url: URL) -> tuple[type[StoreError], str]:
        state = getattr(error, "sqlstate", None)
        if state is None:
            if _REFUSED_OPTION.search(str(error)):
                return DatabaseUrlError, "Check the names and values behind the ? of the URL."
            if type(error).__name__ in {"OperationalError", "InterfaceError", "ConnectionTimeout"}:
                return StoreUnreachableError, _CHECK_SERVER
            return StoreError, ""
        return _MEANINGS.get(state) or _MEANINGS.get(state[:2]) or (StoreError, "")

    def blames_statement(self, error: BaseException | None) -> bool:
        state = getattr(error, "sqlstate", None) or ""
        return state in _OF_STATEMENTS or state[:2] in _OF_STATEMENTS

    def check_durability(self, connection: Connection) -> Finding:
        found = {name: connection.scalar(text(f"SHOW {name}")) for name in _DURABLE}
        return judge_settings(found, _DURABLE)

    def check_place(self, connection: Connection, url: URL, now: datetime) -> Iterator[Finding]:
        yield judge_clock(connection.scalars(select(self.now())).one(), now)


POSTGRESQL: Final = PostgresqlDialect()

# server's setting -> values with which a commit survives a loss of power
_DURABLE: Final = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}

# values of psycopg.IsolationLevel, which takes them as plain numbers
_COMMITTED: Final = 2
_SNAPSHOT: Final = 3

# What the client library or the server says of what stands behind the ?; neither gives a code.
_REFUSED_OPTION: Final = re.compile(
    r"invalid (\w+ )?(value|option|connection option|port number)\b|unrecognized configuration parameter"
)
_CHECK_SERVER: Final = (
    "Check that the server runs and that host, port, database and user in the URL are right."
)
_BUSY: Final = "Another transaction was in the way; try again."
_MEANINGS: Final[dict[str, tuple[type[StoreError], str]]] = {
    "40001": (StoreBusyError, _BUSY),  # serialization failure
    "40P01": (StoreBusyError, _BUSY),  # deadlock
    "55P03": (StoreBusyError, "Another transaction holds a lock; try again."),
    "57014": (StoreUnreachableError, "The statement took too long or was cancelled; look at the server."),
    "53300": (
        StoreBusyError,
        "The server has no connection left; raise max_connections or use fewer runners.",
    ),
    "53": (StoreUnreachableError, "The server lacks disk or memory; make room."),
    "25006": (StoreUnreachableError, "The server takes no writes; name the primary in the URL."),
    "08": (StoreUnreachableError, _CHECK_SERVER),
    "28": (StoreUnreachableError, "Check user and password in the URL, and the server's pg_hba.conf."),
    "3D": (StoreUnreachableError, "Create the database, or name another."),
    "3F": (StoreUnreachableError, "Create the schema that search_path names."),
    "42501": (StoreUnreachableError, "Grant the user the right to create and use tables in the schema."),
    "57": (StoreUnreachableError, "The server ended the connection or is starting; try again."),
    "58": (StoreUnreachableError, "Look at the server's log and its disk."),
    "XX": (StoreUnreachableError, "Look at the server's log and its disk."),
}

_OF_STATEMENTS: Final = {
    "08",  # another server that the statement asks
    "3F",  # a schema that it names
    "42501",  # what it may not touch
    "53400",  # a limit for statements, such as temp_file_limit
    "57014",  # it took too long, or was cancelled
    "XX000",  # what functions written in C raise
}


def _given(place: int, column: Column[Any]) -> str:
    """Return the expression for a value of a row in JSON."""
    value = f"(entry ->> {place})"
    return f"CAST({value} AS bigint)" if isinstance(column.type, Integer | BigInteger) else value


@contextmanager
def _pipeline_of(connection: Any) -> Iterator[None]:
    """Send what is executed meanwhile together; of several errors the first counts, and none is logged."""
    from psycopg import Error, Pipeline

    if not Pipeline.is_supported():  # by a client library older than PostgreSQL 14
        yield
        return
    problem: Error | None = None
    try:
        with connection.pipeline():
            try:
                yield
            except Error as error:
                problem = error
    except Error as error:
        problem = problem or error
    if problem is not None:
        raise problem


def _options_of(url: URL) -> str:
    given = url.query.get("options", "")
    return given if isinstance(given, str) else " ".join(given)


def _connect_args(url: URL, busy_seconds: float) -> dict[str, Any]:
    settings = {
        "lock_timeout": f"{max(1, round(busy_seconds * 1000))}ms",
        "statement_timeout": f"{_LONGEST_STATEMENT}s",
        "idle_in_transaction_session_timeout": f"{_LONGEST_STATEMENT}s",
        "jit": "off",  # statements are short
    }
    patience = max(2, round(busy_seconds))
    defaults = {
        "connect_timeout": patience,
        "tcp_user_timeout": patience * 1000,  # how long a vanished server is waited for
        "keepalives_idle": patience,
        "application_name": "mc",
        "client_encoding": "utf8",
    }
    args: dict[str, Any] = {name: value for name, value in defaults.items() if name not in url.query}
    # later ones win, so that a URL can say otherwise
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    args["options"] = f"{ours} {_options_of(url)}".strip()
    return args
