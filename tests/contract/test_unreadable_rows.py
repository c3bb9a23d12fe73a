"""Rows that something else has changed: the tick and the doctor tell, and other flows go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mc.clock import ManualClock
from mc.errors import StoreError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_facts import read_facts
from mc.store.flow_store import FlowStore
from mc.store.reading import flow_reader
from mc.store.upkeep.health import examine

SPEC = {"tasks": [{"key": "a", "task_type": "noop"}, {"key": "b", "task_type": "noop"}]}

# what was done to the rows of the flow `bad`
BLOCKING = {
    "a status of the flow": "UPDATE mc_flow SET status = 'BANANA' WHERE key_ = 'bad'",
    "a status of a task": "UPDATE mc_task SET status = 'BANANA' WHERE flow_key = 'bad' AND key_ = 'a'",
    "a key of a task": "UPDATE mc_task SET body = replace(body, '\"a\"', '\"q\"') WHERE flow_key = 'bad'",
    "a status in a task": "UPDATE mc_task SET body = replace(body, 'PENDING', 'BANANA') "
    "WHERE flow_key = 'bad' AND key_ = 'a'",
    "a text that is no JSON": "UPDATE mc_task SET body = '{' WHERE flow_key = 'bad' AND key_ = 'a'",
    "data that are none": "UPDATE mc_flow SET data = '[' WHERE key_ = 'bad'",
    "a body that is none": "UPDATE mc_flow SET body = 'x' WHERE key_ = 'bad'",
}
PASSED_OVER = {
    "a time at which it is due": "UPDATE mc_flow SET next_tick_at = 'BANANA' WHERE key_ = 'bad'",
    "a time of its lease": "UPDATE mc_flow SET lease_owner = 'x', lease_expires_at = 'BANANA' "
    "WHERE key_ = 'bad'",
}


@pytest.fixture
def store(shared_url: str, clock: ManualClock) -> Iterator[FlowStore]:
    with FlowStore(shared_url, clock=clock) as made:
        made.create_many(Flow.from_flow_spec(SPEC, key=key) for key in ("bad", "good"))
        yield made


def damage(url: str, statement: str) -> None:
    engine = create_engine(url)
    quoted = "`key`" if engine.dialect.name == "mysql" else "key"
    with engine.begin() as connection:
        connection.execute(text(statement.replace("key_ ", f"{quoted} ")))
    engine.dispose()


def find(url: str, clock: ManualClock) -> dict[str, str]:
    findings = examine(url, clock=clock)
    return {found.code: found.message for found in findings if found.severity == "problem"}


@pytest.mark.parametrize("what", BLOCKING)
def test_a_flow_that_cannot_be_read_is_blocked_and_told_of(
    store: FlowStore, shared_url: str, clock: ManualClock, what: str
) -> None:
    damage(shared_url, BLOCKING[what])
    report = FlowRunner(store, FlowEngine(clock=clock)).tick()
    assert report.completed == 1
    assert [error["flow"] for error in report.errors] == ["bad"]
    assert "cannot be read" in report.errors[0]["message"]
    assert store.summary("bad").status == "BLOCKED"
    assert "bad: It could not be ticked" in find(shared_url, clock)["blocked-flows"]


@pytest.mark.parametrize("what", PASSED_OVER)
def test_what_no_tick_can_take_up_is_told_by_the_doctor(
    store: FlowStore, shared_url: str, clock: ManualClock, what: str
) -> None:
    damage(shared_url, PASSED_OVER[what])
    assert FlowRunner(store, FlowEngine(clock=clock)).tick().completed == 1
    assert "runners may pass over them: bad" in find(shared_url, clock)["unreadable-rows"]


@pytest.mark.parametrize("what", PASSED_OVER)
def test_an_explanation_names_the_flow_whose_row_is_in_the_way(
    store: FlowStore, shared_url: str, what: str
) -> None:
    damage(shared_url, PASSED_OVER[what])
    with pytest.raises(StoreError, match="flow 'bad' cannot be read"):
        read_facts(store, "bad")


def test_a_list_names_the_flow_whose_row_is_in_the_way(store: FlowStore, shared_url: str) -> None:
    damage(shared_url, "UPDATE mc_flow SET created_at = 'BANANA' WHERE key_ = 'bad'")
    with pytest.raises(StoreError, match="flow 'bad' cannot be read"):
        store.query()
    assert store.summary("good").status == "PENDING"


def test_counts_that_cannot_be_read_stop_no_claim(
    store: FlowStore, shared_url: str, clock: ManualClock
) -> None:
    damage(shared_url, "UPDATE mc_flow SET task_counts = 'x' WHERE key_ = 'bad'")
    assert FlowRunner(store, FlowEngine(clock=clock)).tick().completed == 2


def test_the_doctor_tells_of_ticks_that_cannot_be_read(
    store: FlowStore, shared_url: str, clock: ManualClock
) -> None:
    FlowRunner(store, FlowEngine(clock=clock)).tick()
    damage(shared_url, "UPDATE mc_tick SET started_at = 'BANANA'")
    assert "Rows of ticks" in find(shared_url, clock)["unreadable-rows"]


def test_what_mc_writes_can_be_read(store: FlowStore, shared_url: str, clock: ManualClock) -> None:
    wait = {"key": "p", "task_type": "wait", "task_params": {"duration": 5}}
    store.create(Flow.from_flow_spec({"tasks": [wait]}, key="waits"))
    FlowRunner(store, FlowEngine(clock=clock)).tick()
    assert store.summary("waits").next_tick_at is not None
    assert "unreadable-rows" not in find(shared_url, clock)


def test_a_task_does_not_fail_because_the_spec_cannot_be_read_just_now(
    store: FlowStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(task: dict[str, Any], task_ctx: Any) -> None:
        task["data"]["tasks"] = len(task_ctx["flow"].spec["tasks"])
        task["status"] = "COMPLETED"

    def refuse(connection: Any, digest: str) -> str:
        raise StoreUnreachableError("It went away.")

    store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "look"}]}, key="looks"))
    runner = FlowRunner(store, FlowEngine(clock=clock, task_handlers={"look": look}))
    with monkeypatch.context() as patch:
        patch.setattr(flow_reader, "read_spec_text", refuse)
        with pytest.raises(StoreUnreachableError):
            runner.tick()
    assert store.load("looks").tasks["t"]["status"] == "PENDING"
    clock.advance("1h")
    runner.tick()
    assert store.load("looks").tasks["t"]["data"] == {"tasks": 1}
