"""What a runner began before a backup was restored in place counts for nothing afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, select
from sqlalchemy.engine import make_url

from mc.errors import StoreReplacedError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.task_handlers.base_task_handler import BaseTaskHandler

TASKS = ("a", "b", "c")
SPEC = {"tasks": [{"key": key, "task_type": "act"} for key in TASKS]}

Backup = Callable[[], None]  # what restores it


def take_rows(url: str) -> Backup:
    """Copy all rows; what is returned puts them in the place of those that are there then."""
    names = [table for table in tables.metadata.sorted_tables if table is not tables.schema]
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {table: [dict(row) for row in connection.execute(select(table)).mappings()] for table in names}
    engine.dispose()

    def restore() -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            for table in reversed(names):
                connection.execute(delete(table))
            for table in names:
                if rows[table]:
                    connection.execute(insert(table), rows[table])
        engine.dispose()

    return restore


def take_file(url: str) -> Backup:
    """Copy an SQLite file; what is returned copies it back in place, as `.restore` does."""
    path, backup = make_url(url).database, f"{make_url(url).database}.backup"
    copy_file(path, backup)
    return lambda: copy_file(backup, path)


def copy_file(source: Any, target: Any) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


@pytest.fixture
def take_backup(database: str, url: str) -> Callable[[], Backup]:
    return lambda: take_file(url) if database == "sqlite" else take_rows(url)


def make_runner(store: FlowStore, act: Callable[[str], object], *, has_effects: bool = True) -> FlowRunner:
    class Act(BaseTaskHandler):
        def tick_task(self) -> None:
            act(self.task["key"])
            self.complete()

    Act.has_effects = has_effects
    return FlowRunner(store, FlowEngine(task_handlers={"act": Act}))


@pytest.mark.parametrize(
    ("taken", "has_effects"),
    [("before the claim", True), ("before the claim", False), ("under the lease", True)],
)
def test_a_save_of_what_was_claimed_before_is_refused(
    url: str, take_backup: Callable[[], Backup], taken: str, has_effects: bool
) -> None:
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        backups = [take_backup()]

        def act(key: str) -> None:
            if key == "a" and taken == "under the lease":
                backups[0] = take_backup()
            if key == "b":
                backups[0]()

        with pytest.raises(StoreReplacedError, match="'f' is older than what it said before: a backup"):
            make_runner(store, act, has_effects=has_effects).tick()
    with FlowStore(url) as store:
        assert store.summary("f").tasks == {"PENDING": 3}


def test_a_token_that_is_given_out_again_does_not_let_the_old_runner_save(
    url: str, take_backup: Callable[[], Backup]
) -> None:
    with FlowStore(url) as old, FlowStore(url) as new:
        old.create(Flow.from_flow_spec(SPEC, key="f"))
        restore = take_backup()
        (old_lease,) = old.claim(owner="old")
        flow = old.load("f")
        restore()
        (new_lease,) = new.claim(owner="new")
        assert new_lease.token == old_lease.token
        flow.data["by"] = "old"
        with pytest.raises(StoreReplacedError):
            old.save(flow, lease=old_lease)
        assert new.load("f").data == {}
        new.save(new.load("f"), lease=new_lease, release=True)


def test_a_runner_that_sees_tokens_go_backwards_stops_before_it_calls_anything(
    url: str, take_backup: Callable[[], Backup]
) -> None:
    called: list[str] = []
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        restore = take_backup()
        runner = make_runner(store, called.append)
        assert runner.tick().completed == 1
        restore()
        for _ in range(2):
            with pytest.raises(StoreReplacedError):
                runner.tick()
        assert called == list(TASKS)
    with FlowStore(url) as store:  # a runner that begins anew goes on with what there is
        assert make_runner(store, called.append).tick().completed == 1


def test_a_flow_that_the_backup_does_not_know_stops_its_runner(
    url: str, take_backup: Callable[[], Backup]
) -> None:
    with FlowStore(url) as store:
        restore = take_backup()
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        with pytest.raises(StoreReplacedError):
            make_runner(store, lambda _: restore()).tick()
    with FlowStore(url) as store:
        assert store.query() == []


class TestAnEpoch:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def begin(self, url: str) -> None:
        from mc.cli.main import main

        with pytest.raises(SystemExit) as end:
            main(["db", "restored", "--db", url])
        assert end.value.code == 0

    def test_shuts_out_who_opened_the_database_before(self, url: str) -> None:
        with FlowStore(url) as store:
            store.create(Flow.from_flow_spec(SPEC, key="f"))
            flow = store.load("f")
            self.begin(url)
            with pytest.raises(StoreReplacedError, match="since this process opened it"):
                store.claim(owner="old")
            flow.data["by"] = "old"
            with pytest.raises(StoreReplacedError, match="nothing was saved"):
                store.save(flow)
            assert store.load("f").data == {}  # it may be read
        with FlowStore(url) as store:
            store.save(store.load("f"))
            assert len(store.claim(owner="new")) == 1

    def test_ends_all_leases(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        with FlowStore(url) as old:
            old.create(Flow.from_flow_spec(SPEC, key="f"))
            (lease,) = old.claim(owner="old")
            flow = old.load("f")
            self.begin(url)
            assert "1 lease" in capsys.readouterr().out
            with FlowStore(url) as new:
                assert [found.lost_leases for found in new.claim(owner="new")] == [0]
            with pytest.raises(StoreReplacedError):
                old.save(flow, lease=lease)

    def test_is_another_one_each_time_a_backup_is_restored(
        self, url: str, take_backup: Callable[[], Backup]
    ) -> None:
        with FlowStore(url) as store:
            store.create(Flow.from_flow_spec(SPEC, key="f"))
        restore = take_backup()
        self.begin(url)
        with FlowStore(url) as store:
            store.query()
            restore()
            self.begin(url)
            with pytest.raises(StoreReplacedError):
                store.claim(owner="old")
