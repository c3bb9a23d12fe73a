"""Last saves that wait for each other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mc.clock import ManualClock
from mc.errors import StoreError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.final_saves import FinalSaves
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.saving.flow_saver import FinalSave

PURE = {"tasks": [{"key": "t", "task_type": "noop"}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FlowStore]:
    with FlowStore(f"sqlite:///{tmp_path}/flows.sqlite3", clock=ManualClock()) as opened:
        yield opened


def run(store: FlowStore, key: str) -> FinalSave:
    store.create(Flow.from_flow_spec(PURE, key=key))
    (lease,) = store.claim(owner="d", keys=[key])
    flow = store.load(key)
    FlowEngine(clock=store.clock).run_flow(flow)
    return FinalSave(flow=flow, lease=lease)


def test_nothing_is_written_before_it_is_asked_for(store: FlowStore) -> None:
    finals = FinalSaves(store)
    finals.add(run(store, "f"))
    assert store.summary("f").status == "PENDING"
    assert [(outcome.save.flow.key, outcome.error) for outcome in finals.write()] == [("f", None)]
    assert store.summary("f").status == "COMPLETED"
    assert finals.write() == []


def test_it_is_due_after_a_while_or_when_many_wait(store: FlowStore) -> None:
    assert isinstance(store.clock, ManualClock)
    finals = FinalSaves(store)
    assert not finals.is_due()
    save = run(store, "f")
    finals.add(save)
    assert not finals.is_due()
    store.clock.advance(0.2)
    assert finals.is_due()
    finals.forget()
    for _ in range(50):
        assert not finals.is_due()
        finals.add(save)
    assert finals.is_due()


def test_what_a_heartbeat_wrote_is_told_at_the_next_write(store: FlowStore) -> None:
    finals = FinalSaves(store)
    finals.add(run(store, "a"))
    finals.write_at_beat()
    assert store.summary("a").status == "COMPLETED"
    finals.add(run(store, "b"))
    assert [outcome.save.flow.key for outcome in finals.write()] == ["a", "b"]


def test_an_outage_at_a_heartbeat_is_raised_at_the_next_write(store: FlowStore, tmp_path: Path) -> None:
    finals = FinalSaves(store)
    finals.add(run(store, "f"))
    store.close()
    (tmp_path / "flows.sqlite3").rename(tmp_path / "away")
    (tmp_path / "flows.sqlite3").mkdir()
    finals.write_at_beat()
    with pytest.raises(StoreUnreachableError, match="is a directory"):
        finals.write()
    assert finals.write() == []


def test_a_flow_that_the_database_refuses_does_not_stop_the_others(store: FlowStore) -> None:
    finals = FinalSaves(store)
    for key in ("a", "bad", "c"):
        finals.add(run(store, key))
    refuse = (
        "CREATE TRIGGER no BEFORE UPDATE ON mc_task WHEN old.flow_key = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    store._database.write(lambda connection: connection.execute(text(refuse)))
    outcomes = {outcome.save.flow.key: outcome.error for outcome in finals.write()}
    assert (outcomes["a"], outcomes["c"]) == (None, None)
    assert isinstance(outcomes["bad"], StoreError)
    assert {flow.key: flow.status for flow in store.query()} == {
        "a": "COMPLETED",
        "bad": "PENDING",
        "c": "COMPLETED",
    }


class TestRunners:
    @pytest.fixture
    def seen(self) -> list[dict[str, str]]:
        """What a task's function saw of the store when it was called."""
        return []

    def runner(self, store: FlowStore, seen: list[dict[str, str]], *, has_effects: bool) -> FlowRunner:
        def look(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            seen.append({flow.key: flow.status for flow in store.query()})
            task["status"] = "COMPLETED"

        look.has_effects = has_effects  # type: ignore[attr-defined]
        return FlowRunner(store, FlowEngine(task_handlers={"look": look}, clock=store.clock))

    def fill(self, store: FlowStore) -> None:
        assert isinstance(store.clock, ManualClock)
        store.create(Flow.from_flow_spec(PURE, key="first"))
        store.clock.advance(timedelta(seconds=1).total_seconds())
        store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "look"}]}, key="second"))

    def test_flows_without_effects_wait_for_each_other(
        self, store: FlowStore, seen: list[dict[str, str]]
    ) -> None:
        self.fill(store)
        report = self.runner(store, seen, has_effects=False).tick()
        assert seen == [{"first": "PENDING", "second": "PENDING"}]
        assert report.completed == 2
        assert {flow.status for flow in store.query()} == {"COMPLETED"}

    def test_what_waits_is_written_before_a_call_with_effects(
        self, store: FlowStore, seen: list[dict[str, str]]
    ) -> None:
        self.fill(store)
        report = self.runner(store, seen, has_effects=True).tick()
        assert seen == [{"first": "COMPLETED", "second": "PENDING"}]
        assert report.completed == 2

    def test_a_runner_that_is_interrupted_writes_what_waits(self, store: FlowStore) -> None:
        self.fill(store)

        def interrupt(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
            signal.raise_signal(signal.SIGINT)

        interrupt.has_effects = False  # type: ignore[attr-defined]
        engine = FlowEngine(task_handlers={"look": interrupt}, clock=store.clock)
        with pytest.raises(KeyboardInterrupt):
            FlowRunner(store, engine).tick()
        assert {flow.key: flow.status for flow in store.query()} == {
            "first": "COMPLETED",
            "second": "PENDING",
        }
        assert [lease.flow_key for lease in store.claim(owner="d")] == ["second"]
