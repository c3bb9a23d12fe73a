"""Each invariant notices the damage that it is there for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from mc.flows.controls.control import make_control
from mc.store.flow_store import FlowStore
from tests.reliability.crash.world import World
from tests.support.invariants import INVARIANTS, Seen, check_store

# what is done to the rows behind the store's back -> the invariant that must notice
DAMAGE = {
    "a finished task never changes": [
        "UPDATE mc_task SET status = 'PENDING' WHERE flow_key = 'chain' AND key = 'a'",
        "DELETE FROM mc_task WHERE flow_key = 'chain' AND key = 'a'",
    ],
    "a finished flow never changes": ["UPDATE mc_flow SET status = 'RUNNING' WHERE key = 'chain'"],
    "tokens only grow": ["UPDATE mc_flow SET lease_token = 0 WHERE key = 'chain'"],
    "at most one lease per flow": [
        "UPDATE mc_flow SET lease_owner = 'nobody', lease_expires_at = NULL WHERE key = 'chain'",
    ],
    "calls are noted of unfinished flows": [
        "UPDATE mc_flow SET long_calls = 'a' WHERE key = 'chain'",
        "UPDATE mc_flow SET long_calls = '[]' WHERE key = 'parent'",
    ],
    "rows change by saves only": ["UPDATE mc_flow SET data = '{}' WHERE key = 'chain'"],
    "a task starts only when its start rule holds": [
        "UPDATE mc_task SET status = 'RUNNING' WHERE flow_key = 'parent' AND key = 'after'",
        "UPDATE mc_task SET unmet = 0 WHERE flow_key = 'parent' AND key = 'after'",
    ],
    "an unfinished flow can go on or waits for something": [
        "UPDATE mc_flow SET next_tick_at = NULL WHERE key = 'parent/sub/1'",
        "UPDATE mc_flow SET status = 'BLOCKED', blocked_reason = NULL WHERE key = 'parent/sub/1'",
    ],
    "no wake-up is lost": [
        "DELETE FROM mc_flow WHERE key = 'parent/sub/1'",
        "UPDATE mc_flow SET status = 'COMPLETED' WHERE key = 'parent/sub/1'",
        "INSERT INTO mc_wake VALUES ('parent', 'finished', 'somebody', NULL)",
        """INSERT INTO mc_wake VALUES ('chain', 'control', '00000001', '{"control":"retry","at":""}')""",
    ],
    "a finished flow has nothing left to do": [
        "UPDATE mc_task SET status = 'WAITING' WHERE flow_key = 'chain' AND key = 'e'",
        "UPDATE mc_task SET status = 'PENDING' WHERE flow_key = 'chain' AND key = 'e'",
        "UPDATE mc_task SET status = 'FAILED' WHERE flow_key = 'chain' AND key = 'e'",
        "UPDATE mc_flow SET next_tick_at = created_at WHERE key = 'chain'",
    ],
    "task_counts equal the rows": ["UPDATE mc_flow SET task_counts = '{\"PENDING\":7}' WHERE key = 'parent'"],
    "columns equal the task dict": [
        "UPDATE mc_task SET status = 'SKIPPED' WHERE flow_key = 'parent' AND key = 'after'",
        "UPDATE mc_task SET position = 1",
    ],
    "edges have ends": [
        "UPDATE mc_edge SET src_key = 'gone' WHERE flow_key = 'parent' AND dest_key = 'after'",
        "UPDATE mc_task SET rank = 0 WHERE flow_key = 'parent'",
    ],
    "flows inside of tasks fit": [
        "DELETE FROM mc_inner_task",
        "UPDATE mc_inner_flow SET path = '[]'",
        "UPDATE mc_inner_flow SET status = 'COMPLETED'",
        "UPDATE mc_inner_flow SET task_counts = '{}'",
        "UPDATE mc_inner_task SET status = 'PENDING'",
        """UPDATE mc_task SET body = replace(body, '"sub_flow":"', '"sub_flow":"other')
        WHERE flow_key = 'around'""",
    ],
    "nothing refers to a deleted flow": [
        "DELETE FROM mc_flow WHERE key = 'chain'",
        "UPDATE mc_flow SET waiter_key = 'gone' WHERE key = 'chain'",
    ],
    "a transactional task's marker exists exactly if it is COMPLETED": [
        "INSERT INTO marker VALUES ('parent', 'after')",
        """UPDATE mc_task SET body = replace(body, '"task_params":{}', '"task_params":{"transactional":true}')
        WHERE flow_key = 'chain'""",
    ],
    "a signal wakes its wait": [
        """INSERT INTO mc_signal (flow_key, signal_id, name, data, sent_at)
        VALUES ('listener', '1', 'go', 'null', '2026')""",
    ],
    "a signal is taken once": [
        """INSERT INTO mc_signal (flow_key, signal_id, name, data, sent_at, taken_by, taken_at) VALUES
        ('chain', '1', 'go', 'null', '2026', 'e', '2026'),
        ('chain', '2', 'go', 'null', '2026', 'e', '2026')""",
    ],
    "what a person asked for is done or refused": [
        "DELETE FROM mc_event WHERE flow_key = 'stopped' AND new_status = 'PAUSED'",
        """UPDATE mc_event SET detail = replace(detail, 'pause', 'cancel')
        WHERE flow_key = 'stopped' AND kind = 'control'""",
        """INSERT INTO mc_wake VALUES ('stopped', 'control', '00000001', '{"control":"cancel","at":""}')""",
    ],
    "a paused flow tells who paused it": [
        "DELETE FROM mc_event WHERE flow_key = 'stopped' AND kind = 'control'"
    ],
    "no more is held of a resource than there is, and nobody waits for what is free": [
        "UPDATE mc_resource_claim SET slots = 2 WHERE flow_key = 'holder'",
        "DELETE FROM mc_resource WHERE name = 'db'",
        "UPDATE mc_resource SET slots = 2",
        "UPDATE mc_resource_claim SET hopeless = 1 WHERE flow_key = 'waiter'",
    ],
    "a job ends once, and a task has one that it waits for": [
        "UPDATE mc_job SET status = 'FAILED' WHERE status = 'COMPLETED'",
        "UPDATE mc_job SET finished_at = NULL",
        "UPDATE mc_job SET lease_expires_at = NULL",
        "UPDATE mc_job SET token = token - 1",
        "UPDATE mc_job SET task_path = 'waits'",
        "DELETE FROM mc_job WHERE status <> 'COMPLETED'",
    ],
    "the history replays to the rows": ["UPDATE mc_event SET new_status = 'FAILED' WHERE task_key = 'e'"],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FlowStore]:
    """A finished flow, `chain`, one that waits for its sub-flow, `parent`, `listener` for a signal, and
    `stopped`, which a person paused. A flow inside of `around` waits for a signal too.

    `holder` has a resource for which `waiter` waits.
    """
    world = World(f"sqlite:///{tmp_path}/flows.sqlite3")
    world.add("chain")
    world.runner.tick()
    wait = {"key": "wait", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    world.store.create(world.engine.flow_spec_to_flow({"tasks": [wait]}, key="listener"))
    world.store.create(world.engine.flow_spec_to_flow({"tasks": [wait]}, key="stopped"))
    around = {"key": "inside", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [wait]}}}
    world.store.create(world.engine.flow_spec_to_flow({"tasks": [around]}, key="around"))
    world.runner.control("stopped", make_control("pause", by="ada"))
    world.runner.tick()
    world.store.resources.set("db", slots=1)
    limited = {"tasks": [{**wait, "cfg": {"resources": ["db"]}}]}
    for key in ("holder", "waiter"):
        world.store.create(world.engine.flow_spec_to_flow(limited, key=key))
        world.runner.tick()
    world.add("jobs", "for workers")
    for _ in range(4):
        world.runner.tick()
        world.clock.advance(60)
    world.worker.take_next("queue", 5)
    world.add("parent")
    world.runner.tick(max_flows=1)
    world.store._database.write(
        lambda connection: connection.execute(text("CREATE TABLE marker (flow_key TEXT, task_key TEXT)"))
    )
    yield world.store
    world.wipe()
    world.close()


@pytest.mark.parametrize(
    ("name", "statement"), [(name, each) for name, statements in DAMAGE.items() for each in statements]
)
def test_damage_is_noticed(store: FlowStore, name: str, statement: str) -> None:
    seen = check_store(store, Seen(people_act=name.startswith("a paused flow")), markers="marker")

    with_keys_off(store, statement)
    seen.replayed.clear()
    with pytest.raises(AssertionError, match=f"- {name}: "):
        check_store(store, seen, markers="marker")


def with_keys_off(store: FlowStore, statement: str) -> None:
    """Execute a statement that foreign keys would refuse or follow up."""
    path = store.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_two_owners_of_one_token_are_noticed(store: FlowStore) -> None:
    seen = Seen()
    with_keys_off(
        store, "UPDATE mc_flow SET lease_owner = 'a', lease_expires_at = 'then' WHERE key = 'parent'"
    )
    check_store(store, seen)
    with_keys_off(store, "UPDATE mc_flow SET lease_owner = 'b' WHERE key = 'parent'")
    with pytest.raises(AssertionError, match="- at most one lease per flow: flow parent: both 'a' and 'b'"):
        check_store(store, seen)


def test_each_invariant_has_a_damage_that_it_notices() -> None:
    assert set(DAMAGE) - {"the history replays to the rows"} == set(INVARIANTS)
