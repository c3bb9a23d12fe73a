"""The history of a flow on every kind of database: the same everywhere, and it replays to the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from mc.clock import ManualClock
from mc.errors import FlowExistsError, FlowNotFoundError, LeaseLostError, StaleFlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from mc.runners.flow_runner import FlowRunner
from mc.statuses import TASK_CHANGES
from mc.store.event import Event, EventKind, replay
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from mc.store.lease import Lease
from mc.store.saving.flow_saver import FinalSave
from tests.support.databases import DATABASES, fresh_url
from tests.support.partial_flows import never_read_whole
from tests.support.random_specs import Act, meddling_specs, wild_specs
from tests.support.trials import SCALE, Trial

PARTS = 5
WHOLE, SAMPLE = round(200 * SCALE), 40  # random specs of each part
START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
CHAIN = {"tasks": [{"key": "one", "task_type": "noop"}, {"key": "two", "task_type": "noop"}]}

Change = tuple[Any, ...]


class PureAct(Act):
    """The same without effects, so that calls share a save."""

    has_effects = False


IN_PARTS = "sqlite in parts"  # runners read even small flows as far as they need them
HANDLERS = {"act": Act, "pure": PureAct}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(clock=clock)


@pytest.fixture
def create(store: FlowStore) -> Callable[..., Flow]:
    def create(spec: dict[str, Any] = CHAIN, key: str = "f") -> Flow:
        flow = Flow.from_flow_spec(spec, key=key)
        store.create(flow)
        return flow

    return create


def claim(store: FlowStore, owner: str = "runner", **options: Any) -> Lease:
    (lease,) = store.claim(owner=owner, **options)
    return lease


def told(store: FlowStore, key: str = "f") -> list[tuple[str, str | None, str | None, str | None]]:
    check_history(store, key)
    return [
        (str(event.kind), event.task_key, event.old_status, event.new_status)
        for event in store.history.events(key)
    ]


class TestEvents:
    def test_the_life_of_a_flow_is_told_in_order(
        self, store: FlowStore, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        create()
        clock.advance(5)
        FlowRunner(store, FlowEngine(clock=clock), owner="the runner").tick()
        assert told(store) == [
            ("created", None, None, "PENDING"),
            ("changed", None, "PENDING", "RUNNING"),
            ("changed", "one", "PENDING", "RUNNING"),
            ("changed", "one", "RUNNING", "COMPLETED"),
            ("changed", "two", "PENDING", "RUNNING"),
            ("changed", "two", "RUNNING", "COMPLETED"),
            ("changed", None, "RUNNING", "COMPLETED"),
        ]
        created, *others = store.history.events("f")
        assert (created.owner, created.token, created.at) == (None, None, START)
        assert {(event.owner, event.token) for event in others} == {("the runner", 1)}
        assert {event.at for event in others} == {event.recorded_at for event in others} == {clock.now()}
        assert [event.number for event in [created, *others]] == list(range(1, 8))

    def test_a_change_knows_its_attempt_and_its_error(
        self, store: FlowStore, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError(f"\0 attempt {task['attempt']} 🙂")

        create({"tasks": [{"key": "t", "task_type": "fail", "cfg": {"retry": {"max_attempts": 2}}}]})
        FlowRunner(store, FlowEngine(task_handlers={"fail": fail}, clock=clock), owner="d").tick()
        check_history(store, "f")
        ends = [event for event in store.history.events("f") if event.task_key and event.error]
        assert [(event.attempt, event.new_status, event.error["message"]) for event in ends] == [
            (1, "PENDING", "\0 attempt 1 🙂"),
            (2, "FAILED", "\0 attempt 2 🙂"),
        ]
        assert all(event.error["type"] == "ValueError" for event in ends)

    def test_a_change_by_hand_is_told_with_the_save(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        flow = create()
        flow.tasks["one"]["status"] = "SKIPPED"
        flow.change_status("PAUSED")
        clock.advance(60)
        store.save(flow)
        assert told(store)[1:] == [
            ("changed", None, "PENDING", "PAUSED"),
            ("changed", "one", "PENDING", "SKIPPED"),
            ("changed", "two", "PENDING", "SKIPPED"),
        ]
        assert {event.at for event in store.history.events("f")[1:]} == {clock.now()}
        flow = store.load("f")
        flow.status = "RUNNING"  # not by change_status
        store.save(flow)
        assert told(store)[4:] == [("changed", None, "PAUSED", "RUNNING")]

    def test_a_cancelled_flow_tells_why(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        flow = create({"tasks": [{"key": "w", "task_type": "wait", "task_params": {"duration": "1h"}}]})
        engine.tick_flow(flow)
        store.save(flow)
        engine.cancel_flow(flow, "no longer needed")
        store.save(flow)
        assert told(store)[-2:] == [
            ("changed", "w", "WAITING", "CANCELLED"),
            ("changed", None, "RUNNING", "CANCELLED"),
        ]
        last = store.history.events("f")[-1]
        assert last.error is not None
        assert last.error["message"] == "no longer needed"

    def test_a_task_that_is_added_later_is_told_of_before_it_changes(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        flow = create({"tasks": [{"key": "one", "task_type": "noop"}]})
        flow.add_task({"key": "late", "task_type": "noop", "precursors": ["one"]})
        flow.add_task({"key": "done", "task_type": "noop", "status": "SKIPPED"})
        engine.run_flow(flow)
        store.save(flow)
        kinds = [event[:2] + event[3:] for event in told(store)]
        assert kinds[1:3] == [("added", "late", "PENDING"), ("added", "done", "SKIPPED")]
        assert ("changed", "late", "COMPLETED") in kinds

    def test_a_flow_that_had_begun_when_it_was_stored_begins_there(
        self, store: FlowStore, clock: ManualClock
    ) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("no")

        engine = FlowEngine(task_handlers={"fail": fail}, clock=clock)
        again = {"retry": {"max_attempts": 3, "delay": "1h"}}
        spec = {"tasks": [*CHAIN["tasks"], {"key": "t", "task_type": "fail", "cfg": again}]}
        flow = Flow.from_flow_spec(spec, key="f")
        for _ in range(3):
            engine.tick_flow(flow)
        store.create(flow)
        assert told(store) == [
            ("created", None, None, "RUNNING"),
            ("created", "one", None, "COMPLETED"),
            ("created", "two", None, "COMPLETED"),
            ("created", "t", None, "PENDING"),
        ]
        assert [(each.task_key, each.attempt, each.status) for each in store.history.attempts("f")] == [
            ("one", 1, "COMPLETED"),
            ("two", 1, "COMPLETED"),
            ("t", 1, "FAILED"),
        ]

    def test_a_lease_that_is_taken_over_is_told_of(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        create()
        claim(store, "old", lease_seconds=0)
        claim(store, "new")
        event = store.history.events("f")[-1]
        assert (event.kind, event.owner, event.token) == (EventKind.TAKEN_OVER, "new", 2)
        assert event.detail == {"from": "old", "from_token": 1, "lost_leases": 1}
        check_history(store, "f")

    def test_a_flow_that_is_claimed_as_usual_has_nothing_to_tell(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        create()
        store.release(claim(store))
        assert len(told(store)) == 1

    def test_a_blocked_flow_tells_why(self, store: FlowStore, create: Callable[..., Flow]) -> None:
        create()
        store.block(claim(store, "d"), "it is broken")
        event = store.history.events("f")[-1]
        assert told(store)[-1] == ("changed", None, "PENDING", "BLOCKED")
        assert (event.owner, event.token, event.detail) == ("d", 1, {"reason": "it is broken"})

    def test_a_flow_that_is_blocked_after_lost_runners_tells_why(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        create()
        for _ in range(3):
            lease = claim(store, lease_seconds=0)
            calls = replace(lease.lost_calls, under_way=("one/1",))
            store.save(store.load("f"), lease=lease, keep_lost_leases=True, lost_calls=calls)
        assert store.claim(owner="next") == []
        assert [event[0] for event in told(store)] == ["created", "taken_over", "taken_over", "changed"]
        detail = store.history.events("f")[-1].detail
        assert detail is not None
        assert "3 runners in a row vanished" in detail["reason"]

    def test_a_save_that_was_refused_leaves_no_event(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        create()
        mine, theirs = store.load("f"), store.load("f")
        engine.tick_flow(theirs)
        store.save(theirs)
        before = told(store)
        engine.tick_flow(mine)
        with pytest.raises(StaleFlowError):
            store.save(mine)
        assert told(store) == before

    def test_a_save_that_failed_and_is_repeated_tells_each_change_once(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        flow = create()
        engine.tick_flow(flow)
        flow.data["x"] = {1}
        with pytest.raises(Exception, match="cannot be"):
            store.save(flow)
        flow.data["x"] = 1
        store.save(flow)
        store.save(flow)
        assert len(told(store)) == 4

    def test_an_unknown_flow_has_no_history(self, store: FlowStore) -> None:
        for ask in (store.history.events, store.history.attempts):
            with pytest.raises(FlowNotFoundError, match="'nowhere'"):
                ask("nowhere")

    def test_a_broken_history_is_noticed(self, store: FlowStore, create: Callable[..., Flow]) -> None:
        from sqlalchemy import delete, update

        from mc.store.schema.tables import event, task

        flow = create()
        FlowEngine().run_flow(flow)
        store.save(flow)
        check_history(store, "f")
        one = (task.c.flow_key == "f") & (task.c.key == "one")
        store._database.write(lambda c: c.execute(update(task).where(one).values(status="FAILED")))
        with pytest.raises(AssertionError, match="task 'one' is FAILED at attempt 1"):
            check_history(store, "f")
        store._database.write(lambda c: c.execute(update(task).where(one).values(status="COMPLETED")))
        started = (event.c.task_key == "two") & (event.c.new_status == "RUNNING")
        store._database.write(lambda c: c.execute(delete(event).where(started)))
        with pytest.raises(AssertionError, match="two goes from RUNNING to COMPLETED, but was PENDING"):
            check_history(store, "f")


class TestAttempts:
    def test_each_attempt_is_kept(
        self, store: FlowStore, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        def fail_twice(task: dict[str, Any]) -> None:
            if task["attempt"] < 3:
                raise ValueError(f"attempt {task['attempt']}")
            task["status"] = "COMPLETED"

        retry = {"retry": {"max_attempts": 5, "delay": 10, "jitter": 0}}
        create({"tasks": [{"key": "t", "task_type": "fail", "cfg": retry}]})
        engine = FlowEngine(task_handlers={"fail": fail_twice}, clock=clock)
        for owner in "abc":
            FlowRunner(store, engine, owner=owner).tick()
            clock.advance(10)
        check_history(store, "f")
        attempts = store.history.attempts("f")
        assert [(each.attempt, each.status, each.owner) for each in attempts] == [
            (1, "FAILED", "a"),
            (2, "FAILED", "b"),
            (3, "COMPLETED", "c"),
        ]
        assert [each.error["message"] if each.error else None for each in attempts] == [
            "attempt 1",
            "attempt 2",
            None,
        ]
        starts = [START + timedelta(seconds=seconds) for seconds in (0, 10, 20)]
        assert [each.started_at for each in attempts] == starts == [each.finished_at for each in attempts]

    def test_an_attempt_is_begun_by_one_save_and_ended_by_another(
        self, store: FlowStore, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        create({"tasks": [{"key": "w", "task_type": "wait", "task_params": {"duration": "1h"}}]})
        engine = FlowEngine(clock=clock)
        FlowRunner(store, engine, owner="first").tick()
        check_history(store, "f")
        (attempt,) = store.history.attempts("f")
        assert (attempt.status, attempt.finished_at, attempt.owner) == ("RUNNING", None, "first")
        clock.advance(3600)
        FlowRunner(store, engine, owner="second").tick()
        check_history(store, "f")
        (attempt,) = store.history.attempts("f")
        assert (attempt.status, attempt.started_at, attempt.finished_at) == ("COMPLETED", START, clock.now())
        assert attempt.owner == "second"

    def test_an_attempt_that_is_counted_anew_overwrites_none(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        flow = create({"tasks": [{"key": "t", "task_type": "unheard.of"}]})
        engine.tick_flow(flow)
        store.save(flow)
        flow.change_status("RUNNING")
        flow.tasks["t"].update(attempt=0, status="PENDING")
        engine.tick_flow(flow)
        store.save(flow)
        check_history(store, "f")
        assert [(each.attempt, each.status) for each in store.history.attempts("f")] == [(1, "FAILED")] * 2

    @pytest.mark.parametrize("number", ["one", 2.5, -1, 10**12, None, True])
    def test_a_handler_may_make_nonsense_of_the_number(
        self, store: FlowStore, create: Callable[..., Flow], number: Any, clock: ManualClock
    ) -> None:
        def meddle(task: dict[str, Any], task_ctx: Any) -> None:
            task_ctx["flow"].tasks["two"]["attempt"] = number
            task["status"] = "COMPLETED"

        create({"tasks": [{"key": "one", "task_type": "meddle"}, {"key": "two", "task_type": "noop"}]})
        FlowRunner(store, FlowEngine(task_handlers={"meddle": meddle}, clock=clock)).tick()
        assert store.history.events("f")


class TestLostResults:
    @pytest.fixture
    def loser(self, store: FlowStore, create: Callable[..., Flow]) -> tuple[Flow, Lease]:
        """A runner that ticked the flow when its lease had been taken over."""
        create()
        lease = claim(store, "loser", lease_seconds=0)
        flow = store.load("f")
        claim(store, "winner")
        return flow, lease

    def test_what_the_loser_wanted_to_save_is_kept(
        self, store: FlowStore, engine: FlowEngine, loser: tuple[Flow, Lease]
    ) -> None:
        flow, lease = loser
        flow.tasks["one"]["data"]["result"] = 42
        engine.tick_flow(flow)
        before = told(store)
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease)
        assert told(store) == [
            *before,
            ("lost_result", None, "PENDING", "RUNNING"),
            ("lost_result", "one", "PENDING", "COMPLETED"),
        ]
        whole, task = store.history.events("f")[-2:]
        assert whole.detail == {"tasks": 1, "kept_tasks": 1}
        assert (task.attempt, task.owner, task.token, task.detail) == (
            1,
            "loser",
            1,
            {"data": {"result": 42}},
        )
        assert store.load("f").tasks["one"]["status"] == "PENDING"

    def test_its_error_is_kept_too(
        self, store: FlowStore, create: Callable[..., Flow], clock: ManualClock
    ) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise ValueError("how it ended")

        create({"tasks": [{"key": "t", "task_type": "fail"}]})
        lease = claim(store, "loser", lease_seconds=0)
        flow = store.load("f")
        claim(store, "winner")
        FlowEngine(task_handlers={"fail": fail}, clock=clock).tick_flow(flow)
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease)
        error = store.history.events("f")[-1].error
        assert error is not None
        assert error["message"] == "how it ended"

    def test_large_results_are_shortened(
        self, store: FlowStore, engine: FlowEngine, loser: tuple[Flow, Lease]
    ) -> None:
        flow, lease = loser
        flow.tasks["one"]["data"]["result"] = "x" * 100_000
        for number in range(200):
            flow.add_task({"key": f"t{number}", "task_type": "noop"})
        engine.tick_flow(flow)
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease)
        lost = [event for event in store.history.events("f") if event.kind is EventKind.LOST_RESULT]
        assert len(lost) == 101
        assert lost[0].detail == {"tasks": 201, "kept_tasks": 100}
        detail = lost[1].detail
        assert detail is not None
        assert detail["data_begins"].startswith('{"result":"xxx')
        assert len(detail["data_begins"]) == 2_000
        assert detail["data_length"] == 100_013

    def test_the_winner_goes_on_undisturbed(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        create()
        lost = claim(store, "loser", lease_seconds=0)
        late = store.load("f")
        kept = claim(store, "winner")
        flow = store.load("f")
        engine.tick_flow(late)
        engine.tick_flow(flow)
        with pytest.raises(LeaseLostError):
            store.save(late, lease=lost)
        store.save(flow, lease=kept)
        with pytest.raises(LeaseLostError):
            store.save(late, lease=lost)
        engine.run_flow(flow)
        store.save(flow, lease=kept, release=True)
        check_history(store, "f")
        assert store.summary("f").status == "COMPLETED"

    def test_of_flows_that_are_saved_together_only_the_lost_one_is_evidence(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        for key in "abc":
            create(key=key)
        lost = claim(store, "loser", keys=["b"], lease_seconds=0)
        claim(store, "winner", keys=["b"])
        held = store.claim(owner="loser", limit=5, keys=["a", "c"])
        saves = []
        for lease in (held[0], lost, held[1]):
            flow = store.load(lease.flow_key)
            engine.run_flow(flow)
            saves.append(FinalSave(flow=flow, lease=lease))
        errors = store.save_many(saves)
        assert {key: type(error) for key, error in errors.items()} == {"b": LeaseLostError}
        assert [told(store, key)[-1][0] for key in "abc"] == ["changed", "lost_result", "changed"]
        assert [event[3] for event in told(store, "b")[2:]] == ["COMPLETED"] * 3

    def test_of_a_flow_that_was_deleted_nothing_is_kept(
        self, store: FlowStore, engine: FlowEngine, create: Callable[..., Flow]
    ) -> None:
        create()
        lease = claim(store, lease_seconds=0)
        flow = store.load("f")
        store.upkeep.delete("f")
        engine.tick_flow(flow)
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease)
        with pytest.raises(FlowNotFoundError):
            store.history.events("f")

    def test_several_leases_are_given_back_but_for_the_lost_one(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        for key in "abc":
            create(key=key)
        lost = claim(store, keys=["b"], lease_seconds=0)
        claim(store, "winner", keys=["b"])
        held = store.claim(owner="d", limit=5, keys=["a", "c"])
        with pytest.raises(LeaseLostError, match="flow 'b'") as caught:
            store.release(held[0], lost, held[1])
        assert caught.value.lost == (lost,)
        assert [store.is_held(family_of=key) for key in "abc"] == [False, True, False]


class TestDeletion:
    def test_nothing_of_a_deleted_flow_is_left_but_its_key(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        from sqlalchemy import select

        from mc.store.schema import tables

        flow = create()
        FlowEngine().run_flow(flow)
        store.save(flow)
        store.upkeep.delete("f")
        for table in (tables.event, tables.attempt):
            assert store._database.read(lambda c, table=table: c.execute(select(table)).all()) == []
        rows = store._database.read(lambda c: c.execute(select(tables.used_key)).all())
        assert [tuple(row) for row in rows] == [("f", "2026-01-02T03:04:05.000006+00:00")]

    def test_keys_of_sub_flows_that_were_deleted_with_their_flow_are_used_too(
        self, store: FlowStore, clock: ManualClock, create: Callable[..., Flow]
    ) -> None:
        inner = {"tasks": [{"key": "i", "task_type": "noop"}]}
        create({"tasks": [{"key": "t", "task_type": "flow", "task_params": {"flow_spec": inner}}]})
        FlowRunner(store, FlowEngine(clock=clock)).tick()
        keys = store.upkeep.delete("f")
        assert len(keys) == 2
        for key in keys:
            with pytest.raises(FlowExistsError, match="was used before") as caught:
                create(key=key)
            assert caught.value.deleted_at == "2026-01-02T03:04:05.000006+00:00"

    def test_of_many_flows_one_used_key_refuses_all(
        self, store: FlowStore, create: Callable[..., Flow]
    ) -> None:
        create(key="b")
        store.upkeep.delete("b")
        with pytest.raises(FlowExistsError, match="'b' was used before"):
            store.create_many([Flow(key=key) for key in "abc"])
        assert store.query() == []


# --- the same flow, the same history -------------------------------------------------------


@cache
def random_specs(part: int, count: int) -> tuple[dict[str, Any], ...]:
    """Return so many specs, the same in each run, each with a key of its own."""
    found: list[dict[str, Any]] = []

    @seed(part)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(wild_specs() | meddling_specs())
    def collect(spec: dict[str, Any]) -> None:
        found.append(spec)

    while len(found) < count:
        collect()
    for number, spec in enumerate(found):
        spec["key"] = f"flow-{number}"
        if number % 4:
            for task in spec["tasks"]:
                task["task_type"] = "pure"
    return tuple(found[:count])


class Recorder:
    def __init__(self) -> None:
        self.changes: list[Change] = []

    def on_change(self, event: ChangeEvent) -> None:
        at = datetime.fromisoformat(event.at)
        change = (event.task_key, event.attempt, event.old_status, event.new_status, at)
        self.changes.append((*change, *_brief(event.error)))


def _brief(error: dict[str, Any] | None) -> tuple[Any, ...]:
    return (error["type"], error["message"]) if error else (None, None)


def changes_of(events: list[Event]) -> list[Change]:
    return [
        (event.task_key, event.attempt, event.old_status, event.new_status, event.at, *_brief(event.error))
        for event in events
        if event.kind is EventKind.CHANGED
    ]


@cache
def changes_in_memory(part: int, count: int) -> dict[str, list[Change]]:
    """Tick each flow by itself, and return what the observer was told by flow."""
    found = {}
    for spec in random_specs(part, count):
        clock, recorder = ManualClock(START), Recorder()
        engine = FlowEngine(task_handlers=HANDLERS, clock=clock, observers=[recorder])
        flow = engine.flow_spec_to_flow(spec)
        while flow.status not in {"COMPLETED", "FAILED"}:
            due = engine.tick_flow(flow).next_tick_at
            if due is not None:
                clock.advance(max((due - clock.now()).total_seconds(), 0))
        found[flow.key] = recorder.changes
    return found


@contextmanager
def flows_at_their_end(name: str, part: int, count: int) -> Iterator[FlowStore]:
    """Yield a store in which all flows were ticked by one runner, each when it was due."""
    clock = ManualClock(START)
    with ExitStack() as stack:
        options = {}
        if name == IN_PARTS:
            stack.enter_context(never_read_whole())
            name, options = "sqlite", {"partial_from": 1}
        store = stack.enter_context(FlowStore(stack.enter_context(fresh_url(name)), clock=clock, **options))
        engine = FlowEngine(task_handlers=HANDLERS, clock=clock)
        store.create_many([engine.flow_spec_to_flow(spec) for spec in random_specs(part, count)])
        runner = FlowRunner(store, engine)
        due = store.next_due_at()
        while due is not None:
            clock.advance(max((due - clock.now()).total_seconds(), 0))
            report = runner.tick()
            assert not report.errors
            due = report.next_tick_at
        yield store


@pytest.mark.reliability(sample=1, of_each="name")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", [*DATABASES, IN_PARTS])
def test_random_flows_have_the_history_that_they_have_without_a_store(
    name: str, part: int, trial: Trial
) -> None:
    count = trial.size(WHOLE, SAMPLE)
    expected = changes_in_memory(part, count)
    with flows_at_their_end(name, part, count) as store:
        found = {key: store.history.events(key) for key in expected}
        for key in expected:
            check_history(store, key)
    assert len(found) == count
    told_of = {change[3] for changes in expected.values() for change in changes}
    assert told_of >= {*TASK_CHANGES} or not trial.whole, "the specs are too tame"
    for spec in random_specs(part, count):
        key = spec["key"]
        assert changes_of(found[key]) == expected[key], spec
        times = [event.recorded_at for event in found[key]]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert replay(found[key]).breaks == []
