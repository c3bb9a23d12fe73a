"""Several processes that work on one store at the same time."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text, update

from mc.clock import ManualClock
from mc.errors import FlowExistsError, LeaseLostError, StoreBusyError, StoreError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Wake
from mc.store.rows.wakes import FINISHED, add_wake
from mc.store.saving.flow_saver import Outbox
from mc.store.schema import tables

CHAIN = {"tasks": [{"key": "one", "task_type": "noop"}, {"key": "two", "task_type": "noop"}]}
SCALE = int(os.environ.get("MC_TEST_SCALE", "1"))
PATIENCE = 20  # seconds until a test gives up on a rival that hangs


@pytest.fixture
def store(shared_url: str) -> Iterator[FlowStore]:
    with FlowStore(shared_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def rivals() -> Iterator[ProcessPoolExecutor]:
    """Four processes that share nothing with this one but the database."""
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        yield pool


def claim_all(url: str, owner: str, limit: int) -> list[tuple[str, int]]:
    with FlowStore(url) as store:
        claimed: list[tuple[str, int]] = []
        while leases := store.claim(owner=owner, limit=limit):
            claimed += [(lease.flow_key, lease.token) for lease in leases]
        return claimed


def run_all(url: str, owner: str) -> dict[str, Any]:
    with FlowStore(url) as store:
        return FlowRunner(store, FlowEngine(), owner=owner, batch_size=5).tick().to_dict()


def create(url: str, key: str, number: int) -> str:
    with FlowStore(url) as store:
        try:
            store.create(Flow.from_flow_spec(CHAIN, key=key, data={"by": number}))
        except FlowExistsError:
            return "exists"
        return f"created {number}"


def create_and_delete(url: str, number: int) -> int:
    with FlowStore(url) as store:
        for turn in range(10):
            flow = Flow.from_flow_spec(CHAIN, key=f"{number}-{turn}")
            store.create(flow)
            store.upkeep.delete(flow.key)
    return number


class TestProcesses:
    def test_processes_claim_disjoint_sets_that_are_all_there_is(
        self, store: FlowStore, shared_url: str, rivals: ProcessPoolExecutor
    ) -> None:
        keys = [f"f{number}" for number in range(200 * SCALE)]
        store.create_many(Flow.from_flow_spec(CHAIN, key=key) for key in keys)
        asked = [rivals.submit(claim_all, shared_url, f"runner {n}", 7) for n in range(4)]
        claimed = [found for future in asked for found in future.result(PATIENCE * SCALE)]
        assert Counter(key for key, _ in claimed) == Counter(keys)
        assert {token for _, token in claimed} == {1}

    def test_processes_run_each_flow_once(
        self, store: FlowStore, shared_url: str, rivals: ProcessPoolExecutor
    ) -> None:
        count = 60 * SCALE
        store.create_many(Flow.from_flow_spec(CHAIN, key=f"f{number}") for number in range(count))
        asked = [rivals.submit(run_all, shared_url, f"runner {n}") for n in range(4)]
        reports = [future.result(PATIENCE * SCALE) for future in asked]
        assert sum(report["completed"] for report in reports) == count
        assert sum(report["tasks"] for report in reports) == 2 * count
        assert sum(report["lost"] for report in reports) == 0
        assert len(store.query(status="COMPLETED")) == count

    def test_one_of_many_that_create_a_flow_with_the_same_key_succeeds(
        self, store: FlowStore, shared_url: str, rivals: ProcessPoolExecutor
    ) -> None:
        store.query()
        for turn in range(5):
            asked = [rivals.submit(create, shared_url, f"same-{turn}", number) for number in range(4)]
            outcomes = sorted(future.result(PATIENCE) for future in asked)
            assert outcomes[1:] == ["exists"] * 3
            assert outcomes[0] == f"created {store.load(f'same-{turn}').data['by']}"

    def test_a_spec_that_flows_share_comes_and_goes_with_them(
        self, store: FlowStore, shared_url: str, rivals: ProcessPoolExecutor
    ) -> None:
        store.query()
        asked = [rivals.submit(create_and_delete, shared_url, number) for number in range(4)]
        assert [future.result(PATIENCE) for future in asked] == [0, 1, 2, 3]
        store.create(Flow.from_flow_spec(CHAIN, key="last"))
        assert store.load("last").spec == CHAIN
        store.upkeep.delete("last")
        count = store._database.read(
            lambda connection: connection.scalar(text("SELECT count(*) FROM mc_spec"))
        )
        assert count == 0

    def test_a_runner_that_comes_late_changes_nothing(self, store: FlowStore, shared_url: str) -> None:
        store.create(Flow.from_flow_spec(CHAIN, key="f"))
        (old,) = store.claim(owner="slow", lease_seconds=0)
        slow = store.load("f")
        FlowEngine().run_flow(slow)
        with FlowStore(shared_url) as other:
            (new,) = other.claim(owner="quick")
            assert new.token > old.token
        with pytest.raises(LeaseLostError):
            store.save(slow, lease=old, release=True, outbox=Outbox(started={"child": Flow(key="child")}))
        assert [(flow.key, flow.status) for flow in store.query()] == [("f", "PENDING")]
        assert store.load("f").count_tasks() == {"PENDING": 2}


class TestFairness:
    def test_what_is_due_longest_has_a_share_of_each_claim(self, store: FlowStore) -> None:
        clock = store.clock = ManualClock()
        store.create_many(Flow(key=f"patient {n}") for n in range(4))
        clock.advance(1)
        store.create_many(Flow(key=f"urgent {n:02}", cfg={"priority": 9}) for n in range(40))
        claimed = [lease.flow_key for lease in store.claim(owner="d", limit=16)]
        assert claimed == [*(f"urgent {n:02}" for n in range(14)), "patient 0", "patient 1"]

    def test_each_flow_has_its_turn_however_many_urgent_ones_come_back_at_once(
        self, store: FlowStore
    ) -> None:
        clock = store.clock = ManualClock()
        polling = {"tasks": [{"key": "t", "task_type": "wait", "task_params": {"duration": 1}}]}
        store.create_many(Flow(key=f"low {n}", cfg={"priority": -n}) for n in range(5))
        urgent = [Flow.from_flow_spec(polling, key=f"high {n}", cfg={"priority": 9}) for n in range(12)]
        store.create_many(urgent)
        turns = Counter[str]()
        for _ in range(17):
            clock.advance(1)
            for lease in store.claim(owner="d", limit=8):
                turns[lease.flow_key] += 1
                store.save(store.load(lease.flow_key), lease=lease, release=True)  # due again now
        assert {f"low {n}" for n in range(5)} <= set(turns)
        assert sum(count for key, count in turns.items() if key.startswith("high")) > 100

    def test_of_equal_priority_the_longest_due_comes_first_and_then_the_oldest(
        self, store: FlowStore
    ) -> None:
        clock = store.clock = ManualClock()
        for key in ("b", "a", "c"):
            store.create(Flow(key=key))
            clock.advance(1)
        later = store.load("b")
        store.save(later)  # is due from now on
        assert [lease.flow_key for lease in store.claim(owner="d", limit=3)] == ["a", "c", "b"]


class Rival:
    """A transaction in another thread that stops before its commit until it is told to go on."""

    def __init__(self, store: FlowStore, work: Callable[[Connection], object]) -> None:
        self.work = work
        self.has_worked, self.may_commit = Event(), Event()
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(store._database.write, self._transact)
        assert self.has_worked.wait(PATIENCE), self._future.exception(0)

    def _transact(self, connection: Connection) -> None:
        self.work(connection)
        self.has_worked.set()
        assert self.may_commit.wait(PATIENCE)

    def commit(self) -> None:
        self.may_commit.set()
        self._future.result(PATIENCE)
        self._pool.shutdown()


@pytest.mark.parametrize("database", ["postgres", "mariadb"], indirect=True)  # SQLite has one writer
class TestRaces:
    def parent_that_waits(self, store: FlowStore) -> Flow:
        wait = {"key": "t", "task_type": "wait", "task_params": {"duration": 3600}}
        parent = Flow.from_flow_spec({"tasks": [wait]}, key="parent")
        store.create(parent)
        return parent

    def test_a_wake_that_is_committed_while_a_save_waits_for_it_is_not_lost(self, store: FlowStore) -> None:
        parent = self.parent_that_waits(store)
        (lease,) = store.claim(owner="d")
        FlowEngine().tick_flow(parent)
        wake = Wake(kind=FINISHED, source_key="child")
        rival = Rival(store, lambda connection: add_wake(connection, "parent", wake, "2026"))
        with ThreadPoolExecutor(1) as pool:
            saving = pool.submit(store.save, parent, lease=lease, release=True)
            with pytest.raises(TimeoutError):
                saving.result(0.3)  # waits for the rival's lock
            rival.commit()
            saving.result(PATIENCE)
        assert [lease.flow_key for lease in store.claim(owner="d")] == ["parent"]

    def test_a_wake_that_comes_while_a_save_is_not_committed_yet_is_not_lost(self, store: FlowStore) -> None:
        parent = self.parent_that_waits(store)
        (lease,) = store.claim(owner="d")
        FlowEngine().tick_flow(parent)
        wrote, may_commit = Event(), Event()

        def stop(_connection: Connection) -> None:
            if not wrote.is_set():
                wrote.set()
                assert may_commit.wait(PATIENCE)

        event.listen(store._database._engine, "commit", stop)
        wake = Wake(kind=FINISHED, source_key="child")
        now = parent.tasks["t"]["started_at"]
        with ThreadPoolExecutor(2) as pool:
            saving = pool.submit(store.save, parent, lease=lease, release=True)
            assert wrote.wait(PATIENCE)
            waking = pool.submit(
                store._database.write, lambda connection: add_wake(connection, "parent", wake, now)
            )
            with pytest.raises(TimeoutError):
                waking.result(0.3)  # waits for the save
            may_commit.set()
            saving.result(PATIENCE)
            waking.result(PATIENCE)
        assert [lease.flow_key for lease in store.claim(owner="d")] == ["parent"]

    def test_a_flow_is_not_deleted_while_a_claim_of_it_is_about_to_be_committed(
        self, store: FlowStore
    ) -> None:
        store.create(Flow(key="f"))
        rival = Rival(
            store,
            lambda connection: connection.execute(
                text("UPDATE mc_flow SET lease_owner = 'quick', lease_expires_at = '9999', lease_token = 1")
            ),
        )
        with ThreadPoolExecutor(1) as pool:
            deleting = pool.submit(store.upkeep.delete, "f")
            with pytest.raises(TimeoutError):
                deleting.result(0.3)
            rival.commit()
            with pytest.raises(StoreError, match="being ticked by quick"):
                deleting.result(PATIENCE)
        assert store.summary("f").key == "f"

    def test_a_claim_passes_over_flows_that_others_have_locked(self, store: FlowStore) -> None:
        clock = store.clock = ManualClock()
        for key in ("a", "b", "c"):
            store.create(Flow(key=key))
            clock.advance(1)
        locked = select(tables.flow.c.key).where(tables.flow.c.key == "a").with_for_update()
        rival = Rival(store, lambda connection: connection.execute(locked).all())
        claimed = [lease.flow_key for lease in store.claim(owner="d", limit=1)]
        assert claimed == ["b"]
        rival.commit()
        assert [lease.flow_key for lease in store.claim(owner="d", limit=3)] == ["a", "c"]

    def test_transactions_that_lock_each_other_out_are_tried_again(self, store: FlowStore) -> None:
        store.create_many([Flow(key="a"), Flow(key="b")])
        meeting: list[Event] = [Event(), Event()]
        runs = Counter[int]()

        def work(number: int, connection: Connection) -> None:
            runs[number] += 1
            first, second = ("a", "b") if number == 0 else ("b", "a")
            row = tables.flow.c
            touch = update(tables.flow).values(priority=row.priority + 1)
            connection.execute(touch.where(row.key == first))
            meeting[number].set()
            assert meeting[1 - number].wait(PATIENCE)
            connection.execute(touch.where(row.key == second))

        with ThreadPoolExecutor(2) as pool:
            writes = [
                pool.submit(store._database.write, lambda connection, n=n: work(n, connection))
                for n in (0, 1)
            ]
            for each in writes:
                each.result(PATIENCE)
        priorities = text("SELECT priority FROM mc_flow")
        found = store._database.read(lambda connection: list(connection.scalars(priorities)))
        assert found == [2, 2]
        assert sum(runs.values()) > 2

    def test_a_lock_that_is_not_given_up_ends_in_an_error_that_says_so(
        self, store: FlowStore, shared_url: str
    ) -> None:
        store.create(Flow(key="f"))
        lock = text("UPDATE mc_flow SET label = 'held'")
        rival = Rival(store, lambda connection: connection.execute(lock))
        with FlowStore(shared_url, busy_seconds=1) as other:
            flow = other.load("f")
            with pytest.raises(StoreBusyError, match="holds a lock; try again"):
                other.save(flow)
        rival.commit()

    def test_flows_are_loaded_as_they_stood_at_one_moment(self, store: FlowStore) -> None:
        store.create(Flow.from_flow_spec(CHAIN, key="f"))
        changed = store.load("f")
        FlowEngine().run_flow(changed)
        pending = [changed]

        @event.listens_for(store._database._engine, "after_cursor_execute")
        def save_between(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith("SELECT mc_flow") and pending:
                store.save(pending.pop())

        loaded = store.load("f")
        assert (loaded.status, loaded.count_tasks()) == ("PENDING", {"PENDING": 2})
        assert store.load("f").count_tasks() == {"COMPLETED": 2}
