"""Jobs that workers take in the database: each is run by one, and ended once, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from mc.clock import ManualClock
from mc.flows.controls.control import ControlKind
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job import Outcome
from mc.store.flow_store import FlowStore
from mc.store.job_claims import JobClaims
from mc.store.job_record import JobEnding, JobRecord
from mc.store.schema import tables
from tests.contract import test_jobs_contract
from tests.contract.test_jobs_contract import Site, job
from tests.support.hand_driven_executor import HandDrivenExecutor as Hand

SENT = "tests.support.hand_driven_executor:HandDrivenWorkers"


class Workshop(Site):
    """A site whose jobs are done by workers, which a test plays."""

    def __init__(self, store: FlowStore, clock: ManualClock, folder: Path) -> None:
        super().__init__(store, clock, folder)
        executors: dict[str, dict[str, Any]] = {
            "sent": {"kind": SENT},
            "narrow": {"kind": "queue", "max_workers": 1},
        }
        self.settings = replace(self.settings, executor="queue", executors=executors)
        self.engine = FlowEngine(handler_modules=test_jobs_contract.__name__, clock=clock)
        self.runner = self.new_runner()

    def worker(self, name: str) -> JobClaims:
        return self.store.jobs.claims(owner=name, host="host-of-" + name, lease_seconds=60)

    def end(self, record: JobRecord, status: str = "COMPLETED", **outcome: Any) -> bool:
        ending = JobEnding(record=record, status=status, outcome=Outcome(status=status, **outcome))
        return bool(self.store.jobs.end([ending]))


@pytest.fixture
def shop(store: FlowStore, clock: ManualClock, tmp_path: Path) -> Iterator[Workshop]:
    Hand.reset()
    yield Workshop(store, clock, tmp_path)
    Hand.reset()


class TestQueue:
    def test_a_job_waits_for_a_worker_whose_outcome_makes_its_flow_due(self, shop: Workshop) -> None:
        shop.begin(job("a"), job("b", "a"))
        shop.tick()
        assert shop.statuses() == {"f/a/1": "PENDING"}
        (record,) = shop.worker("w").take_next("queue", 5)
        assert (record.status, record.owner, record.place) == ("RUNNING", "w", "host-of-w")
        assert shop.end(record, result=7)
        assert shop.tick().tasks["a"]["data"]["result"] == 7
        assert shop.statuses() == {"f/a/1": "COMPLETED", "f/b/1": "PENDING"}

    def test_each_job_is_taken_by_one(self, shop: Workshop) -> None:
        shop.begin(*(job(key) for key in "abcd"))
        first, second = shop.worker("one"), shop.worker("two")
        taken = [*first.take_next("queue", 3), *second.take_next("queue", 3), *first.take_next("queue", 3)]
        assert [record.job.task_path for record in taken] == ["a", "b", "c", "d"]
        assert first.take("f/a/1") is None

    def test_by_priority_and_from_no_other_queue(self, shop: Workshop) -> None:
        shop.begin(job("a"), job("b", cfg={"priority": 3}), job("c", params={"executor": "narrow"}))
        worker = shop.worker("w")
        assert [each.job.task_path for each in worker.take_next("queue", 1)] == ["b"]
        assert [each.job.task_path for each in worker.take_next("queue", 2)] == ["a"]

    def test_no_more_run_at_a_time_than_the_queue_allows(self, shop: Workshop) -> None:
        shop.begin(*(job(key, params={"executor": "narrow"}) for key in "ab"))
        (record,) = shop.worker("one").take_next("narrow", 5, 1)
        assert shop.worker("two").take_next("narrow", 5, 1) == []
        shop.end(record)
        assert len(shop.worker("two").take_next("narrow", 5, 1)) == 1

    def test_a_failure_is_one(self, shop: Workshop) -> None:
        shop.begin(job("a"))
        (record,) = shop.worker("w").take_next("queue", 1)
        shop.end(record, "FAILED", error={"type": "ValueError", "message": "no good"})
        flow = shop.tick()
        assert (flow.status, flow.tasks["a"]["error"]["message"]) == ("FAILED", "no good")


class TestSilence:
    def test_who_gives_no_sign_loses_the_job_which_is_tried_once_more(self, shop: Workshop) -> None:
        shop.begin(job("a"))
        worker = shop.worker("w")
        (record,) = worker.take_next("queue", 1)
        shop.tick()
        assert shop.statuses() == {"f/a/1": "RUNNING"}
        shop.end_leases()
        shop.tick(shop.new_runner())
        assert shop.statuses() == {"f/a/1": "LOST", "f/a/2": "PENDING"}
        assert "w gave no sign" in str(shop.store.jobs.get("f/a/1").reason)
        assert worker.keep_up([record], {}) == {}  # so that it ends what it runs
        assert not shop.end(record, result="late")
        assert shop.store.jobs.get("f/a/1").status == "LOST"

    def test_a_sign_of_life_keeps_it(self, shop: Workshop) -> None:
        shop.begin(job("a"))
        worker = shop.worker("w")
        (record,) = worker.take_next("queue", 1)
        shop.end_leases()
        progress = {"fraction": 0.5, "text": "half", "at": "2026-01-01T00:00:00+00:00"}
        assert worker.keep_up([record], {record.id: progress}) == {record.id: None}
        shop.tick(shop.new_runner())
        seen = shop.store.jobs.get("f/a/1")
        assert (seen.status, seen.told_progress) == ("RUNNING", "50 % half")

    def test_what_was_taken_and_not_begun_is_given_back(self, shop: Workshop) -> None:
        shop.begin(job("a"))
        worker = shop.worker("w")
        worker.give_back(worker.take_next("queue", 1), "the worker ends")
        (record,) = shop.worker("v").take_next("queue", 1)
        assert shop.end(record)
        assert shop.tick().status == "COMPLETED"


class TestSent:
    """By an executor that hands the keys of jobs to a broker."""

    def begin(self, shop: Workshop) -> None:
        shop.begin(job("a", params={"executor": "sent"}))

    def test_a_worker_takes_it_by_its_key(self, shop: Workshop) -> None:
        self.begin(shop)
        assert Hand.starts == ["f/a/1"]
        assert not (shop.folder / "jobs").exists()
        record = shop.worker("w").take("f/a/1")
        assert record is not None
        shop.end(record, result=1)
        assert shop.tick().status == "COMPLETED"

    def test_one_that_no_worker_took_is_sent_again_and_run_once(self, shop: Workshop) -> None:
        self.begin(shop)
        shop.end_leases()
        shop.tick(shop.new_runner())
        assert Hand.starts == ["f/a/1", "f/a/1"]
        assert shop.worker("w").take("f/a/1") is not None
        assert shop.worker("v").take("f/a/1") is None

    def test_a_worker_that_is_faster_than_the_note_of_the_start_has_it(self, shop: Workshop) -> None:
        Hand.forgets = True
        with pytest.raises(KeyboardInterrupt):
            self.begin(shop)
        record = shop.worker("w").take("f/a/1")
        assert record is not None
        assert shop.end(record)

    def test_one_that_is_cancelled_before_a_worker_has_it_is_run_by_none(self, shop: Workshop) -> None:
        self.begin(shop)
        shop.ask(ControlKind.CANCEL)
        shop.tick()
        assert shop.statuses() == {"f/a/1": "CANCELLED"}
        assert Hand.killed == ["hand:0"]
        assert shop.worker("w").take("f/a/1") is None

    def test_one_that_runs_is_stopped_by_its_worker(self, shop: Workshop) -> None:
        self.begin(shop)
        worker = shop.worker("w")
        record = worker.take("f/a/1")
        assert record is not None
        shop.ask(ControlKind.CANCEL)
        assert worker.see([record]) == {record.id: "The task 'a' was cancelled."}
        assert worker.keep_up([record], {}) == worker.see([record])
        shop.end(record, "CANCELLED")
        assert shop.statuses() == {"f/a/1": "CANCELLED"}

    def test_one_whose_worker_vanished_while_it_was_to_stop_is_cancelled(self, shop: Workshop) -> None:
        self.begin(shop)
        shop.worker("w").take("f/a/1")
        shop.ask(ControlKind.CANCEL)
        shop.end_leases()
        shop.tick()
        assert shop.statuses() == {"f/a/1": "CANCELLED"}


def test_what_runs_when_its_flow_goes_is_not_looked_at_again_and_again(shop: Workshop) -> None:
    """A look reads of jobs with workers only those that it must do something about."""
    shop.begin(*(job(key) for key in "abc"))
    shop.worker("w").take_next("queue", 2)
    assert shop.store.jobs.list_live([], ["queue"]) == []
    past = update(tables.job).where(tables.job.c.task_path == "b")
    past = past.values(lease_expires_at="2000-01-01T00:00:00.000000Z")
    shop.store._database.write(lambda connection: connection.execute(past))
    assert [each.job.task_path for each in shop.store.jobs.list_live([], ["queue"])] == ["b"]
