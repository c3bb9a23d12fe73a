"""What the command tells of a flow while a runner is in a call that lasts, and after that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from mc.flows.calls.call_note import CallNote
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.schema import tables
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.edges.cli.conftest import Houston

WHO = "me on here (process 7)"
SPREAD = {
    "items": [1, 2],
    "mapping_params": {"skeleton": {"task_type": "act", "task_params": {}}},
}
INNER = {"tasks": [{"key": "b", "task_type": "noop"}, {"key": "c", "task_type": "noop"}]}
TASKS = [
    {"key": "a", "task_type": "inline_flow", "task_params": {"flow_spec": INNER}},
    {"key": "d", "task_type": "noop"},
]


class World:
    """A flow that a runner is at work on, in a call of the first task inside of another one."""

    def __init__(self, store: FlowStore) -> None:
        self.store = store
        self.began_at = datetime.now(UTC) - timedelta(minutes=2)

    def note(self, *paths: str) -> Lease:
        self.store.create(Flow.from_flow_spec({"tasks": TASKS}, key="f"))
        (lease,) = self.store.claim(owner="me")
        who: dict[str, Any] = {"owner": "me", "host": "here", "pid": 7, "since": self.began_at}
        calls = [CallNote(task="a", task_type="inline_flow", attempt=1, holds_others=True, **who)]
        calls += [CallNote(task=path, task_type="noop", attempt=1, **who) for path in paths]
        self.store.renew(lease, lambda: calls)
        return lease


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("MC_DB_URL", f"sqlite:///{tmp_path}/flows.db")
    monkeypatch.setenv("COLUMNS", "200")
    with FlowStore(f"sqlite:///{tmp_path}/flows.db") as store:
        yield World(store)


def rows(text: str) -> dict[str, str]:
    """Return the lines of a table by their first words."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}


def test_show_tells_who_is_in_it_and_since_when(houston: Houston, world: World) -> None:
    world.note("a/b")
    since = f"{world.began_at:%Y-%m-%d %H:%M:%S}"
    found = rows(houston("show", "f").out)
    assert (found["status"], found["tasks"]) == ("RUNNING", "1 PENDING, 1 RUNNING")
    assert found["started"] == since
    assert found["a"].startswith("inline_flow RUNNING 1 2m")
    assert found["a/b"].startswith("noop RUNNING 1 2m")
    assert found["a/b"].endswith(f"called since {since} by {WHO}")
    assert found["d"] == "noop PENDING"
    assert "a/c" not in found, "what was not called is not there yet"
    only = rows(houston("show", "f", "--status", "RUNNING").out)
    assert {"a", "a/b"} <= only.keys()
    assert "d" not in only
    one = rows(houston("show", "f", "--task", "a").out)
    assert (one["status"], one["call"]) == ("RUNNING", f"called since {since} by {WHO}")


@pytest.mark.parametrize("status", ["RUNNING", "WAITING"])
def test_show_tells_of_calls_of_tasks_that_had_begun(houston: Houston, world: World, status: str) -> None:
    class Poll(BaseTaskHandler):
        def tick_task(self) -> None:
            """Go on at the next tick."""
            self.task["status"], self.task["next_tick_at"] = status, datetime.now(UTC) + timedelta(hours=1)

    tasks = [
        {"key": "o", "task_type": "spread", "task_params": SPREAD},
        {"key": "poll", "task_type": "act", "precursors": []},
    ]
    world.store.create(Flow.from_flow_spec({"tasks": tasks}, key="g"))
    FlowRunner(world.store, FlowEngine(task_handlers={"act": Poll})).tick()
    (lease,) = world.store.claim(owner="me", due_at=datetime.now(UTC) + timedelta(days=1))
    who: dict[str, Any] = {"owner": "me", "host": "here", "pid": 7, "since": world.began_at, "attempt": 1}
    paths = ("poll", "o", "o/item_1")
    world.store.renew(lease, lambda: [CallNote(task=path, task_type="act", **who) for path in paths])
    found = rows(houston("show", "g").out)
    assert found["tasks"] == "2 RUNNING"
    assert {path for path in found if found[path].endswith(WHO)} == set(paths)
    assert houston("show", "g", "--json").document["graph"]["tasks"]["poll"]["status"] == "RUNNING"


def test_json_tells_the_same(houston: Houston, world: World) -> None:
    world.note("a/b")
    shown = houston("show", "f", "--json").document
    assert shown["status"] == "RUNNING"
    assert shown["graph"]["tasks"]["a"]["status"] == "RUNNING"
    listed = houston("list", "--json").document[0]
    assert (listed["status"], listed["tasks"]) == ("RUNNING", {"PENDING": 1, "RUNNING": 1})
    assert shown["calls"] == listed["calls"]
    assert [(call["task"], call["attempt"], call["owner"]) for call in listed["calls"]] == [
        ("a", 1, "me"),
        ("a/b", 1, "me"),
    ]
    assert houston("show", "f", "--task", "a", "--json").document["calls"][0]["pid"] == 7


def test_explain_tells_until_when_the_lease_lasts(houston: Houston, world: World) -> None:
    lease = world.note("a/b")
    since, until = f"{world.began_at:%Y-%m-%d %H:%M:%S}", f"{lease.expires_at:%Y-%m-%d %H:%M}"
    out = houston("explain", "f").out
    assert out.startswith("f is RUNNING\n")
    assert f"The runner 'me' is at work on the flow. (since {since}, until {until}" in out
    assert f"a/b: The task is being called, in attempt 1, by {WHO}. (since {since})" in out
    assert "d: The task waits for a (RUNNING)." in out
    assert "starts at the next tick" not in out
    kinds = [reason["kind"] for reason in houston("explain", "f", "--json").document["reasons"]]
    assert kinds == ["held", "called", "precursors"]


def test_nobody_tells_of_it_when_the_lease_is_over(houston: Houston, world: World) -> None:
    world.note("a/b")
    past = update(tables.flow).values(lease_expires_at="2000-01-01T00:00:00.000000+00:00")
    world.store._database.write(lambda connection: connection.execute(past))
    assert rows(houston("show", "f").out)["status"] == "PENDING"
    assert houston("list", "--json").document[0]["status"] == "PENDING"
    assert "vanished" in houston("explain", "f").out
    FlowRunner(world.store, FlowEngine()).tick()
    out = houston("history", "f", "--task", "a/b").out
    assert "RUNNING -> LOST" in out
    assert f"called since {world.began_at:%Y-%m-%d %H:%M:%S} by {WHO}; its outcome is not known" in out
    (lost,) = [event for event in houston("history", "f", "--json").document if event["kind"] == "lost"]
    assert (lost["task_key"], lost["attempt"], lost["new_status"]) == ("a/b", 1, "LOST")
