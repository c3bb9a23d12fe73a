"""A database of each kind that processes can share, made once and emptied for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import create_engine, delete, text

from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.databases import DATABASES, quick_url

PAST = "2000-01-01T00:00:00.000000+00:00"


class Places:
    """Databases of the test run, made when they are first needed."""

    def __init__(self) -> None:
        self._rooms = ExitStack()
        self._urls: dict[str, str] = {}

    def empty_url(self, name: str) -> str:
        """Return the URL of a store without flows."""
        if name not in self._urls:
            self._urls[name] = self._rooms.enter_context(quick_url(name))
            with FlowStore(self._urls[name]) as store:
                store.query()
        engine = create_engine(self._urls[name])
        with engine.begin() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.schema:
                    connection.execute(delete(table))
        engine.dispose()
        return self._urls[name]

    def close(self) -> None:
        self._rooms.close()


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    made = Places()
    yield made
    made.close()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database that the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def url(database: str, places: Places) -> str:
    """The URL of an empty store."""
    return places.empty_url(database)


@pytest.fixture
def expire_leases(url: str) -> Callable[[], None]:
    """Return what makes every lease look as if its runner had vanished long ago."""

    def expire() -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            statement = "UPDATE mc_flow SET lease_expires_at = :past WHERE lease_owner IS NOT NULL"
            connection.execute(text(statement), {"past": PAST})
        engine.dispose()

    return expire
