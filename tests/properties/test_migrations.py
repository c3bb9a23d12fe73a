"""Random flows that are moved to random new specs at random moments, and go on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.errors import ControlError, GraphError, MigrationError
from mc.flows.flow import Flow
from mc.houston import Houston
from mc.statuses import FINISHED_FLOW_STATUSES
from tests.support.invariants import Seen, Snapshot, check_store, take_snapshot
from tests.support.random_migrations import new_specs
from tests.support.random_specs import Act, wild_specs


def rows_of(houston: Houston) -> Snapshot:
    return houston.store._database.read(take_snapshot)


def statuses_of(flow: Flow) -> dict[str, str]:
    return {task["key"]: task["status"] for task in flow.filter_tasks()}


def finished_of(flow: Flow) -> dict[str, Any]:
    tasks = flow.to_flow_dict()["graph"]["tasks"]
    done = {key: task for key, task in tasks.items() if task["status"] == "COMPLETED"}
    skipped = {key: "SKIPPED" for key, task in tasks.items() if task["status"] == "SKIPPED"}
    return {**done, **skipped}


def ask(houston: Houston, what: str) -> None:
    """Let a person retry, pause or resume the flow, or skip a task of it, where its state allows it."""
    keys = list(houston.load("f").tasks)
    with suppress(ControlError):
        if what != "skip":
            getattr(houston, what)("f", by="bob")
        elif keys:
            houston.skip("f", keys[:1], by="bob")


def add_tasks(houston: Houston, data: st.DataObject) -> None:
    """Do what a task does that adds another one to its flow."""
    flow = houston.load("f")
    if flow.status in FINISHED_FLOW_STATUSES:
        return
    keys = list(flow.tasks)
    some = st.lists(st.sampled_from(keys), unique=True, max_size=2) if keys else st.just([])
    task = {
        "key": f"x{len(keys)}",
        "task_type": "act",
        "precursors": data.draw(some),
        "successors": data.draw(some),
    }
    try:
        flow.add_task(task)
    except GraphError:
        return
    houston.store.save(flow)


def migrate(houston: Houston, data: st.DataObject, seen: Seen) -> None:
    before = houston.load("f")
    assert before.spec is not None
    polite = data.draw(st.booleans(), "polite")
    spec = data.draw(new_specs(before.spec, statuses_of(before), polite=polite), "new spec")
    rows = rows_of(houston)
    plan = houston.migrate("f", spec, dry_run=True)
    assert rows == rows_of(houston), "a dry run changed a row"
    assert not plan.is_applied
    if plan.obstacles:
        event("refused: " + ", ".join(sorted({obstacle.code for obstacle in plan.obstacles})[:2]))
        with pytest.raises(MigrationError) as refused:
            houston.migrate("f", spec)
        assert refused.value.obstacles == plan.obstacles
        assert rows == rows_of(houston), "what was refused changed a row"
        return
    event(f"migrated: {before.status}")
    done = houston.migrate("f", spec, by="ada")
    check_store(houston.store, seen)
    after = houston.load("f")
    after.check_invariants()
    assert done.is_applied != done.is_same
    assert finished_of(before).items() <= finished_of(after).items()
    assert after.status == before.status
    if done.is_same:
        return
    assert after.spec == spec
    later = [key for key in before.tasks if key[0] == "x"]
    assert list(after.tasks) == [*(task["key"] for task in spec["tasks"]), *later]
    assert {*done.added} == {*after.tasks} - {*before.tasks}
    assert {*done.removed} == {*before.tasks} - {*after.tasks}
    assert houston.migrate("f", spec).is_same


def tick_once(houston: Houston) -> None:
    flow = houston.load("f")
    houston.engine.tick_flow(flow)
    houston.store.save(flow)


MOVES = st.lists(
    st.sampled_from(
        ["tick", "nap", "migrate", "migrate", "retry", "retry", "add", "pause", "resume", "skip"]
    ),
    max_size=6,
)


@settings(max_examples=50)
@given(wild_specs(), st.integers(0, 8), MOVES, st.data())
def test_a_migrated_flow_keeps_what_is_finished_and_comes_to_its_end(
    spec: dict[str, Any], ticks: int, moves: list[str], data: st.DataObject
) -> None:
    clock = ManualClock()
    with Houston("sqlite://", clock=clock, task_handlers={"act": Act}) as houston:
        houston.submit(spec)
        seen = check_store(houston.store, Seen(people_act=True))
        for move in [*["tick"] * ticks, "migrate", *moves]:
            if move == "tick":
                tick_once(houston)
            elif move == "nap":
                clock.advance(60)
            elif move == "migrate":
                migrate(houston, data, seen)
            elif move == "add":
                add_tasks(houston, data)
            else:
                ask(houston, move)
        ask(houston, "resume")
        for _ in range(200):
            houston.tick()
            clock.advance(1000)
            if houston.summary("f").status in FINISHED_FLOW_STATUSES:
                break
        check_store(houston.store, seen)
        assert houston.summary("f").status in FINISHED_FLOW_STATUSES


@given(wild_specs(), st.integers(0, 5), st.data())
def test_what_is_stored_is_what_a_migration_in_memory_makes(
    spec: dict[str, Any], ticks: int, data: st.DataObject
) -> None:
    from mc.flows.migration.carry_out import migrate_flow

    with Houston("sqlite://", clock=ManualClock(), task_handlers={"act": Act}) as houston:
        houston.submit(spec)
        flow = houston.load("f")
        for _ in range(ticks):
            houston.engine.tick_flow(flow)
        houston.store.save(flow)
        new = data.draw(new_specs(spec, statuses_of(flow), polite=True))
        try:
            migrate_flow(flow, new, task_types=houston.engine.registry)
        except MigrationError:
            return
        flow.check_invariants()
        houston.store.save(flow)
        check_store(houston.store)
        assert flow.to_flow_dict() == houston.load("f").to_flow_dict()
