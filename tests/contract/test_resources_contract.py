"""Named resources, on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError, ResourceError
from mc.flows.flow import Flow
from mc.houston import Houston
from mc.store.resource_store import ResourceStatus
from mc.store.saving.flow_saver import Outbox
from tests.support.invariants import check_store

WAIT = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}


class Recorder:
    """A task type that notes which tasks ran when, and how many at once."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.began_at = clock.now()
        self.ran: list[str] = []
        self.at: list[float] = []

    def __call__(self, task: dict[str, Any], flow: Flow) -> None:
        self.ran.append(f"{flow.key}/{task['key']}")
        self.at.append((self.clock.now() - self.began_at).total_seconds())
        task["status"] = "COMPLETED"


@pytest.fixture
def recorder(clock: ManualClock) -> Recorder:
    return Recorder(clock)


@pytest.fixture
def houston(store_url: str, clock: ManualClock, recorder: Recorder) -> Iterator[Houston]:
    def note(task: dict[str, Any], flow: Flow) -> None:
        recorder(task, flow)

    with Houston(store_url, clock=clock, task_handlers={"test_note": note}) as opened:
        yield opened
        check_store(opened.store)


def note(key: str, needs: Any, **cfg: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "test_note", "precursors": [], "cfg": {"resources": needs, **cfg}}


def wait(key: str = "w", needs: Any = ("db",), **cfg: Any) -> dict[str, Any]:
    return {**WAIT, "key": key, "precursors": [], "cfg": {"resources": _json(needs), **cfg}}


def _json(needs: Any) -> Any:
    return list(needs) if isinstance(needs, tuple) else needs


def submit(houston: Houston, key: str, *tasks: dict[str, Any], tick: bool = True, **cfg: Any) -> None:
    houston.submit({"cfg": cfg, "tasks": list(tasks)}, key=key)
    if tick:
        houston.tick()


def holders(status: ResourceStatus) -> list[str]:
    return [f"{share.flow_key}/{share.task_key}" for share in status.shares if share.granted_at]


def waiters(status: ResourceStatus) -> list[str]:
    return [f"{share.flow_key}/{share.task_key}" for share in status.shares if not share.granted_at]


def finish(houston: Houston, clock: ManualClock, limit: int = 50) -> None:
    """Tick until no flow waits for a time any more, without ever waiting longer than the store says."""
    for _ in range(limit):
        due_at = houston.tick().next_tick_at
        check_store(houston.store)
        if due_at is None:
            return
        clock.advance(max((due_at - clock.now()).total_seconds(), 0))
    raise AssertionError(f"still something to do after {limit} ticks")


class TestSlots:
    def test_no_more_tasks_hold_a_resource_than_it_has_slots(self, houston: Houston) -> None:
        houston.resources.set("db", slots=2)
        for key in ("a", "b", "c", "d"):
            submit(houston, key, wait())
        status = houston.resources.get("db")
        assert (status.held, status.waiting) == (2, 2)
        assert holders(status) == ["a/w", "b/w"]
        assert waiters(status) == ["c/w", "d/w"]

    def test_a_task_that_waits_is_pending_and_names_what_it_lacks(
        self, houston: Houston, clock: ManualClock
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        clock.advance(5)
        submit(houston, "b", wait())
        task = houston.load("b").tasks["w"]
        assert task["status"] == "PENDING"
        assert task["resource_claim"]["lacking"] == ["db"]
        assert task["resource_claim"]["since"] == "2000-01-01T00:00:05.000000+00:00"
        assert houston.summary("b").next_tick_at is None
        assert houston.store.next_due_at() is None  # nothing is polled

    def test_explain_names_what_is_lacking(self, houston: Houston) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        inner = {"flow_spec": {"tasks": [wait()]}}
        outer = {"key": "x", "task_type": "inline_flow", "precursors": [], "task_params": inner}
        submit(houston, "b", wait(), outer)
        found = [reason for reason in houston.explain("b").reasons if reason.kind == "limit"]
        assert {reason.task for reason in found} == {"w", "x/w"}
        assert all("db" in reason.text and "houston resource show db" in reason.moves for reason in found)

    def test_what_is_given_back_makes_the_first_that_waits_due(self, houston: Houston) -> None:
        houston.resources.set("db", slots=1)
        for key in ("a", "b", "c"):
            submit(houston, key, wait())
        houston.signal("a", "go")
        houston.tick(max_flows=1)
        assert houston.summary("a").status == "COMPLETED"
        assert houston.summary("b").next_tick_at is not None
        due_at = houston.summary("c").next_tick_at  # when b is passed over, if nobody ticks it
        assert due_at == houston.store.clock.now() + timedelta(seconds=60)
        houston.tick()
        assert houston.summary("c").next_tick_at == due_at
        assert holders(houston.resources.get("db")) == ["b/w"]

    def test_tasks_of_one_flow_take_turns(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("db", slots=2)
        submit(houston, "f", *(note(f"t{n}", ["db"]) for n in range(7)))
        assert houston.summary("f").status == "COMPLETED"
        assert recorder.ran == [f"f/t{n}" for n in range(7)]
        assert houston.resources.get("db").held == 0

    def test_a_task_gets_all_that_it_needs_or_nothing(self, houston: Houston) -> None:
        houston.resources.set("db", slots=1)
        houston.resources.set("api", slots=1)
        submit(houston, "a", wait(needs=("api",)))
        submit(houston, "b", wait(needs=("api", "db")))
        assert houston.resources.get("db").held == 0
        assert houston.load("b").tasks["w"]["resource_claim"]["lacking"] == ["api"]
        houston.signal("a", "go")
        finish(houston, houston.store.clock)  # type: ignore[arg-type]
        assert houston.resources.get("db").held == houston.resources.get("api").held == 1

    def test_two_that_need_two_resources_in_different_order_both_end(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("x", slots=1)
        houston.resources.set("y", slots=1)
        submit(houston, "a", *(note(f"t{n}", ["x", "y"]) for n in range(3)), tick=False)
        submit(houston, "b", *(note(f"t{n}", ["y", "x"]) for n in range(3)), tick=False)
        finish(houston, recorder.clock)
        assert sorted(recorder.ran) == sorted(f"{key}/t{n}" for key in "ab" for n in range(3))

    def test_one_that_lacks_another_resource_does_not_hold_up_those_behind(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=2)
        houston.resources.set("api", slots=1)
        submit(houston, "a", wait(needs={"db": 2}))
        submit(houston, "b", wait(needs=("api",)))
        submit(houston, "c", note("x", {"db": 1, "api": 1}))
        submit(houston, "d", note("x", ["db"]))
        houston.signal("a", "go")
        houston.tick()
        assert recorder.ran == ["d/x"]  # and the other slot is kept for c
        houston.signal("b", "go")
        houston.tick()
        assert recorder.ran == ["d/x", "c/x"]

    def test_one_that_lacks_a_rate_does_not_hold_up_those_that_ran_already(
        self, houston: Houston, clock: ManualClock
    ) -> None:
        houston.resources.set("api", slots=2, rate="1/min")
        submit(houston, "a", wait(needs=("api",)))
        assert houston.pause("a", by="ada").done  # it lends its slot meanwhile
        houston.resources.set("api", slots=1, rate="1/min")
        clock.advance(60)
        submit(houston, "b", wait(needs=("api",)))
        submit(houston, "c", wait(needs=("api",)), priority=1)
        houston.resume("a", by="ada")
        houston.signal("a", "go")
        houston.tick()
        assert waiters(houston.resources.get("api")) == ["c/w", "a/w"]
        houston.resources.set("api", slots=3, rate="1/min")
        houston.tick()
        assert houston.summary("a").status == "COMPLETED"
        assert waiters(houston.resources.get("api")) == ["c/w"]

    def test_a_mapping_asks_for_several_slots(self, houston: Houston) -> None:
        houston.resources.set("db", slots=3)
        submit(houston, "a", wait(needs={"db": 2}))
        submit(houston, "b", wait(needs={"db": 2}))
        submit(houston, "c", wait(needs={"db": 1}))
        # c would fit, but then b might wait for ever
        assert holders(houston.resources.get("db")) == ["a/w"]
        assert houston.resources.get("db").held == 2

    @pytest.mark.parametrize("ending", ["fail", "cancel", "delete"])
    def test_whatever_ends_a_holder_gives_back(self, houston: Houston, ending: str) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait("w", timeout=10))
        submit(houston, "b", wait())
        clock: Any = houston.store.clock
        if ending == "fail":
            clock.advance(10)
        elif ending == "cancel":
            flow = houston.load("a")
            houston.engine.cancel_flow(flow)
            houston.store.save(flow)
        else:
            houston.store.upkeep.delete("a")
        houston.tick()
        houston.tick()
        assert holders(houston.resources.get("db")) == ["b/w"]

    def test_a_failed_attempt_gives_back_until_the_next(self, houston: Houston) -> None:
        def fail(task: dict[str, Any]) -> None:
            raise OSError("no")

        houston.engine.registry.register("test_fail", fail)
        houston.resources.set("db", slots=1)
        retry = {"max_attempts": 2, "delay": 60}
        submit(houston, "a", {**note("t", ["db"], retry=retry), "task_type": "test_fail"})
        assert houston.resources.get("db").held == 0
        clock: Any = houston.store.clock
        clock.advance(60)
        houston.tick()
        assert houston.summary("a").status == "FAILED"
        assert houston.resources.get("db").held == 0


class TestOrder:
    def test_flows_come_by_priority_and_then_by_how_long_they_wait(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "first", wait())
        for key, priority in (("low", -1), ("old", 0), ("new", 0), ("high", 5)):
            recorder.clock.advance(1)
            submit(houston, key, note("t", ["db"]), priority=priority)
        assert waiters(houston.resources.get("db")) == ["high/t", "old/t", "new/t", "low/t"]
        houston.signal("first", "go")
        finish(houston, recorder.clock)
        assert recorder.ran == ["high/t", "old/t", "new/t", "low/t"]

    def test_tasks_of_a_flow_come_by_their_priority(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "first", wait())
        submit(houston, "f", note("b", ["db"]), note("a", ["db"], priority=1), note("c", ["db"]))
        houston.signal("first", "go")
        finish(houston, recorder.clock)
        assert recorder.ran == ["f/a", "f/b", "f/c"]

    def test_a_flow_that_nobody_ticks_is_passed_over_after_a_minute(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        submit(houston, "lazy", wait())
        recorder.clock.advance(1)
        submit(houston, "b", note("t", ["db"]))
        houston.signal("a", "go")
        assert houston.runner.run_flow("a").status == "COMPLETED"
        due_at = houston.summary("lazy").next_tick_at
        assert due_at is not None
        assert due_at <= recorder.clock.now()  # but nobody takes it up
        assert houston.runner.run_flow("b").status == "COMPLETED"
        assert recorder.at == [61]
        houston.tick()
        assert holders(houston.resources.get("db")) == ["lazy/w"]


class TestRates:
    def test_no_more_are_taken_within_the_time_than_the_rate_allows(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("api", rate="3/min")
        submit(houston, "f", *(note(f"t{n}", ["api"]) for n in range(8)), tick=False)
        finish(houston, recorder.clock)
        assert recorder.at == [0, 0, 0, 60, 60, 60, 120, 120]

    def test_any_minute_counts_and_not_each_minute_of_the_clock(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("api", rate="2/min")
        submit(houston, "a", note("t", ["api"]))
        recorder.clock.advance(40)
        submit(houston, "b", *(note(f"t{n}", ["api"]) for n in range(4)))
        finish(houston, recorder.clock)
        assert recorder.at == [0, 40, 60, 100, 120]

    def test_a_flow_that_waits_for_a_rate_is_due_when_its_turn_comes(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("api", rate="1/min")
        now = recorder.clock.now()
        for key in ("a", "b", "c"):
            submit(houston, key, note("t", ["api"]))
        assert houston.summary("b").next_tick_at == now + timedelta(seconds=60)
        assert houston.summary("c").next_tick_at == now + timedelta(seconds=120)
        houston.store.upkeep.delete("b")
        finish(houston, recorder.clock)
        assert recorder.at == [0, 60]  # c came in the place of b

    def test_slots_and_rate_together(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("api", slots=1, rate="2/min")
        submit(houston, "f", *(note(f"t{n}", ["api"]) for n in range(5)), tick=False)
        finish(houston, recorder.clock)
        assert recorder.at == [0, 0, 60, 60, 120]


class TestSetting:
    def test_what_nobody_set_is_waited_for_until_somebody_does(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        submit(houston, "f", note("t", ["db"]))
        assert recorder.ran == []
        (status,) = houston.resources.list()
        assert (status.name, status.is_set, status.waiting) == ("db", False, 1)
        houston.resources.set("db", slots=1)
        houston.tick()
        assert recorder.ran == ["f/t"]

    def test_one_that_waits_for_what_nobody_set_does_not_hold_up_others(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", note("t", ["db", "no"]))
        submit(houston, "b", note("t", {"db": 2}))
        submit(houston, "c", note("t", ["db"]))
        assert recorder.ran == ["c/t"]
        houston.resources.set("db", slots=2)
        houston.resources.set("no", rate="1/s")
        finish(houston, recorder.clock)
        assert sorted(recorder.ran) == ["a/t", "b/t", "c/t"]

    def test_more_slots_let_others_start(self, houston: Houston) -> None:
        houston.resources.set("db", slots=1)
        for key in ("a", "b", "c", "d"):
            submit(houston, key, wait())
        houston.resources.set("db", slots=3)
        houston.tick()
        assert holders(houston.resources.get("db")) == ["a/w", "b/w", "c/w"]

    def test_fewer_slots_stop_nobody_and_let_nobody_start(self, houston: Houston) -> None:
        houston.resources.set("db", slots=3)
        for key in ("a", "b", "c", "d"):
            submit(houston, key, wait())
        houston.resources.set("db", slots=1)
        assert houston.resources.get("db").held == 3
        for key in ("a", "b"):
            houston.signal(key, "go")
            houston.tick()
            houston.tick()
        assert holders(houston.resources.get("db")) == ["c/w"]
        houston.signal("c", "go")
        houston.tick()
        houston.tick()
        assert holders(houston.resources.get("db")) == ["d/w"]

    def test_a_resource_in_use_cannot_be_deleted(self, houston: Houston) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        submit(houston, "b", wait())
        with pytest.raises(ResourceError, match="hold 1 of its slots and 1 tasks wait"):
            houston.resources.delete("db")
        houston.store.upkeep.delete("a")
        houston.store.upkeep.delete("b")
        houston.resources.delete("db")
        assert houston.resources.list() == []

    def test_a_resource_that_is_not_there_is_named(self, houston: Houston) -> None:
        for act in (houston.resources.get, houston.resources.delete):
            with pytest.raises(ResourceError, match="'db'"):
                act("db")

    @pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 101, "a/b", ".a", "a\0"])
    def test_a_name_that_is_none_is_refused(self, houston: Houston, name: str) -> None:
        with pytest.raises(ResourceError, match="name of a resource"):
            houston.resources.set(name, slots=1)

    @pytest.mark.parametrize(
        ("slots", "rate"),
        [
            *[(None, None), (0, None), (-1, None), (10**9, None)],
            *[(1, "x"), (1, "0/s"), (1, "5"), (1, "5/0s"), (1, "-1/s")],
        ],
    )
    def test_limits_that_are_none_are_refused(
        self, houston: Houston, slots: int | None, rate: str | None
    ) -> None:
        with pytest.raises(ResourceError):
            houston.resources.set("db", slots=slots, rate=rate)
        assert houston.resources.list() == []


class TestInside:
    @pytest.mark.parametrize("kind", ["inline_flow", "flow", "loop"])
    def test_tasks_of_a_sub_flow_are_limited(self, houston: Houston, recorder: Recorder, kind: str) -> None:
        houston.resources.set("db", slots=1)
        houston.resources.set("api", rate="2/min")
        tasks = [note(f"t{n}", ["api", "db"]) for n in range(3)]
        submit(houston, "blocker", wait())
        params = {"flow_spec": {"tasks": tasks}, **({"max_iterations": 1} if kind == "loop" else {})}
        submit(houston, "f", {"key": "x", "task_type": kind, "task_params": params})
        finish(houston, recorder.clock)
        assert recorder.ran == []
        houston.signal("blocker", "go")
        finish(houston, recorder.clock)
        assert houston.summary("f").status == "COMPLETED"
        assert recorder.at == [0, 0, 60]

    def test_the_items_of_a_spread_are_limited(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("api", rate="2/min")
        skeleton = {"task_type": "test_note", "cfg": {"resources": ["api"]}}
        params = {"items": [1, 2, 3], "mapping_params": {"skeleton": skeleton, "wirings": []}}
        submit(houston, "f", {"key": "x", "task_type": "spread", "task_params": params})
        finish(houston, recorder.clock)
        assert recorder.at == [0, 0, 60]

    def test_the_task_of_a_switch_is_limited(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("db", slots=1)
        chosen = {"task": {"task_type": "test_note", "cfg": {"resources": ["db"]}}}
        submit(houston, "blocker", wait())
        params = {"control_value": 1, "cases": [], "default_case": chosen}
        submit(houston, "f", {"key": "x", "task_type": "switch", "task_params": params})
        assert recorder.ran == []
        assert houston.summary("f").next_tick_at is None
        houston.signal("blocker", "go")
        finish(houston, recorder.clock)
        assert recorder.ran == ["f/x"]
        assert houston.resources.get("db").held == 0

    def test_a_task_inside_a_holder_cannot_ask_for_more(self, houston: Houston) -> None:
        houston.resources.set("db", slots=5)
        inner = {"tasks": [note("t", ["db"])]}
        spec = {
            "key": "f",
            "tasks": [
                {
                    "key": "x",
                    "task_type": "inline_flow",
                    "task_params": {"flow_spec": inner},
                    "cfg": {"resources": ["db"]},
                }
            ],
        }
        houston.engine.resources.set("db", slots=5)
        with pytest.raises(FlowError, match="inside task 'x', which holds some"):
            houston.engine.run_flow(Flow.from_flow_spec(spec))
        houston.store.create(Flow.from_flow_spec(spec))
        houston.tick()
        assert houston.summary("f").status == "FAILED"
        assert houston.resources.get("db").held == 0

    @pytest.mark.parametrize("holder", ["spread", "switch"])
    def test_a_task_in_a_stored_sub_flow_of_a_holder_cannot_either(
        self, houston: Houston, holder: str
    ) -> None:
        houston.resources.set("db", slots=1)
        asks = {"value": ["db"], "dest": "ctx.skeleton.cfg.resources"}  # the spec itself does not show it
        mapping = {"skeleton": {"task_type": "test_note", "cfg": {}}, "wirings": [asks]}
        task: dict[str, Any] = {
            "task_type": "spread",
            "task_params": {"items": [1], "container_task_type": "flow", "mapping_params": mapping},
        }
        if holder == "switch":
            params = {"control_value": 1, "default_case": {"task": task}}
            task = {"task_type": "switch", "task_params": params}
        submit(houston, "f", {**task, "key": "x", "cfg": {"resources": ["db"]}})
        for _ in range(3):
            houston.tick()
        assert houston.summary("f").status == "FAILED"
        assert "inside task 'x', which holds some" in str(houston.load("f").describe_failure())
        assert houston.resources.get("db").held == 0


class TestPausedAndCopied:
    def test_a_paused_flow_lends_what_it_held_and_asks_for_it_again(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        submit(houston, "b", wait())
        flow = houston.load("a")
        flow.change_status("PAUSED")
        houston.store.save(flow)
        houston.tick()
        assert holders(houston.resources.get("db")) == ["b/w"]
        flow = houston.load("a")
        flow.change_status("RUNNING")
        houston.store.save(flow)
        houston.signal("a", "go")
        houston.tick()
        houston.tick()
        assert houston.summary("a").status == "RUNNING"  # the signal is there, but not the slot
        assert houston.load("a").tasks["w"]["status"] == "WAITING"
        houston.signal("b", "go")
        finish(houston, recorder.clock)
        assert houston.summary("a").status == "COMPLETED"

    @pytest.mark.parametrize(
        ("kind", "stop"),
        [
            (kind, stop)
            for kind in ("wait", "wait_for_signal", "inline_flow", "flow")
            for stop in ("pause", "block", "copy")
            if (kind, stop) != ("flow", "copy")  # a copy of what waits for a stored sub-flow is refused
        ],
    )
    def test_what_stops_a_flow_never_lets_two_run_on_one_slot(
        self, houston: Houston, recorder: Recorder, kind: str, stop: str
    ) -> None:
        houston.resources.set("db", slots=1)
        known = houston.engine.known_handlers
        params: dict[str, Any] = {"duration": 60}
        if kind == "wait_for_signal":
            params = {"signal": "go", "timeout": 60, "default": {}}
        elif kind != "wait":
            params = {"flow_spec": {"tasks": [{"task_type": "wait", "task_params": params}]}}
        holder = {"key": "h", "task_type": kind, "task_params": params, "cfg": {"resources": ["db"]}}
        other = {"key": "later", "task_type": "wait", "task_params": {"duration": 1}, "precursors": []}
        custom = {"key": "custom", "task_type": "test_note", "precursors": ["later"]}
        submit(houston, "a", holder, other, custom)
        if stop == "pause":
            houston.pause("a", by="ann")
            houston.resume("a", by="ann")
        elif stop == "copy":
            houston.import_(houston.export("a"), key="copy")
            houston.cancel("a", by="ann")
            houston.tick()
        else:
            handler = known.pop("test_note")
            recorder.clock.advance(1)
            houston.tick()
            assert houston.summary("a").status == "BLOCKED"
        first = {"pause": "a", "copy": "copy", "block": "a"}[stop]
        submit(houston, "b", {**note("t", ["db"]), "task_type": "noop"})
        check_store(houston.store)
        held, status = holders(houston.resources.get("db")), houston.summary("b").status
        if stop == "block" and kind != "flow":
            assert (held, status) == ([], "COMPLETED")  # what does not go on lends what it held
        else:
            assert (held, status) == ([f"{first}/h"], "RUNNING")
        if stop == "block":
            known["test_note"] = handler
            houston.resume("a", by="ann")
        finish(houston, recorder.clock)
        assert houston.summary(first).status == houston.summary("b").status == "COMPLETED"

    def test_a_copy_of_a_flow_holds_nothing_until_it_asks(self, houston: Houston, recorder: Recorder) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        houston.import_(houston.export("a"), key="copy")
        houston.tick()
        houston.signal("copy", "go")
        finish(houston, recorder.clock)
        assert houston.summary("copy").status == "RUNNING"
        assert holders(houston.resources.get("db")) == ["a/w"]
        houston.signal("a", "go")
        finish(houston, recorder.clock)
        assert houston.summary("copy").status == "COMPLETED"

    def test_a_task_that_lost_what_it_held_is_timed_out_all_the_same(
        self, houston: Houston, recorder: Recorder
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait("w", timeout=100))
        houston.import_(houston.export("a"), key="copy")
        houston.tick()
        recorder.clock.advance(100)
        finish(houston, recorder.clock)
        assert houston.summary("copy").status == houston.summary("a").status == "FAILED"

    def test_a_runner_without_the_handler_keeps_nobody_waiting(
        self, houston: Houston, recorder: Recorder, store_name: str
    ) -> None:
        houston.resources.set("db", slots=1)
        submit(houston, "a", wait())
        submit(houston, "b", note("t", ["db"]))
        submit(houston, "c", wait())
        known = houston.engine.known_handlers
        handler = known.pop("test_note")
        houston.signal("a", "go")
        for _ in range(3):
            houston.tick()
        assert holders(houston.resources.get("db")) == ["c/w"]
        known["test_note"] = handler
        houston.signal("c", "go")
        finish(houston, recorder.clock)
        assert houston.summary("b").status == "COMPLETED"


def test_a_save_that_comes_too_late_gives_nothing_back(houston: Houston) -> None:
    houston.resources.set("db", slots=1)
    submit(houston, "a", wait())
    flow = houston.load("a")
    stale = houston.load("a")
    houston.engine.signal(flow, "go")
    houston.store.save(flow, outbox=Outbox())
    houston.engine.cancel_flow(stale)
    with pytest.raises(Exception, match="saved"):
        houston.store.save(stale)
    assert houston.resources.get("db").held == 1
