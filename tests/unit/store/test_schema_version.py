from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from mc.errors import SchemaVersionError
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.store.schema.upgrade import NEWEST_VERSION
from mc.store.schema.upgrades.numbered import UPGRADES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "flows.sqlite3"
    with FlowStore(f"sqlite:///{path}") as store:
        store.query()
    return path


def describe(metadata: MetaData) -> dict[str, object]:
    return {
        table.name: (
            [
                (column.name, str(column.type), column.nullable, column.primary_key)
                for column in table.columns
            ],
            sorted((str(index.name), [column.name for column in index.columns]) for index in table.indexes),
            sorted((key.target_fullname, key.ondelete) for key in table.foreign_keys),
        )
        for table in metadata.sorted_tables
    }


def test_upgraded_tables_are_the_tables_that_the_code_knows(path: Path, tmp_path: Path) -> None:
    found = {}
    for name, file in {"upgraded": path, "declared": tmp_path / "declared.sqlite3"}.items():
        engine = create_engine(f"sqlite:///{file}")
        if name == "declared":
            tables.metadata.create_all(engine)
        reflected = MetaData()
        reflected.reflect(engine)
        found[name] = describe(reflected)
        engine.dispose()
    assert found["upgraded"] == found["declared"]
    assert all(name.startswith("mc_") for name in found["upgraded"])


def test_upgrades_are_numbered_without_gaps() -> None:
    assert list(UPGRADES) == list(range(1, NEWEST_VERSION + 1))


def test_each_upgrade_is_noted(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        versions = connection.execute("SELECT version FROM mc_schema ORDER BY version").fetchall()
    connection.close()
    assert versions == [(number,) for number in UPGRADES]


def test_newer_tables_are_refused_and_left_as_they_are(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO mc_schema VALUES (99, 'then')")
    before = list(connection.iterdump())
    connection.close()
    with FlowStore(f"sqlite:///{path}") as store:
        for _ in range(2):
            with pytest.raises(SchemaVersionError, match="of version 99; this version of mc knows") as caught:
                store.query()
    assert (caught.value.found, caught.value.expected) == (99, NEWEST_VERSION)
    connection = sqlite3.connect(path)
    assert list(connection.iterdump()) == before
    connection.close()


def test_an_upgrade_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.sqlite3"

    def fail(connection: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setitem(UPGRADES, 2, fail)  # type: ignore[call-overload]
    monkeypatch.setattr("mc.store.schema.upgrade.NEWEST_VERSION", 2)
    with pytest.raises(RuntimeError), FlowStore(f"sqlite:///{path}") as store:
        store.query()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


def test_processes_may_open_a_new_database_at_the_same_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    code = (
        "import sys\n"
        "from mc.flows.flow import Flow\n"
        "from mc.store.flow_store import FlowStore\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        f"FlowStore({url!r}).create(Flow(key=sys.argv[1]))\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in started]
    assert errors == [""] * 4
    with FlowStore(url) as store:
        assert sorted(summary.key for summary in store.query()) == ["0", "1", "2", "3"]
