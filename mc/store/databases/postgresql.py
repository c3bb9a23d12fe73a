"""PostgreSQL by psycopg 3."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Select, create_engine, event, func, literal_column, text
from sqlalchemy.sql.elements import ColumnElement

from mc.errors import DatabaseUrlError, StoreBusyError, StoreError, StoreUnreachableError
from mc.store.databases.base import Dialect
from mc.store.databases.server_url import check_driver, missing_driver

__all__ = ["POSTGRESQL", "PostgresqlDialect"]

_DRIVER: Final = "postgresql+psycopg"
_LONGEST_STATEMENT: Final = 600  # seconds; longer than any statement of the store, shorter than for ever
_MIGRATION_LOCK: Final = 0x6D63  # "mc"; beside it the lock is named by the schema


class PostgresqlDialect(Dialect):
    """PostgreSQL: rows are locked one by one, and claims pass over those that others hold."""

    name = "postgresql"

    def normalise(self, url: URL) -> URL:
        return check_driver(url, _DRIVER)

    def is_private(self, url: URL) -> bool:
        return False

    def open(self, url: URL, busy_seconds: float, file_mode: int | None) -> Engine:
        try:
            engine = create_engine(
                url,
                isolation_level="READ COMMITTED",
                connect_args=_connect_args(url, busy_seconds),
                use_native_hstore=False,  # which would be looked up at each connection
                pool_timeout=busy_seconds,
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

    def migration_lock(self, connection: Connection, busy_seconds: float) -> AbstractContextManager[object]:
        # ends with the transaction, and waits no longer than lock_timeout says
        named = text("SELECT pg_advisory_xact_lock(:mc, hashtext(current_schema()))")
        connection.execute(named, {"mc": _MIGRATION_LOCK})
        return nullcontext()

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


POSTGRESQL: Final = PostgresqlDialect()

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
        "The server has no connection left; raise max_connections or use fewer drivers.",
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


def _connect_args(url: URL, busy_seconds: float) -> dict[str, Any]:
    settings = {
        "lock_timeout": f"{max(1, round(busy_seconds * 1000))}ms",
        "statement_timeout": f"{_LONGEST_STATEMENT}s",
        "idle_in_transaction_session_timeout": f"{_LONGEST_STATEMENT}s",
        "jit": "off",  # statements are short
    }
    given = url.query.get("options", "")
    given = given if isinstance(given, str) else " ".join(given)
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
    args["options"] = f"{ours} {given}".strip()
    return args
