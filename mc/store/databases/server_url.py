"""URLs of database servers: their form, and which driver they are opened by."""

from __future__ import annotations

from sqlalchemy import URL

from mc.errors import DatabaseUrlError, StoreUnreachableError
from mc.store.databases.database_url import URL_FORMS, show_url

__all__ = ["check_driver", "check_server_url", "missing_driver"]


def check_driver(url: URL, driver: str) -> URL:
    """Return the URL with the driver that the store uses.

    Args:
        url: of a server.
        driver: name of SQLAlchemy for kind of database and driver, `postgresql+psycopg`.

    Raises:
        DatabaseUrlError: the URL names another driver.
    """
    kind, _, wanted = url.drivername.partition("+")
    known = driver.partition("+")[2]
    if wanted not in ("", known):
        raise DatabaseUrlError(
            f"The store does not use the driver {wanted!r}; begin the URL with {kind}:// or {driver}://.",
            found=wanted,
            expected=known,
        )
    return url.set(drivername=driver)


def check_server_url(url: URL, text: str) -> None:
    """Refuse a URL that can be none of a server; see `Dialect.check_url`."""
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError(
            f"{show_url(text)} has more than one @. Write the @ of a user's name or password as %40."
        )
    if url.port is not None and not 0 < url.port < 65_536:
        raise DatabaseUrlError(f"{show_url(text)} names no port between 1 and 65535. {URL_FORMS}")
    if "\0" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
        raise DatabaseUrlError(
            f"{show_url(text)} holds what is no text in UTF-8. Write such bytes as %XX. {URL_FORMS}"
        )


def missing_driver(server: str, package: str, extra: str) -> StoreUnreachableError:
    """Return the error that tells how to install a driver."""
    return StoreUnreachableError(
        f"A store on {server} needs {package}, which is not installed. "
        f"Run: pip install 'mission-control[{extra}]'",
        extra=extra,
    )
