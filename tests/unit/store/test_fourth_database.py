"""Another kind of database is a dialect and a line in the registry of kinds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import URL, Column, Connection, Table

from mc.errors import DatabaseUrlError
from mc.houston import Houston
from mc.store.databases.kinds import KINDS
from mc.store.databases.sqlite import SqliteDialect
from mc.store.flow_store import FlowStore
from mc.store.upkeep.upgrade_list import upgrade_statements

CHAIN = {
    "tasks": [
        {"key": "a", "task_type": "noop"},
        {"key": "b", "task_type": "noop", "precursors": ["a"]},
    ]
}


class LedgerDialect(SqliteDialect):
    """SQLite by another name, which takes many rows as one parameter and spells a type out."""

    name = "ledger"

    def __init__(self) -> None:
        self.inserted_into: set[str] = set()

    def normalise(self, url: URL) -> URL:
        return super().normalise(url.set(drivername="sqlite"))

    def bulk_insert(self, connection: Connection, table: Table, columns: Sequence[Column[Any]]) -> str:
        self.inserted_into.add(table.name)
        names = ", ".join(column.name for column in columns)
        values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
        return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM json_each(?) ORDER BY key"

    def exact_text(self, length: int) -> str:
        return f"VARCHAR({length}) COLLATE BINARY"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> LedgerDialect:
    dialect = LedgerDialect()
    monkeypatch.setitem(sys.modules, "ledger_database", SimpleNamespace(LEDGER=dialect))
    monkeypatch.setitem(KINDS, "ledger", "ledger_database:LEDGER")
    return dialect


def test_a_flow_is_stored_run_and_told_of_by_a_fourth_kind(ledger: LedgerDialect, tmp_path: Path) -> None:
    with Houston(f"ledger:///{tmp_path / 'flows'}") as houston:
        flow = houston.run(CHAIN, key="f")
        assert flow.status == "COMPLETED"
        told = [event.task_key for event in houston.history("f") if event.new_status == "COMPLETED"]
    assert told == ["a", "b", None]
    assert ledger.inserted_into == {"mc_attempt", "mc_event"}
    with Houston(f"ledger:///{tmp_path / 'flows'}") as again:
        assert again.load("f").tasks["b"]["status"] == "COMPLETED"


def test_its_own_types_are_written_into_the_statements_of_the_upgrades(ledger: LedgerDialect) -> None:
    script = "\n".join(upgrade_statements(ledger.name, datetime.now(UTC)))
    assert "key VARCHAR(255) COLLATE BINARY NOT NULL" in script
    assert "COLLATE BINARY" not in "\n".join(upgrade_statements("sqlite", datetime.now(UTC)))


def test_an_unknown_kind_is_told_which_are_known(ledger: LedgerDialect) -> None:
    with pytest.raises(DatabaseUrlError, match="speaks sqlite, postgresql, mysql, mariadb and ledger"):
        FlowStore("oracle://host/flows")
