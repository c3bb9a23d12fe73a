"""Explanations, on each kind of store."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mc.clock import ManualClock
from mc.errors import FlowNotFoundError
from mc.explanation.explanation import Explanation, Reason, ReasonKind
from mc.explanation.flow_reasons import explain_flow
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_facts import read_facts
from mc.store.flow_store import FlowStore
from tests.support.advice import MOVES, Person, waiting_specs

NUMBERS = count()


def store_flow(store: FlowStore, *tasks: dict[str, Any], **cfg: Any) -> None:
    store.create(Flow.from_flow_spec({"key": "f", "tasks": list(tasks), "cfg": cfg}))


def tick(store: FlowStore, **handlers: Any) -> None:
    FlowRunner(store, FlowEngine(task_handlers=handlers, clock=store.clock)).tick()


def explain(store: FlowStore, **kwargs: Any) -> Explanation:
    return explain_flow(read_facts(store, "f", **kwargs))


def first(store: FlowStore) -> Reason:
    return explain(store).reasons[0]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=waiting_specs(), moves=MOVES)
def test_the_advice_moves_every_flow(
    store: FlowStore, clock: ManualClock, spec: dict[str, Any], moves: list[str]
) -> None:
    key = f"f{next(NUMBERS)}"
    store.create(Flow.from_flow_spec({**spec, "key": key}))
    person = Person(store, clock, key)
    for what in moves:
        person.move(what)
        person.explain(key)
    assert person.follow(key) in FINISHED_FLOW_STATUSES


def test_a_due_flow_tells_what_the_next_tick_would_do_and_whether_there_are_runners(
    store: FlowStore, clock: ManualClock
) -> None:
    tasks = [{"key": key, "task_type": "noop", "precursors": []} for key in "abc"]
    store_flow(store, *tasks, max_running_tasks=2)
    reason = first(store)
    assert (reason.kind, reason.since) == (ReasonKind.DUE, clock.now())
    assert "The next tick would start a, b." in reason.text
    assert "no tick was ever made" in reason.moves
    since = clock.now()
    FlowRunner(store, FlowEngine(clock=clock), owner="cron").tick(max_flows=1)
    store.create(Flow.from_flow_spec({"key": "g", "tasks": tasks}))
    clock.advance(3600)
    late = explain_flow(read_facts(store, "g")).reasons[0]
    assert (late.kind, late.since) == (ReasonKind.LATE, since)
    assert "due for 1h, and no runner took it up" in late.text
    assert "The last tick began 1h ago (by cron on" in late.moves
    assert "houston doctor" in late.commands


def test_a_flow_that_a_runner_holds_tells_who_and_until_when(store: FlowStore) -> None:
    store_flow(store, {"key": "a", "task_type": "noop"})
    (lease,) = store.claim(owner="cron-7", lease_seconds=600)
    reason = first(store)
    assert (reason.kind, reason.until) == (ReasonKind.HELD, lease.expires_at)
    assert "'cron-7'" in reason.text


def test_a_runner_that_vanished_is_named(store: FlowStore) -> None:
    store_flow(store, {"key": "a", "task_type": "noop"})
    store.claim(owner="cron-7", lease_seconds=0)
    assert first(store).kind is ReasonKind.LEASE_EXPIRED
    store.claim(owner="cron-8", lease_seconds=0)
    assert "'cron-8' vanished" in first(store).text
    assert "1 vanished before it" in first(store).text


def test_a_paused_flow_tells_by_whom_and_why(store: FlowStore, clock: ManualClock) -> None:
    store_flow(store, {"key": "a", "task_type": "noop"})
    clock.advance(5)
    pause = make_control("pause", by="ada", reason="stocktaking")
    FlowRunner(store, FlowEngine(clock=clock)).control("f", pause)
    paused_at = clock.now()
    clock.advance(5)
    reason = first(store)
    assert (reason.kind, reason.since) == (ReasonKind.PAUSED, paused_at)
    assert reason.text == "The flow was paused by ada: stocktaking."
    assert reason.commands == ("houston resume f", "houston cancel f")


def test_what_a_person_asks_for_and_nobody_has_done_comes_first(store: FlowStore) -> None:
    store_flow(store, {"key": "a", "task_type": "noop"})
    (lease,) = store.claim(owner="cron-7", lease_seconds=600)
    store.messages.control("f", make_control("cancel", by="ada", reason="sold out"))
    explanation = explain(store)
    assert [reason.kind for reason in explanation.reasons] == [ReasonKind.ASKED, ReasonKind.HELD]
    assert explanation.reasons[0].text == "ada asks to cancel the flow: sold out."
    store.release(lease)
    assert "no tick was ever made" in first(store).moves
    tick(store)
    assert "CANCELLED" in first(store).text
    assert "sold out" in first(store).text
    store.messages.control("f", make_control("retry", by="bo"))
    assert [reason.kind for reason in explain(store).reasons] == [ReasonKind.ASKED, ReasonKind.FINISHED]


def test_a_blocked_flow_tells_why_and_whether_a_person_must_act(store: FlowStore) -> None:
    store_flow(store, {"key": "a", "task_type": "own"})
    tick(store)
    reason = first(store)
    assert (reason.kind, reason.until) == (
        ReasonKind.MISSING_HANDLER,
        store.clock.now() + timedelta(seconds=60),
    )
    assert "task 'a' of the type 'own'" in reason.text
    store.clock.sleep(60)
    (lease,) = store.claim(owner="breaks")
    store.block(lease, "It broke.")
    reason = first(store)
    assert (reason.kind, reason.until) == (ReasonKind.BLOCKED, None)
    assert "It broke." in reason.text
    assert "houston resume f" in reason.commands


def test_a_failed_flow_tells_what_failed(store: FlowStore) -> None:
    def fail() -> None:
        raise ValueError("no stock")

    store_flow(store, {"key": "a", "task_type": "own"})
    tick(store, own=fail)
    explanation = explain(store)
    (reason,) = explanation.reasons
    assert explanation.is_finished
    assert reason.kind is ReasonKind.FINISHED
    assert "FAILED" in reason.text
    assert "Task 'a' failed at attempt 1: ValueError: no stock" in reason.text
    assert "houston retry f" in reason.commands


def test_waits_inside_sub_flows_are_told_with_the_flow_to_which_a_signal_goes(store: FlowStore) -> None:
    wait = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    inline = {"key": "i", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [wait]}}}
    store_flow(store, {"key": "t", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [inline]}}})
    tick(store)
    event, sub = explain(store).reasons
    assert (event.kind, sub.kind, sub.task) == (ReasonKind.EVENT, ReasonKind.SUB_FLOW, "t")
    assert sub.sub_flow is not None
    assert sub.sub_flow.flow_key == "f/t/1"
    deep = sub.sub_flow.reasons[1]
    assert (deep.kind, deep.task, deep.commands) == (
        ReasonKind.SIGNAL,
        "i/w",
        ("houston signal f/t/1 go",),
    )


def test_a_signal_of_another_name_is_pointed_out(store: FlowStore) -> None:
    store_flow(store, {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}})
    tick(store)
    store.messages.signal("f", "goo")
    tick(store)
    assert "no task has taken: 'goo'" in explain(store).reasons[1].text


def test_a_task_that_waits_for_a_resource_tells_who_can_give_it(store: FlowStore) -> None:
    load = {"key": "load", "task_type": "noop", "cfg": {"resources": {"db": 2}}}
    store_flow(
        store, {"key": "i", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [load]}}}
    )
    tick(store)
    reason = explain(store).reasons[1]
    assert (reason.kind, reason.task) == (ReasonKind.LIMIT, "i/load")
    assert reason.text == "The task asks for 2 of db, and nobody has set how many there are."
    assert reason.commands == ("houston resource set db --slots N",)
    store.resources.set("db", slots=1)
    tick(store)
    reason = explain(store).reasons[1]
    assert reason.text == "The task asks for 2 of db, and there are never more than 1."
    assert reason.moves == "A person who sets at least 2."
    wait = {**load, "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
    store.create(Flow.from_flow_spec({"key": "g", "cfg": {"priority": 1}, "tasks": [wait]}))
    store.resources.set("db", slots=2)
    tick(store)
    reason = explain(store).reasons[1]
    assert reason.text == "The task waits for its turn to have db."
    assert reason.commands == ("houston resource show db",)


def test_a_join_tells_the_first_of_the_tasks_that_it_waits_for(store: FlowStore) -> None:
    waits = [
        {"key": f"w{n}", "task_type": "wait", "task_params": {"duration": "1h"}, "precursors": []}
        for n in range(9)
    ]
    done = {"key": "done", "task_type": "noop", "precursors": []}
    keys = [task["key"] for task in [*waits, done]]
    store_flow(store, *waits, done, {"key": "join", "task_type": "noop", "precursors": keys})
    tick(store)
    join = explain(store).reasons[-1]
    assert (join.kind, join.task) == (ReasonKind.PRECURSORS, "join")
    assert "w0 (WAITING), w1 (WAITING)" in join.text
    assert "and 4 more" in join.text
    assert "done" not in join.text


def test_of_a_large_flow_only_so_many_tasks_are_read(store: FlowStore) -> None:
    chain = [{"key": f"t{n}", "task_type": "noop"} for n in range(200)]
    store_flow(store, *chain)
    explanation = explain(store, max_tasks=3)
    assert len(explanation.reasons) == 4
    assert explanation.tasks_not_shown == 197
    assert explanation.reasons[1].task == "t0"


def test_an_unknown_flow_is_an_error(store: FlowStore) -> None:
    with pytest.raises(FlowNotFoundError):
        explain(store)
