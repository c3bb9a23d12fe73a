"""Tasks that wait for an event from outside alone, on each database: read when it comes, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from mc.clock import ManualClock
from mc.houston import Houston
from mc.store.flow_store import FlowStore
from mc.store.rows import flow_and_task_rows
from mc.store.schema import tables
from tests.support.invariants import Seen, check_store
from tests.support.partial_flows import never_read_whole

WAIT = {"task_type": "wait_for_signal", "task_params": {"signal": "go"}}
CHILD = {"tasks": [{"key": "nap", **WAIT}]}


@pytest.fixture
def houston(shared_url: str, clock: ManualClock) -> Iterator[Houston]:
    """A Houston whose runner reads of each flow no more than its ticks need."""
    store = FlowStore(shared_url, clock=clock, partial_from=1)
    with never_read_whole(), store, Houston(shared_url, clock=clock) as opened:
        opened.__dict__["store"] = store
        yield opened
        check_store(store, Seen(people_act=True))


def spread(count: int, **skeleton: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"items": list(range(count)), "item_container": "flow"}
    params["mapping_params"] = {"skeleton": {**WAIT, **skeleton}}
    return {"key": "each", "task_type": "spread", "task_params": params}


def inline(task: dict[str, Any]) -> dict[str, Any]:
    return {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [task]}}}


def switch(task: dict[str, Any]) -> dict[str, Any]:
    params = {"control_value": 1, "default_case": {"task": task}}
    return {"key": "choice", "task_type": "switch", "task_params": params}


def flows(count: int) -> list[dict[str, Any]]:
    child = {"task_type": "flow", "task_params": {"flow_spec": CHILD}}
    return [{"key": f"t{n}", "precursors": [], **child} for n in range(count)]


def specs(count: int) -> dict[str, list[dict[str, Any]]]:
    """Return tasks of flows with so many sub-flows: at the top, in a task, in another one's place, ..."""
    return {
        "tasks of the flow": flows(count),
        "items": [spread(count)],
        "items inside of another task": [inline(spread(count))],
        "items in a task's place": [switch(spread(count))],
    }


def begin(houston: Houston, count: int, place: str, **spec: Any) -> list[str]:
    """Let a flow wait for its sub-flows, and return the keys of these."""
    key = f"of {count}"
    houston.submit({"tasks": specs(count)[place], **spec}, key=key)
    houston.tick()
    query = select(tables.flow.c.key).where(tables.flow.c.waiter_key == key).order_by(tables.flow.c.key)
    return list(houston.store._database.read(lambda connection: connection.scalars(query).all()))


@pytest.mark.parametrize("place", specs(1))
def test_the_end_of_one_sub_flow_has_none_of_the_others_read(
    houston: Houston, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []

    def loads(text: str) -> Any:
        texts.append(text)
        return original(text)

    original = flow_and_task_rows.loads
    read = []
    for count in (4, 10):
        children = begin(houston, count, place)
        assert len(children) == count
        houston.signal(children[3], "go")
        with monkeypatch.context() as patch:
            patch.setattr(flow_and_task_rows, "loads", loads)
            houston.tick()
        read.append(len(texts))
        texts.clear()
        assert houston.store.summary(children[3]).status == "COMPLETED"
        houston.cancel(f"of {count}", by="ada")
    assert read[0] == read[1]


@pytest.mark.parametrize("place", specs(1))
def test_ends_that_piled_up_are_all_heard_of(houston: Houston, place: str) -> None:
    children = begin(houston, 4, place)
    houston.pause("of 4", by="ada")
    for child in children[:2]:
        houston.signal(child, "go")
    houston.tick()
    houston.resume("of 4", by="ada")
    houston.tick()
    assert houston.store.summary("of 4").status == "RUNNING"
    for child in children[2:]:
        houston.signal(child, "go")
    houston.tick()
    assert houston.store.summary("of 4").status == "COMPLETED"


@pytest.mark.parametrize("place", specs(1))
def test_a_failure_cancels_those_that_were_not_read(houston: Houston, place: str) -> None:
    children = begin(houston, 3, place)
    houston.cancel(children[2], by="ada")
    houston.tick()
    assert houston.store.summary("of 3").status == "FAILED"
    assert {houston.store.summary(child).status for child in children} == {"CANCELLED"}


@pytest.mark.parametrize("place", specs(1))
def test_a_retry_of_one_of_them_is_heard_of(houston: Houston, place: str) -> None:
    children = begin(houston, 3, place)
    houston.cancel(children[1], by="ada")
    houston.tick()
    houston.retry("of 3", by="ada")
    houston.tick()
    query = select(tables.flow.c.key).where(tables.flow.c.status == "RUNNING")
    for key in houston.store._database.read(lambda connection: connection.scalars(query).all()):
        if key != "of 3":
            houston.signal(key, "go")
    houston.tick()
    assert houston.store.summary("of 3").status == "COMPLETED"


def test_those_that_were_not_read_count_as_running(houston: Houston) -> None:
    children = begin(houston, 6, "items", cfg={"max_running_tasks": 2})
    assert len(children) == 2
    houston.signal(children[0], "go")
    houston.tick()
    counts = houston.store.load("of 6").to_flow_dict()["graph"]["tasks"]["each"]["flow_dict"]["graph"][
        "tasks"
    ]
    statuses = [task["status"] for key, task in counts.items() if key != "ROOT"]
    assert sorted(statuses) == ["COMPLETED", *["PENDING"] * 3, *["WAITING"] * 2]


@pytest.mark.parametrize("place", specs(1))
def test_rows_of_an_earlier_version_wake_as_well(houston: Houston, place: str) -> None:
    children = begin(houston, 4, place)
    for table in (tables.task, tables.inner_task):  # which knew no task that is asleep
        change = table.update().where(table.c.status == "WAITING").values(unmet=0)
        houston.store._database.write(lambda connection, change=change: connection.execute(change))
    for child in children:
        houston.signal(child, "go")
    houston.tick()
    assert houston.store.summary("of 4").status == "COMPLETED"


def test_one_that_has_a_limit_of_time_fails_when_it_is_up(houston: Houston, clock: ManualClock) -> None:
    tasks = flows(3)
    tasks[1]["cfg"] = {"timeout": "1m"}
    houston.submit({"tasks": tasks}, key="f")
    houston.tick()
    clock.advance(61)
    houston.tick()
    assert houston.store.load("f").tasks["t1"]["error"]["type"] == "TimeoutError"
