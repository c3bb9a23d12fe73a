from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import sqlite

from mc.errors import DatabaseUrlError, McError, StoreBusyError, StoreError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.leases.claims import Search, claim_query
from tests.support.permissions import run_within_permissions

ROOT = Path(__file__).resolve().parents[3]
CHAIN = {"tasks": [{"key": f"t{number}", "task_type": "noop"} for number in range(50)]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[FlowStore]:
    with FlowStore(f"sqlite:///{path}") as opened:
        yield opened


def sql(path: Path, text: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(text).fetchall()
    connection.close()
    return rows


class TestOpening:
    def test_the_file_is_made_at_first_use(self, path: Path) -> None:
        store = FlowStore(f"sqlite:///{path}")
        assert not path.exists()
        assert store.query() == []
        assert path.exists()
        store.close()

    def test_it_keeps_a_write_ahead_log(self, store: FlowStore, path: Path) -> None:
        store.query()
        assert sql(path, "PRAGMA journal_mode") == [("wal",)]

    def test_each_commit_is_flushed_and_rows_are_bound_to_their_flow(self, store: FlowStore) -> None:
        def look(connection: Any) -> list[int]:
            names = ("synchronous", "foreign_keys", "busy_timeout")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        assert store._database.read(look) == [2, 1, 30_000]

    def test_a_relative_path_stays_the_same_file_after_a_change_of_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = FlowStore("sqlite:///here.sqlite3")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.query()
        store.close()
        assert (tmp_path / "here.sqlite3").exists()

    def test_a_database_in_memory_is_shared_by_the_threads_of_its_store(self) -> None:
        with FlowStore("sqlite://") as store:
            keys = [f"f{number}" for number in range(40)]

            def create(mine: list[str]) -> None:
                for key in mine:
                    store.create(Flow.from_flow_spec(CHAIN, key=key))

            threads = [threading.Thread(target=create, args=(keys[start::4],)) for start in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert {summary.key for summary in store.query()} == set(keys)

    def test_a_step_that_is_saved_writes_few_pages(self, store: FlowStore, path: Path) -> None:
        sizes: list[int] = []
        log = path.with_name(f"{path.name}-wal")
        steps = [{"key": f"t{number}", "task_type": "step"} for number in range(50)]
        store.create(Flow.from_flow_spec({"tasks": steps}))
        handlers = {"step": lambda: sizes.append(log.stat().st_size)}
        FlowRunner(store, FlowEngine(task_handlers=handlers)).tick()
        page_and_head = 4096 + 24
        written = [(after - before) / page_and_head for before, after in pairwise(sizes[5:])]
        assert sum(written) / len(written) < 9  # of which six hold what a step tells

    def test_a_forked_process_opens_connections_of_its_own(self, store: FlowStore, path: Path) -> None:
        store.create(Flow(key="parent"))
        code = (
            "import os, sys\n"
            "from mc.flows.flow import Flow\n"
            "from mc.store.flow_store import FlowStore\n"
            f"store = FlowStore('sqlite:///{path}')\n"
            "store.query()\n"
            "if os.fork() == 0:\n"
            "    store.create(Flow(key='child'))\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "print(sorted(summary.key for summary in store.query()))\n"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert (run.stdout, run.stderr) == ("['child', 'parent']\n", "")

    def test_closing_twice_does_no_harm(self, store: FlowStore) -> None:
        store.query()
        store.close()
        store.close()
        assert store.query() == []  # opened again


class TestFailures:
    def fail(self, url: str) -> McError:
        with pytest.raises(StoreUnreachableError) as caught, FlowStore(url) as store:
            store.query()
        message = caught.value.message
        assert "\n" not in message
        assert "SELECT" not in message
        return caught.value

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        error = self.fail(f"sqlite:///{tmp_path}/no/where/flows.sqlite3")
        assert f"The directory '{tmp_path}/no/where' does not exist" in error.message

    def test_a_directory_is_told_from_a_file(self, tmp_path: Path) -> None:
        assert "is a directory; name a file in it" in self.fail(f"sqlite:///{tmp_path}").message

    def test_another_kind_of_file_is_left_as_it_is(self, path: Path) -> None:
        path.write_text("A diary. " * 100)
        assert "not an SQLite database" in self.fail(f"sqlite:///{path}").message
        assert path.read_text() == "A diary. " * 100

    def test_a_file_that_cannot_be_written_is_named(self, store: FlowStore, path: Path) -> None:
        store.query()
        store.close()
        url = f"sqlite:///file:{path}?mode=ro&uri=true"
        with FlowStore(url) as read_only:
            assert read_only.query() == []
            with pytest.raises(StoreUnreachableError, match="Make the file and its directory writable"):
                read_only.create(Flow(key="f"))

    @pytest.mark.parametrize("url", ["nonsense", "", "sqlite:/x", "://", "a b c"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(DatabaseUrlError):
            FlowStore(url)

    def test_a_kind_of_database_that_is_not_supported_is_named(self) -> None:
        with pytest.raises(DatabaseUrlError, match="kind 'oracle'; it speaks sqlite"):
            FlowStore("oracle://scott:tiger@host/db")

    @pytest.mark.parametrize("text", ["\ud800", "caf\udce9"])
    def test_what_no_database_can_hold_is_an_error_of_the_store(self, store: FlowStore, text: str) -> None:
        for ask in (store.load, store.history.events, store.summary, lambda label: store.query(label=label)):
            with pytest.raises(StoreError, match="UTF-8 cannot hold it"):
                ask(text)

    def test_the_password_is_not_shown(self, path: Path) -> None:
        store = FlowStore(f"sqlite:///{path}?password=secret")
        assert "secret" not in store.url + repr(store)

    def test_a_lock_that_is_held_too_long_is_reported(self, store: FlowStore, path: Path) -> None:
        store.query()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        impatient = FlowStore(f"sqlite:///{path}", busy_seconds=0.05)
        with pytest.raises(StoreBusyError, match="Another process holds its lock"):
            impatient.create(Flow(key="f"))
        assert impatient.query() == []  # who only reads waits for nobody
        other.execute("ROLLBACK")
        other.close()
        impatient.create(Flow(key="f"))
        impatient.close()

    def test_a_full_transaction_is_undone_if_it_fails_in_the_middle(
        self, store: FlowStore, path: Path
    ) -> None:
        store.query()
        sql(path, "CREATE TRIGGER no_edges BEFORE INSERT ON mc_edge BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError, match="refused: no"):
            store.create(Flow.from_flow_spec(CHAIN, key="f"))
        assert store.query() == []
        counts = [sql(path, f"SELECT count(*) FROM mc_{name}") for name in ("flow", "task", "edge", "spec")]
        assert counts == [[(0,)]] * 4


class TestCost:
    def test_a_save_writes_only_the_tasks_that_changed(self, store: FlowStore, path: Path) -> None:
        flow = Flow.from_flow_spec(CHAIN, key="f")
        store.create(flow)
        sql(path, "CREATE TABLE written (key, body)")
        sql(
            path,
            "CREATE TRIGGER note AFTER UPDATE ON mc_task BEGIN"
            " INSERT INTO written VALUES (new.key, new.body IS NOT old.body); END",
        )
        flow = store.load("f")
        FlowEngine().tick_flow(flow)
        store.save(flow)
        assert sql(path, "SELECT key, body FROM written") == [("t0", 1), ("t1", 0)]

    def test_a_task_that_was_only_looked_at_is_not_written(self, store: FlowStore, path: Path) -> None:
        store.create(Flow.from_flow_spec(CHAIN, key="f"))
        flow = store.load("f")
        flow.filter_tasks()
        sql(path, "CREATE TRIGGER no BEFORE UPDATE ON mc_task BEGIN SELECT RAISE(ABORT, 'written'); END")
        store.save(flow)

    def test_the_data_of_a_flow_are_written_only_if_they_changed(self, store: FlowStore, path: Path) -> None:
        store.create(Flow.from_flow_spec(CHAIN, key="f", data={"big": "x" * 1000}))
        flow = store.load("f")
        sql(path, "CREATE TRIGGER no BEFORE UPDATE OF data ON mc_flow BEGIN SELECT RAISE(ABORT, 'data'); END")
        FlowEngine().tick_flow(flow)
        store.save(flow)
        flow.data["big"] = "y"
        with pytest.raises(StoreError, match="data"):
            store.save(flow)

    def test_an_idle_claim_is_one_look_up_in_an_index(self, store: FlowStore, path: Path) -> None:
        store.query()
        query = claim_query(Search(due_at="2026", database_now="2026"), 10)
        text = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
        plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {text}")]
        assert plan[0] == "SEARCH mc_flow USING INDEX mc_flow_next_tick_at (next_tick_at<?)"
        assert not [step for step in plan if step.startswith("SCAN")]

    def test_a_finished_flow_leaves_the_index_of_what_is_due(self, store: FlowStore, path: Path) -> None:
        flow = Flow.from_flow_spec(CHAIN, key="f")
        store.create(flow)
        FlowEngine().run_flow(flow)
        store.save(flow)
        assert sql(path, "SELECT next_tick_at FROM mc_flow") == [(None,)]

    def test_equal_specs_are_kept_once(self, store: FlowStore, path: Path) -> None:
        store.create_many([Flow.from_flow_spec(CHAIN, key=key) for key in "abc"])
        assert sql(path, "SELECT count(*) FROM mc_spec") == [(1,)]
        store.upkeep.delete("a")
        assert sql(path, "SELECT count(*) FROM mc_spec") == [(1,)]

    def test_nothing_is_left_of_deleted_flows(self, store: FlowStore, path: Path) -> None:
        store.create_many([Flow.from_flow_spec(CHAIN, key=key) for key in "abc"])
        for key in "abc":
            store.upkeep.delete(key)
        names = ("flow", "task", "edge", "spec", "wake")
        assert [sql(path, f"SELECT count(*) FROM mc_{name}") for name in names] == [[(0,)]] * 5

    def test_more_flows_than_a_statement_can_name_are_loaded_and_deleted(self, store: FlowStore) -> None:
        flows = [Flow(key=f"f{number}") for number in range(1201)]
        store.create_many(flows)
        assert len(store.load_claimed(store.claim(owner="me", limit=len(flows)))) == 1201

    def test_what_is_loaded_lazily_stays_unloaded(self) -> None:
        code = (
            "import sys, mc.runners.flow_runner\n"
            "print([name for name in ('jsonschema', 'rich', 'sqlalchemy.orm', 'sqlalchemy.dialects.mysql')"
            " if name in sys.modules])"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert (run.stdout, run.stderr) == ("[]\n", "")


def test_a_file_of_another_owner_is_named(path: Path) -> None:
    path.touch(mode=0)
    code = (
        "import sys\nfrom mc.errors import StoreUnreachableError\nfrom mc.store.flow_store import FlowStore\n"
        "with FlowStore(f'sqlite:///{sys.argv[1]}') as store:\n"
        "    try:\n        store.query()\n    except StoreUnreachableError as error:\n        print(error)"
    )
    assert "permissions" in run_within_permissions(code, str(path))
