"""Flows whose handlers a driver lacks, on each kind of store: BLOCKED, until a driver has them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import pytest

from mc.clock import ManualClock
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.formats.flow_rows import TRY_AGAIN_SECONDS
from mc.flows.handlers.handler_registry import task_handler
from mc.flows.services import SERVICES
from mc.runners.flow_runner import FlowRunner
from mc.store.event import Event
from mc.store.flow_store import FlowStore
from mc.store.upkeep.flow_checks import check_flows
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import check_store

OWN = {"key": "own_task", "task_type": "own", "data": {"x": 0}}
NESTED = {
    "top": (OWN, "own_task"),
    "inline_flow": (
        {"key": "t", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [OWN]}}},
        "t/own_task",
    ),
    "loop": (
        {
            "key": "t",
            "task_type": "loop",
            "task_params": {"flow_spec": {"tasks": [OWN]}, "max_iterations": 2},
        },
        "t/own_task",
    ),
    "spread": (
        {
            "key": "t",
            "task_type": "spread",
            "task_params": {"items": [1, 2, 3], "mapping_params": {"skeleton": OWN}},
        },
        "t/item_0",
    ),
    "switch": (
        {
            "key": "t",
            "task_type": "switch",
            "task_params": {
                "control_value": 1,
                "cases": [{"condition": {"op": "eq", "arg": 1}, "task": OWN}],
            },
        },
        "t/own_task",
    ),
    "a loop in a switch": (
        {
            "key": "t",
            "task_type": "switch",
            "task_params": {
                "control_value": 1,
                "default_case": {
                    "task": {
                        "task_type": "inline_flow",
                        "task_params": {
                            "flow_spec": {
                                "tasks": [
                                    {
                                        "key": "u",
                                        "task_type": "loop",
                                        "task_params": {"flow_spec": {"tasks": [OWN]}, "max_iterations": 2},
                                    }
                                ]
                            }
                        },
                    }
                },
            },
        },
        "t/u/own_task",
    ),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def checked(store: FlowStore) -> Iterator[None]:
    yield
    check_store(store)


class Drivers:
    """Drivers of one store that have different handlers."""

    def __init__(self, store: FlowStore, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock

    def __call__(self, *handlers: Any, **by_name: Any) -> FlowRunner:
        registered = {**by_name, **{handler.task_type: handler for handler in handlers}}
        return FlowRunner(self.store, FlowEngine(task_handlers=registered, clock=self.clock))

    def later(self) -> None:
        self.clock.advance(TRY_AGAIN_SECONDS)


@pytest.fixture
def drivers(store: FlowStore, clock: ManualClock) -> Drivers:
    return Drivers(store, clock)


def own(task: dict[str, Any]) -> dict[str, Any]:
    return {"x": 1}


def of_flow(events: Sequence[Event]) -> list[tuple[str | None, str | None]]:
    return [(event.old_status, event.new_status) for event in events if event.task_key is None]


@pytest.mark.parametrize("place", NESTED)
def test_it_is_blocked_wherever_the_task_stands_and_carries_on_by_itself(
    drivers: Drivers, store: FlowStore, place: str
) -> None:
    spec, path = NESTED[place]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))

    report = drivers().tick()
    assert [error["type"] for error in report.errors] == ["UnknownTaskTypeError"]
    flow = store.load("f")
    assert flow.status == "BLOCKED"
    assert f"task '{path}'" in (flow.blocked_reason or "")
    assert "of the type 'own'" in (flow.blocked_reason or "")
    assert store.summary("f").next_tick_at == store.clock.now() + timedelta(seconds=60)

    events = store.history.events("f")
    assert drivers(own=own).tick().claimed == 0  # it is looked at again a minute later
    drivers.later()
    report = drivers().tick()
    assert (report.waiting, report.errors) == (1, [])
    assert store.history.events("f") == events
    assert store.load("f").blocked_reason == flow.blocked_reason

    drivers.later()
    assert drivers(own=own).tick().completed == 1
    flow = store.load("f")
    assert flow.status == "COMPLETED"
    assert (flow.blocked_reason, flow.missing_handlers) == (None, None)
    changes = of_flow(store.history.events("f"))[1:]
    assert changes == [
        ("PENDING", "RUNNING"),
        ("RUNNING", "BLOCKED"),
        ("BLOCKED", "RUNNING"),
        ("RUNNING", "COMPLETED"),
    ]


def test_the_history_tells_the_reason(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    last = store.history.events("f")[-1]
    assert last.detail == {"reason": store.load("f").blocked_reason}


def test_the_task_has_not_begun_while_its_handler_is_missing(
    drivers: Drivers, store: FlowStore, clock: ManualClock
) -> None:
    spec = {**OWN, "cfg": {"timeout": "10m"}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    drivers().tick()
    task = store.load("f").tasks["own_task"]
    assert (task["status"], task["attempt"]) == ("PENDING", 0)
    assert "deadline_at" not in task
    clock.advance(3 * 86_400)
    assert drivers(own=own).tick().completed == 1  # its time began only now
    assert store.load("f").tasks["own_task"]["attempt"] == 1


def test_what_is_not_wanted_needs_no_handler(drivers: Drivers, store: FlowStore) -> None:
    spec = {**OWN, "cfg": {"when": {"value": 1, "op": "eq", "arg": 2}}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    assert drivers().tick().completed == 1


def test_other_tasks_of_the_tick_are_ticked_and_a_driver_with_one_of_the_handlers_goes_on(
    drivers: Drivers, store: FlowStore
) -> None:
    tasks = [{"key": key, "task_type": key, "precursors": []} for key in ("a", "b", "c")]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": tasks}))
    drivers(a=own).tick()
    assert store.load("f").tasks["a"]["status"] == "COMPLETED"
    assert [entry["task"] for entry in store.load("f").missing_handlers or ()] == ["b", "c"]
    drivers.later()
    drivers(c=own).tick()
    assert [entry["task"] for entry in store.load("f").missing_handlers or ()] == ["b"]
    drivers.later()
    assert drivers(b=own).tick().completed == 1


def test_a_waiting_task_whose_handler_is_missing_blocks_only_when_it_is_due(
    drivers: Drivers, store: FlowStore, clock: ManualClock
) -> None:
    class Wait(BaseTaskHandler):
        def initial_tick(self) -> None:
            self.wait_until(self.task_ctx.now() + timedelta(hours=1))

        def intermediate_tick(self) -> None:
            self.complete()

    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers(own=Wait).tick()
    drivers().tick()
    assert store.summary("f").status == "RUNNING"
    clock.advance(3_600)
    drivers().tick()
    assert store.summary("f").status == "BLOCKED"
    drivers.later()
    assert drivers(own=Wait).tick().completed == 1


class Pay(BaseTaskHandler):
    """Begins in one tick, and ends in a later one."""

    version: ClassVar[str | None] = "1"

    def initial_tick(self) -> None:
        self.data["began"] = self.version
        self.wait_until(self.task_ctx.now() + timedelta(seconds=1))

    def intermediate_tick(self) -> None:
        self.complete(ended=self.version)


class Pay2(Pay):
    version = "2"


class Pay3(Pay):
    version = "3"
    accepts = ("1", "2")


class PayUnversioned(Pay):
    version = None


@pytest.mark.parametrize("place", NESTED)
def test_a_begun_task_waits_for_the_version_of_its_handler(
    drivers: Drivers, store: FlowStore, clock: ManualClock, place: str
) -> None:
    spec, path = NESTED[place]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    drivers(own=Pay).tick()
    clock.advance(1)
    for other in (Pay2, PayUnversioned):
        drivers(own=other).tick()
        flow = store.load("f")
        assert flow.status == "BLOCKED"
        assert f"task '{path}'" in (flow.blocked_reason or "")
        assert "of the type 'own', version '1'" in (flow.blocked_reason or "")
        drivers.later()
    events = len(store.history.events("f"))
    drivers(own=Pay2).tick()
    assert len(store.history.events("f")) == events
    for _ in range(9):  # rounds of a loop begin anew
        drivers.later()
        drivers(own=Pay).tick()
    assert store.summary("f").status == "COMPLETED"


def test_a_handler_goes_on_with_versions_that_it_accepts(
    drivers: Drivers, store: FlowStore, clock: ManualClock
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers(own=Pay).tick()
    assert store.load("f").tasks["own_task"]["handler_version"] == "1"
    clock.advance(1)
    assert drivers(own=Pay3).tick().completed == 1
    task = store.load("f").tasks["own_task"]
    assert (task["data"]["ended"], task["handler_version"]) == ("3", "1")


def test_a_task_that_begins_or_begins_anew_takes_the_version_that_is_there(
    drivers: Drivers, store: FlowStore, clock: ManualClock
) -> None:
    @task_handler("own", version="1")
    def fails() -> None:
        raise ValueError("not today")

    @task_handler("own", version="2")
    def works() -> None:
        return None

    spec = {**OWN, "cfg": {"retry": {"max_attempts": 2, "delay": 5}}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    drivers(fails).tick()
    clock.advance(5)
    assert drivers(works).tick().completed == 1
    assert store.load("f").tasks["own_task"]["handler_version"] == "2"


def test_handlers_without_version_go_on_with_each_others_tasks(
    drivers: Drivers, store: FlowStore, clock: ManualClock
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers(own=PayUnversioned).tick()
    assert "handler_version" not in store.load("f").tasks["own_task"]
    clock.advance(1)
    assert drivers(own=Pay2).tick().completed == 1  # nothing is known against it


def test_a_flow_that_is_blocked_for_another_reason_does_not_carry_on_by_itself(
    drivers: Drivers, store: FlowStore
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    drivers.later()
    (lease,) = store.claim(owner="a test")
    store.block(lease, "It broke.")
    drivers.later()
    assert drivers(own=own).tick().claimed == 0
    flow = store.load("f")
    assert (flow.status, flow.blocked_reason) == ("BLOCKED", "It broke.")
    flow.label = "seen"
    store.save(flow)
    drivers.later()
    assert drivers(own=own).tick().claimed == 0
    store.messages.control("f", make_control("set", by="ada", data={"y": 1}))  # which takes a driver
    for _ in range(2):
        drivers(own=own).tick()
        drivers.later()
        assert (store.load("f").status, store.load("f").data) == ("BLOCKED", {"y": 1})
    drivers(own=own).control("f", make_control("resume", by="ada"))
    assert drivers(own=own).tick().completed == 1


def test_a_person_pauses_and_resumes_it(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    drivers().control("f", make_control("pause", by="ada"))
    flow = store.load("f")
    assert (flow.status, flow.blocked_reason, flow.missing_handlers) == ("PAUSED", None, None)
    drivers.later()
    assert drivers(own=own).tick().claimed == 0
    drivers().control("f", make_control("resume", by="ada"))
    drivers().tick()
    assert store.summary("f").status == "BLOCKED"
    drivers().control("f", make_control("resume", by="ada"))
    assert drivers(own=own).tick().completed == 1  # who resumes it need not wait for the minute


def test_what_a_person_asks_for_while_a_driver_looks_at_it_is_done_at_once(
    drivers: Drivers, store: FlowStore
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    drivers.later()
    (lease,) = store.claim(owner="looks")
    store.messages.control("f", make_control("cancel", by="ada"))
    store.set_aside(lease, store.clock.now() + timedelta(seconds=60))
    assert drivers().tick().cancelled == 1


def test_what_a_person_sets_is_kept_while_it_stays_blocked(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    store.messages.control("f", make_control("set", by="ada", data={"y": 1}))
    drivers().tick()
    flow = store.load("f")
    assert (flow.status, flow.data) == ("BLOCKED", {"y": 1})
    assert store.summary("f").next_tick_at == store.clock.now() + timedelta(seconds=60)


def test_it_can_be_cancelled_while_it_is_blocked(drivers: Drivers, store: FlowStore) -> None:
    child = {"key": "child", "tasks": [OWN]}
    spec = {"key": "f", "tasks": [{"key": "t", "task_type": "flow", "task_params": {"flow_spec": child}}]}
    store.create(Flow.from_flow_spec(spec))
    runner = drivers()
    runner.tick()
    (child_key,) = [flow.key for flow in store.query(status="BLOCKED")]
    from mc.runners.services.stored_sub_flows import StoredSubFlows
    from mc.store.outbox import Outbox

    flow, outbox = store.load("f"), Outbox()
    service = StoredSubFlows(store, outbox, pytest.fail)
    engine = FlowEngine(clock=store.clock)
    ctx = {SERVICES: replace(engine.services, sub_flows=service)}
    engine.cancel_flow(flow, "a person wants it", ctx)
    store.save(flow, outbox=outbox)
    assert drivers().tick().cancelled == 1  # at once, and without the handler
    assert store.summary(child_key).status == "CANCELLED"


def test_a_skipped_task_needs_its_handler_no_more(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN, {"key": "b", "task_type": "noop"}]}))
    drivers().tick()
    flow = store.load("f")
    flow.change_task_status("own_task", "SKIPPED")
    store.save(flow)
    drivers.later()
    drivers().tick()
    assert store.summary("f").status == "COMPLETED"


def test_a_signal_that_comes_meanwhile_is_not_lost(drivers: Drivers, store: FlowStore) -> None:
    wait = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}, "precursors": []}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [wait, {**OWN, "precursors": []}]}))
    drivers().tick()
    store.messages.signal("f", "go", 1)
    assert drivers().tick().claimed == 0
    drivers.later()
    drivers().tick()
    drivers.later()
    assert drivers(own=own).tick().completed == 1
    assert store.load("f").tasks["w"]["data"] == {"signal": 1}


def test_it_is_exported_and_imported_as_it_is(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    drivers().tick()
    copy = {**store.load("f").to_flow_dict(), "key": "g"}
    store.create(Flow.from_flow_dict(copy))
    drivers.later()
    assert drivers(own=own).tick().completed == 2


def test_the_doctor_tells_it_from_flows_that_wait_for_a_person(drivers: Drivers, store: FlowStore) -> None:
    for key in ("f", "g"):
        store.create(Flow.from_flow_spec({"key": key, "tasks": [OWN]}))
    (lease,) = store.claim(owner="a test", keys=["g"])
    store.block(lease, "It broke.")
    drivers().tick()
    found = {
        finding.code: finding.details
        for finding in store._database.read(
            lambda connection: list(
                check_flows(connection, store._database.dialect, store.clock.now(), timedelta(minutes=10))
            )
        )
    }
    assert list(found["missing-handlers"]["reasons"]) == ["f"]
    assert list(found["blocked-flows"]["reasons"]) == ["g"]


def test_a_task_type_that_is_no_name_fails_its_task(drivers: Drivers, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [{"key": "a", "task_type": None}]}))
    assert drivers().tick().failed == 1  # no driver will ever have its handler


class TestCalls:
    """A `call` of a function whose module the driver may not import."""

    CALL: ClassVar[dict[str, Any]] = {
        "key": "own_task",
        "task_type": "call",
        "task_params": {"function": "its_own_module:act"},
        "cfg": {"timeout": "10m"},
    }

    @pytest.fixture
    def allowed(self, store: FlowStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> FlowRunner:
        module = ModuleType("its_own_module")
        exec("def act(): return 1", module.__dict__)
        monkeypatch.setitem(sys.modules, "its_own_module", module)
        return FlowRunner(store, FlowEngine(handler_modules=["its_own_module"], clock=clock))

    def with_a_call(self, place: str) -> dict[str, Any]:
        text = json.dumps(NESTED[place][0]).replace(json.dumps(OWN), json.dumps(self.CALL))
        found: dict[str, Any] = json.loads(text)
        return found

    @pytest.mark.parametrize("place", NESTED)
    def test_it_blocks_its_flow_until_a_driver_may(
        self, drivers: Drivers, store: FlowStore, allowed: FlowRunner, place: str
    ) -> None:
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [self.with_a_call(place)]}))
        assert [error["type"] for error in drivers().tick().errors] == ["TaskTypeNotAllowedError"]
        flow = store.load("f")
        assert flow.status == "BLOCKED"
        assert f"task '{NESTED[place][1]}'" in (flow.blocked_reason or "")
        assert "'its_own_module'" in (flow.blocked_reason or "")

        events = store.history.events("f")
        drivers.later()
        report = drivers().tick()
        assert (report.waiting, report.errors, store.history.events("f")) == (1, [], events)

        drivers.clock.advance(3 * 86_400)
        assert allowed.tick().completed == 1  # its time began only now
        assert store.load("f").missing_handlers is None

    def test_the_call_is_made_in_the_first_attempt(
        self, drivers: Drivers, store: FlowStore, allowed: FlowRunner
    ) -> None:
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [self.CALL]}))
        drivers().tick()
        drivers.later()
        allowed.tick()
        task = store.load("f").tasks["own_task"]
        assert (task["attempt"], task["data"]["result"]) == (1, 1)

    def test_a_module_that_is_allowed_and_has_no_such_function_fails_the_task(
        self, store: FlowStore, allowed: FlowRunner
    ) -> None:
        spec = {**self.CALL, "task_params": {"function": "its_own_module:axt"}}
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
        assert allowed.tick().failed == 1
