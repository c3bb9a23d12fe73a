"""Flows whose handlers a runner lacks, on each kind of store: BLOCKED, until a runner has them."""

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


@pytest.fixture(autouse=True)
def checked(store: FlowStore) -> Iterator[None]:
    yield
    check_store(store)


class Runners:
    """Runners of one store that have different handlers."""

    def __init__(self, store: FlowStore, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock

    def __call__(self, *handlers: Any, **by_name: Any) -> FlowRunner:
        registered = {**by_name, **{handler.task_type: handler for handler in handlers}}
        return FlowRunner(self.store, FlowEngine(task_handlers=registered, clock=self.clock))

    def later(self) -> None:
        self.clock.advance(TRY_AGAIN_SECONDS)


@pytest.fixture
def runners(store: FlowStore, clock: ManualClock) -> Runners:
    return Runners(store, clock)


def own(task: dict[str, Any]) -> dict[str, Any]:
    return {"x": 1}


def of_flow(events: Sequence[Event]) -> list[tuple[str | None, str | None]]:
    return [(event.old_status, event.new_status) for event in events if event.task_key is None]


@pytest.mark.parametrize("place", NESTED)
def test_it_is_blocked_wherever_the_task_stands_and_carries_on_by_itself(
    runners: Runners, store: FlowStore, place: str
) -> None:
    spec, path = NESTED[place]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))

    report = runners().tick()
    assert [error["type"] for error in report.errors] == ["UnknownTaskTypeError"]
    flow = store.load("f")
    assert flow.status == "BLOCKED"
    assert f"task '{path}'" in (flow.blocked_reason or "")
    assert "of the type 'own'" in (flow.blocked_reason or "")
    assert store.summary("f").next_tick_at == store.clock.now() + timedelta(seconds=60)

    events = store.history.events("f")
    assert runners(own=own).tick().claimed == 0  # it is looked at again a minute later
    runners.later()
    report = runners().tick()
    assert (report.waiting, report.errors) == (1, [])
    assert store.history.events("f") == events
    assert store.load("f").blocked_reason == flow.blocked_reason

    runners.later()
    assert runners(own=own).tick().completed == 1
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


def test_the_history_tells_the_reason(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    last = store.history.events("f")[-1]
    assert last.detail == {"reason": store.load("f").blocked_reason}


def test_the_task_has_not_begun_while_its_handler_is_missing(
    runners: Runners, store: FlowStore, clock: ManualClock
) -> None:
    spec = {**OWN, "cfg": {"timeout": "10m"}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    runners().tick()
    task = store.load("f").tasks["own_task"]
    assert (task["status"], task["attempt"]) == ("PENDING", 0)
    assert "deadline_at" not in task
    clock.advance(3 * 86_400)
    assert runners(own=own).tick().completed == 1  # its time began only now
    assert store.load("f").tasks["own_task"]["attempt"] == 1


def test_what_is_not_wanted_needs_no_handler(runners: Runners, store: FlowStore) -> None:
    spec = {**OWN, "cfg": {"when": {"value": 1, "op": "eq", "arg": 2}}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    assert runners().tick().completed == 1


def test_other_tasks_of_the_tick_are_ticked_and_a_runner_with_one_of_the_handlers_goes_on(
    runners: Runners, store: FlowStore
) -> None:
    tasks = [{"key": key, "task_type": key, "precursors": []} for key in ("a", "b", "c")]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": tasks}))
    runners(a=own).tick()
    assert store.load("f").tasks["a"]["status"] == "COMPLETED"
    assert [entry["task"] for entry in store.load("f").missing_handlers or ()] == ["b", "c"]
    runners.later()
    runners(c=own).tick()
    assert [entry["task"] for entry in store.load("f").missing_handlers or ()] == ["b"]
    runners.later()
    assert runners(b=own).tick().completed == 1


def test_a_waiting_task_whose_handler_is_missing_blocks_only_when_it_is_due(
    runners: Runners, store: FlowStore, clock: ManualClock
) -> None:
    class Wait(BaseTaskHandler):
        def initial_tick(self) -> None:
            self.wait_until(self.task_ctx.now() + timedelta(hours=1))

        def intermediate_tick(self) -> None:
            self.complete()

    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners(own=Wait).tick()
    runners().tick()
    assert store.summary("f").status == "RUNNING"
    clock.advance(3_600)
    runners().tick()
    assert store.summary("f").status == "BLOCKED"
    runners.later()
    assert runners(own=Wait).tick().completed == 1


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
    runners: Runners, store: FlowStore, clock: ManualClock, place: str
) -> None:
    spec, path = NESTED[place]
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    runners(own=Pay).tick()
    clock.advance(1)
    for other in (Pay2, PayUnversioned):
        runners(own=other).tick()
        flow = store.load("f")
        assert flow.status == "BLOCKED"
        assert f"task '{path}'" in (flow.blocked_reason or "")
        assert "of the type 'own', version '1'" in (flow.blocked_reason or "")
        runners.later()
    events = len(store.history.events("f"))
    runners(own=Pay2).tick()
    assert len(store.history.events("f")) == events
    for _ in range(9):  # rounds of a loop begin anew
        runners.later()
        runners(own=Pay).tick()
    assert store.summary("f").status == "COMPLETED"


def test_a_handler_goes_on_with_versions_that_it_accepts(
    runners: Runners, store: FlowStore, clock: ManualClock
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners(own=Pay).tick()
    assert store.load("f").tasks["own_task"]["handler_version"] == "1"
    clock.advance(1)
    assert runners(own=Pay3).tick().completed == 1
    task = store.load("f").tasks["own_task"]
    assert (task["data"]["ended"], task["handler_version"]) == ("3", "1")


def test_a_task_that_begins_or_begins_anew_takes_the_version_that_is_there(
    runners: Runners, store: FlowStore, clock: ManualClock
) -> None:
    @task_handler("own", version="1")
    def fails() -> None:
        raise ValueError("not today")

    @task_handler("own", version="2")
    def works() -> None:
        return None

    spec = {**OWN, "cfg": {"retry": {"max_attempts": 2, "delay": 5}}}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
    runners(fails).tick()
    clock.advance(5)
    assert runners(works).tick().completed == 1
    assert store.load("f").tasks["own_task"]["handler_version"] == "2"


def test_handlers_without_version_go_on_with_each_others_tasks(
    runners: Runners, store: FlowStore, clock: ManualClock
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners(own=PayUnversioned).tick()
    assert "handler_version" not in store.load("f").tasks["own_task"]
    clock.advance(1)
    assert runners(own=Pay2).tick().completed == 1  # nothing is known against it


def test_a_flow_that_is_blocked_for_another_reason_does_not_carry_on_by_itself(
    runners: Runners, store: FlowStore
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    runners.later()
    (lease,) = store.claim(owner="a test")
    store.block(lease, "It broke.")
    runners.later()
    assert runners(own=own).tick().claimed == 0
    flow = store.load("f")
    assert (flow.status, flow.blocked_reason) == ("BLOCKED", "It broke.")
    flow.label = "seen"
    store.save(flow)
    runners.later()
    assert runners(own=own).tick().claimed == 0
    store.messages.control("f", make_control("set", by="ada", data={"y": 1}))  # which takes a runner
    for _ in range(2):
        runners(own=own).tick()
        runners.later()
        assert (store.load("f").status, store.load("f").data) == ("BLOCKED", {"y": 1})
    runners(own=own).control("f", make_control("resume", by="ada"))
    assert runners(own=own).tick().completed == 1


def test_a_person_pauses_and_resumes_it(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    runners().control("f", make_control("pause", by="ada"))
    flow = store.load("f")
    assert (flow.status, flow.blocked_reason, flow.missing_handlers) == ("PAUSED", None, None)
    runners.later()
    assert runners(own=own).tick().claimed == 0
    runners().control("f", make_control("resume", by="ada"))
    runners().tick()
    assert store.summary("f").status == "BLOCKED"
    runners().control("f", make_control("resume", by="ada"))
    assert runners(own=own).tick().completed == 1  # who resumes it need not wait for the minute


def test_what_a_person_asks_for_while_a_runner_looks_at_it_is_done_at_once(
    runners: Runners, store: FlowStore
) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    runners.later()
    (lease,) = store.claim(owner="looks")
    store.messages.control("f", make_control("cancel", by="ada"))
    store.set_aside(lease, store.clock.now() + timedelta(seconds=60))
    assert runners().tick().cancelled == 1


def test_what_a_person_sets_is_kept_while_it_stays_blocked(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    store.messages.control("f", make_control("set", by="ada", data={"y": 1}))
    runners().tick()
    flow = store.load("f")
    assert (flow.status, flow.data) == ("BLOCKED", {"y": 1})
    assert store.summary("f").next_tick_at == store.clock.now() + timedelta(seconds=60)


def test_it_can_be_cancelled_while_it_is_blocked(runners: Runners, store: FlowStore) -> None:
    child = {"key": "child", "tasks": [OWN]}
    spec = {"key": "f", "tasks": [{"key": "t", "task_type": "flow", "task_params": {"flow_spec": child}}]}
    store.create(Flow.from_flow_spec(spec))
    runner = runners()
    runner.tick()
    (child_key,) = [flow.key for flow in store.query(status="BLOCKED")]
    from mc.runners.services.stored_sub_flows import StoredSubFlows
    from mc.store.saving.flow_saver import Outbox

    flow, outbox = store.load("f"), Outbox()
    service = StoredSubFlows(store=store, outbox=outbox, on_outage=pytest.fail)
    engine = FlowEngine(clock=store.clock)
    ctx = {SERVICES: replace(engine.services, sub_flows=service)}
    engine.cancel_flow(flow, "a person wants it", ctx)
    store.save(flow, outbox=outbox)
    assert runners().tick().cancelled == 1  # at once, and without the handler
    assert store.summary(child_key).status == "CANCELLED"


def test_a_skipped_task_needs_its_handler_no_more(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN, {"key": "b", "task_type": "noop"}]}))
    runners().tick()
    flow = store.load("f")
    flow.change_task_status("own_task", "SKIPPED")
    store.save(flow)
    runners.later()
    runners().tick()
    assert store.summary("f").status == "COMPLETED"


def test_a_signal_that_comes_meanwhile_is_not_lost(runners: Runners, store: FlowStore) -> None:
    wait = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}, "precursors": []}
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [wait, {**OWN, "precursors": []}]}))
    runners().tick()
    store.messages.signal("f", "go", 1)
    assert runners().tick().claimed == 0
    runners.later()
    runners().tick()
    runners.later()
    assert runners(own=own).tick().completed == 1
    assert store.load("f").tasks["w"]["data"] == {"signal": 1}


def test_it_is_exported_and_imported_as_it_is(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [OWN]}))
    runners().tick()
    copy = {**store.load("f").to_flow_dict(), "key": "g"}
    store.create(Flow.from_flow_dict(copy))
    runners.later()
    assert runners(own=own).tick().completed == 2


def test_the_doctor_tells_it_from_flows_that_wait_for_a_person(runners: Runners, store: FlowStore) -> None:
    for key in ("f", "g"):
        store.create(Flow.from_flow_spec({"key": key, "tasks": [OWN]}))
    (lease,) = store.claim(owner="a test", keys=["g"])
    store.block(lease, "It broke.")
    runners().tick()
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


def test_a_task_type_that_is_no_name_fails_its_task(runners: Runners, store: FlowStore) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": [{"key": "a", "task_type": None}]}))
    assert runners().tick().failed == 1  # no runner will ever have its handler


class TestCalls:
    """A `call` of a function whose module the runner may not import."""

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
    def test_it_blocks_its_flow_until_a_runner_may(
        self, runners: Runners, store: FlowStore, allowed: FlowRunner, place: str
    ) -> None:
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [self.with_a_call(place)]}))
        assert [error["type"] for error in runners().tick().errors] == ["TaskTypeNotAllowedError"]
        flow = store.load("f")
        assert flow.status == "BLOCKED"
        assert f"task '{NESTED[place][1]}'" in (flow.blocked_reason or "")
        assert "'its_own_module'" in (flow.blocked_reason or "")

        events = store.history.events("f")
        runners.later()
        report = runners().tick()
        assert (report.waiting, report.errors, store.history.events("f")) == (1, [], events)

        runners.clock.advance(3 * 86_400)
        assert allowed.tick().completed == 1  # its time began only now
        assert store.load("f").missing_handlers is None

    def test_the_call_is_made_in_the_first_attempt(
        self, runners: Runners, store: FlowStore, allowed: FlowRunner
    ) -> None:
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [self.CALL]}))
        runners().tick()
        runners.later()
        allowed.tick()
        task = store.load("f").tasks["own_task"]
        assert (task["attempt"], task["data"]["result"]) == (1, 1)

    def test_a_module_that_is_allowed_and_has_no_such_function_fails_the_task(
        self, store: FlowStore, allowed: FlowRunner
    ) -> None:
        spec = {**self.CALL, "task_params": {"function": "its_own_module:axt"}}
        store.create(Flow.from_flow_spec({"key": "f", "tasks": [spec]}))
        assert allowed.tick().failed == 1
