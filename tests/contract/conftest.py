"""The stores that the contract holds for: one of each kind, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import create_engine, delete

from mc.clock import ManualClock
from mc.houston import Houston
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.databases import DATABASES, STORES, quick_url
from tests.support.invariants import Seen, check_store
from tests.support.partial_flows import never_read_whole


@pytest.fixture
def clock() -> ManualClock:
    """The time, which stands still unless a test moves it."""
    return ManualClock()


class Places:
    """Databases of the test run, made when they are first needed."""

    def __init__(self) -> None:
        self._rooms = ExitStack()
        self._urls: dict[str, str] = {}

    def empty_url(self, name: str) -> str:
        """Return the URL of a store without flows."""
        if name not in self._urls:
            url = self._urls[name] = self._rooms.enter_context(quick_url(name))
            with FlowStore(url) as store:
                store.query()  # which makes the tables
        elif name != "memory":
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


IN_PARTS = "sqlite in parts"  # runners read even small flows as far as they need them


@pytest.fixture(params=[*STORES, IN_PARTS])
def store_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store_url(store_name: str, places: Places) -> str:
    return places.empty_url("sqlite" if store_name == IN_PARTS else store_name)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """The name of a kind of database that processes can share."""
    name: str = request.param
    return name


@pytest.fixture
def shared_url(database: str, places: Places) -> str:
    """The URL of a store without flows that processes can share."""
    return places.empty_url(database)


@pytest.fixture
def store(store_name: str, store_url: str, clock: ManualClock) -> Iterator[FlowStore]:
    if store_name == IN_PARTS:
        with never_read_whole(), FlowStore(store_url, clock=clock, partial_from=1) as opened:
            yield opened
    else:
        with FlowStore(store_url, clock=clock) as opened:
            yield opened


@pytest.fixture
def task_handlers() -> dict[str, Any]:
    """The task types of a module's flows, beside the built-in ones."""
    return {}


@pytest.fixture
def houston(
    store: FlowStore, store_url: str, clock: ManualClock, task_handlers: dict[str, Any]
) -> Iterator[Houston]:
    """A Houston on each kind of store, whose rows fit at the end of each test."""
    with Houston(store_url, clock=clock, task_handlers=task_handlers) as opened:
        opened.__dict__["store"] = store  # which may read in parts
        yield opened
        check_store(store, Seen(people_act=True))
