"""Upgrades on each kind of database: together, interrupted, printed, refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine, MetaData, event, insert, text

from mc.clock import ManualClock
from mc.errors import SchemaVersionError, StoreBusyError, StoreError
from mc.flows.flow import Flow
from mc.store.database import Database
from mc.store.databases.kinds import KINDS
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.store.schema.upgrade import NEWEST_VERSION, read_version
from mc.store.schema.upgrades.numbered import UPGRADES
from mc.store.upkeep.upgrade_list import list_upgrades, upgrade_statements
from tests.support.databases import DATABASES, fresh_url, quick_url

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = list(UPGRADES)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_url(request.param) as found:
        yield found


def open_database(url: str) -> Database:
    return Database(url, ManualClock(), upgrades=False)


def upgrade(url: str) -> list[int]:
    database = open_database(url)
    try:
        return database.upgrade()
    finally:
        database.close()


def do(url: str, work: Any) -> Any:
    """Do work in one transaction, without touching the tables' version."""
    database = open_database(url)
    try:
        return database.write(work)
    finally:
        database.close()


def describe(url: str) -> dict[str, object]:
    """Return what the database itself says of its tables."""

    def read(connection: Connection) -> dict[str, object]:
        metadata = MetaData()
        metadata.reflect(connection)
        return {
            table.name: (
                [(column.name, repr(column.type), column.nullable) for column in table.columns],
                [column.name for column in table.primary_key],
                sorted((str(index.name), index.columns.keys()) for index in table.indexes),
                sorted((key.target_fullname, key.ondelete) for key in table.foreign_keys),
            )
            for table in metadata.sorted_tables
        }

    found: dict[str, object] = do(url, read)
    return found


def make_store_usable(url: str) -> None:
    """Store a flow and load it, which touches most tables."""
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "noop"}]}, key="f"))
        assert store.load("f").tasks["a"]["status"] == "PENDING"


def test_the_newest_version_is_that_of_the_last_upgrade() -> None:
    assert list(range(1, NEWEST_VERSION + 1)) == NUMBERS


class TestTheTables:
    @pytest.mark.parametrize("name", DATABASES)
    def test_upgraded_tables_are_the_tables_that_the_code_knows(self, name: str) -> None:
        with fresh_url(name) as upgraded, fresh_url(name) as declared:
            assert upgrade(upgraded) == NUMBERS
            do(declared, tables.metadata.create_all)
            assert describe(upgraded) == describe(declared)

    @pytest.mark.parametrize(
        ("name", "kind"), [*zip(DATABASES, ["sqlite", "postgresql", "mariadb"], strict=True)]
    )
    def test_the_printed_statements_make_the_same_tables(self, name: str, kind: str) -> None:
        with fresh_url(name) as upgraded, fresh_url(name) as by_hand:
            upgrade(upgraded)
            for statement in upgrade_statements(kind, datetime.now(UTC)):
                do(by_hand, lambda connection, line=statement: connection.exec_driver_sql(line.rstrip(";")))
            assert describe(by_hand) == describe(upgraded)
            make_store_usable(by_hand)

    @pytest.mark.parametrize("kind", KINDS)
    def test_statements_after_a_version_are_the_rest(self, kind: str) -> None:
        now = datetime.now(UTC)
        everything = list(upgrade_statements(kind, now))
        rest = list(upgrade_statements(kind, now, after=1))
        assert everything[-len(rest) :] == rest
        assert len(rest) < len(everything)
        assert list(upgrade_statements(kind, now, after=NEWEST_VERSION)) == []

    @pytest.mark.parametrize(
        ("kind", "after"), [("oracle", 0), ("sqlite", -1), ("sqlite", NEWEST_VERSION + 1)]
    )
    def test_statements_of_nothing_are_refused(self, kind: str, after: int) -> None:
        with pytest.raises(StoreError, match="use "):
            list(upgrade_statements(kind, datetime.now(UTC), after))


class TestProgress:
    def test_an_upgrade_goes_on_where_the_tables_stand(self, url: str) -> None:
        def make_version_1(connection: Connection) -> None:
            tables.schema.create(connection)
            UPGRADES[1](connection)
            connection.execute(insert(tables.schema).values(version=1, applied_at="then"))

        do(url, make_version_1)
        database = open_database(url)
        assert database.upgrade() == NUMBERS[1:]
        assert database.upgrade() == []
        seen = [(upgrade.number, upgrade.applied_at) for upgrade in list_upgrades(database)]
        database.close()
        assert seen[0] == (1, "then")
        assert [number for number, applied_at in seen if applied_at] == NUMBERS
        make_store_usable(url)

    def test_an_empty_database_has_seen_no_upgrade(self) -> None:
        with closing(open_database("sqlite://")) as database:
            found = list_upgrades(database)
            version = database.read(read_version)
        assert [upgrade.to_dict() for upgrade in found[:1]] == [
            {"number": 1, "name": "flows", "applied_at": None}
        ]
        assert [upgrade.number for upgrade in found] == NUMBERS
        assert version == 0

    def test_processes_may_make_the_tables_at_the_same_time(self, url: str) -> None:
        code = (
            "import sys\n"
            "from mc.clock import SystemClock\n"
            "from mc.store.database import Database\n"
            "url = sys.stdin.readline().strip()\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(Database(url, SystemClock(), upgrades=False).upgrade())\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        results = [process.communicate("go\n") for process in processes]
        assert [error for _, error in results] == [""] * 3
        assert sorted(out.strip() for out, _ in results) == [str(NUMBERS), "[]", "[]"]
        make_store_usable(url)

    def test_nobody_begins_while_another_is_in_the_middle(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        do(url, tables.schema.create)
        first, refused = UPGRADES[1], []
        rival = Database(url, ManualClock(), busy_seconds=0.1, upgrades=False)

        def with_a_rival(connection: Connection) -> None:
            first(connection)
            with pytest.raises(StoreBusyError) as caught:
                rival.upgrade()
            refused.append(caught.value)

        monkeypatch.setitem(cast("dict[int, Any]", UPGRADES), 1, with_a_rival)
        assert upgrade(url) == NUMBERS
        assert len(refused) == 1
        assert rival.upgrade() == []
        rival.close()


class InterruptionError(Exception):
    """Stands for the end of the process."""


Statement = tuple[str, str]  # its text, and its parameters


@contextmanager
def interruption(after: Statement | None) -> Iterator[list[Statement]]:
    """End the work right after a statement; yield those that changed something."""
    seen: list[Statement] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip().startswith(("CREATE", "ALTER", "DROP", "INSERT")):
            text = statement.strip().replace("`", "")  # a name is quoted, or need not be
            seen.append((text, repr(parameters) if parameters else ""))
            if seen[-1] == after:
                raise InterruptionError

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "after_cursor_execute", note)


class TestInterruption:
    @pytest.mark.parametrize("name", DATABASES)
    def test_an_upgrade_that_was_interrupted_anywhere_is_finished_by_the_next(self, name: str) -> None:
        with quick_url(name) as url:
            with closing(open_database(url)) as database, interruption(after=None) as statements:
                database.upgrade()
            whole = describe(url)
        assert len(set(statements)) == len(statements) > len(NUMBERS)
        with quick_url(name) as url:
            database = open_database(url)
            # Each goes on where the one before was interrupted, up to one statement further.
            for statement in statements:
                with pytest.raises(InterruptionError), interruption(after=statement):
                    database.upgrade()
            database.upgrade()
            seen = [upgrade.number for upgrade in list_upgrades(database) if upgrade.applied_at]
            database.close()
            assert describe(url) == whole
            assert seen == NUMBERS


class TestNewerTables:
    def test_older_code_refuses_them_and_changes_nothing(self, url: str) -> None:
        upgrade(url)
        newer = insert(tables.schema).values(version=99, applied_at="then")
        do(url, lambda connection: connection.execute(newer))
        before = describe(url)
        with FlowStore(url) as store, pytest.raises(SchemaVersionError, match="version 99") as caught:
            store.create(Flow(key="f"))
        assert (caught.value.found, caught.value.expected) == (99, NEWEST_VERSION)
        assert describe(url) == before
        count = do(url, lambda connection: connection.scalar(text("SELECT count(*) FROM mc_flow")))
        assert count == 0

    def test_a_runner_that_runs_meanwhile_stops_at_its_next_tick(self, url: str) -> None:
        from mc.flows.flow_engine import FlowEngine
        from mc.runners.flow_runner import FlowRunner

        with FlowStore(url) as store:
            runner = FlowRunner(store, FlowEngine())
            assert runner.tick().claimed == 0
            store.create(Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "noop"}]}, key="f"))
            newer = insert(tables.schema).values(version=99, applied_at="then")
            do(url, lambda connection: connection.execute(newer))
            with pytest.raises(SchemaVersionError):
                runner.tick()
            assert store.load("f").tasks["a"]["status"] == "PENDING"
            assert not store.is_held("f")
