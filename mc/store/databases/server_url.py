"""URLs of database servers: which driver they are opened by."""

from __future__ import annotations

from sqlalchemy import URL

from mc.errors import DatabaseUrlError, StoreUnreachableError

__all__ = ["check_driver", "missing_driver"]


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


def missing_driver(server: str, package: str, extra: str) -> StoreUnreachableError:
    """Return the error that tells how to install a driver."""
    return StoreUnreachableError(
        f"A store on {server} needs {package}, which is not installed. "
        f"Run: pip install 'mission-control[{extra}]'",
        extra=extra,
    )
