"""The file of an SQLite database: its permissions, its log, and that it stays the one that was opened."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import StoreReplacedError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.upkeep.health import examine

SPEC = {"tasks": [{"key": "t", "task_type": "noop"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[FlowStore]:
    with FlowStore(f"sqlite:///{path}") as made:
        made.create(Flow.from_flow_spec(SPEC, key="f"))
        yield made


class TestPermissions:
    @pytest.fixture(autouse=True)
    def _umask(self) -> Iterator[None]:
        before = os.umask(0o022)
        yield
        os.umask(before)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [({}, 0o600), ({"file_mode": 0o660}, 0o660), ({"file_mode": None}, 0o644)],
    )
    def test_new_files_have_them_and_so_have_those_beside(
        self, path: Path, options: dict[str, Any], expected: int
    ) -> None:
        with FlowStore(f"sqlite:///{path}", **options) as store:
            store.create(Flow.from_flow_spec(SPEC, key="f"))
            files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
            assert [file.stat().st_mode & 0o777 for file in files] == [expected] * 3

    def test_a_file_that_is_there_keeps_its_own(self, path: Path) -> None:
        path.touch()
        path.chmod(0o640)
        with FlowStore(f"sqlite:///{path}") as store:
            store.query()
            assert path.stat().st_mode & 0o777 == 0o640

    def test_a_uri_names_a_file_too(self, path: Path) -> None:
        with FlowStore(f"sqlite:///file:{path}?uri=true") as store:
            store.query()
            assert path.stat().st_mode & 0o777 == 0o600


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def delete_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def replace_all(path: Path) -> None:
    delete_all(path)
    with FlowStore(f"sqlite:///{path}") as other:
        other.query()


CHANGES = [delete, delete_all, delete_log, replace, replace_all]


class TestTheSameFile:
    @pytest.mark.parametrize("change", CHANGES)
    def test_another_one_is_noticed_by_whatever_comes_next(
        self, store: FlowStore, path: Path, change: Callable[[Path], None]
    ) -> None:
        change(path)
        before = sorted(file.name for file in path.parent.iterdir())
        uses: list[Callable[[], object]] = [
            store.query,
            lambda: store.create(Flow.from_flow_spec(SPEC, key="g")),
            lambda: FlowRunner(store, FlowEngine()).tick(),
        ]
        for use in uses:
            with pytest.raises(StoreReplacedError, match="while this process had it open"):
                use()
        assert sorted(file.name for file in path.parent.iterdir()) == before  # no file was made

    def test_a_further_connection_makes_no_file(self, store: FlowStore, path: Path) -> None:
        with store._database.hold(lambda _: None).connection:
            delete_all(path)
            found: list[BaseException] = []

            def read() -> None:
                try:
                    store.query()
                except StoreReplacedError as error:
                    found.append(error)

            thread = Thread(target=read)
            thread.start()
            thread.join()
        assert len(found) == 1
        assert list(path.parent.iterdir()) == []

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_loop_ends_and_logs_why(
        self, path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        class Clock(ManualClock):
            def sleep(self, seconds: float) -> None:
                super().sleep(seconds)
                if not changes:
                    changes.append(change)
                    change(path)

        changes: list[object] = []
        clock = Clock()
        with FlowStore(f"sqlite:///{path}", clock=clock) as store:
            store.create(Flow.from_flow_spec(SPEC, key="f"))
            with pytest.raises(StoreReplacedError):
                FlowRunner(store, FlowEngine(clock=clock)).run()
        assert changes
        (told,) = [each for each in caplog.records if getattr(each, "action", "") == "database_replaced"]
        assert told.levelname == "ERROR"

    def test_a_file_that_was_moved_away_and_back_is_the_same(self, store: FlowStore, path: Path) -> None:
        path.rename(path.with_name("away"))
        with pytest.raises(StoreReplacedError):
            store.query()
        path.with_name("away").rename(path)
        assert FlowRunner(store, FlowEngine()).tick().completed == 1

    def test_a_store_that_is_opened_anew_takes_what_is_there(self, store: FlowStore, path: Path) -> None:
        replace_all(path)
        with pytest.raises(StoreReplacedError):
            store.query()
        store.close()
        assert store.query() == []


def test_the_log_is_cut_off_at_the_end_of_a_tick_once_nobody_reads_any_more(
    store: FlowStore, path: Path
) -> None:
    log = path.with_name(f"{path.name}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM mc_flow").fetchone()
        for number in range(7):
            store.create(Flow.from_flow_spec({**SPEC, "data": {"x": "x" * 10_000_000}}, key=f"g{number}"))
        FlowRunner(store, FlowEngine()).tick(max_flows=1)
        assert log.stat().st_size > 64 * 1024 * 1024
        findings = {finding.code: finding for finding in examine(f"sqlite:///{path}")}
        assert "cuts the log off" in findings["large-wal"].advice
    FlowRunner(store, FlowEngine()).tick(max_flows=0)
    assert log.stat().st_size == 0
