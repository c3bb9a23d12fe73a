"""Database URLs: drivers, settings of connections, and what is told where one leads nowhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine.default import DefaultDialect

from mc.clock import ManualClock
from mc.context.sizes import Limits
from mc.errors import DatabaseUrlError, FlowFormatError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.databases.database_url import parse_url
from mc.store.flow_selection import FlowSelection
from mc.store.flow_store import FlowStore
from mc.store.leases.claims import Search, claim_query, next_due_query
from mc.store.reading.flow_summaries import SUMMARIES
from mc.store.reading.selected_flows import count_query, page_query
from tests.support.databases import server_url


@pytest.fixture
def store(shared_url: str) -> Iterator[FlowStore]:
    with FlowStore(shared_url) as opened:
        yield opened


def ask(store: FlowStore, statement: str) -> Any:
    return store._database.read(lambda connection: connection.execute(text(statement)).all())


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "driver"),
        [
            ("postgresql://u@h/d", "postgresql+psycopg"),
            ("postgres://u@h/d", "postgresql+psycopg"),
            ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
            ("mysql://u@h/d", "mysql+pymysql"),
            ("mariadb://u@h/d", "mysql+pymysql"),
            ("mariadb+pymysql://u@h/d", "mysql+pymysql"),
            ("sqlite:///f", "sqlite"),
        ],
    )
    def test_a_url_without_a_driver_finds_the_one_that_the_store_uses(self, url: str, driver: str) -> None:
        assert parse_url(url)[1].drivername == driver

    @pytest.mark.parametrize("url", ["postgresql+psycopg2://u@h/d", "mysql+mysqldb://u@h/d"])
    def test_another_driver_is_refused_by_name(self, url: str) -> None:
        with pytest.raises(DatabaseUrlError, match=r"does not use the driver '(psycopg2|mysqldb)'; begin"):
            FlowStore(url)

    def test_a_server_without_a_database_is_refused(self) -> None:
        with pytest.raises(DatabaseUrlError, match="names no database"):
            FlowStore("mysql://root@127.0.0.1")

    @pytest.mark.parametrize(
        ("url", "module", "extra"),
        [("postgresql://u@h/d", "psycopg", "postgres"), ("mysql://u@h/d", "pymysql", "mysql")],
    )
    def test_a_driver_that_is_not_installed_is_named_with_the_command_that_installs_it(
        self, monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(StoreUnreachableError, match=rf"pip install 'mission-control\[{extra}\]'"):
            FlowStore(url).query()

    @pytest.mark.parametrize("url", ["postgresql://u:secret@127.0.0.1:1/d", "mysql://u:secret@127.0.0.1:1/d"])
    def test_a_server_that_is_not_there_is_told_without_the_password(self, url: str) -> None:
        with pytest.raises(StoreUnreachableError, match="Check that the server runs") as caught:
            FlowStore(url).query()
        assert "secret" not in str(caught.value)
        assert "127.0.0.1:1" in str(caught.value)

    @pytest.mark.parametrize("database", ["postgres", "mariadb"])
    def test_a_database_that_is_not_there_is_told(self, database: str, shared_url: str) -> None:
        url = server_url(database).set(database="mc_nowhere").render_as_string(hide_password=False)
        with pytest.raises(StoreUnreachableError, match=r"mc_nowhere.*(Create|Check that).* database"):
            FlowStore(url).query()


class TestConnections:
    def test_lease_times_are_those_of_the_database(self, shared_url: str) -> None:
        with FlowStore(shared_url, clock=ManualClock(datetime(2001, 1, 1, tzinfo=UTC))) as store:
            store.create(Flow(key="f"))
            (lease,) = store.claim(owner="d", lease_seconds=60)
            left = lease.expires_at - datetime.now(UTC)
            assert timedelta(seconds=30) < left <= timedelta(seconds=61)

    def test_the_time_of_the_database_has_microseconds_and_names_utc(self, store: FlowStore) -> None:
        query = select(store._database.dialect.now())
        found = store._database.read(lambda connection: connection.scalar(query))
        assert datetime.fromisoformat(found).utcoffset() == timedelta(0)
        assert len(found) == len("2026-01-02T03:04:05.000006+00:00")

    @pytest.mark.parametrize("database", ["postgres"], indirect=True)
    def test_nothing_waits_for_ever_on_postgresql(self, store: FlowStore) -> None:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        found = [ask(store, f"SHOW {name}")[0][0] for name in names]
        assert found == ["30s", "10min", "10min"]

    @pytest.mark.parametrize("database", ["mariadb"], indirect=True)
    def test_nothing_waits_for_ever_on_mariadb(self, store: FlowStore) -> None:
        names = ("innodb_lock_wait_timeout", "lock_wait_timeout", "max_statement_time")
        found = ask(store, "SELECT " + ", ".join(f"@@{name}" for name in names))[0]
        assert list(found) == [30, 30, 600]

    @pytest.mark.parametrize("database", ["postgres", "mariadb"], indirect=True)
    def test_a_connection_that_was_cut_while_idle_is_replaced(self, database: str, store: FlowStore) -> None:
        store.create(Flow(key="f"))
        with FlowStore(store._database._url.render_as_string(hide_password=False)) as other:
            if database == "postgres":
                own = ask(store, "SELECT pg_backend_pid()")[0][0]
                cut = f"SELECT pg_terminate_backend({own})"
            else:
                own = ask(store, "SELECT connection_id()")[0][0]
                cut = f"KILL {own}"
            other._database.write(lambda connection: connection.execute(text(cut)))
        assert [flow.key for flow in store.query()] == ["f"]

    @pytest.mark.parametrize("database", ["postgres", "mariadb"], indirect=True)
    def test_what_may_have_been_committed_is_not_done_again(
        self, database: str, store: FlowStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(Flow(key="f"))
        (lease,) = store.claim(owner="d")
        flow = store.load("f")
        commit = DefaultDialect.do_commit

        def lose_the_answer(self: DefaultDialect, dbapi_connection: Any) -> None:
            monkeypatch.undo()
            commit(self, dbapi_connection)
            dbapi_connection.dbapi_connection.close()
            code = (2013,) if database == "mariadb" else ()
            raise self.loaded_dbapi.OperationalError(*code, "the server went away")

        monkeypatch.setattr(DefaultDialect, "do_commit", lose_the_answer)
        with pytest.raises(StoreUnreachableError):
            store.save(flow, lease=lease)
        assert ask(store, "SELECT revision FROM mc_flow") == [(2,)]

    @pytest.mark.parametrize("database", ["mariadb"], indirect=True)
    def test_tables_keep_every_character_whatever_the_database_is_set_to(self, store: FlowStore) -> None:
        label = "\N{CAT FACE} é \N{CJK UNIFIED IDEOGRAPH-4E2D}"
        store.create(Flow(key=label, label=label))
        assert [(flow.key, flow.label) for flow in store.query()] == [(label, label)]


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
class TestLargeFlows:
    def test_what_is_larger_than_the_server_takes_is_refused_and_stops_no_other_flow(
        self, store: FlowStore
    ) -> None:
        limit = ask(store, "SELECT @@max_allowed_packet")[0][0]

        def overdo(task: dict[str, Any]) -> None:
            task["data"]["text"] = "x" * limit
            task["status"] = "COMPLETED"

        engine = FlowEngine(task_handlers={"overdo": overdo}, limits=Limits(task_bytes=2 * limit))
        store.create(engine.flow_spec_to_flow({"tasks": [{"key": "t", "task_type": "overdo"}]}, key="large"))
        store.create(Flow(key="small"))
        report = FlowRunner(store, engine).tick()
        assert (report.completed, report.failed) == (1, 1)
        assert "larger than max_allowed_packet" in store.load("large").tasks["t"]["error"]["message"]

    def test_large_tasks_that_change_together_are_saved(self, store: FlowStore) -> None:
        text_of_each = '"' * 500_000
        tasks = [{"key": f"t{number}", "task_type": "noop"} for number in range(10)]
        store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
        flow = store.load("f")
        for task in flow.tasks.values():
            task["data"]["text"] = text_of_each
        store.save(flow)
        assert {task["data"].get("text") for task in store.load("f").tasks.values()} == {text_of_each}


class TestText:
    def test_a_reason_that_not_every_database_keeps_is_spelled_out(self, store: FlowStore) -> None:
        store.create(Flow(key="f"))
        (lease,) = store.claim(owner="d")
        store.block(lease, "bad: \0 and \ud800")
        assert store.load("f").blocked_reason == "bad: \\x00 and \\ud800"

    @pytest.mark.parametrize("label", ["\0", "\udfff"])
    def test_a_label_that_not_every_database_keeps_is_refused(self, store: FlowStore, label: str) -> None:
        with pytest.raises(FlowFormatError, match="label of flow 'f' cannot be stored"):
            store.create(Flow(key="f", label=label))
        assert store.query() == []

    def test_flows_are_listed_in_the_same_order_everywhere(self, shared_url: str) -> None:
        keys = ["b", "B", "a", "A", "_", "é", "z", "a-1", "a1", "a_1", " a", "\N{CAT FACE}", "\uffff"]
        with FlowStore(shared_url, clock=ManualClock()) as store:
            store.create_many(Flow(key=key) for key in keys)
            assert [flow.key for flow in store.query()] == sorted(keys, reverse=True)
            assert [lease.flow_key for lease in store.claim(owner="d", limit=99)] == sorted(keys)


class TestPlans:
    """An idle tick and a list look at an index, however many flows sleep or are finished."""

    @pytest.fixture
    def full_store(self, store: FlowStore, database: str) -> FlowStore:
        """A store with many sleeping and finished flows, of which the database has taken notice."""
        store.create(Flow(key="f"))
        numbers = {
            "sqlite": "(WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n)",
            "postgres": "(SELECT generate_series(1, 3000) AS i)",
            "mariadb": "(SELECT seq AS i FROM seq_1_to_3000)",
        }[database]
        key = "CONCAT('many ', i)" if database == "mariadb" else "'many ' || CAST(i AS VARCHAR(8))"
        columns = (
            "status, priority, next_tick_at, lease_token, lost_leases, revision, created_at, modified_at, "
            "label, waiter_key, finished_at"
        )
        number = "LPAD(i, 4, '0')" if database == "mariadb" else "SUBSTR(CAST(i + 10000 AS VARCHAR(5)), 2)"
        at = f"CONCAT('2026-', {number})" if database == "mariadb" else f"'2026-' || {number}"
        fill = (
            f"INSERT INTO mc_flow ({'`key`' if database == 'mariadb' else 'key'}, {columns}, "
            f"task_counts, data, body) "
            f"SELECT {key}, CASE WHEN i < 10 THEN 'FAILED' ELSE 'RUNNING' END, 0, "
            f"CASE WHEN i < 300 THEN '9999' END, 0, 0, 1, {at}, {at}, {at}, 'f', "
            f"CASE WHEN i < 99 THEN {at} END, '{{}}', '{{}}', '{{}}' FROM {numbers} AS n"
        )
        notice = "ANALYZE TABLE mc_flow" if database == "mariadb" else "ANALYZE mc_flow"
        for statement in (fill, notice):
            store._database.write(
                lambda connection, statement=statement: connection.exec_driver_sql(statement).close()
            )
        return store

    def explain(self, store: FlowStore, query: Any) -> str:
        def work(connection: Any) -> str:
            compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
            how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
            rows = connection.exec_driver_sql(f"{how} {str(compiled).replace('%', '%%')}").all()
            return "\n".join(" ".join(map(str, row)) for row in rows)

        return store._database.read(work)

    def test_an_idle_claim_asks_the_index_of_what_is_due(self, full_store: FlowStore) -> None:
        search = Search(due_at="2026", database_now="2026")
        for by_priority in (True, False):
            plan = self.explain(full_store, claim_query(search, 50, by_priority=by_priority))
            assert "mc_flow_next_tick_at" in plan
            assert "Seq Scan" not in plan

    @pytest.mark.parametrize(
        ("filters", "index", "position"),
        [
            ({}, "mc_flow_waiter|mc_flow_created_at", ("2026-2", "f")),
            ({"sub_flows": True}, "mc_flow_created_at", ("2026-2", "f")),
            ({"since": "2026-01-01T00:00:00Z"}, "mc_flow_waiter|mc_flow_created_at", None),
            ({"status": "FAILED"}, "mc_flow_status", ("2026-2", "f")),
            ({"status": ["FAILED", "CANCELLED"]}, "mc_flow_status|mc_flow_created_at", None),
            ({"label": "2026-0007"}, "mc_flow_label", None),
            ({"prefix": "many 77"}, "mc_flow_pkey|PRIMARY|autoindex_mc_flow_1", None),
            ({"time": "finished"}, "mc_flow_finished_at", ("2026-0070", "many 70")),
        ],
        ids=str,
    )
    def test_a_page_of_flows_is_found_by_an_index(
        self, full_store: FlowStore, filters: dict[str, Any], index: str, position: tuple[str, str] | None
    ) -> None:
        selection = FlowSelection(**filters).pin(datetime(2027, 1, 1, tzinfo=UTC))
        dialect = full_store._database.dialect
        page = page_query(selection, dialect, SUMMARIES, 100, position)
        count = count_query(selection, dialect)
        for query in (page, count) if selection.has_filters else (page,):
            plan = self.explain(full_store, query)
            assert re.search(index, plan), plan
            assert "Seq Scan" not in plan

    def test_the_next_time_is_the_first_entry_of_an_index(self, full_store: FlowStore) -> None:
        plan = self.explain(full_store, next_due_query(full_store._database.dialect))
        assert "mc_flow_next_tick_at" in plan
        assert "Sort" not in plan
        assert "filesort" not in plan
