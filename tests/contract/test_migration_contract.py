"""Moving stored flows to new specs, on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from mc.clock import ManualClock
from mc.errors import FlowNotFoundError, MigrationError, StaleFlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.migration.carry_out import migrate_flow
from mc.houston import Houston
from mc.runners.flow_runner import FlowRunner
from mc.spec.digest import spec_digest
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history, replay
from mc.store.schema import tables
from tests.support.invariants import Seen, Snapshot, check_store, take_snapshot


def task(key: str, *precursors: str, task_type: str = "noop", **entries: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": list(precursors), **entries}


WAIT = task("wait", "done", task_type="wait", task_params={"duration": "1h"})
OLD: dict[str, Any] = {
    "key": "f",
    "data": {"n": 1},
    "tasks": [task("done"), WAIT, task("next", "wait"), task("last", "next")],
}
# `next` goes, `first` and `end` come, `last` is changed and waits for others, and the order is another one.
NEW: dict[str, Any] = {
    "key": "f",
    "label": "moved",
    "version": "2",
    "cfg": {"priority": 7},
    "data": {"n": 1, "m": "ü✓"},
    "results": {"n": "$ctx.flow.data.n"},
    "tasks": [
        task("first"),
        task("done"),
        task("last", "wait", "first", task_type="print", task_params={"msg": "last"}),
        WAIT,
        task("end", "last"),
    ],
}


@pytest.fixture
def houston(store_url: str, clock: ManualClock) -> Iterator[Houston]:
    with Houston(store_url, clock=clock) as opened:
        opened.submit(OLD)
        opened.tick()
        seen = check_store(opened.store, Seen(people_act=True))
        yield opened
        check_store(opened.store, seen)


def rows_of(houston: Houston) -> Snapshot:
    return houston.store._database.read(take_snapshot)


def digests(houston: Houston) -> set[str]:
    query = select(tables.spec.c.digest)
    return set(houston.store._database.read(lambda connection: connection.scalars(query).all()))


def test_the_rows_are_those_of_the_new_spec(houston: Houston, clock: ManualClock) -> None:
    plan = houston.migrate("f", NEW, by="ada", reason="a new end")
    assert plan.is_applied
    assert (plan.stays, plan.added, plan.removed) == (("done", "wait"), ("first", "end"), ("next",))
    flow = houston.load("f")
    flow.check_invariants()
    assert list(flow.tasks) == ["first", "done", "last", "wait", "end"]
    assert [each["key"] for each in flow.get_precursors("last")] == ["wait", "first"]
    assert (flow.spec, flow.label, flow.version, flow.status) == (NEW, "moved", "2", "RUNNING")
    assert (flow.cfg, flow.data) == ({"priority": 7}, {"n": 1, "m": "ü✓"})
    summary = houston.summary("f")
    assert (summary.next_tick_at, summary.tasks) == (
        clock.now(),
        {"COMPLETED": 1, "WAITING": 1, "PENDING": 3},
    )
    assert digests(houston) == {spec_digest(NEW)}
    assert plan.new_digest == spec_digest(NEW)


def test_the_flow_goes_on_by_the_new_spec(
    houston: Houston, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    houston.migrate("f", NEW)
    houston.tick()
    clock.advance(3600)
    houston.tick()
    flow = houston.load("f")
    assert (flow.status, flow.results) == ("COMPLETED", {"n": 1})
    assert flow.count_tasks() == {"COMPLETED": 5}
    assert capsys.readouterr().out == "last\n"


def test_the_history_tells_who_did_it_and_why_and_replays(houston: Houston) -> None:
    plan = houston.migrate("f", NEW, by="ada", reason="a new end")
    told = [event for event in houston.history("f") if event.kind is not EventKind.CHANGED][1:]
    assert [(str(event.kind), event.task_key) for event in told] == [
        ("migrated", None),
        ("removed", "next"),
        ("added", "first"),
        ("added", "end"),
    ]
    assert told[0].detail == {
        "by": "ada",
        "reason": "a new end",
        "old_digest": spec_digest(OLD),
        "new_digest": plan.new_digest,
        "added": ["first", "end"],
        "removed": ["next"],
        "changed": {"last": ["task_type", "task_params", "precursors"]},
        "attributes": ["label", "version", "cfg", "results"],
        "added_data": ["m"],
    }
    assert replay(houston.history("f")).breaks == []
    check_history(houston.store, "f")


def test_a_dry_run_writes_nothing(houston: Houston) -> None:
    before = rows_of(houston)
    plan = houston.migrate("f", NEW, dry_run=True)
    assert (plan.removed, plan.is_applied) == (("next",), False)
    assert rows_of(houston) == before


def test_what_is_forbidden_writes_nothing_and_is_told_whole(houston: Houston) -> None:
    before = rows_of(houston)
    bad = {**NEW, "key": "g", "tasks": NEW["tasks"][2:3]}
    with pytest.raises(MigrationError) as refused:
        houston.migrate("f", bad)
    assert refused.value.obstacles == houston.migrate("f", bad, dry_run=True).obstacles
    assert {each.code for each in refused.value.obstacles} == {"invalid-spec"}
    bad["tasks"] = [task("last")]
    with pytest.raises(MigrationError) as refused:
        houston.migrate("f", bad)
    assert [(each.code, each.task_key) for each in refused.value.obstacles] == [
        ("other-key", None),
        ("finished-task-removed", "done"),
        ("active-task-removed", "wait"),
    ]
    assert rows_of(houston) == before


def test_the_same_spec_writes_nothing(houston: Houston) -> None:
    before = rows_of(houston)
    plan = houston.migrate("f", dict(reversed(OLD.items())))
    assert (plan.is_same, plan.is_applied) == (True, False)
    assert rows_of(houston) == before


def test_a_flow_that_a_runner_holds_is_refused(houston: Houston, clock: ManualClock) -> None:
    clock.advance(3600)
    assert houston.store.claim(owner="somebody", keys=["f"])
    with pytest.raises(StaleFlowError, match=r"ticked by somebody; nothing was changed.*houston pause f"):
        houston.migrate("f", NEW)
    assert houston.load("f").spec == OLD
    assert houston.migrate("f", NEW, dry_run=True).added == ("first", "end")


def test_a_save_in_between_makes_it_look_again(houston: Houston, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loads = houston.store.load, []

    def load_and_let_another_save(key: str) -> Any:
        flow = load(key)
        if not loads:
            other = load(key)
            other.change_task_status("wait", "COMPLETED")
            houston.store.save(other)
        loads.append(key)
        return flow

    monkeypatch.setattr(houston.store, "load", load_and_let_another_save)
    plan = houston.migrate("f", NEW)
    assert len(loads) == 2
    assert plan.is_applied
    assert load("f").tasks["wait"]["status"] == "COMPLETED"


def test_flows_that_share_a_spec_keep_it_when_one_moves(houston: Houston) -> None:
    old, new = ({name: value for name, value in spec.items() if name != "key"} for spec in (OLD, NEW))
    houston.submit(old, key="a")
    houston.submit(old, key="b")
    houston.migrate("a", new)
    assert houston.load("b").spec == old
    assert digests(houston) == {spec_digest(spec) for spec in (OLD, old, new)}
    houston.migrate("b", dict(reversed(new.items())))
    assert digests(houston) == {spec_digest(OLD), spec_digest(new)}
    assert list(houston.load("b").spec or {}) == list(reversed(new))  # its keys in the order of its own spec
    houston.migrate("b", old)
    flow = houston.load("b")
    migrate_flow(flow, dict(reversed(new.items())))
    houston.store.save(flow)
    flow.data["n"] = 2
    houston.store.save(flow)
    assert list(houston.load("b").spec or {}) == list(reversed(new))


def test_a_flow_moves_there_and_back(houston: Houston) -> None:
    houston.migrate("f", NEW)
    houston.migrate("f", {**OLD, "data": {"n": 1, "m": "ü✓"}})
    flow = houston.load("f")
    assert list(flow.tasks) == ["done", "wait", "next", "last"]
    assert (flow.label, flow.cfg, flow.tasks["last"]["task_type"]) == (None, {}, "noop")
    kinds = [str(event.kind) for event in houston.history("f")]
    assert (kinds.count("removed"), kinds.count("added")) == (3, 3)


def test_a_task_that_comes_again_goes_on_with_its_attempts(store_url: str, clock: ManualClock) -> None:
    keys: list[str] = []

    def shaky(task: dict[str, Any], task_ctx: Any) -> None:
        keys.append(task_ctx["idempotency_key"])
        if len(keys) < 3:
            raise ValueError("not yet")

    retry = {"retry": {"max_attempts": 9, "delay": "1h"}}
    old = {"tasks": [task("a"), task("shaky", task_type="shaky", cfg=retry)]}
    with Houston(store_url, clock=clock, task_handlers={"shaky": shaky}) as houston:
        houston.submit(old, key="again")
        houston.tick()
        houston.migrate("again", {"tasks": [task("a"), WAIT | {"precursors": []}]})
        houston.migrate("again", old)
        for _ in range(3):
            houston.tick()
            clock.advance(3600)
        assert houston.summary("again").status == "COMPLETED"
        check_history(houston.store, "again")
    assert len(set(keys)) == len(keys) == 3


def test_what_happens_before_and_after_it_in_one_save_is_told_in_order(houston: Houston) -> None:
    flow = houston.load("f")
    flow.add_task({"key": "more", "task_type": "noop", "precursors": ["next"]})
    flow.change_task_status("next", "SKIPPED")  # which `last` waits for in vain
    with pytest.raises(MigrationError):
        migrate_flow(flow, NEW)
    migrate_flow(flow, {**OLD, "tasks": [*OLD["tasks"], task("first")]})
    houston.engine.tick_flow(flow)
    houston.store.save(flow)
    check_history(houston.store, "f")
    told = [(str(event.kind), event.task_key) for event in houston.history("f")]
    assert told.index(("changed", "next")) < told.index(("migrated", None)) < told.index(("changed", "first"))


def test_a_migrated_flow_is_saved_again(houston: Houston) -> None:
    houston.submit({**OLD, "key": "third"})
    flow = houston.load("third")
    migrate_flow(flow, {**NEW, "key": "third"})
    houston.store.save(flow)
    for number in range(4):
        flow.add_task(
            {"key": f"x{number}", "task_type": "noop", "precursors": ["first"], "successors": ["end"]}
        )
    houston.store.save(flow)
    stored = houston.load("third")
    assert stored.to_flow_dict() == flow.to_flow_dict()
    places = select(tables.edge.c.position).where(tables.edge.c.flow_key == "third")
    found = houston.store._database.read(lambda connection: connection.scalars(places).all())
    assert sorted(found) == list(range(len(found)))


@pytest.mark.parametrize("status", ["PAUSED", "BLOCKED"])
def test_a_flow_that_stands_still_is_moved_and_stands_still(houston: Houston, status: str) -> None:
    if status == "PAUSED":
        houston.pause("f", by="ada")
    else:
        flow = houston.load("f")
        flow.change_status(status)
        flow.blocked_reason = "somebody looks at it"
        houston.store.save(flow)
    houston.migrate("f", NEW)
    assert (houston.summary("f").status, houston.summary("f").next_tick_at) == (status, None)
    assert list(houston.load("f").tasks)[-1] == "end"


def test_a_flow_that_failed_is_moved_and_retried(store_url: str, clock: ManualClock) -> None:
    def bad(task: dict[str, Any], task_ctx: Any) -> None:
        raise ValueError("bad")

    with Houston(store_url, clock=clock, task_handlers={"bad": bad}) as houston:
        houston.submit({"tasks": [task("a"), task("b", "a", task_type="bad"), task("c", "b")]}, key="failed")
        houston.tick()
        houston.migrate("failed", {"tasks": [task("a"), task("b", "a"), task("d", "b")]})
        flow = houston.load("failed")
        assert (flow.status, flow.tasks["b"]["status"]) == ("FAILED", "FAILED")
        flow.change_task_status("b", "PENDING")
        flow.finished_at = None
        flow.change_status("RUNNING")
        houston.store.save(flow)
        houston.tick()
        assert houston.summary("failed").status == "COMPLETED"
        check_history(houston.store, "failed")


def test_a_flow_that_is_not_stored_cannot_be_moved(houston: Houston) -> None:
    with pytest.raises(FlowNotFoundError):
        houston.migrate("nothing", NEW)


def test_a_large_flow_is_moved_and_a_runner_reads_it_in_parts(houston: Houston, clock: ManualClock) -> None:
    tasks = [task("start"), *(task(f"t{number}", "start") for number in range(600))]
    houston.submit({"tasks": [*tasks, {**WAIT, "precursors": []}]}, key="large")
    houston.store.save(_tick_once(houston, "large"))
    moved = [task("x", "wait"), {**WAIT, "precursors": []}, *tasks[:301], *tasks[401:]]
    plan = houston.migrate("large", {"tasks": moved})
    assert (len(plan.removed), len(plan.stays)) == (100, 502)
    check_store(houston.store)
    houston.tick()
    clock.advance(3600)
    houston.tick()
    assert houston.summary("large").tasks == {"COMPLETED": 503}


def _tick_once(houston: Houston, key: str) -> Any:
    flow = houston.load(key)
    houston.engine.tick_flow(flow)
    return flow


def test_whoever_holds_a_flow_can_move_it(store: FlowStore, clock: ManualClock) -> None:
    engine = FlowEngine(clock=clock)
    runner = FlowRunner(store, engine)
    store.create(engine.flow_spec_to_flow(OLD))
    runner.tick()
    clock.advance(3600)
    (lease,) = store.claim(owner="runner", keys=["f"])
    flow = store.load_claimed([lease])["f"]
    assert isinstance(flow, Flow)
    migrate_flow(flow, NEW)
    store.save(flow, lease=lease, release=True)
    check_store(store)
    runner.tick()
    assert store.load("f").count_tasks() == {"COMPLETED": 5}
    check_store(store)
