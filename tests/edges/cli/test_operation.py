"""The commands of operators: `houston doctor`, `houston db` and `houston selftest`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mc.clock import SystemClock
from mc.store.database import Database
from mc.store.databases.network_mounts import Mount
from mc.store.schema.upgrade import NEWEST_VERSION
from mc.store.schema.upgrades.numbered import UPGRADES
from mc.store.upkeep.scratch import Scratch
from tests.edges.cli.conftest import Houston

NOOP = [{"key": "t", "task_type": "noop"}]


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT max(version) FROM mc_schema").fetchone()[0]
        return found


@pytest.fixture
def older(houston: Houston, tmp_path: Path) -> Path:
    """A database that has not seen the newest upgrade."""
    houston("db", "init")
    path = tmp_path / "mc.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM mc_schema WHERE version = ?", (NEWEST_VERSION,))
    return path


class TestDoctor:
    def test_it_ends_with_0_where_all_is_well(
        self, houston: Houston, write_spec: Callable[..., Path]
    ) -> None:
        houston("submit", write_spec(NOOP))
        houston("tick")
        ended = houston("doctor")
        assert (ended.code, ended.err) == (0, "")
        assert "problem" not in {line.split()[0] for line in ended.out.splitlines()}
        assert "ok       ticks: 1 tick in the last 24 hours" in ended.out

    def test_it_ends_with_1_and_advice_where_a_person_is_needed(
        self, houston: Houston, write_spec: Callable[..., Path]
    ) -> None:
        houston("submit", write_spec(NOOP))
        ended = houston("doctor", "--late-after", "0s")
        assert ended.code == 1
        first, advice = ended.out.splitlines()[:2]
        assert first.startswith("problem  late-flows: 1 flow is due")
        assert advice.strip().startswith("-> Check that houston tick or houston loop runs")

    def test_programs_get_codes_and_details(self, houston: Houston, write_spec: Callable[..., Path]) -> None:
        houston("submit", write_spec(NOOP, key="f"))
        found = houston("doctor", "--late-after", "0s", "--json").document
        assert found["healthy"] is False
        (late,) = [finding for finding in found["findings"] if finding["code"] == "late-flows"]
        assert (late["severity"], late["details"]["keys"]) == ("problem", ["f"])

    def test_it_changes_no_tables(self, houston: Houston, older: Path) -> None:
        assert houston("doctor").code == 1
        assert version_of(older) == NEWEST_VERSION - 1


class TestDb:
    def test_init_makes_the_tables_once(self, houston: Houston) -> None:
        assert f"version {NEWEST_VERSION} now" in houston("db", "init").out
        assert houston("db", "init").out == f"The tables are up to date, version {NEWEST_VERSION}.\n"

    def test_status_lists_each_upgrade_and_applies_none(self, houston: Houston, older: Path) -> None:
        lines = houston("db", "status").out.splitlines()[1:]
        assert [int(line.split()[0]) for line in lines] == list(UPGRADES)
        assert [line.endswith("not yet") for line in lines] == [False] * (len(UPGRADES) - 1) + [True]
        assert houston("db", "status", "--json").document["version"] == NEWEST_VERSION - 1
        assert version_of(older) == NEWEST_VERSION - 1

    def test_upgrade_brings_older_tables_forward(self, houston: Houston, older: Path) -> None:
        assert houston("db", "upgrade", "--json").document == {
            "version": NEWEST_VERSION,
            "applied": [NEWEST_VERSION],
        }
        assert version_of(older) == NEWEST_VERSION

    def test_upgrade_waits_for_a_lock_only_as_long_as_it_is_told(
        self, houston: Houston, older: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_BUSY_SECONDS", "0.1")
        with closing(sqlite3.connect(older, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            ended = houston("db", "upgrade")
        assert ended.code == 3
        assert "Another process holds its lock" in ended.err

    def test_the_printed_statements_make_tables_that_the_command_takes(
        self, houston: Houston, tmp_path: Path
    ) -> None:
        script = houston("db", "sql", "--dialect", "sqlite").out
        with closing(sqlite3.connect(tmp_path / "mc.sqlite3")) as connection, connection:
            connection.executescript(script)
        assert houston("db", "upgrade").out == f"The tables are up to date, version {NEWEST_VERSION}.\n"
        assert houston("list").code == 0

    def test_prune_counts_first_and_then_removes(
        self, houston: Houston, write_spec: Callable[..., Path]
    ) -> None:
        houston("run", write_spec(NOOP, key="done"))
        houston("submit", write_spec(NOOP, key="open"))
        would = houston("db", "prune", "--older-than", "0s", "--dry-run").out
        assert would.startswith("Would remove 1 flow with 1 task, the account of")
        assert houston("show", "done").code == 0
        assert houston("db", "prune", "--older-than", "0s").out.startswith("Removed 1 flow with 1 task")
        assert houston("show", "done").code == 2
        assert houston("show", "open").code == 0


class TestSelftest:
    def test_it_passes_here_and_leaves_nothing_behind(self, houston: Houston, tmp_path: Path) -> None:
        found = houston("selftest", "--seconds", "0", "--json")
        assert found.code == 0, found.out
        assert found.document["passed"] is True
        codes = [finding["code"] for finding in found.document["findings"]]
        assert [code for code in codes if code != "file-system"] == [
            *("journal", "disk", "flushes", "locks", "claims", "kills"),
        ]
        kills = found.document["findings"][-1]["details"]
        assert kills["kills"] >= 3
        assert list(tmp_path.iterdir()) == []

    def test_it_ends_with_1_where_locks_keep_nobody_out(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = Database("sqlite://", SystemClock())
        open_there = Scratch.open
        opened: list[Database] = []

        def open_elsewhere(self: Scratch) -> Database:
            """Open the place to look at it, and then another one to lock it."""
            opened.append(elsewhere if opened else open_there(self))
            return opened[-1]

        monkeypatch.setattr(Scratch, "open", open_elsewhere)
        ended = houston("selftest", "--seconds", "0")
        assert ended.code == 1
        assert "problem  locks: Locks between processes do not work" in ended.out
        assert "two runners would tick the same flow" in ended.out

    def test_it_refuses_a_network_file_system_and_says_why(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "mc.store.databases.sqlite.find_network_mount", lambda _: Mount(path="/srv", kind="nfs4")
        )
        ended = houston("selftest")
        assert ended.code == 3
        assert "lies on a network file system (nfs4 at /srv), where SQLite's locks" in ended.err
