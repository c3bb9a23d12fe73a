"""Jobs that take the result of one that did the same, on each database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job_settings import JobSettings
from mc.jobs.job_watch import JobWatch
from mc.jobs.jobs import Jobs
from mc.jobs.large_results import LargeResults
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.hand_driven_executor import HandDrivenExecutor as Hand
from tests.support.invariants import Seen, check_store

KIND = "tests.support.hand_driven_executor:HandDrivenExecutor"
LARGE = "x" * 100_000


def work() -> None:
    """Do nothing: the executor of these tests does not call it."""


def other_work() -> None:
    """Do nothing either."""


def job(key: str, name: str = "work", **params: Any) -> dict[str, Any]:
    params = {"job_type": f"{__name__}:{name}", "dedupe": True, "job_params": {"x": 1, "y": 2}, **params}
    return {"key": key, "task_type": "job", "task_params": params}


class Site:
    """A store, and a runner that keeps large results in files."""

    def __init__(self, store: FlowStore, clock: ManualClock, folder: Path) -> None:
        self.store, self.clock = store, clock
        executors = {"hand": {"kind": KIND}, "other": {"kind": KIND}}
        self.settings = JobSettings(
            data_folder=folder, executor="hand", executors=executors, results_in_files=True
        )
        store.read_result = LargeResults(self.settings).read
        self.engine = FlowEngine(handler_modules=__name__, clock=clock)

    def begin(self, key: str, *tasks: dict[str, Any]) -> Flow:
        """Store a flow, and tick it."""
        self.store.create(self.engine.flow_spec_to_flow({"key": key, "tasks": [*tasks]}))
        return self.tick(key)

    def done(self, key: str, *tasks: dict[str, Any], result: Any = 7) -> Flow:
        """Store a flow, and let its first job end with a result."""
        self.begin(key, *tasks)
        Hand.finish(tasks[0]["key"], result=result)
        return self.tick(key)

    def tick(self, key: str) -> Flow:
        self.clock.advance(60)
        FlowRunner(self.store, self.engine, jobs=JobWatch(self.store, self.settings)).tick()
        return self.store.load(key)

    def delete(self, key: str) -> None:
        self.store.upkeep.delete(key)
        Jobs(self.store, self.settings).remove_left()


@pytest.fixture
def site(store: FlowStore, clock: ManualClock, tmp_path: Path) -> Iterator[Site]:
    Hand.reset()
    yield Site(store, clock, tmp_path)
    Hand.reset()


def test_what_was_done_is_not_done_again(site: Site) -> None:
    site.done("first", job("a"))
    flow = site.begin("second", job("b", job_params={"y": 2, "x": 1}))
    assert flow.status == "COMPLETED"
    assert flow.tasks["b"]["data"] == {"job_key": "first/a/1", "result": 7}
    assert Hand.starts == ["first/a/1"]
    told = [event for event in site.store.history.events("second") if event.kind == "result_taken"]
    assert [(event.task_key, event.attempt, event.detail) for event in told] == [
        ("b", 1, {"job_key": "first/a/1"})
    ]
    check_store(site.store, Seen())


def test_the_executor_makes_no_difference(site: Site) -> None:
    site.done("first", job("a"))
    assert site.begin("second", job("b", executor="other")).status == "COMPLETED"


OTHERS = {
    "other params": job("b", job_params={"x": 1, "y": 3}),
    "another function": job("b", "other_work"),
    "who did not ask for it": job("b", dedupe=False),
}


@pytest.mark.parametrize("which", OTHERS)
def test_what_is_not_the_same_is_done(site: Site, which: str) -> None:
    site.done("first", job("a"))
    assert site.begin("second", OTHERS[which]).tasks["b"]["status"] == "WAITING"
    assert Hand.starts == ["first/a/1", "second/b/1"]


def test_code_of_another_version_does_it_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.done("first", job("a"))
    monkeypatch.setattr(work, "version", "2", raising=False)
    site.done("second", job("b"), result=8)
    assert site.begin("third", job("c")).tasks["c"]["data"] == {"job_key": "second/b/1", "result": 8}


def test_only_what_is_completed_is_taken(site: Site) -> None:
    site.begin("first", job("a"))
    assert site.begin("second", job("b")).tasks["b"]["status"] == "WAITING"  # two at a time both run
    Hand.finish("a", "FAILED", error={"type": "ValueError", "message": "no"})
    site.tick("first")
    assert site.begin("third", job("c")).tasks["c"]["status"] == "WAITING"


def test_a_job_that_did_not_take_part_is_taken_by_none(site: Site) -> None:
    site.done("first", job("a", dedupe=False))
    assert site.begin("second", job("b")).tasks["b"]["status"] == "WAITING"


@pytest.mark.parametrize("is_job_left", [False, True])
def test_what_went_with_its_flow_is_done_again(site: Site, is_job_left: bool) -> None:
    site.done("first", job("a"))
    if is_job_left:  # until somebody prunes
        site.store.upkeep.delete("first")
    else:
        site.delete("first")
    assert site.begin("second", job("b")).tasks["b"]["status"] == "WAITING"


class TestLargeResults:
    def test_one_of_another_flow_outlives_that(self, site: Site) -> None:
        site.done("first", job("a"), result=LARGE)
        assert site.begin("second", job("b")).status == "COMPLETED"
        site.delete("first")
        assert site.store.load("second").tasks["b"]["data"] == {"job_key": "first/a/1", "result": LARGE}

    def test_one_of_the_same_flow_is_not_copied(self, site: Site) -> None:
        after = {**job("b"), "precursors": ["a"]}
        site.done("first", job("a"), after, result=LARGE)
        flow = site.tick("first")
        assert flow.tasks["b"]["data"] == {"job_key": "first/a/1", "result": LARGE}
        bodies = select(tables.task.c.body)
        stored = site.store._database.read(lambda connection: [*connection.scalars(bodies)])
        assert max(map(len, stored)) < 5_000

    def test_one_that_cannot_be_read_is_made_again(self, site: Site, tmp_path: Path) -> None:
        site.done("first", job("a"), result=LARGE)
        shutil.rmtree(tmp_path / "jobs")
        assert site.begin("second", job("b")).tasks["b"]["status"] == "WAITING"


def test_items_of_a_spread_take_part(site: Site) -> None:
    site.done("first", job("a", job_params={"x": 1}), result="one")
    mapping = {
        "skeleton": job("each", job_params={}),
        "wirings": ["ctx.item.value => ctx.skeleton.task_params.job_params.x"],
    }
    params = {"items": [1, 2], "mapping_params": mapping}
    site.begin("second", {"key": "s", "task_type": "spread", "task_params": params})
    assert Hand.starts == ["first/a/1", "second/s/1/item_1/1"]
    Hand.finish("s/item_1", result="two")
    flow = site.tick("second")
    assert [each["result"] for each in flow.tasks["s"]["data"]["results"]] == ["one", "two"]
