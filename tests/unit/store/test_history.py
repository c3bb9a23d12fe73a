from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from mc.clock import ManualClock
from mc.errors import FlowExistsError, LeaseLostError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.event import Attempt, Event, EventKind, replay
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from mc.store.schema.tables import event as event_table
from tests.support.databases import DATABASES, fresh_url

START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SHOWN = "2026-01-02T03:04:05.000006+00:00"


def make_event(number: int, **given: Any) -> Event:
    base: dict[str, Any] = {
        "kind": EventKind.CHANGED,
        "task_key": None,
        "attempt": 0,
        "old_status": None,
        "new_status": None,
        "owner": None,
        "token": None,
        "error": None,
        "detail": None,
    }
    return Event(flow_key="f", number=number, at=START, recorded_at=START, **{**base, **given})


def change(number: int, old: str, new: str, task_key: str | None = None, attempt: int = 1) -> Event:
    return make_event(number, task_key=task_key, attempt=attempt, old_status=old, new_status=new)


CREATED = make_event(1, kind=EventKind.CREATED, new_status="PENDING")


class TestReplay:
    def test_events_lead_to_statuses_and_attempts(self) -> None:
        after = replay(
            [
                CREATED,
                change(2, "PENDING", "RUNNING"),
                change(3, "PENDING", "RUNNING", "t"),
                change(4, "RUNNING", "PENDING", "t"),
                change(5, "PENDING", "RUNNING", "t", attempt=2),
                make_event(6, kind=EventKind.ADDED, task_key="late", new_status="PENDING"),
            ]
        )
        assert after.status == "RUNNING"
        assert after.tasks == {"t": "RUNNING", "late": "PENDING"}
        assert after.attempts == {"t": 2, "late": 0}
        assert after.breaks == []

    def test_a_change_that_is_recorded_twice_is_a_break(self) -> None:
        twice = [change(number, "PENDING", "RUNNING", "t") for number in (2, 3)]
        (found,) = replay([CREATED, *twice]).breaks
        assert found == "event 3: t goes from PENDING to RUNNING, but was RUNNING"

    def test_a_change_that_is_missing_is_a_break(self) -> None:
        (found,) = replay([CREATED, change(2, "RUNNING", "COMPLETED")]).breaks
        assert found == "event 2: the flow goes from RUNNING to COMPLETED, but was PENDING"

    def test_evidence_and_take_overs_change_nothing(self) -> None:
        lost = make_event(3, kind=EventKind.LOST_RESULT, task_key="t", new_status="COMPLETED", attempt=1)
        taken = make_event(2, kind=EventKind.TAKEN_OVER)
        assert replay([CREATED, taken, lost]) == replay([CREATED])

    def test_without_events_nothing_is_known(self) -> None:
        assert replay([]).status is None


def test_an_event_is_written_as_json() -> None:
    told = make_event(3, task_key="t", attempt=2, owner="d", token=7, error={"type": "E"}).to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told == {
        "number": 3,
        "kind": "changed",
        "task_key": "t",
        "attempt": 2,
        "old_status": None,
        "new_status": None,
        "at": SHOWN,
        "recorded_at": SHOWN,
        "owner": "d",
        "token": 7,
        "error": {"type": "E"},
        "detail": None,
    }


def test_an_attempt_is_written_as_json() -> None:
    times: dict[str, Any] = {"started_at": START, "finished_at": None}
    attempt = Attempt(task_key="t", attempt=1, status="RUNNING", owner=None, error=None, **times)
    assert attempt.to_dict() == {
        "task_key": "t",
        "attempt": 1,
        "status": "RUNNING",
        "started_at": SHOWN,
        "finished_at": None,
        "owner": None,
        "error": None,
    }


# --- upgrade 2 ---------------------------------------------------------------------------


def fail(task: dict[str, Any]) -> None:
    raise ValueError("no")


SPEC = {
    "cfg": {"fail_fast": False},
    "tasks": [
        {"key": "done", "task_type": "noop", "precursors": []},
        {"key": "wait", "task_type": "wait", "task_params": {"duration": "1h"}, "precursors": []},
        {
            "key": "again",
            "task_type": "fail",
            "precursors": [],
            "cfg": {"retry": {"max_attempts": 2, "delay": "1h", "jitter": 0}},
        },
        {"key": "later", "task_type": "noop", "precursors": ["wait"]},
    ],
}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_url(request.param) as url:
        yield url


def forget_history(store: FlowStore) -> None:
    """Make the tables what they were before upgrade 2."""
    statements = [f"DROP TABLE {name}" for name in ("mc_event", "mc_attempt", "mc_used_key")]
    for statement in [*statements, "DELETE FROM mc_schema WHERE version > 1"]:
        store._database.write(lambda connection, statement=statement: connection.execute(text(statement)))


class TestFlowsThatAreOlderThanTheirHistory:
    def test_their_history_begins_with_what_they_are(self, url: str) -> None:
        clock = ManualClock(START)
        engine = FlowEngine(task_handlers={"fail": fail}, clock=clock)
        with FlowStore(url, clock=clock) as store:
            store.create_many([Flow.from_flow_spec(SPEC, key="begun"), Flow.from_flow_spec(SPEC, key="new")])
            flow = store.load("begun")
            engine.tick_flow(flow)
            store.save(flow)
            forget_history(store)
        with FlowStore(url, clock=clock) as store:
            found = [
                (event.task_key, event.attempt, event.new_status) for event in store.history.events("begun")
            ]
            assert set(found) == {
                (None, 0, "RUNNING"),
                ("done", 1, "COMPLETED"),
                ("wait", 1, "WAITING"),
                ("again", 1, "PENDING"),
            }
            assert len(store.history.events("new")) == 1
            assert [(each.task_key, each.started_at) for each in store.history.attempts("begun")] == [
                ("done", START),
                ("wait", START),
            ]
            for key in ("begun", "new"):
                check_history(store, key)
            clock.advance(3600)
            FlowRunner(store, engine).tick()
            clock.advance(3600)
            FlowRunner(store, engine).tick()
            for key in ("begun", "new"):
                check_history(store, key)
                assert store.summary(key).status == "FAILED"
            finished = {each.task_key: each.finished_at for each in store.history.attempts("begun")}
            assert finished["wait"] == START + timedelta(hours=1)

    def test_a_key_whose_flow_is_deleted_afterwards_is_used(self, url: str) -> None:
        with FlowStore(url) as store:
            store.create(Flow(key="f"))
            forget_history(store)
        with FlowStore(url) as store:
            store.upkeep.delete("f")
            with pytest.raises(FlowExistsError, match="used before"):
                store.create(Flow(key="f"))


# --- in the same transaction ---------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.sqlite3"


@pytest.fixture
def break_events(path: Path) -> Callable[[], None]:
    """Make the database refuse events from now on."""

    def break_events() -> None:
        connection = sqlite3.connect(path)
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON mc_event BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        connection.commit()
        connection.close()

    return break_events


def test_a_change_without_its_event_is_not_saved(path: Path, break_events: Callable[[], None]) -> None:
    with FlowStore(f"sqlite:///{path}") as store:
        flow = Flow.from_flow_spec(SPEC, key="f")
        store.create(flow)
        break_events()
        FlowEngine(task_handlers={"fail": fail}).tick_flow(flow)
        for act in (
            lambda: store.save(flow),
            lambda: store.block(store.claim(owner="d")[0], "broken"),
            lambda: store.create(Flow(key="other")),
        ):
            with pytest.raises(Exception, match="no more"):
                act()
        assert [(row.key, row.status) for row in store.query()] == [("f", "PENDING")]
        assert store.load("f").count_tasks() == {"PENDING": 4}
        check_history(store, "f")


def test_evidence_that_cannot_be_kept_does_not_hide_the_loss(
    path: Path, break_events: Callable[[], None]
) -> None:
    with FlowStore(f"sqlite:///{path}") as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        (lease,) = store.claim(owner="loser", lease_seconds=0)
        flow = store.load("f")
        store.claim(owner="winner")
        break_events()
        FlowEngine(task_handlers={"fail": fail}).tick_flow(flow)
        with pytest.raises(LeaseLostError) as caught:
            store.save(flow, lease=lease)
    (note,) = caught.value.__notes__
    assert note.startswith("What it wanted to save could not be kept in the history:")
    assert "no more" in note


def test_the_log_only_grows(path: Path) -> None:
    clock = ManualClock(START)
    engine = FlowEngine(task_handlers={"fail": fail}, clock=clock)
    with FlowStore(f"sqlite:///{path}", clock=clock) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        seen: list[Any] = []
        for _ in range(4):
            FlowRunner(store, engine).tick()
            clock.advance(1800)
            rows = store._database.read(
                lambda connection: connection.execute(select(event_table).order_by(event_table.c.id)).all()
            )
            assert rows[: len(seen)] == seen
            seen = list(rows)
        assert len(seen) > 10
        check_history(store, "f")
