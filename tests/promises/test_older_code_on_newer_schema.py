"""Code that meets tables of a later version refuses them clearly and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from mc.clock import SystemClock
from mc.errors import SchemaVersionError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.database import Database
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.store.schema.upgrade import NEWEST_VERSION
from mc.store.upkeep.health import examine

SPEC = {"tasks": [{"key": "t", "task_type": "noop"}]}
NEWER = NEWEST_VERSION + 1

STEPS: dict[str, Callable[[str], object]] = {
    "query": lambda url: FlowStore(url).query(),
    "load": lambda url: FlowStore(url).load("f"),
    "create": lambda url: FlowStore(url).create(Flow.from_flow_spec(SPEC, key="g")),
    "claim": lambda url: FlowStore(url).claim(owner="older"),
    "delete": lambda url: FlowStore(url).upkeep.delete("f"),
    "prune": lambda url: FlowStore(url).upkeep.prune(timedelta(0)),
    "tick": lambda url: FlowRunner(FlowStore(url), FlowEngine()).tick(),
    "upgrade": lambda url: Database(url, SystemClock()).upgrade(),
    "doctor": examine,
}


@pytest.fixture
def rows(url: str) -> Callable[[], dict[str, list[Any]]]:
    """Return what reads every row of the store."""

    def read() -> dict[str, list[Any]]:
        engine = create_engine(url)
        with engine.connect() as connection:
            found = {
                table.name: sorted(map(repr, connection.execute(select(table))))
                for table in tables.metadata.sorted_tables
            }
        engine.dispose()
        return found

    return read


@pytest.fixture
def newer(url: str) -> Callable[[], None]:
    """Return what does as a later version that brought the tables up to date."""

    def upgrade() -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(tables.schema.insert().values(version=NEWER, applied_at="2026-01-01"))
        engine.dispose()

    return upgrade


@pytest.fixture(autouse=True)
def _older_again(url: str) -> Any:
    """Leave the database as the other tests of the run expect it."""
    yield
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(tables.schema.delete().where(tables.schema.c.version == NEWER))
    engine.dispose()


@pytest.mark.parametrize("step", STEPS)
def test_whatever_is_asked_is_refused(
    url: str, rows: Callable[[], Any], newer: Callable[[], None], step: str
) -> None:
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
    newer()
    before = rows()
    with pytest.raises(SchemaVersionError, match=f"version {NEWER}.*Nothing was changed") as error:
        STEPS[step](url)
    assert error.value.details == {"found": NEWER, "expected": NEWEST_VERSION}
    assert rows() == before


def test_a_runner_that_was_running_takes_up_nothing_more(
    url: str, rows: Callable[[], Any], newer: Callable[[], None]
) -> None:
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        newer()
        before = rows()
        with pytest.raises(SchemaVersionError):
            FlowRunner(store, FlowEngine()).tick()
        assert rows() == before


@pytest.mark.parametrize("command", ["tick", "list", "db upgrade", "db status", "doctor", "show f"])
def test_the_command_says_so_and_ends_with_3(url: str, newer: Callable[[], None], command: str) -> None:
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
    newer()
    houston = [sys.executable, "-m", "mc", *command.split(), "--db", url]
    done = subprocess.run(houston, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"tables of version {NEWER}" in done.stderr
    assert "Traceback" not in done.stderr
