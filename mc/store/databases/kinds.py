"""Kinds of databases by the name at the beginning of a URL; their modules are imported when asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mc.errors import DatabaseUrlError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.mock import MockConnection
    from sqlalchemy.sql.compiler import Compiled, TypeCompiler

    from mc.store.databases.base import Dialect

__all__ = [
    "DEFAULT_URL",
    "FILE_MODE",
    "KINDS",
    "dialect_of",
    "file_in_folder",
    "file_of",
    "file_url",
    "find_dialect",
]

DEFAULT_URL: Final = "sqlite:///mc.sqlite3"
FILE_MODE: Final = 0o600  # of a database's file that is made

# name in a URL -> where its dialect is
KINDS: Final = {
    "sqlite": "mc.store.databases.sqlite:SQLITE",
    "postgresql": "mc.store.databases.postgresql:POSTGRESQL",
    "mysql": "mc.store.databases.mysql:MYSQL",
    "mariadb": "mc.store.databases.mysql:MARIADB",
}
_ALIASES: Final = {"postgres": "postgresql"}


def find_dialect(kind: str) -> Dialect:
    """Return what is known of a kind of database.

    Args:
        kind: its name in URLs.

    Raises:
        DatabaseUrlError: this version knows no such kind.
    """
    place = KINDS.get(_ALIASES.get(kind, kind))
    if place is None:
        *names, last = KINDS
        raise DatabaseUrlError(
            f"The store cannot use a database of kind {kind!r}; it speaks {', '.join(names)} and {last}. "
            f"Write a URL such as {DEFAULT_URL}.",
            found=kind,
        )
    module, _, name = place.partition(":")
    dialect: Dialect = getattr(import_module(module), name)
    return dialect


def dialect_of(found: Connection | MockConnection | Compiled | TypeCompiler) -> Dialect:
    """Return the dialect by which a connection was opened, or for which a statement is compiled.

    Where that was not by the store, it is the one that has SQLAlchemy's name.
    """
    dialect: Dialect | None = getattr(found.dialect, "mc_dialect", None)
    return dialect or find_dialect(found.dialect.name)


def file_url(path: Path) -> str:
    """Return the URL of a database in a file, which need not exist."""
    return f"sqlite:///{path}"


def file_of(url: str) -> Path | None:
    """Return the file that a URL names; None: it names a server, memory, or what only SQLite can tell."""
    kind, separator, place = url.partition(":///")
    name, _, query = place.partition("?")
    is_file = separator and kind.partition("+")[0] == "sqlite" and "mode=memory" not in query
    return Path(name) if is_file and name and name != ":memory:" and not name.startswith("file:") else None


def file_in_folder(url: str, folder: Path) -> str:
    """Return a URL with the file that it names, if it is one, relative to a folder."""
    file = file_of(url)
    if file is None or file.is_absolute():
        return url
    opening, separator, place = url.partition(":///")
    return f"{opening}{separator}{folder / file}{place[place.index('?') :] if '?' in place else ''}"
