"""The contract of a store, on every kind of database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mc.clock import ManualClock
from mc.errors import (
    FlowExistsError,
    FlowFormatError,
    FlowNotFoundError,
    LeaseLostError,
    NotJsonError,
    StaleFlowError,
    StoreError,
)
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.saving.flow_saver import Outbox

START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
CHAIN = {
    "label": "a chain",
    "data": {"n": 1},
    "tasks": [{"key": "one", "task_type": "noop"}, {"key": "two", "task_type": "noop"}],
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(clock=clock)


@pytest.fixture
def make(store: FlowStore) -> Callable[..., Flow]:
    """Make a flow and store it."""

    def make(key: str = "f", spec: dict[str, Any] | None = None, **overrides: Any) -> Flow:
        flow = Flow.from_flow_spec(spec or CHAIN, key=key, **overrides)
        store.create(flow)
        return flow

    return make


def claim_one(store: FlowStore, owner: str = "runner", **options: Any) -> Lease:
    (lease,) = store.claim(owner=owner, **options)
    return lease


def text_of(flow: Flow) -> str:
    return json.dumps(flow.to_flow_dict())


class TestCreateAndLoad:
    def test_a_loaded_flow_is_the_flow_that_was_stored(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        loaded = store.load("f")
        loaded.check_invariants()
        assert text_of(loaded) == text_of(flow)

    def test_a_flow_is_stored_as_it_is_at_every_tick(
        self, store: FlowStore, engine: FlowEngine, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        while flow.status != "COMPLETED":
            engine.tick_flow(flow)
            store.save(flow)
            assert text_of(store.load("f")) == text_of(flow)

    def test_a_flow_that_has_begun_can_be_stored(self, store: FlowStore, engine: FlowEngine) -> None:
        flow = Flow.from_flow_spec(CHAIN, key="begun")
        engine.tick_flow(flow)
        store.create(flow)
        assert store.load("begun").tasks["one"]["status"] == "COMPLETED"

    def test_a_flow_from_another_store_is_stored_whole(
        self, store: FlowStore, make: Callable[..., Flow], tmp_path: Path
    ) -> None:
        make()
        flow = store.load("f")
        with FlowStore(f"sqlite:///{tmp_path}/other.sqlite3") as other:
            other.create(flow)
            assert text_of(other.load("f")) == text_of(flow)

    def test_a_taken_key_is_refused_and_the_stored_flow_stays(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        with pytest.raises(FlowExistsError, match="'f' is stored already") as caught:
            make(spec={"tasks": []})
        assert caught.value.key == "f"
        assert text_of(store.load("f")) == text_of(flow)

    def test_many_flows_are_stored_together_or_not_at_all(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make("b")
        flows = [Flow.from_flow_spec(CHAIN, key=key) for key in "abc"]
        with pytest.raises(FlowExistsError):
            store.create_many(flows)
        assert [summary.key for summary in store.query()] == ["b"]

    def test_the_same_key_twice_in_one_call_is_refused(self, store: FlowStore) -> None:
        with pytest.raises(FlowExistsError):
            store.create_many([Flow.from_flow_spec(CHAIN, key="a"), Flow.from_flow_spec(CHAIN, key="a")])
        assert store.query() == []

    def test_an_unknown_key_is_named(self, store: FlowStore) -> None:
        with pytest.raises(FlowNotFoundError, match="'nowhere'") as caught:
            store.load("nowhere")
        assert caught.value.key == "nowhere"

    def test_a_key_may_have_255_characters(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        key = "ä" * 255
        make(key)
        assert store.load(key).key == key

    @pytest.mark.parametrize("key", ["k" * 256, "with\0nul"])
    def test_a_key_that_no_database_keeps_is_refused(self, store: FlowStore, key: str) -> None:
        with pytest.raises(FlowFormatError, match="flow key"):
            store.create(Flow(key=key))
        assert store.query() == []

    def test_a_task_key_that_is_too_long_is_refused(self, store: FlowStore) -> None:
        flow = Flow.from_flow_spec({"tasks": [{"key": "t" * 256, "task_type": "noop"}]}, key="f")
        with pytest.raises(FlowFormatError, match="task key of flow 'f'"):
            store.create(flow)
        assert store.query() == []

    def test_keys_differ_by_case_and_by_trailing_space(
        self, make: Callable[..., Flow], store: FlowStore
    ) -> None:
        for key in ("Key", "key", "key "):
            make(key)
        assert {summary.key for summary in store.query()} == {"Key", "key", "key "}

    def test_what_json_cannot_hold_is_named_and_nothing_is_stored(self, store: FlowStore) -> None:
        flow = Flow.from_flow_spec(CHAIN, key="f")
        flow.tasks["two"]["data"]["x"] = {1, 2}
        with pytest.raises(NotJsonError, match="task 'two' of flow 'f'") as caught:
            store.create(flow)
        assert caught.value.pointer == "/graph/tasks/two/data/x"
        assert store.query() == []

    def test_each_flow_keeps_its_own_order_of_keys_in_its_spec(self, store: FlowStore) -> None:
        specs = [
            {"data": {"a": 1, "b": 2}, "tasks": []},
            {"tasks": [], "data": {"b": 2, "a": 1}},
        ]
        for number, spec in enumerate(specs):
            store.create(Flow.from_flow_spec(spec, key=str(number)))
        assert [json.dumps(store.load(key).spec) for key in "01"] == [json.dumps(spec) for spec in specs]
        flow = store.load("1")
        store.save(flow)
        assert json.dumps(store.load("1").spec) == json.dumps(specs[1])
        store.create_many(Flow.from_flow_spec(specs[number % 2], key=f"m{number}") for number in range(4))
        assert [list(store.load(f"m{number}").spec or {}) for number in range(4)] == [*map(list, specs)] * 2

    def test_many_flows_of_one_new_spec_are_stored_together_each_in_its_order(self, store: FlowStore) -> None:
        specs = [{"label": "new", "tasks": []}, {"tasks": [], "label": "new"}]
        store.create_many(Flow.from_flow_spec(specs[number % 2], key=f"m{number}") for number in range(4))
        assert [list(store.load(f"m{number}").spec or {}) for number in range(4)] == [*map(list, specs)] * 2

    def test_the_order_of_tasks_and_edges_survives(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        spec = {
            "tasks": [
                {"key": "z", "task_type": "noop", "precursors": []},
                {"key": "a", "task_type": "noop", "precursors": []},
                {"key": "m", "task_type": "noop", "precursors": ["z", "a"]},
            ]
        }
        flow = make(spec=spec)
        loaded = store.load("f")
        assert list(loaded.tasks) == ["z", "a", "m"]
        assert loaded.get_edges() == flow.get_edges()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
    @given(
        data=st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=8),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(10**30), 10**30)
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(st.characters(codec="utf-8")),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
                ),
                max_leaves=8,
            ),
            max_size=4,
        )
    )
    def test_any_json_comes_back_as_it_was(self, store: FlowStore, data: dict[str, Any]) -> None:
        flow = Flow.from_flow_spec({"data": data, "tasks": [{"key": "t", "task_type": "noop", "data": data}]})
        store.create(flow)
        assert text_of(store.load(flow.key)) == text_of(flow)


class TestSave:
    def test_tasks_and_edges_that_were_added_are_stored(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        flow.add_task({"key": "three", "task_type": "noop", "precursors": ["one"]})
        flow.add_edge({"src_key": "two", "dest_key": "three"})
        store.save(flow)
        assert text_of(store.load("f")) == text_of(flow)
        assert store.load("f").has_edge("two", "three")

    def test_what_a_handler_writes_into_another_task_is_stored(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        flow.tasks["two"]["data"]["note"] = "for later"
        flow.data["n"] = 2
        store.save(flow)
        loaded = store.load("f")
        assert loaded.tasks["two"]["data"] == {"note": "for later"}
        assert loaded.data == {"n": 2}

    def test_a_save_of_what_somebody_else_saved_meanwhile_is_refused(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        first, second = store.load("f"), store.load("f")
        first.data["n"] = "first"
        store.save(first)
        second.data["n"] = "second"
        with pytest.raises(StaleFlowError, match="Load it again"):
            store.save(second)
        assert store.load("f").data == {"n": "first"}

    @pytest.mark.parametrize("names", [["one"], ["one", "two"]])
    @pytest.mark.parametrize("change", ["DELETE FROM mc_task", "UPDATE mc_task SET status = 'FAILED'"])
    def test_tasks_that_were_changed_past_the_store_are_not_overwritten(
        self, store: FlowStore, make: Callable[..., Flow], change: str, names: list[str]
    ) -> None:
        make()
        flow = store.load("f")
        for name in names:
            flow.tasks[name]["data"]["note"] = "for later"
        flow.data["n"] = 2
        statement = text(f"{change} WHERE flow_key = 'f' AND position = 1")
        store._database.write(lambda connection: connection.execute(statement))
        with pytest.raises(StoreError, match=f"Of {len(names)} tasks .* only {len(names) - 1} are stored"):
            store.save(flow)
        stored = text("SELECT data FROM mc_flow")
        assert store._database.read(lambda connection: connection.scalar(stored)) == '{"n":1}'

    def test_a_refused_save_can_be_repeated_on_a_fresh_flow(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        stale = store.load("f")
        store.save(store.load("f"))
        with pytest.raises(StaleFlowError):
            store.save(stale)
        fresh = store.load("f")
        fresh.data["n"] = 3
        store.save(fresh)
        assert store.load("f").data == {"n": 3}

    def test_one_flow_can_be_saved_again_and_again(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        flow = make()
        for number in range(3):
            flow.data["n"] = number
            store.save(flow)
        assert store.load("f").data == {"n": 2}

    def test_a_save_while_a_runner_holds_the_flow_is_refused(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        claim_one(store, "the runner")
        with pytest.raises(StaleFlowError, match="being ticked by the runner"):
            store.save(flow)

    def test_a_save_after_a_lease_ran_out_shuts_the_old_runner_out(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lease = claim_one(store, lease_seconds=0)
        slow, quick = store.load("f"), store.load("f")
        store.save(quick)
        with pytest.raises(LeaseLostError):
            store.save(slow, lease=lease)

    def test_a_flow_of_nowhere_cannot_be_saved(self, store: FlowStore) -> None:
        with pytest.raises(StoreError, match="neither loaded from this store nor created in it"):
            store.save(Flow(key="f"))

    def test_a_deleted_flow_cannot_be_saved(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        flow = make()
        store.upkeep.delete("f")
        with pytest.raises(FlowNotFoundError, match="not stored any more"):
            store.save(flow)

    def test_what_json_cannot_hold_leaves_the_stored_flow_as_it_was(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        before = text_of(flow)
        flow.data["n"] = 2
        flow.tasks["one"]["data"]["x"] = object()
        with pytest.raises(NotJsonError, match="task 'one'"):
            store.save(flow)
        assert text_of(store.load("f")) == before
        flow.tasks["one"]["data"].clear()
        store.save(flow)
        assert store.load("f").data == {"n": 2}

    def test_the_times_are_those_of_the_clock(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        clock.advance(90)
        store.save(flow)
        summary = store.summary("f")
        assert (summary.created_at, summary.modified_at) == (START, START + timedelta(seconds=90))


class TestQuery:
    def test_flows_are_listed_newest_first(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        for key in ("oldest", "middle", "newest"):
            make(key)
            clock.advance(1)
        assert [summary.key for summary in store.query()] == ["newest", "middle", "oldest"]
        assert [summary.key for summary in store.query(limit=2)] == ["newest", "middle"]
        assert store.query(limit=0) == []

    def test_flows_are_chosen_by_status_and_label(
        self, store: FlowStore, engine: FlowEngine, make: Callable[..., Flow]
    ) -> None:
        make("waits")
        done = make("done", label="special")
        engine.run_flow(done)
        store.save(done)
        assert [summary.key for summary in store.query(status="COMPLETED")] == ["done"]
        assert [summary.key for summary in store.query(status=["COMPLETED", "FAILED"])] == ["done"]
        assert [summary.key for summary in store.query(label="a chain")] == ["waits"]
        assert store.query(status="PENDING", label="special") == []

    def test_a_summary_counts_tasks_by_status(
        self, store: FlowStore, engine: FlowEngine, make: Callable[..., Flow]
    ) -> None:
        flow = make()
        engine.tick_flow(flow)
        store.save(flow)
        summary = store.summary("f")
        assert summary.tasks == {"PENDING": 1, "COMPLETED": 1}
        assert summary.to_dict()["created_at"] == "2026-01-02T03:04:05.000006+00:00"
        assert json.loads(json.dumps(summary.to_dict())) == summary.to_dict()

    def test_a_status_that_is_none_is_refused(self, store: FlowStore) -> None:
        with pytest.raises(StoreError, match="'DONE' is not a flow status; use one of PENDING"):
            store.query(status="DONE")

    def test_a_negative_limit_is_refused(self, store: FlowStore) -> None:
        with pytest.raises(StoreError, match="-1"):
            store.query(limit=-1)

    def test_text_is_never_taken_for_sql(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        nasty = "x'; DROP TABLE mc_flow; --"
        make(nasty, label=nasty)
        assert [summary.key for summary in store.query(label=nasty)] == [nasty]


class TestDelete:
    def test_a_deleted_flow_is_gone(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make("a")
        make("b")
        assert store.upkeep.delete("a") == ["a"]
        assert [summary.key for summary in store.query()] == ["b"]
        assert store.load("b").spec is not None  # which both were made from

    def test_a_key_is_not_given_out_again_after_its_flow_was_deleted(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        store.upkeep.delete("f")
        with pytest.raises(
            FlowExistsError, match="'f' was used before, by a flow that was deleted at 2026-01-02"
        ):
            make()
        assert store.query() == []

    def test_an_unknown_key_is_named(self, store: FlowStore) -> None:
        with pytest.raises(FlowNotFoundError, match="'nowhere'"):
            store.upkeep.delete("nowhere")

    def test_a_flow_that_a_runner_holds_is_not_deleted(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lease = claim_one(store, "the runner")
        with pytest.raises(StoreError, match="being ticked by the runner"):
            store.upkeep.delete("f")
        store.release(lease)
        assert store.upkeep.delete("f") == ["f"]

    def test_stored_sub_flows_are_deleted_with_their_flow(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        parent = make("parent")
        child, grandchild = Flow(key="child"), Flow(key="grandchild")
        store.save(parent, outbox=Outbox(started={"child": child}))
        store.save(store.load("child"), outbox=Outbox(started={"grandchild": grandchild}))
        make("other")
        assert set(store.upkeep.delete("parent")) == {"parent", "child", "grandchild"}
        assert [summary.key for summary in store.query()] == ["other"]


class TestClaims:
    def test_a_claimed_flow_is_not_claimed_again(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make()
        lease = claim_one(store, "first")
        assert (lease.flow_key, lease.owner, lease.num_tasks) == ("f", "first", 2)
        assert store.claim(owner="second") == []

    def test_a_released_flow_can_be_claimed_again_with_a_greater_token(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        first = claim_one(store)
        store.release(first)
        assert claim_one(store).token > first.token

    def test_the_most_urgent_flows_are_claimed_first(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        make("old")
        clock.advance(1)
        make("new")
        make("urgent", cfg={"priority": 5})
        leases = store.claim(owner="d", limit=2)
        assert [lease.flow_key for lease in leases] == ["urgent", "old"]
        assert [lease.flow_key for lease in store.claim(owner="d", limit=2)] == ["new"]

    def test_only_named_flows_are_claimed_if_any_are_named(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        for key in "abc":
            make(key)
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9, keys=["b"])] == ["b"]
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9, skip=["a"])] == ["c"]

    def test_a_flow_that_sleeps_is_claimed_when_its_time_has_come(
        self, store: FlowStore, clock: ManualClock, engine: FlowEngine, make: Callable[..., Flow]
    ) -> None:
        flow = make(spec={"tasks": [{"key": "t", "task_type": "wait", "task_params": {"duration": 60}}]})
        engine.tick_flow(flow)
        store.save(flow)
        assert store.claim(owner="d") == []
        assert store.next_due_at() == START + timedelta(seconds=60)
        clock.advance(60)
        assert claim_one(store).flow_key == "f"
        assert store.next_due_at() is None

    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED", "PAUSED", "BLOCKED"])
    def test_a_flow_that_cannot_be_ticked_is_not_claimed(
        self, store: FlowStore, make: Callable[..., Flow], status: str
    ) -> None:
        make(status=status)
        assert store.claim(owner="d") == []

    def test_a_save_under_a_lease_needs_its_token(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make()
        old = claim_one(store, "slow", lease_seconds=0)
        new = claim_one(store, "quick")
        slow, quick = store.load("f"), store.load("f")
        slow.data["n"] = "slow"
        with pytest.raises(LeaseLostError, match="lease of slow on flow 'f'"):
            store.save(slow, lease=old)
        quick.data["n"] = "quick"
        store.save(quick, lease=new)
        assert store.load("f").data == {"n": "quick"}

    def test_a_late_runner_may_save_as_long_as_nobody_took_over(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lease = claim_one(store, lease_seconds=0)
        flow = store.load("f")
        flow.data["n"] = "late"
        store.save(flow, lease=lease)
        assert store.load("f").data == {"n": "late"}

    def test_a_lease_that_was_given_back_is_worth_nothing(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lease = claim_one(store)
        flow = store.load("f")
        store.save(flow, lease=lease, release=True)
        with pytest.raises(LeaseLostError):
            store.save(flow, lease=lease)
        with pytest.raises(LeaseLostError):
            store.renew(lease)

    def test_a_renewed_lease_lasts_longer(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make()
        short = claim_one(store, lease_seconds=0)
        long = replace(short, seconds=60)
        assert store.renew(long).expires_at > short.expires_at
        assert store.claim(owner="other") == []

    def test_a_lease_that_was_taken_over_is_not_renewed(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lost = claim_one(store, lease_seconds=0)
        claim_one(store)
        with pytest.raises(LeaseLostError):
            store.renew(lost)

    def test_giving_back_a_lease_that_was_taken_over_changes_nothing(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        lost = claim_one(store, lease_seconds=0)
        kept = claim_one(store)
        with pytest.raises(LeaseLostError, match="token 1"):
            store.release(lost)
        store.save(store.load("f"), lease=kept)

    def test_a_held_flow_is_known_as_held(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make()
        assert not store.is_held(family_of="f")
        lease = claim_one(store)
        assert store.is_held(family_of="f")
        store.release(lease)
        assert not store.is_held(family_of="f")

    def test_a_runner_can_block_a_flow_that_it_holds(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        store.block(claim_one(store), "it is broken")
        flow = store.load("f")
        assert (flow.status, flow.blocked_reason) == ("BLOCKED", "it is broken")
        assert store.claim(owner="d") == []


def vanish_in(store: FlowStore, call: str, key: str = "f") -> None:
    """Claim a flow, note a call of it, and be heard of no more."""
    lease = claim_one(store, lease_seconds=0)
    calls = replace(lease.lost_calls, under_way=(call,))
    store.save(store.load(key), lease=lease, keep_lost_leases=True, lost_calls=calls)


class TestLostLeases:
    def test_a_claim_over_a_lease_that_ran_out_counts_it(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        assert claim_one(store, lease_seconds=0).lost_leases == 0
        assert claim_one(store, lease_seconds=0).lost_leases == 1
        assert claim_one(store, lease_seconds=60).lost_leases == 2

    def test_a_lease_given_back_as_lost_counts_until_the_flow_is_blocked(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        for before in range(3):
            lease = claim_one(store)
            assert lease.lost_leases == before
            store.release(lease, lost_calls=replace(lease.lost_calls, under_way=("one/1",)))
        assert store.claim(owner="d") == []
        assert store.summary("f").status == "BLOCKED"

    def test_runners_that_end_before_they_call_anything_block_no_flow(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        for before in range(9):
            lease = claim_one(store, lease_seconds=0)
            assert (lease.lost_leases, lease.is_suspect) == (before, before > 0)

    def test_a_runner_without_the_handlers_does_not_excuse_a_flow_that_ends_others(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        make()
        claim_one(store, lease_seconds=0)
        store.set_aside(claim_one(store), clock.now())
        assert claim_one(store).lost_leases == 1

    def test_a_flow_whose_runner_vanished_is_claimed_alone(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        for key in ("a", "b", "c"):
            make(key)
            clock.advance(1)
        claim_one(store, keys=["b"], lease_seconds=0)
        claimed = [[lease.flow_key for lease in store.claim(owner="d", limit=9)] for _ in range(3)]
        assert claimed == [["a", "c"], ["b"], []]

    def test_after_three_losses_in_the_same_call_the_flow_is_blocked_and_names_its_task(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        for _ in range(3):
            vanish_in(store, "one/1")
        assert store.claim(owner="d") == []
        blocked = store.load("f")
        assert blocked.status == "BLOCKED"
        assert blocked.blocked_reason is not None
        assert "3 runners in a row" in blocked.blocked_reason
        assert "were running: one." in blocked.blocked_reason

    def test_losses_in_different_calls_are_counted_apart(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        for call in ("one/1", "one/1", "one/2", "two/1"):
            vanish_in(store, call)
        lease = claim_one(store)
        assert lease.lost_calls.counts == {"one/1": 2, "one/2": 1, "two/1": 1}

    def test_a_call_that_is_saved_is_free_of_suspicion(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        for _ in range(2):
            vanish_in(store, "one/1")
        lease = claim_one(store)
        store.save(store.load("f"), lease=lease, lost_calls=lease.lost_calls.end(["one/1"]), release=True)
        for _ in range(2):
            vanish_in(store, "one/1")
        assert claim_one(store).lost_calls.counts == {"one/1": 2}

    def test_a_flow_under_suspicion_comes_after_the_others(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        make("bad")
        claim_one(store, lease_seconds=0)
        clock.advance(1)
        make("good")
        claimed = [[lease.flow_key for lease in store.claim(owner="d", limit=9)] for _ in range(2)]
        assert claimed == [["good"], ["bad"]]

    def test_a_blocked_flow_does_not_keep_others_from_being_claimed(
        self, store: FlowStore, clock: ManualClock, make: Callable[..., Flow]
    ) -> None:
        make("bad")
        clock.advance(1)
        for _ in range(3):
            vanish_in(store, "one/1", "bad")
        make("good")
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9)] == ["good"]
        assert store.claim(owner="d") == []
        assert store.summary("bad").status == "BLOCKED"

    def test_a_save_sets_the_count_back(self, store: FlowStore, make: Callable[..., Flow]) -> None:
        make()
        claim_one(store, lease_seconds=0)
        lease = claim_one(store, lease_seconds=0)
        store.save(store.load("f"), lease=lease, release=True)
        assert claim_one(store).lost_leases == 0

    def test_a_save_that_proves_nothing_leaves_the_count(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make()
        claim_one(store, lease_seconds=0)
        lease = claim_one(store, lease_seconds=0)
        store.save(store.load("f"), lease=lease, keep_lost_leases=True)
        assert claim_one(store).lost_leases == 2


class TestSubFlows:
    @pytest.fixture
    def family(self, store: FlowStore, engine: FlowEngine, make: Callable[..., Flow]) -> None:
        """A parent that only an event can move, and its child, which is due."""
        wait = {"key": "t", "task_type": "wait", "task_params": {"duration": 3600}}
        parent = make("parent", spec={"tasks": [wait]})
        engine.tick_flow(parent)
        child = Flow.from_flow_spec(CHAIN, key="child", parent_key="parent", parent_task_key="t")
        store.save(parent, outbox=Outbox(started={"child": child}))

    def finish(self, store: FlowStore, engine: FlowEngine, key: str = "child") -> None:
        flow = store.load(key)
        engine.run_flow(flow)
        store.save(flow)

    def test_a_sub_flow_is_stored_with_the_save_of_its_parent(self, family: None, store: FlowStore) -> None:
        child = store.load("child")
        assert (child.parent_key, child.parent_task_key) == ("parent", "t")
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9)] == ["child"]

    def test_a_save_that_is_refused_stores_no_sub_flow(
        self, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make("parent")
        stale = store.load("parent")
        store.save(store.load("parent"))
        outbox = Outbox(started={"child": Flow(key="child")})
        with pytest.raises(StaleFlowError):
            store.save(stale, outbox=outbox)
        assert [summary.key for summary in store.query()] == ["parent"]
        assert "child" in outbox.started  # not forgotten

    def test_a_flow_is_due_when_its_sub_flow_has_ended(
        self, family: None, store: FlowStore, engine: FlowEngine
    ) -> None:
        self.finish(store, engine)
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9)] == ["parent"]
        assert [(wake.kind, wake.source_key) for wake in store.state_of(store.load("parent")).wakes] == [
            ("finished", "child")
        ]

    def test_a_flow_that_is_held_while_its_sub_flow_ends_is_due_after_its_save(
        self, family: None, store: FlowStore, engine: FlowEngine, clock: ManualClock
    ) -> None:
        clock.advance(3600)  # the parent is due by itself
        lease = claim_one(store, keys=["parent"])
        parent = store.load("parent")
        self.finish(store, engine)
        store.save(parent, lease=lease, release=True)
        lease = claim_one(store, keys=["parent"])
        parent = store.load("parent")
        outbox = Outbox(acted_upon=store.state_of(parent).wakes)
        assert [wake.source_key for wake in outbox.acted_upon] == ["child"]
        engine.run_flow(parent)
        store.save(parent, lease=lease, release=True, outbox=outbox)
        assert store.state_of(store.load("parent")).wakes == ()
        assert store.claim(owner="d") == []

    def test_a_save_that_acted_upon_the_end_of_a_sub_flow_sleeps_again(
        self, family: None, store: FlowStore, engine: FlowEngine
    ) -> None:
        self.finish(store, engine)
        lease = claim_one(store)
        parent = store.load("parent")
        store.save(parent, lease=lease, release=True, outbox=Outbox(acted_upon=store.state_of(parent).wakes))
        assert store.claim(owner="d") == []
        assert store.next_due_at() == START + timedelta(seconds=3600)

    def test_a_paused_flow_is_woken_when_it_is_resumed(
        self, family: None, store: FlowStore, engine: FlowEngine
    ) -> None:
        parent = store.load("parent")
        parent.change_status("PAUSED")
        store.save(parent)
        self.finish(store, engine)
        assert store.claim(owner="d") == []
        resumed = store.load("parent")
        resumed.change_status("RUNNING")
        store.save(resumed)
        assert claim_one(store).flow_key == "parent"

    def test_a_cancelled_sub_flow_is_due_and_knows_why(self, family: None, store: FlowStore) -> None:
        store.save(store.load("parent"), outbox=Outbox(cancelled={"child": "no longer needed"}))
        claim_one(store, keys=["child"])
        (wake,) = store.state_of(store.load("child")).wakes
        assert (wake.kind, wake.source_key, wake.reason) == ("cancel", "parent", "no longer needed")

    def test_a_paused_sub_flow_can_be_cancelled(self, family: None, store: FlowStore) -> None:
        child = store.load("child")
        child.change_status("PAUSED")
        store.save(child)
        store.save(store.load("parent"), outbox=Outbox(cancelled={"child": "no longer needed"}))
        assert claim_one(store).flow_key == "child"

    def test_a_finished_sub_flow_is_not_cancelled(
        self, family: None, store: FlowStore, engine: FlowEngine
    ) -> None:
        self.finish(store, engine)
        store.save(store.load("parent"), outbox=Outbox(cancelled={"child": "too late"}))
        assert store.claim(owner="d", keys=["child"]) == []

    def test_deleting_an_unfinished_sub_flow_makes_its_parent_due(
        self, family: None, store: FlowStore
    ) -> None:
        store.upkeep.delete("child")
        assert claim_one(store).flow_key == "parent"

    def test_a_family_is_claimed_by_its_head(
        self, family: None, store: FlowStore, make: Callable[..., Flow]
    ) -> None:
        make("other")
        assert [lease.flow_key for lease in store.claim(owner="d", limit=9, family_of="parent")] == ["child"]
