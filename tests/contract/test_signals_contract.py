"""Signals and decisions, on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from mc.clock import ManualClock
from mc.errors import FlowNotFoundError, SignalError
from mc.houston import Houston
from mc.spec.schema import params_schema
from mc.store.event import EventKind
from mc.store.saving.flow_saver import Outbox
from mc.store.schema import tables
from tests.support.invariants import check_store

WAIT = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
ASK = {"key": "ask", "task_type": "approval", "task_params": {"approvers": ["ada", "Ada", "Ümit ✓"]}}


@pytest.fixture
def houston(store_url: str, clock: ManualClock) -> Iterator[Houston]:
    with Houston(store_url, clock=clock) as opened:
        yield opened
        check_store(opened.store)


def submit(houston: Houston, *tasks: dict[str, Any], key: str = "f", tick: bool = True) -> str:
    houston.submit({"tasks": list(tasks)}, key=key)
    if tick:
        houston.tick()
    return key


def rows(houston: Houston) -> list[Any]:
    query = select(tables.signal).order_by(tables.signal.c.id)
    return list(houston.store._database.read(lambda connection: connection.execute(query).all()))


def taken(houston: Houston, key: str = "f") -> dict[str, Any]:
    tasks = houston.load(key).filter_tasks({"status": "COMPLETED"})
    return {task["key"]: task["data"]["signal"] for task in tasks if "signal" in task["data"]}


@pytest.mark.parametrize("tick", [False, True], ids=["before the first tick", "while the task waits"])
def test_a_signal_makes_the_flow_due_and_is_taken(houston: Houston, clock: ManualClock, tick: bool) -> None:
    submit(houston, WAIT, tick=tick)
    assert houston.signal("f", "go", {"text": "ä\0 ✓", "n": 2**70}, id="1", by="shop")
    summary = houston.summary("f")
    assert summary.next_tick_at == clock.now()
    check_store(houston.store)
    assert houston.tick().completed == 1
    assert taken(houston) == {"w": {"text": "ä\0 ✓", "n": 2**70}}
    (row,) = rows(houston)
    assert (row.signal_id, row.name, row.sent_by, row.taken_by) == ("1", "go", "shop", "f/w/1")


def test_a_signal_that_nobody_waits_for_is_kept_and_leaves_the_flow_at_rest(houston: Houston) -> None:
    submit(houston, WAIT, {**WAIT, "key": "later", "task_params": {"signal": "other"}})
    houston.signal("f", "other", 1)
    houston.tick()
    assert houston.summary("f").next_tick_at is None
    check_store(houston.store)
    houston.signal("f", "go", 2)
    assert houston.tick().completed == 1
    assert taken(houston) == {"w": 2, "later": 1}


def test_sent_twice_with_the_same_id_it_counts_once(houston: Houston) -> None:
    submit(houston, WAIT, {**WAIT, "key": "x"})
    assert houston.signal("f", "go", 1, id="a")
    assert not houston.signal("f", "go", 1, id="a")
    assert houston.signal("f", "go", 1, id="A")  # an id is an exact text
    assert houston.signal("f", "go", 1, id="a" * 255)
    houston.tick()
    assert not houston.signal("f", "go", 1, id="a")  # also when it was taken, and the flow is finished
    assert houston.summary("f").status == "COMPLETED"
    assert len(rows(houston)) == 3
    with pytest.raises(SignalError, match="got another signal with the id 'a'"):
        houston.signal("f", "go", 2, id="a")


def test_signals_are_taken_in_the_order_in_which_they_were_sent(houston: Houston) -> None:
    waits = [{**WAIT, "key": f"w{number}"} for number in range(5)]
    submit(houston, *waits)
    for number in range(5):
        houston.signal("f", "go", number)
    assert houston.tick().completed == 1
    assert taken(houston) == {f"w{number}": number for number in range(5)}


def test_waits_inside_tasks_get_signals_of_the_stored_flow_and_sub_flows_their_own(houston: Houston) -> None:
    def sub(task_type: str) -> dict[str, Any]:
        return {
            "key": task_type,
            "task_type": task_type,
            "precursors": [],
            "task_params": {"flow_spec": {"tasks": [WAIT]}},
        }

    submit(houston, sub("inline_flow"), sub("flow"))
    houston.tick()
    houston.signal("f", "go", 1)
    houston.tick()
    assert houston.load("f").count_tasks() == {"COMPLETED": 1, "WAITING": 1}
    check_store(houston.store)
    houston.signal("f/flow/1", "go", 2)
    houston.tick()
    assert houston.summary("f").status == "COMPLETED"


@pytest.mark.parametrize("wrong", ["text", None, {"n": "x"}, {"n": 0}])
def test_data_that_do_not_fit_are_refused_and_nothing_is_stored(houston: Houston, wrong: Any) -> None:
    schema = {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"$ref": "#/$defs/count"}},
        "$defs": {"count": {"type": "integer", "minimum": 1}},
    }
    submit(houston, {**WAIT, "task_params": {"signal": "go", "schema": schema}})
    with pytest.raises(SignalError) as caught:
        houston.signal("f", "go", wrong)
    assert {problem.pointer for problem in caught.value.problems} <= {"/data", "/data/n"}
    assert rows(houston) == []
    assert houston.summary("f").next_tick_at is None
    houston.signal("f", "go", {"n": 1})
    assert houston.tick().completed == 1


def test_finished_and_unknown_flows_take_none(houston: Houston) -> None:
    submit(houston, {"key": "a", "task_type": "noop"})
    with pytest.raises(SignalError, match="'f' is COMPLETED"):
        houston.signal("f", "go")
    with pytest.raises(FlowNotFoundError):
        houston.signal("g", "go")
    with pytest.raises(FlowNotFoundError):
        houston.approve("g", "ask", by="ada")
    assert rows(houston) == []


@pytest.mark.parametrize("status", ["PAUSED", "BLOCKED"])
def test_a_flow_that_is_held_up_keeps_them_until_it_goes_on(houston: Houston, status: str) -> None:
    submit(houston, WAIT)
    flow = houston.load("f")
    flow.change_status(status)
    flow.blocked_reason = "a test" if status == "BLOCKED" else None
    houston.store.save(flow)
    houston.signal("f", "go", 1)
    assert houston.tick().claimed == 0
    flow = houston.load("f")
    flow.change_status("RUNNING")
    flow.blocked_reason = None
    houston.store.save(flow)
    assert houston.tick().completed == 1
    assert taken(houston) == {"w": 1}


def test_a_timeout_is_a_time_at_which_the_flow_is_due(houston: Houston, clock: ManualClock) -> None:
    submit(houston, {**WAIT, "task_params": {"signal": "go", "timeout": "30d", "default": "none"}})
    assert houston.summary("f").next_tick_at == clock.now() + timedelta(days=30)
    houston.signal("f", "other")  # does not move it
    houston.tick()
    assert houston.summary("f").next_tick_at == clock.now() + timedelta(days=30)
    clock.advance(timedelta(days=30).total_seconds())
    assert houston.tick().completed == 1
    assert taken(houston) == {"w": "none"}


def test_a_copy_takes_along_what_was_not_taken(houston: Houston) -> None:
    submit(houston, WAIT, {**WAIT, "key": "x", "task_params": {"signal": "other"}})
    houston.signal("f", "other", 1, id="o", by="shop")
    houston.signal("f", "go", 2, id="g")
    exported = houston.export("f")
    assert [signal["id"] for signal in exported["signals"]] == ["o", "g"]
    houston.import_(exported, key="copy")
    assert houston.export("copy")["signals"] == exported["signals"]
    check_store(houston.store)
    assert houston.tick().completed == 2
    assert taken(houston, "copy") == taken(houston) == {"w": 2, "x": 1}
    assert "signals" not in houston.export("copy")


def test_signals_go_with_their_flow(houston: Houston) -> None:
    for key in ("f", "g"):
        submit(houston, WAIT, key=key)
        houston.signal(key, "other", id="f")
    houston.delete("f", cancel=True, by="ann")
    assert [row.flow_key for row in rows(houston)] == ["g"]
    check_store(houston.store)


def test_a_signal_whose_id_is_the_key_of_a_deleted_flow_still_wakes(houston: Houston) -> None:
    submit(houston, WAIT)
    submit(houston, WAIT, key="other")
    houston.signal("f", "unknown")  # so that the flow is due
    (lease,) = houston.store.claim(owner="slow")
    flow = houston.load("f")
    houston.signal("f", "go", id="other")
    houston.delete("other", cancel=True, by="ann")
    outbox = Outbox(acted_upon=houston.store.state_of(flow).wakes)  # it has not seen the second signal
    houston.store.save(flow, lease=lease, release=True, outbox=outbox)
    check_store(houston.store)
    assert houston.tick().completed == 1


def test_the_history_tells_who_sent_what_and_who_took_it(houston: Houston) -> None:
    submit(houston, WAIT, ASK)
    houston.signal("f", "go", 1, id="1", by="shop")
    houston.tick()
    houston.approve("f", "ask", by="ada", comment="yes")
    houston.tick()
    found = [
        (event.kind, event.task_key, {**(event.detail or {}), "taken_by": None})
        for event in houston.history("f")
        if event.kind in (EventKind.SIGNAL_SENT, EventKind.SIGNAL_TAKEN)
    ]
    signal = {"signal": "go", "id": "1", "by": "shop", "taken_by": None}
    decision = {"task": "ask", "approved": True, "comment": "yes", "by": "ada", "taken_by": None}
    assert found == [
        (EventKind.SIGNAL_SENT, None, signal),
        (EventKind.SIGNAL_TAKEN, "w", signal),
        (EventKind.SIGNAL_SENT, None, decision),
        (EventKind.SIGNAL_TAKEN, "ask", decision),
    ]


def test_a_decision_is_checked_stored_and_stands(houston: Houston) -> None:
    submit(houston, ASK)
    for by in ("ADA", "ada ", "eve"):
        with pytest.raises(SignalError, match="not for"):
            houston.approve("f", "ask", by=by)
    nobody: Any
    for nobody in (" ", None, 5):
        with pytest.raises(SignalError, match="who decides"):
            houston.approve("f", "ask", by=nobody)
    assert houston.approve("f", "ask", by="Ümit ✓", comment="ja")
    for _ in range(2):
        assert not houston.approve("f", "ask", by="Ümit ✓", comment="ja")
        with pytest.raises(SignalError, match="was approved by Ümit ✓ at"):
            houston.reject("f", "ask", by="ada")
        houston.tick()
    assert houston.summary("f").status == "COMPLETED"
    assert len(rows(houston)) == 1


def test_a_rejection_fails_the_flow(houston: Houston) -> None:
    submit(houston, ASK)
    houston.reject("f", "ask", by="ada", comment="no")
    assert houston.tick().failed == 1
    assert houston.load("f").describe_failure() == "task 'ask': Rejected: Rejected by ada: no"


def test_an_approval_inside_other_tasks_is_found(houston: Houston) -> None:
    switch = {
        "key": "choose",
        "task_type": "switch",
        "task_params": {"control_value": 1, "default_case": {"task": ASK}},
    }
    inner = {"tasks": [{**switch, "precursors": []}, {**ASK, "key": "second", "precursors": []}]}
    submit(houston, {"key": "out", "task_type": "inline_flow", "task_params": {"flow_spec": inner}})
    with pytest.raises(SignalError, match="it has out/choose/ask, out/second"):
        houston.approve("f", "third", by="ada")
    houston.approve("f", "out/choose/ask", by="ada")
    houston.approve("f", "second", by="ada")
    assert houston.tick().completed == 1


def test_a_signal_to_a_flow_in_memory_is_saved_with_it(houston: Houston) -> None:
    submit(houston, WAIT, {**WAIT, "key": "x", "task_params": {"signal": "other"}})
    flow = houston.load("f")
    houston.engine.signal(flow, "go", 1)
    houston.engine.signal(flow, "other", 2)
    houston.engine.tick_flow(flow)
    houston.store.save(flow)
    assert [(row.name, row.taken_by) for row in rows(houston)] == [("go", "f/w/1"), ("other", None)]
    check_store(houston.store)
    assert houston.tick().completed == 1
    assert taken(houston) == {"w": 1, "x": 2}


def test_data_are_checked_while_others_write(houston: Houston, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself stores a flow and moves the one that is sent to; both would wait for a transaction."""
    first, second = {"type": "integer"}, {"type": "string"}
    submit(houston, {**WAIT, "task_params": {"signal": "go", "schema": first}}, tick=False)
    moved = {"tasks": [{**WAIT, "task_params": {"signal": "go", "schema": second}}]}
    asked: list[Any] = []
    real = params_schema.find_misfits

    def find_misfits(schema: Any, data: Any) -> list[Any]:
        asked.append(schema)
        if len(asked) == 1:
            submit(houston, {"task_type": "noop"}, key="other", tick=False)
            houston.migrate("f", moved, by="ada")
        return real(schema, data)

    monkeypatch.setattr(params_schema, "find_misfits", find_misfits)
    with pytest.raises(SignalError, match="string"):
        houston.signal("f", "go", 7)
    assert asked == [first, second]
    assert rows(houston) == []


def test_a_signal_has_a_largest_size(houston: Houston) -> None:
    submit(houston, WAIT, {**ASK, "precursors": ["ROOT"]})
    with pytest.raises(SignalError, match="at most 1,000,000"):
        houston.signal("f", "go", "x" * 1_000_000)
    with pytest.raises(SignalError, match="at most 1,000,000"):
        houston.approve("f", "ask", by="ada", comment="x" * 1_000_000)
    assert houston.signal("f", "go", "x" * 999_990)
