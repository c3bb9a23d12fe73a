"""The state machine: runners and people do what they like with a store, and a model says what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, select, update

from mc.clock import ManualClock
from mc.errors import (
    FlowExistsError,
    FlowFormatError,
    FlowNotFoundError,
    LeaseLostError,
    StaleFlowError,
    StoreError,
)
from mc.flows.flow import Flow
from mc.flows.services import SERVICES
from mc.houston import Houston
from mc.runners.claimed_flow import ClaimedFlow
from mc.runners.flow_runner import FlowRunner
from mc.runners.services.stored_sub_flows import StoredSubFlows
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.saving.flow_saver import Outbox
from mc.store.schema import tables
from tests.reliability.stateful.model import Known, Model, Wake
from tests.reliability.stateful.workload import HANDLERS, KINDS, make_engine
from tests.support.invariants import Seen, check_store
from tests.support.ticking import make_calls, save_at_last

__all__ = ["Place", "StoreMachine"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

BEGINNING = datetime(2026, 1, 2, tzinfo=UTC)
LONG_AGO = "2000-01-01T00:00:00.000000+00:00"
RUNNERS = ("A", "B", "C")
MOST = 6  # flows, before no more are submitted
SUBMITTED = (*(name for name in KINDS if not name.endswith("inside")), "parent", "parent of a failure")
BATCH = 2
INDEX = st.integers(0, 5)
ACTS = st.sampled_from(["label", "cancel", "pause", "pause", "resume", "resume"])


class Place:
    """A database with a connection of its own for each runner, used by one example after the other.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self.clock = ManualClock(BEGINNING)
        self.houston = Houston(url, clock=self.clock, task_handlers=HANDLERS)
        self.stores = {name: FlowStore(url, clock=self.clock) for name in RUNNERS}

    def reset(self) -> None:
        """Remove all rows, and set the clock back."""
        self.clock.advance((BEGINNING - self.clock.now()).total_seconds())
        self.houston.store._database.write(_remove_rows)
        for store in (self.houston.store, *self.stores.values()):
            store._seen.forget()  # what it took for a backup that was restored
            store._turn = None

    def close(self) -> None:
        self.houston.close()
        for store in self.stores.values():
            store.close()


@dataclass
class Held:
    """A flow as a runner loaded it under a lease."""

    store: FlowStore
    lease: Lease
    flow: Flow
    wakes: frozenset[Wake]


@dataclass
class InHand:
    """A flow as somebody loaded it who is no runner."""

    flow: Flow
    known: Known  # the model's object, to tell whether it was deleted
    version: int


class StoreMachine(RuleBasedStateMachine):
    """Does one thing after another to a store and to the model, and compares them.

    Args:
        place: where the store is.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.clock = place.clock
        self.houston, self.store = place.houston, place.houston.store
        self.engine = make_engine(self.clock)

    @initialize(kinds=st.lists(st.sampled_from(SUBMITTED), min_size=1, max_size=3))
    def begin(self, kinds: list[str]) -> None:
        self.place.reset()
        self.model = Model(self.clock)
        self.held: list[Held] = []
        self.in_hand: list[InHand] = []
        self.seen = Seen()
        self.events: list[tuple[Any, ...]] = []
        self.tokens: dict[str, int] = {}
        self.copies = 0
        self.submitted = 0
        for kind in kinds:
            self.submit_new(kind)

    # --- people ----------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.flows) < MOST)
    @rule(kind=st.sampled_from(SUBMITTED), number=st.integers(0, 1))
    def submit(self, kind: str, number: int) -> None:
        self.submit_new(kind, number)

    def submit_new(self, kind: str, number: int = 0) -> None:
        self.submitted += 1
        key, data = f"f{self.submitted}", {"number": number}
        assert self.houston.submit_once(KINDS[kind].spec, data, key=key) == (key, True)
        self.model.add(key, kind, data)

    @precondition(lambda self: self.submitted)
    @rule(index=INDEX, kind=st.sampled_from(SUBMITTED), number=st.integers(0, 1), same=st.booleans())
    def submit_again(self, index: int, kind: str, number: int, same: bool) -> None:
        key = f"f{index % self.submitted + 1}"
        known, data = self.model.flows.get(key), {"number": number}
        if known is not None and same:
            kind, data = known.kind_name, known.data

        def submit() -> bool:
            return self.houston.submit_once(KINDS[kind].spec, data, key=key).created

        if known is not None and (known.kind_name, known.data) == (kind, data):
            assert not self.changes_nothing(submit)
        else:
            error = self.refused(FlowExistsError, submit)
            assert ("deleted_at" in error.details) == (key in self.model.used)

    @precondition(lambda self: self.model.flows)
    @rule(index=INDEX)
    def load_by_hand(self, index: int) -> None:
        known = self.pick(list(self.model.flows.values()), index)
        self.in_hand.append(InHand(self.store.load(known.key), known, known.version))

    @precondition(lambda self: self.in_hand)
    @rule(index=INDEX, act=ACTS)
    def save_by_hand(self, index: int, act: str) -> None:
        """Change and save a flow that was loaded some time ago."""
        self.save_in_hand(self.take(self.in_hand, index), act)

    @precondition(lambda self: self.model.flows)
    @rule(index=INDEX, act=ACTS)
    def change_at_once(self, index: int, act: str) -> None:
        self.change_now(self.pick(list(self.model.flows.values()), index), act)

    @precondition(lambda self: self.waiting_parents())
    @rule(index=INDEX)
    def pause_what_waits_for_a_sub_flow(self, index: int) -> None:
        self.change_now(self.pick(self.waiting_parents(), index), "pause")

    @precondition(lambda self: self.stopped())
    @rule(index=INDEX)
    def resume(self, index: int) -> None:
        self.change_now(self.pick(self.stopped(), index), "resume")

    def waiting_parents(self) -> list[Known]:
        found = [known for known in self.model.flows.values() if known.status == "RUNNING"]
        return [known for known in found if known.child is not None]

    def stopped(self) -> list[Known]:
        return [known for known in self.model.flows.values() if known.status in ("PAUSED", "BLOCKED")]

    def change_now(self, known: Known, act: str) -> None:
        self.save_in_hand(InHand(self.store.load(known.key), known, known.version), act)

    def save_in_hand(self, hand: InHand, act: str) -> None:
        flow, known, outbox = hand.flow, hand.known, Outbox()
        apply = self.change(flow, act, outbox)

        def save() -> None:
            self.store.save(flow, outbox=outbox)

        if self.model.flows.get(known.key) is not known:
            self.refused(FlowNotFoundError, save)
        elif known.is_held or known.version != hand.version:
            self.refused(StaleFlowError, save)
        else:
            save()
            apply(known)
            self.model.save_by_hand(known)

    def change(self, flow: Flow, act: str, outbox: Outbox) -> Callable[[Known], None]:
        """Change a flow in memory, and return what does the same to the model."""
        if act == "cancel":
            service = StoredSubFlows(store=self.store, outbox=outbox, on_outage=pytest.fail)
            ctx = {SERVICES: replace(self.engine.services, sub_flows=service)}
            self.engine.cancel_flow(flow, "a person wants it", ctx)
            return self.model.cancel
        if act == "pause" and flow.status in ("PENDING", "RUNNING", "BLOCKED"):
            flow.change_status("PAUSED")
            return lambda known: setattr(known, "status", "PAUSED")
        if act == "resume" and flow.status in ("PAUSED", "BLOCKED"):
            flow.change_status("RUNNING")
            flow.blocked_reason = None
            return lambda known: setattr(known, "status", "RUNNING")
        flow.label = f"{act} at {self.clock.now()}"
        return lambda known: None

    @precondition(lambda self: len(self.model.flows) >= MOST / 2)
    @rule(index=INDEX)
    def delete(self, index: int) -> None:
        self.delete_flow(self.pick(list(self.model.flows), index))

    @precondition(lambda self: self.waiting_parents())
    @rule(index=INDEX)
    def delete_a_sub_flow(self, index: int) -> None:
        child = self.pick(self.waiting_parents(), index).child
        if child in self.model.flows:
            self.delete_flow(child)

    def delete_flow(self, key: str) -> None:
        gone = self.model.delete(key)
        if gone is None:
            self.refused(StoreError, lambda: self.store.upkeep.delete(key))
        else:
            assert sorted(self.store.upkeep.delete(key)) == sorted(gone)
            self.refused(FlowNotFoundError, lambda: self.store.upkeep.delete(key))

    @precondition(lambda self: len(self.model.flows) >= MOST / 2)
    @rule(hours=st.sampled_from([0, 0, 1]), keep_failed=st.booleans())
    def prune(self, hours: int, keep_failed: bool) -> None:
        age = timedelta(hours=hours)
        would = self.changes_nothing(
            lambda: self.store.upkeep.prune(age, keep_failed=keep_failed, dry_run=True).flows
        )
        gone = self.model.prune(age, keep_failed)
        assert self.store.upkeep.prune(age, keep_failed=keep_failed).flows == len(gone) == would

    @precondition(lambda self: self.model.flows and self.copies < 3)
    @rule(index=INDEX)
    def export_and_import(self, index: int) -> None:
        known = self.pick(list(self.model.flows.values()), index)
        exported = json.loads(json.dumps(self.houston.export(known.key)))
        if known.child is not None and not known.is_finished:
            # its sub-flow tells the original of its end, and nobody else
            self.refused(FlowFormatError, lambda: self.houston.import_(exported, key="copy"))
            return
        self.refused(FlowExistsError, lambda: self.houston.import_(exported))
        self.copies += 1
        key = self.houston.import_(exported, key=f"copy{self.copies}")
        assert self.houston.export(key) == {**exported, "key": key}
        self.model.copy(known.key, key)

    @rule(seconds=st.sampled_from([1, 30, 60, 3600]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # --- runners ---------------------------------------------------------------------------

    @rule(runner=st.sampled_from(RUNNERS))
    def tick(self, runner: str) -> None:
        self.model.run_tick(runner, BATCH)
        store = self.place.stores[runner]
        assert FlowRunner(store, self.engine, owner=runner, batch_size=BATCH).tick().errors == []

    @rule(runner=st.sampled_from(RUNNERS), limit=st.integers(1, 3))
    def claim(self, runner: str, limit: int) -> None:
        self.claim_as(runner, limit)

    def claim_as(self, runner: str, limit: int) -> None:
        store = self.place.stores[runner]
        expected = self.model.claim(runner, limit)
        store._turn = 0  # so that no place is that of the flow which is due longest
        leases = store.claim(owner=runner, limit=limit)
        assert [(lease.flow_key, lease.token, lease.lost_leases) for lease in leases] == [
            (known.key, known.token, known.lost) for known in expected
        ]
        for lease, known in zip(leases, expected, strict=True):
            flow = store.load(lease.flow_key)
            wakes = frozenset((wake.kind, wake.source_key) for wake in store.state_of(flow).wakes)
            assert wakes == known.wakes, known.key
            self.held.append(Held(store, lease, flow, wakes))

    @precondition(lambda self: self.is_due())
    @rule(runner=st.sampled_from(RUNNERS))
    def claim_what_is_due(self, runner: str) -> None:
        self.claim_as(runner, 1)

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def work(self, index: int) -> None:
        """Tick a flow that was claimed, perhaps long ago, and save it."""
        self.work_on(self.take(self.held, index))

    @precondition(lambda self: self.held)
    @rule(index=INDEX, runner=st.sampled_from(RUNNERS), rival_works=st.booleans())
    def come_late(self, index: int, runner: str, rival_works: bool) -> None:
        """Save a flow whose lease ran out, after others took up what was due."""
        held = self.take(self.held, index)
        self.let_run_out(held.lease)
        self.claim_as(runner, 3)
        if rival_works and self.held:
            self.work_on(self.held.pop())
        self.work_on(held)

    def work_on(self, held: Held) -> None:
        lease = held.lease
        if self.is_held(lease):
            self.model.work(self.model.flows[lease.flow_key], held.wakes)
            self.finish(held)
            return
        before, stored = self.read(_events), lease.flow_key in self.model.flows
        self.refused(LeaseLostError, lambda: self.finish(held), but="mc_event")
        evidence = self.read(_events)[len(before) :]
        kinds = {(event.flow_key, event.kind, event.owner, event.token) for event in evidence}
        said = (lease.flow_key, EventKind.LOST_RESULT, lease.owner, lease.token)
        assert kinds == ({said} if stored else set())

    def finish(self, held: Held) -> None:
        """Do what a driver does with a flow that it has claimed and loaded."""
        claimed = ClaimedFlow(
            held.store, self.engine, held.lease, held.flow, task_ctx={}, must_stop=lambda: False
        )
        save_at_last(held.store, held.lease, make_calls(claimed))

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def renew(self, index: int) -> None:
        held = self.pick(self.held, index)
        if self.is_held(held.lease):
            held.lease = held.store.renew(held.lease)
            self.model.flows[held.lease.flow_key].ran_out = False
        else:
            self.refused(LeaseLostError, lambda: held.store.renew(held.lease))

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def release(self, index: int) -> None:
        self.let_go(index, lambda held: held.store.release(held.lease), self.model.give_back)

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def release_as_lost(self, index: int) -> None:
        self.let_go(
            index,
            lambda held: held.store.release(held.lease, lost_calls=held.lease.lost_calls),
            self.model.give_back_as_lost,
        )

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def block(self, index: int) -> None:
        self.let_go(index, lambda held: held.store.block(held.lease, "it is broken"), self.model.block)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, seconds=st.sampled_from([1, 60]))
    def set_aside(self, index: int, seconds: float) -> None:
        until = self.clock.now() + timedelta(seconds=seconds)
        self.let_go(
            index,
            lambda held: held.store.set_aside(held.lease, until),
            lambda known: self.model.set_aside(known, until),
        )

    def let_go(self, index: int, act: Callable[[Held], None], expect: Callable[[Known], None]) -> None:
        held = self.take(self.held, index)
        if self.is_held(held.lease):
            act(held)
            expect(self.model.flows[held.lease.flow_key])
        else:
            self.refused(LeaseLostError, lambda: act(held))

    @precondition(lambda self: self.held)
    @rule(index=INDEX, vanishes=st.booleans())
    def lease_runs_out(self, index: int, vanishes: bool) -> None:
        """Let a lease run out; its runner is gone, or comes back late."""
        held = self.take(self.held, index) if vanishes else self.pick(self.held, index)
        self.let_run_out(held.lease)

    def let_run_out(self, lease: Lease) -> None:
        if self.is_held(lease):
            here = tables.flow.c.key == lease.flow_key
            statement = update(tables.flow).where(here).values(lease_expires_at=LONG_AGO)
            self.store._database.write(lambda connection: connection.execute(statement))
            self.model.flows[lease.flow_key].ran_out = True

    # --- what holds after each of them -----------------------------------------------------

    @invariant()
    def the_rows_are_sound(self) -> None:
        check_store(self.store, self.seen)

    @invariant()
    def the_flows_are_those_of_the_model(self) -> None:
        stored = {row.key: row for row in self.read(_flows)}
        assert stored.keys() == self.model.flows.keys()
        for key, known in self.model.flows.items():
            row = stored[key]
            found = (row.status, row.lease_token, row.lease_owner, row.lost_leases, row.waiter_key)
            assert found == (known.status, known.token, known.owner, known.lost, known.waiter), key
            assert _parse(row.next_tick_at) == known.due, key
            assert known.token >= self.tokens.get(key, 0)
            self.tokens[key] = known.token

    @invariant()
    def it_is_known_when_a_flow_is_due(self) -> None:
        times = [known.due for known in self.model.flows.values() if known.due and not known.is_held]
        assert self.store.next_due_at() == min(times, default=None)

    @invariant()
    def the_history_only_grows(self) -> None:
        events = self.read(_events)
        before = [event for event in self.events if event[0] in self.model.flows]
        assert events[: len(before)] == before
        self.events = events

    # --- inside ----------------------------------------------------------------------------

    def is_held(self, lease: Lease) -> bool:
        return self.model.holds(lease.flow_key, lease.token)

    def is_due(self) -> bool:
        return any(
            known.due is not None and known.due <= self.clock.now() and not known.is_held
            for known in self.model.flows.values()
        )

    def read(self, work: Callable[[Connection], T]) -> T:
        return self.store._database.read(work)

    def refused(self, error: type[E], act: Callable[[], object], but: str = "") -> E:
        """Make sure that something is refused with that error, and changes nothing."""

        def refuse() -> E:
            with pytest.raises(error) as found:
                act()
            assert type(found.value) is error, repr(found.value)
            return found.value

        return self.changes_nothing(refuse, but)

    def changes_nothing(self, act: Callable[[], T], but: str = "") -> T:
        """Make sure that no row changes, but those of one table."""
        before = self.read(lambda connection: _rows(connection, but))
        result = act()
        assert self.read(lambda connection: _rows(connection, but)) == before
        return result

    @staticmethod
    def pick(found: list[T], index: int) -> T:
        return found[index % len(found)]

    @staticmethod
    def take(found: list[T], index: int) -> T:
        return found.pop(index % len(found))


def _parse(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _flows(connection: Connection) -> list[Any]:
    return list(connection.execute(select(tables.flow)))


def _events(connection: Connection) -> list[Any]:
    return list(connection.execute(select(tables.event).order_by(tables.event.c.id)))


def _rows(connection: Connection, but: str) -> dict[str, list[Any]]:
    return {
        table.name: sorted(map(repr, connection.execute(select(table))))
        for table in tables.metadata.sorted_tables
        if table.name != but
    }


def _remove_rows(connection: Connection) -> None:
    for table in reversed(tables.metadata.sorted_tables):
        if table is not tables.schema:
            connection.execute(table.delete())
