"""The databases that tests run on, each with a schema or file of the test's own.

SQLite is always there. The servers are found by MC_TEST_POSTGRES_URL and MC_TEST_MYSQL_URL, by default
at their usual ports on this machine, database `test`. A test that needs an absent server is skipped and
says so; where CI=true it fails instead.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from tests.support.left_out import leave_out

DATABASES = ("sqlite", "postgres", "mariadb")  # that processes can share
STORES = ("memory", *DATABASES)

_PREFIX = "mc_test_"
_MEMORY = Path("/dev/shm")
_SERVERS = {
    "postgres": ("MC_TEST_POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:5432/test"),
    "mariadb": ("MC_TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306/test"),
}


@contextmanager
def fresh_url(name: str) -> Iterator[str]:
    """Yield the URL of an empty store, which is dropped at the end with all that is still connected to it.

    Args:
        name: one of `STORES`.
    """
    if name == "memory":
        yield "sqlite://"
    elif name == "sqlite":
        with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
            yield f"sqlite:///{Path(folder) / 'flows.sqlite3'}"
    else:
        need_server(name)
        own = _PREFIX + uuid.uuid4().hex[:16]
        make, drop, url = _PLACES[name](own)
        execute(name, *make)
        try:
            yield url
        finally:
            if name == "mariadb":  # where who is left in a transaction would keep the tables
                _disconnect_all(own)
            execute(name, *drop)


@contextmanager
def quick_url(database: str) -> Iterator[str]:
    """Yield the URL of an empty store that need not survive the machine, only its processes."""
    if database == "sqlite" and _MEMORY.is_dir():
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_MEMORY) as folder:
            yield f"sqlite:///{folder}/flows.sqlite3"
    else:
        with fresh_url(database) as url:
            yield url.replace("search_path", "synchronous_commit=off -c search_path")


def need_server(name: str) -> None:
    """Skip the test unless the server is there; fail instead where CI=true."""
    problem = _find_problem(name)
    if problem is None:
        return
    variable, _ = _SERVERS[name]
    leave_out(f"no {name} server: {problem}; name one by {variable}")


def server_url(name: str) -> URL:
    """Return the URL under which tests find a server."""
    variable, default = _SERVERS[name]
    return make_url(os.environ.get(variable) or default)


def execute(name: str, *statements: str) -> list[Any]:
    """Execute statements on a server, outside any store, and return the rows of the last that had some."""
    rows: list[Any] = []
    with closing(connect(name)) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
            if cursor.description:
                rows = list(cursor.fetchall())
    return rows


def connect(name: str) -> Any:
    url = server_url(name)
    place = {
        "host": url.host or "127.0.0.1",
        "port": url.port,
        "user": url.username,
        "password": url.password,
    }
    given = {key: value for key, value in place.items() if value is not None}
    if name == "postgres":
        import psycopg

        return psycopg.connect(dbname=url.database, connect_timeout=5, autocommit=True, **given)
    import pymysql

    return pymysql.connect(
        database=url.database, connect_timeout=5, autocommit=True, ssl_disabled=True, **given
    )


@cache
def _find_problem(name: str) -> str | None:
    try:
        connect(name).close()
    except Exception as error:  # any driver's, or that it is not installed
        return f"{type(error).__name__}: {error}".strip()
    return None


def _postgres_place(own: str) -> tuple[list[str], list[str], str]:
    query = {"options": f"-c search_path={own}", "application_name": own}
    drop = [
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{own}'",
        "SET client_min_messages = warning",
        f"DROP SCHEMA {own} CASCADE",
    ]
    url = server_url("postgres").update_query_dict(query)
    return [f"CREATE SCHEMA {own}"], drop, url.render_as_string(hide_password=False)


def _disconnect_all(own: str) -> None:
    from pymysql.err import OperationalError

    found = execute("mariadb", f"SELECT id FROM information_schema.processlist WHERE db = '{own}'")
    for (number,) in found:
        with suppress(OperationalError):  # it has gone by itself
            execute("mariadb", f"KILL {number}")


def _mariadb_place(own: str) -> tuple[list[str], list[str], str]:
    # the server's default character set must not matter
    make = [f"CREATE DATABASE {own} CHARACTER SET latin1"]
    # Certificates are read anew for each connection, which takes longer than all else that a test does.
    url = server_url("mariadb").set(database=own).update_query_dict({"ssl_disabled": "true"})
    return make, [f"DROP DATABASE {own}"], url.render_as_string(hide_password=False)


_PLACES = {"postgres": _postgres_place, "mariadb": _mariadb_place}
