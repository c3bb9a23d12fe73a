"""URLs of databases: read, and refused in words that name the right form and no password."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from mc.errors import DatabaseUrlError
from mc.store.databases.base import Dialect
from mc.store.databases.kinds import find_dialect
from mc.store.databases.shown_url import mask_url

__all__ = ["URL_FORMS", "hide_password", "parse_url", "refuse_options", "show_url"]

_LONGEST_SHOWN: Final = 200
URL_FORMS: Final = (
    "Write sqlite:///file, sqlite:////absolute/path/to/file, postgresql://user@host:port/database "
    "or mysql://user@host:port/database, a password behind the user's name and a colon."
)


def parse_url(text: str) -> tuple[Dialect, URL]:
    """Return what is known of the kind of database that a URL names, and the URL as it is opened.

    Raises:
        DatabaseUrlError: it is none, of a kind that is not supported, or not of the form that its kind has.
    """
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError):  # ValueError: the port is no number
        # without the cause, which may quote the password
        raise DatabaseUrlError(f"{show_url(text)} is not a database URL. {URL_FORMS}") from None
    dialect = find_dialect(url.drivername.partition("+")[0])
    dialect.check_url(url, text)
    return dialect, dialect.normalise(url)


def refuse_options(url: URL, error: Exception) -> DatabaseUrlError:
    """Return the error for what a driver cannot even begin to use, such as an unknown option."""
    reason = hide_password(f"{type(error).__name__}: {error}", url)
    shown = show_url(url.render_as_string(hide_password=False))
    return DatabaseUrlError(
        f"The database {shown} cannot be opened as its URL says: "
        f"{reason.rstrip('.')}. Check the names and values behind the ? of the URL."
    )


def hide_password(text: str, url: URL) -> str:
    """Return what a driver says, without the URL's password."""
    password = str(url.password or "")
    return text.replace(password, "***") if password else text


def show_url(text: str) -> str:
    """Return a URL as messages quote it: shortened, without its password."""
    shown = mask_url(str(text))
    return repr(shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}...")
