"""Jobs of stored flows on each database: started once, ended once, never called what they are not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine, event, select, update

from mc.clock import ManualClock
from mc.durations import format_time, parse_time
from mc.flows.controls.control import Control, ControlKind
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.executor import Liveness
from mc.flows.jobs.job_settings import JobSettings
from mc.jobs.attendance import then_lock
from mc.jobs.job_watch import JobWatch
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.hand_driven_executor import HandDrivenExecutor as Hand

KIND = "tests.support.hand_driven_executor:HandDrivenExecutor"


def ok() -> None:
    """Do nothing: the executor of these tests does not call it."""


def job(key: str, *precursors: str, **more: Any) -> dict[str, Any]:
    params = {"job_type": f"{__name__}:ok", **more.pop("params", {})}
    return {"key": key, "task_type": "job", "task_params": params, "precursors": [*precursors], **more}


class Site:
    """A store, and as many runners with keepers as a test asks for."""

    def __init__(self, store: FlowStore, clock: ManualClock, folder: Path) -> None:
        self.store, self.clock, self.folder = store, clock, folder
        self.engine = FlowEngine(handler_modules=__name__, clock=clock)
        self.settings = JobSettings(
            data_folder=folder,
            executor="hand",
            executors={"hand": {"kind": KIND}, "narrow": {"kind": KIND, "max_workers": 1}},
        )
        self.runner = self.new_runner()

    def new_runner(self) -> FlowRunner:
        return FlowRunner(self.store, self.engine, jobs=JobWatch(self.store, self.settings))

    def begin(self, *tasks: dict[str, Any], **spec: Any) -> Flow:
        flow = self.engine.flow_spec_to_flow({"key": "f", "tasks": [*tasks], **spec})
        self.store.create(flow)
        return self.tick()

    def tick(self, runner: FlowRunner | None = None) -> Flow:
        """Tick a minute later, as a cron line does."""
        self.clock.advance(60)
        (runner or self.runner).tick()
        return self.store.load("f")

    def ask(self, kind: ControlKind) -> None:
        self.runner.control("f", Control(kind=kind, by="ann", reason="so", at=format_time(self.clock.now())))

    def statuses(self) -> dict[str, str]:
        return {record.job.key: record.status for record in reversed(self.store.jobs.list())}

    def end_leases(self) -> None:
        """Let the leases of jobs be over, which go by the database's clock."""
        past = {"lease_expires_at": "2000-01-01T00:00:00.000000Z"}
        self.store._database.write(lambda connection: connection.execute(update(tables.job).values(past)))


@pytest.fixture
def site(store: FlowStore, clock: ManualClock, tmp_path: Path) -> Iterator[Site]:
    Hand.reset()
    yield Site(store, clock, tmp_path)
    Hand.reset()


def test_a_job_is_started_with_its_task_and_its_result_is_taken_in(site: Site) -> None:
    flow = site.begin(job("a"), job("b", "a", params={"job_params": {"x": "$ctx.flow.tasks.a.data.result"}}))
    assert flow.tasks["a"]["status"] == "WAITING"
    assert site.statuses() == {"f/a/1": "SUBMITTED"}
    Hand.finish("a", result=[1, 2])
    flow = site.tick()
    assert flow.tasks["a"]["data"] == {"job_key": "f/a/1", "result": [1, 2]}
    assert Hand.started["hand:1"].job.work["kwargs"] == {"x": [1, 2]}
    Hand.finish("b")
    assert site.tick().status == "COMPLETED"
    assert site.statuses() == {"f/a/1": "COMPLETED", "f/b/1": "COMPLETED"}


def test_who_did_not_start_a_job_sees_its_end_as_well(site: Site) -> None:
    site.begin(job("a"))
    Hand.finish("a", "FAILED", error={"type": "ValueError", "message": "no good", "types": ["ValueError"]})
    flow = site.tick(site.new_runner())
    assert flow.status == "FAILED"
    assert flow.tasks["a"]["error"]["type"] == "ValueError"
    assert flow.tasks["a"]["error"]["message"] == "no good"


def test_a_failure_is_tried_again_by_its_name(site: Site) -> None:
    retry = {"max_attempts": 3, "on": ["HttpStatus503"]}
    site.begin(job("a", cfg={"retry": retry}))
    Hand.finish("a", "FAILED", error={"type": "HttpStatus503", "message": "busy"})
    site.tick()
    assert site.statuses() == {"f/a/1": "FAILED", "f/a/2": "SUBMITTED"}
    Hand.finish("a", "FAILED", error={"type": "HttpStatus404", "message": "gone"})
    assert site.tick().status == "FAILED"
    assert Hand.starts == ["f/a/1", "f/a/2"]


def test_the_executor_of_a_flow_starts_the_jobs_of_what_is_inside_of_it(site: Site) -> None:
    def task(key: str, task_type: str, **params: Any) -> dict[str, Any]:
        return {"key": key, "task_type": task_type, "task_params": params, "precursors": []}

    items = {"items": [1], "mapping_params": {"skeleton": job("a")}}
    deep = {"tasks": [task("deeper", "spread", **items)]}
    own = {"cfg": {"executor": "hand"}, "tasks": [task("deeper", "spread", **items)]}
    site.begin(
        job("job"),
        task("items", "spread", **items),
        task("flows", "spread", **items, item_container="flow"),
        task("inline", "inline_flow", flow_spec=deep),
        task("sub", "flow", flow_spec=deep),
        task("own", "inline_flow", flow_spec=own),
        cfg={"executor": "narrow"},
    )
    site.tick()
    by_task: dict[str, set[str]] = {}
    for record in site.store.jobs.list():
        by_task.setdefault(record.job.key.split("/")[1], set()).add(record.job.executor)
    assert by_task == {name: {"narrow"} for name in ("job", "items", "flows", "inline", "sub")} | {
        "own": {"hand"}
    }


def test_no_more_are_given_to_an_executor_than_it_takes(site: Site) -> None:
    narrow = {"params": {"executor": "narrow"}}
    site.begin(job("a", **narrow), job("b", cfg={"priority": 5}, **narrow), job("c", **narrow))
    assert site.statuses() == {"f/a/1": "PENDING", "f/b/1": "SUBMITTED", "f/c/1": "PENDING"}
    site.tick(site.new_runner())
    assert Hand.starts == ["f/b/1"]
    Hand.finish("b")
    site.tick()
    assert Hand.starts == ["f/b/1", "f/a/1"]


class TestRunningClock:
    @pytest.fixture
    def clock(self) -> ManualClock:
        """A clock that goes on whenever it is read."""

        class Running(ManualClock):
            def now(self) -> datetime:
                self.advance(0.001)
                return super().now()

        return Running()

    def test_an_end_moves_its_flow_in_the_tick_that_finds_it(self, site: Site) -> None:
        site.begin(job("a"), job("b", "a"))
        Hand.finish("a")
        assert site.tick().tasks["b"]["status"] == "WAITING"


def test_an_end_during_a_turn_is_seen_in_the_next_one(site: Site) -> None:
    site.begin(job("a"), job("b"))
    Hand.finish("a")
    watch = JobWatch(site.store, site.settings)
    runner = FlowRunner(site.store, site.engine, jobs=watch)
    for turn, _ in enumerate(watch.turns_alone()):
        runner.tick()
        if turn == 0:
            Hand.finish("b")  # as the script of a job does that finds the lock taken
            Path(f"{then_lock(site.folder)}.again").touch()
    assert site.statuses() == {"f/a/1": "COMPLETED", "f/b/1": "COMPLETED"}
    assert site.store.load("f").status == "COMPLETED"


class TestLost:
    def test_what_ended_without_a_word_is_lost_and_tried_once_more(self, site: Site) -> None:
        site.begin(job("a"))
        Hand.dead.add("hand:0")
        assert site.tick().status == "RUNNING"
        assert site.statuses() == {"f/a/1": "LOST", "f/a/2": "SUBMITTED"}
        assert Hand.killed == ["hand:0"]  # what it started may live on
        Hand.dead.add("hand:1")
        flow = site.tick()
        assert flow.status == "FAILED"
        assert flow.tasks["a"]["error"]["type"] == "JobLostError"
        assert "left no outcome" in flow.tasks["a"]["error"]["message"]
        assert len(Hand.starts) == 2

    def test_its_late_outcome_changes_nothing(self, site: Site) -> None:
        site.begin(job("a"))
        Hand.dead.add("hand:0")
        site.tick()
        first = Hand.started["hand:0"]
        (first.folder / "outcome.json").write_text('{"version": 1, "status": "COMPLETED", "result": "late"}')
        assert site.tick().tasks["a"]["status"] == "WAITING"
        Hand.finish("a", result="second")
        assert site.tick().tasks["a"]["data"]["result"] == "second"
        assert site.store.jobs.get("f/a/1").status == "LOST"

    def test_a_retry_policy_decides_where_there_is_one(self, site: Site) -> None:
        site.begin(job("a", cfg={"retry": {"max_attempts": 1}}))
        Hand.dead.add("hand:0")
        assert site.tick().status == "FAILED"

    def test_what_nobody_can_see_is_not_lost_while_its_lease_lasts(self, site: Site) -> None:
        site.begin(job("a"))
        Hand.unseen.add("hand:0")
        site.tick()
        assert site.statuses() == {"f/a/1": "SUBMITTED"}
        site.end_leases()
        site.tick(site.new_runner())
        assert site.statuses()["f/a/1"] == "LOST"

    def test_its_lease_lasts_from_its_start_on(self, site: Site) -> None:
        """Or a tick on another host, a minute later, would call it LOST that nobody has looked at yet."""
        site.begin(job("a"))
        text = site.store._database.read(
            lambda connection: connection.scalar(select(tables.job.c.lease_expires_at))
        )
        assert parse_time(text) - datetime.now(UTC) > timedelta(minutes=10)

    def test_a_sign_of_life_keeps_it(self, site: Site) -> None:
        site.begin(job("a"))
        site.end_leases()
        site.tick(site.new_runner())
        assert site.statuses() == {"f/a/1": "SUBMITTED"}
        assert not site.store.jobs.get("f/a/1").is_overdue

    def test_an_outcome_that_cannot_be_read_is_none(self, site: Site) -> None:
        site.begin(job("a", cfg={"retry": {"max_attempts": 1}}))
        (Hand.started["hand:0"].folder / "outcome.json").write_text('{"version": 1, "status": "COMPL')
        flow = site.tick()
        assert flow.status == "FAILED"
        assert "outcome.json is damaged" in flow.tasks["a"]["error"]["message"]

    def test_an_outcome_that_cannot_be_read_now_is_read_later(self, site: Site) -> None:
        site.begin(job("a"))
        outcome = Hand.started["hand:0"].folder / "outcome.json"
        outcome.mkdir()
        Hand.dead.add("hand:0")
        site.tick()
        assert site.statuses() == {"f/a/1": "SUBMITTED"}
        outcome.rmdir()
        Hand.finish("a", result=1)
        assert site.tick().tasks["a"]["data"]["result"] == 1

    def test_who_has_another_data_folder_does_not_call_it_lost(self, site: Site) -> None:
        site.begin(job("a"))
        Hand.finish("a", result=1)
        settings = replace(site.settings, data_folder=site.folder / "elsewhere")
        stranger = FlowRunner(site.store, site.engine, jobs=JobWatch(site.store, settings))
        site.tick(stranger)
        assert site.statuses() == {"f/a/1": "SUBMITTED"}
        assert site.tick().tasks["a"]["data"]["result"] == 1

    def test_what_nobody_sees_any_more_is_lost_when_its_lease_is_over(self, site: Site) -> None:
        site.begin(job("a", cfg={"retry": {"max_attempts": 1}}))
        Hand.dead.add("hand:0")
        shutil.rmtree(site.folder / "jobs")
        site.end_leases()
        assert site.tick().status == "FAILED"
        assert site.statuses() == {"f/a/1": "LOST"}


class TestVanishedStarters:
    def test_what_was_started_is_found_and_not_started_again(self, site: Site) -> None:
        Hand.forgets = True
        with pytest.raises(KeyboardInterrupt):
            site.begin(job("a"))
        Hand.forgets = False
        site.tick(site.new_runner())
        assert Hand.starts == ["f/a/1"]  # its starter may be at it still
        site.end_leases()
        site.tick(site.new_runner())
        assert site.store.jobs.get("f/a/1").native_id == "hand:0"
        assert Hand.starts == ["f/a/1"]
        Hand.finish("a")
        assert site.tick().status == "COMPLETED"

    def test_another_host_leaves_it_to_the_one_that_took_it(self, site: Site) -> None:
        """Which looks at it at its next tick, and may have started it."""
        Hand.forgets = True
        with pytest.raises(KeyboardInterrupt):
            site.begin(job("a"))
        Hand.forgets = False
        there = update(tables.job).values(place="another-host")
        site.store._database.write(lambda connection: connection.execute(there))
        site.end_leases()
        site.tick(site.new_runner())
        assert site.statuses() == {"f/a/1": "SUBMITTED"}
        site.clock.advance(15 * 60)
        site.tick()
        assert site.statuses()["f/a/1"] == "LOST"

    def test_what_was_not_started_is_started_then(self, site: Site) -> None:
        Hand.forgets = True
        with pytest.raises(KeyboardInterrupt):
            site.begin(job("a"))
        Hand.forgets = False
        Hand.started.clear()
        site.end_leases()
        site.tick(site.new_runner())
        assert site.store.jobs.get("f/a/1").native_id == "hand:0"


class TestEnds:
    def test_a_flow_that_is_cancelled_stops_its_jobs(self, site: Site) -> None:
        narrow = {"params": {"executor": "narrow"}}
        site.begin(job("a", **narrow), job("b", **narrow))
        site.ask(ControlKind.CANCEL)
        assert site.store.load("f").status == "CANCELLED"
        assert site.statuses() == {"f/a/1": "SUBMITTED", "f/b/1": "CANCELLED"}
        site.runner.tick()
        assert Hand.stopped == ["hand:0"]
        Hand.finish("a", "CANCELLED")
        site.tick()
        assert site.statuses() == {"f/a/1": "CANCELLED", "f/b/1": "CANCELLED"}
        assert Hand.starts == ["f/a/1"]

    def test_they_are_asked_to_end_at_once(self, site: Site) -> None:
        """A tick may be an hour away, and who cancels does not want to pay for it."""
        site.begin(job("a"), job("b"))
        site.ask(ControlKind.CANCEL)
        assert Hand.stopped == ["hand:1", "hand:0"]

    def test_what_does_not_end_as_asked_is_forced_to(self, site: Site) -> None:
        site.begin(job("a"))
        site.ask(ControlKind.CANCEL)
        site.runner.tick()
        assert (Hand.stopped, Hand.killed) == (["hand:0"], [])
        site.tick(site.new_runner())
        assert (Hand.stopped, Hand.killed) == (["hand:0"], ["hand:0"])

    def test_the_first_failure_stops_those_beside_it(self, site: Site) -> None:
        site.begin(job("a"), job("b"))
        Hand.finish("a", "FAILED", error={"type": "ValueError", "message": "no"})
        assert site.tick().tasks["b"]["status"] == "CANCELLED"
        site.tick()
        Hand.dead.add("hand:1")
        site.tick()
        assert site.statuses() == {"f/a/1": "FAILED", "f/b/1": "CANCELLED"}

    def test_a_person_stops_one(self, site: Site) -> None:
        site.begin(job("a"))
        site.store.jobs.stop("f/a/1", "too dear")
        site.runner.tick()
        assert Hand.stopped == ["hand:0"]
        Hand.dead.add("hand:0")
        flow = site.tick()
        assert flow.status == "FAILED"
        assert "was cancelled: too dear" in flow.tasks["a"]["error"]["message"]

    def test_why_a_person_stopped_one_is_told_of_one_that_said_its_end_too(self, site: Site) -> None:
        site.begin(job("a"))
        site.store.jobs.stop("f/a/1", "Too dear.")
        Hand.finish("a", "CANCELLED")
        assert site.tick().tasks["a"]["error"]["message"] == "The job 'f/a/1' was cancelled: Too dear."
        assert site.store.jobs.get("f/a/1").reason == "Too dear."

    def test_a_paused_flow_finds_the_end_when_it_goes_on(self, site: Site) -> None:
        site.begin(job("a"))
        site.ask(ControlKind.PAUSE)
        site.tick()
        Hand.finish("a")
        assert site.tick().status == "PAUSED"
        site.ask(ControlKind.RESUME)
        assert site.tick().status == "COMPLETED"

    def test_jobs_inside_of_tasks_wake_them(self, site: Site) -> None:
        skeleton = {"task_type": "job", "task_params": {"job_type": f"{__name__}:ok"}}
        params = {"items": [1, 2], "mapping_params": {"skeleton": skeleton, "wirings": []}}
        site.begin({"key": "s", "task_type": "spread", "task_params": params})
        Hand.finish("s/item_1", result="b")
        Hand.finish("s/item_0", result="a")
        flow = site.tick()
        assert flow.status == "COMPLETED"
        assert [item["result"] for item in flow.tasks["s"]["data"]["results"]] == ["a", "b"]


class TestRefused:
    def test_an_executor_that_cannot_be_reached_is_tried_again(self, site: Site) -> None:
        Hand.is_down = True
        site.begin(job("a"))
        assert site.store.jobs.get("f/a/1").reason == "The cluster does not answer."
        assert site.statuses() == {"f/a/1": "PENDING"}
        Hand.is_down = False
        site.end_leases()
        site.tick()
        assert site.statuses() == {"f/a/1": "SUBMITTED"}

    def test_for_a_while_no_other_process_tries_it_either(self, site: Site) -> None:
        """Or each tick would wait anew for an answer that does not come."""
        Hand.is_down = True
        site.begin(job("a"), job("b"))
        Hand.is_down = False
        site.tick(site.new_runner())
        assert site.statuses() == {"f/a/1": "PENDING", "f/b/1": "PENDING"}
        site.end_leases()
        site.tick(site.new_runner())
        assert Hand.starts == ["f/a/1", "f/b/1"]

    def test_what_can_never_be_started_fails_its_task(self, site: Site) -> None:
        Hand.refused["a"] = "There is no partition 'gpu'."
        site.begin(job("a"))
        flow = site.tick()
        assert flow.status == "FAILED"
        assert flow.tasks["a"]["error"]["message"] == "There is no partition 'gpu'."

    def test_an_unknown_executor_is_told_with_the_nearest(self, site: Site) -> None:
        flow = site.begin(job("a", params={"executor": "hnad"}))
        assert flow.tasks["a"]["error"]["type"] == "ExecutorError"
        assert "Did you mean 'hand'?" in flow.tasks["a"]["error"]["message"]
        assert site.statuses() == {}


def test_a_timeout_does_not_count_the_wait_for_a_turn(site: Site) -> None:
    params = {"executor": "narrow"}
    site.begin(job("a", params=params), job("b", params=params, cfg={"timeout": "1m"}))
    for _ in range(3):
        flow = site.tick()
    assert flow.tasks["b"]["status"] == "WAITING"
    Hand.finish("a")
    site.tick()
    assert Hand.started["hand:1"].job.timeout_seconds == 60


class TestSlowLooks:
    """A look at many jobs takes long, and must not be made all the time."""

    class Slow(Hand):
        clock: ClassVar[ManualClock]

        def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
            self.clock.advance(3)
            return super().alive(native_ids)

    @pytest.mark.parametrize(("ends", "pause"), [(0, 15), (1, 15), (2, 2)])
    def test_the_next_one_waits_unless_many_had_ended(self, site: Site, ends: int, pause: float) -> None:
        self.Slow.clock = site.clock
        kind = f"{__name__}:TestSlowLooks.Slow"
        site.settings = replace(site.settings, executors={"hand": {"kind": kind}})
        site.runner = site.new_runner()
        site.begin(*(job(key) for key in "abcdefgh"))
        for key in "ab"[:ends]:
            Hand.finish(key)
        site.clock.advance(60)
        watch = JobWatch(site.store, site.settings)
        assert watch.look() == (ends > 0)
        assert (watch.due_at - site.clock.now()).total_seconds() == pause


class TestBursts:
    """Jobs that start and end together cost few statements, however many they are."""

    def count(self, site: Site, key: str, number: int) -> int:
        """Return how many statements are executed for so many jobs, from their start to their end."""
        params = {"function": f"{__name__}:ok", "executor": "hand"}
        mapping = {"skeleton": {"task_type": "call", "task_params": params}, "wirings": []}
        each = {"key": "s", "task_type": "spread"}
        each["task_params"] = {"items": [*range(number)], "mapping_params": mapping}
        site.store.create(site.engine.flow_spec_to_flow({"key": key, "tasks": [each]}))
        executed = 0

        def note(*_: object) -> None:
            nonlocal executed
            executed += 1

        event.listen(Engine, "before_cursor_execute", note)
        try:
            site.clock.advance(60)
            site.runner.tick()
            for at in reversed(range(number)):
                Hand.finish(f"s/item_{at}", result=at)
            site.clock.advance(60)
            site.runner.tick()
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        flow = site.store.load(key)
        assert flow.status == "COMPLETED"
        assert [item["result"] for item in flow.tasks["s"]["data"]["results"]] == [*range(number)]
        return executed

    def test_ends_in_any_order_are_taken_in_together(self, site: Site) -> None:
        few, many = self.count(site, "few", 5), self.count(site, "many", 45)
        assert many - few <= 12
