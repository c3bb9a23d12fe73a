"""Runners read of a large flow what they need: what they do is the same as if they had read it whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from mc.clock import ManualClock
from mc.errors import CycleError, GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.runners.runner_report import RunnerReport
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from mc.store.schema import tables
from tests.support.databases import DATABASES, fresh_url
from tests.support.partial_flows import never_read_whole

Spec = dict[str, Any]
Body = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[FlowStore]:
    url = f"sqlite:///{tmp_path / 'flows.sqlite3'}"
    with never_read_whole(), FlowStore(url, clock=clock, partial_from=1) as opened:
        yield opened


def tick(store: FlowStore, **handlers: Any) -> RunnerReport:
    engine = FlowEngine(task_handlers=handlers, clock=store.clock)
    return FlowRunner(store, engine, owner="runner").tick()


def create(store: FlowStore, tasks: list[Spec], **spec: Any) -> None:
    store.create(Flow.from_flow_spec({"tasks": tasks, **spec}, key="f"))


def chain(count: int, last: Spec) -> list[Spec]:
    """Return tasks one after the other, then another one."""
    tasks = [{"key": f"t{n}", "task_type": "noop", "data": {"n": n}} for n in range(count)]
    return [*tasks, {"key": "last", **last}]


def pauses(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
    """Wait for a minute, so that what comes next is done by another tick."""
    if "next_tick_at" not in task and not task["data"].get("waited"):
        task["data"]["waited"] = True
        task["status"] = "WAITING"
        task["next_tick_at"] = "2026-01-01T00:01:00.000000Z"
    else:
        task["status"] = "COMPLETED"


def run_after_a_pause(store: FlowStore, clock: ManualClock, tasks: list[Spec], body: Body) -> Flow:
    """Run tasks, the last of which is called by a runner that has read none of the others."""
    first = [*tasks, {"key": "pause", "task_type": "pauses"}]
    create(store, [*first, {"key": "last", "task_type": "body"}])
    tick(store, pauses=pauses, body=body)
    clock.advance(61)
    report = tick(store, pauses=pauses, body=body)
    assert not report.errors
    check_history(store, "f")
    flow = store.load("f")
    flow.check_invariants()
    return flow


@contextmanager
def statements(store: FlowStore) -> Iterator[list[str]]:
    """Collect the statements that a store executes."""
    store.query(limit=1)
    found: list[str] = []
    engine = store._database._engine

    def note(_c: Any, _cursor: Any, statement: str, _p: Any, _ctx: Any, _many: bool) -> None:
        found.append(" ".join(statement.split()))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


class TestCost:
    def test_a_tick_asks_the_same_of_a_flow_of_any_size(self, tmp_path: Path) -> None:
        asked = []
        for size in (600, 6_000):
            clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
            wait = {"task_type": "wait", "task_params": {"duration": "1m"}}
            with FlowStore(f"sqlite:///{tmp_path / str(size)}.sqlite3", clock=clock) as store:
                create(store, [{"key": f"w{n}", **wait} for n in range(size)])
                tick(store)
                clock.advance(60)
                with statements(store) as found:
                    assert tick(store).tasks == 2  # one wait ends, the next begins
            asked.append(found)
        assert asked[0] == asked[1]

    def test_a_flow_that_runs_to_its_end_is_read_whole_at_last(self, tmp_path: Path) -> None:
        with FlowStore(f"sqlite:///{tmp_path / 'f.sqlite3'}") as store:
            create(store, chain(1_000, {"task_type": "noop"}))
            with statements(store) as found:
                assert tick(store).completed == 1
        questions = [text for text in found if text.startswith("SELECT") and "mc_edge" in text]
        assert len(questions) < 50


class TestReading:
    def test_a_handler_finds_what_was_finished_long_ago(self, store: FlowStore, clock: ManualClock) -> None:
        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            flow = task_ctx["flow"]
            assert flow.tasks["t3"]["data"] == {"n": 3}
            assert "t4" in flow.tasks
            assert "t40" not in flow.tasks
            assert flow.tasks.get("t40") is None
            assert len(flow.tasks) == 11
            assert flow.has_edge("t2", "t3")
            assert not flow.has_edge("t2", "t4")
            assert [each["key"] for each in flow.get_precursors("t3")] == ["t2"]
            assert [each["key"] for each in flow.get_successors("t3")] == ["t4"]
            assert flow.count_tasks() == {"COMPLETED": 10, "RUNNING": 1}
            task["status"] = "COMPLETED"

        tasks = chain(8, {"task_type": "noop"})
        tasks[-1]["key"] = "t8"
        assert run_after_a_pause(store, clock, tasks, body).status == "COMPLETED"

    def test_who_walks_over_the_tasks_meets_all_of_them_in_order(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        seen: list[str] = []

        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            flow = task_ctx["flow"]
            flow.tasks["t2"]["data"]["changed"] = True  # read before the rest
            seen.extend(flow.tasks)
            assert [edge["src_key"] for edge in flow.get_edges()] == ["ROOT", *seen[:-1]]
            assert flow.tasks["t2"]["data"] == {"n": 2, "changed": True}
            task["status"] = "COMPLETED"

        flow = run_after_a_pause(store, clock, chain(5, {"task_type": "noop"})[:-1], body)
        assert seen == ["t0", "t1", "t2", "t3", "t4", "pause", "last"] == list(flow.tasks)
        assert flow.tasks["t2"]["data"] == {"n": 2, "changed": True}
        assert flow.status == "COMPLETED"

    def test_references_and_results_reach_any_task(self, store: FlowStore, clock: ManualClock) -> None:
        wirings = ["ctx.flow.tasks.t1.data.n => ctx.flow.tasks.end.data.n"]
        create(
            store,
            [
                *chain(4, {"task_type": "pauses"}),
                {"key": "end", "task_type": "wire", "task_params": {"wirings": wirings}},
            ],
            results={"second": "$ctx.flow.tasks.t2.data.n"},
        )
        tick(store, pauses=pauses)
        clock.advance(61)
        tick(store, pauses=pauses)
        flow = store.load("f")
        assert flow.describe_failure() is None
        assert flow.tasks["end"]["data"]["n"] == 1
        assert flow.results == {"second": 2}

    def test_the_spec_is_read_when_it_is_asked_for(self, store: FlowStore, clock: ManualClock) -> None:
        tasks = chain(3, {"task_type": "noop"})[:-1]

        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            task["data"]["in_spec"] = len(task_ctx["flow"].spec["tasks"])
            task["status"] = "COMPLETED"

        with statements(store) as found:
            flow = run_after_a_pause(store, clock, tasks, body)
            read = [text for text in found if "FROM mc_spec" in text]
        assert flow.tasks["last"]["data"] == {"in_spec": 5}
        assert len(read) == 3  # by create, by the handler and by `load`; not by each tick

    @pytest.mark.parametrize("database", DATABASES)
    def test_a_transactional_task_may_read_others(self, database: str) -> None:
        with never_read_whole(), fresh_url(database) as url, FlowStore(url, partial_from=1) as store:
            function = f"{__name__}:read_first"
            params = {"function": function, "transactional": True}
            create(store, chain(3, {"task_type": "call", "task_params": params}))
            engine = FlowEngine(handler_modules=[__name__])
            report = FlowRunner(store, engine).tick()
            flow = store.load("f")
            assert flow.status == "COMPLETED", flow.describe_failure()
            assert report.errors == []
            assert flow.tasks["last"]["data"]["result"] == 0


def read_first(connection: Any, task_ctx: dict[str, Any]) -> Any:
    """What a transactional task calls."""
    return task_ctx["flow"].tasks["t0"]["data"]["n"]


class TestChanging:
    def test_a_task_that_is_added_takes_its_place(self, store: FlowStore, clock: ManualClock) -> None:
        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            flow = task_ctx["flow"]
            with pytest.raises(GraphError, match="t1"):
                flow.add_task({"key": "t1", "task_type": "noop"})
            flow.add_task({"key": "more", "task_type": "noop", "precursors": ["t1", "last"]})
            flow.add_task({"key": "free", "task_type": "noop", "precursors": []})
            task["status"] = "COMPLETED"

        flow = run_after_a_pause(store, clock, chain(3, {"task_type": "noop"})[:-1], body)
        assert list(flow.tasks)[-3:] == ["last", "more", "free"]
        assert flow.count_tasks() == {"COMPLETED": 7}
        assert {"src_key": "t1", "dest_key": "more"} in flow.get_edges()

    def test_a_cycle_through_tasks_that_were_not_read_is_refused(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        wait = {"task_type": "wait", "task_params": {"duration": "1h"}}
        create(
            store,
            [
                {"key": "now", "task_type": "body", "precursors": []},
                {"key": "w", **wait, "precursors": []},
                *(
                    {"key": f"t{n}", "task_type": "noop", "precursors": [f"t{n - 1}" if n else "w"]}
                    for n in range(5)
                ),
            ],
        )

        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            flow = task_ctx["flow"]
            with pytest.raises(CycleError, match="t4 -> t1 -> t2 -> t3 -> t4"):
                flow.add_edge({"src_key": "t4", "dest_key": "t1"})
            flow.add_edge({"src_key": "now", "dest_key": "t2"})
            flow.add_task({"key": "early", "task_type": "noop", "precursors": ["t0"], "successors": ["t1"]})
            task["status"] = "COMPLETED"

        tick(store, body=body)
        assert store.load("f").describe_failure() is None
        assert store.summary("f").tasks == {"COMPLETED": 1, "WAITING": 1, "PENDING": 6}
        store.load("f").check_invariants()
        clock.advance(3600)
        tick(store)
        flow = store.load("f")
        flow.check_invariants()
        assert flow.status == "COMPLETED"
        ends = [found.task_key for found in store.history.events("f") if found.new_status == "COMPLETED"]
        assert ends.index("early") < ends.index("t1")

    def test_ranks_that_an_edge_moved_are_kept_for_the_next_runner(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        """Two chains; the end of the second goes before the first, which moves the first behind it."""
        wait = {"task_type": "wait", "task_params": {"duration": "1h"}, "precursors": []}
        chains = [
            {
                "key": f"{name}{n}",
                "task_type": "noop",
                "precursors": [f"{name}{n - 1}" if n else f"wait_{name}"],
            }
            for name in "ab"
            for n in range(4)
        ]
        create(
            store,
            [
                {"key": "wait_a", **wait},
                {"key": "wait_b", **wait},
                *chains,
                {"key": "now", "task_type": "link", "precursors": []},
                {"key": "pause", "task_type": "pauses", "precursors": []},
                {"key": "then", "task_type": "close", "precursors": ["pause"]},
            ],
        )

        def link(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            task_ctx["flow"].add_edge({"src_key": "b3", "dest_key": "a0"})
            task["status"] = "COMPLETED"

        def close(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            with pytest.raises(CycleError):
                task_ctx["flow"].add_edge({"src_key": "a3", "dest_key": "b0"})
            task["status"] = "COMPLETED"

        tick(store, link=link, close=close, pauses=pauses)
        clock.advance(61)
        tick(store, link=link, close=close, pauses=pauses)
        assert store.load("f").tasks["then"]["status"] == "COMPLETED"
        clock.advance(3600)
        tick(store)
        assert store.summary("f").status == "COMPLETED"

    def test_start_rules_hold_over_several_runners(self, store: FlowStore, clock: ManualClock) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("broken")

        after_failure = {"start_when": "any_failed"}
        create(
            store,
            [
                {"key": "pause", "task_type": "pauses"},
                {"key": "bad", "task_type": "fail", "cfg": {"retry": {"max_attempts": 2, "delay": 30}}},
                {"key": "never", "task_type": "noop", "precursors": ["bad"]},
                {"key": "nor", "task_type": "noop", "precursors": ["never"]},
                {"key": "rescue", "task_type": "noop", "precursors": ["bad"], "cfg": after_failure},
                {
                    "key": "none",
                    "task_type": "noop",
                    "precursors": ["bad", "rescue"],
                    "cfg": {"start_when": "all_finished"},
                },
            ],
            cfg={"fail_fast": False},
        )
        for _ in range(3):
            tick(store, pauses=pauses, fail=fail)
            clock.advance(61)
        flow = store.load("f")
        flow.check_invariants()
        statuses = {key: task["status"] for key, task in flow.tasks.items()}
        assert statuses == {
            "pause": "COMPLETED",
            "bad": "FAILED",
            "never": "SKIPPED",
            "nor": "SKIPPED",
            "rescue": "COMPLETED",
            "none": "COMPLETED",
        }
        assert flow.status == "FAILED"
        assert "broken" in (flow.describe_failure() or "")
        check_history(store, "f")

    def test_a_task_added_behind_a_failure_is_skipped_by_a_runner(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("broken")

        create(
            store,
            [
                {"key": "bad", "task_type": "fail", "precursors": []},
                {"key": "pause", "task_type": "pauses", "precursors": []},
            ],
            cfg={"fail_fast": False},
        )
        tick(store, pauses=pauses, fail=fail)
        flow = store.load("f")
        flow.add_task({"key": "late", "task_type": "noop", "precursors": ["bad"]})
        store.save(flow)
        tick(store, pauses=pauses)
        assert store.load("f").tasks["late"]["status"] == "SKIPPED"
        clock.advance(61)
        tick(store, pauses=pauses)
        flow = store.load("f")
        assert flow.status == "FAILED"
        assert flow.count_tasks() == {"FAILED": 1, "COMPLETED": 1, "SKIPPED": 1}

    def test_no_more_tasks_run_than_the_flow_allows(self, store: FlowStore, clock: ManualClock) -> None:
        wait = {"task_type": "wait", "task_params": {"duration": "1m"}, "precursors": []}
        tasks = [{"key": f"w{n}", **wait, "cfg": {"priority": n}} for n in range(7)]
        create(store, tasks, cfg={"max_running_tasks": 3})
        for expected in (["w4", "w5", "w6"], ["w1", "w2", "w3"], ["w0"]):
            tick(store)
            flow = store.load("f")
            assert [key for key, task in flow.tasks.items() if task["status"] == "WAITING"] == expected
            clock.advance(60)


class TestLoss:
    def test_what_is_read_after_a_take_over_is_not_believed(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        def body(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            def take_over(connection: Any) -> None:
                flow = tables.flow
                taken = {"lease_token": flow.c.lease_token + 1, "lease_owner": "another runner"}
                connection.execute(update(flow).values(taken))

            store._database.write(take_over)
            task_ctx["flow"].tasks["t1"]

        tasks = [*chain(3, {"task_type": "noop"})[:-1], {"key": "pause", "task_type": "pauses"}]
        create(store, [*tasks, {"key": "last", "task_type": "body"}])
        tick(store, pauses=pauses, body=body)
        clock.advance(61)
        report = tick(store, pauses=pauses, body=body)
        assert (report.lost, report.failed, report.errors) == (1, 0, [])
        flow = store.load("f")
        assert flow.tasks["last"]["status"] == "PENDING"  # as it was saved last
        assert flow.status == "RUNNING"
