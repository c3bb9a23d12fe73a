"""URLs of databases: read, and refused in words that name the right form and no password."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from mc.errors import DatabaseUrlError
from mc.store.databases.shown_url import mask_url

__all__ = ["parse_url", "refuse_options"]

_LONGEST_SHOWN: Final = 200
_FORMS: Final = (
    "Write sqlite:///file, sqlite:////absolute/path/to/file, postgresql://user@host:port/database "
    "or mysql://user@host:port/database, a password behind the user's name and a colon."
)


def parse_url(text: str) -> URL:
    """Return the parts of a database URL.

    Raises:
        DatabaseUrlError: it is none, or not of the form that its kind of database has.
    """
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError):  # ValueError: the port is no number
        # without the cause, which may quote the password
        raise DatabaseUrlError(f"{_show(text)} is not a database URL. {_FORMS}") from None
    if url.drivername.partition("+")[0] == "sqlite":
        _check_file(url, text)
    else:
        _check_server(url, text)
    return url


def refuse_options(url: URL, error: Exception) -> DatabaseUrlError:
    """Return the error for what a driver cannot even begin to use, such as an unknown option."""
    reason = hide_password(f"{type(error).__name__}: {error}", url)
    return DatabaseUrlError(
        f"The database {_show(url.render_as_string(hide_password=False))} cannot be opened as its URL says: "
        f"{reason.rstrip('.')}. Check the names and values behind the ? of the URL."
    )


def hide_password(text: str, url: URL) -> str:
    """Return what a driver says, without the URL's password."""
    password = str(url.password or "")
    return text.replace(password, "***") if password else text


def _check_file(url: URL, text: str) -> None:
    if url.host or url.username or url.password or url.port:
        path = text.partition("://")[2]
        path = "file" if "@" in path or ":" in path else path
        raise DatabaseUrlError(
            f"{_show(text)} names a host, and SQLite has none. Write {_show(f'sqlite:///{path}')} for a file "
            f"below the current folder, sqlite:////absolute/path/to/file for one elsewhere."
        )
    if "\0" in text:
        raise DatabaseUrlError(f"{_show(text)} holds a null character. {_FORMS}")


def _check_server(url: URL, text: str) -> None:
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError(
            f"{_show(text)} has more than one @. Write the @ of a user's name or password as %40."
        )
    if url.port is not None and not 0 < url.port < 65_536:
        raise DatabaseUrlError(f"{_show(text)} names no port between 1 and 65535. {_FORMS}")
    if "\0" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
        raise DatabaseUrlError(
            f"{_show(text)} holds what is no text in UTF-8. Write such bytes as %XX. {_FORMS}"
        )


def _show(text: str) -> str:
    shown = mask_url(str(text))
    return repr(shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}...")
