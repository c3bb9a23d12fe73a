"""The rows of flows inside of tasks, on each kind of store: how many statements read them, and which stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import loads
from typing import Any

import pytest
from sqlalchemy import event, select

from mc.houston import Houston
from mc.store.flow_facts import read_facts
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.support.invariants import Seen, check_store


@pytest.fixture
def task_handlers() -> dict[str, Any]:
    return {"work": work_or_break}


@contextmanager
def counted_statements(store: FlowStore) -> Iterator[list[str]]:
    """Note the statements that are sent while it is open."""
    store.query()  # opens the database
    engine, found = store._database._engine, list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def spread(count: int, *tasks: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Return a task that runs a flow of these tasks for each of so many items."""
    skeleton = {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": list(tasks)}, **params}}
    mapping = {"skeleton": skeleton, "wirings": ["ctx.item.idx => ctx.skeleton.task_params.data.n"]}
    return {
        "key": "each",
        "task_type": "spread",
        "task_params": {"items": list(range(count)), "mapping_params": mapping},
    }


PART = {"key": "part", "task_type": "wait_for_signal", "task_params": {"signal": "go-${ctx.flow.data.n}"}}
HELD = {**PART, "cfg": {"resources": {"seats": 1}}}
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "1h"}}
CHILD = {"key": "child", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NAP]}}}


def deliver(houston: Houston, key: str) -> None:
    houston.signal(key, "go-1")
    houston.tick()


def hear_of_a_sub_flow(houston: Houston, key: str) -> None:
    child = next(each.key for each in houston.store.query() if each.key.startswith(f"{key}/"))
    houston.skip(child, ["nap"], by="ada")
    houston.tick()


READS: dict[str, tuple[dict[str, Any], Callable[[Houston, str], object]]] = {
    "a signal comes": (PART, deliver),
    "a sub-flow ends": (CHILD, hear_of_a_sub_flow),
    "somebody asks why it does not move": (PART, lambda houston, key: read_facts(houston.store, key)),
    "what is held of a resource goes back": (HELD, lambda houston, key: houston.pause(key, by="ada")),
}


@pytest.mark.parametrize("case", sorted(READS))
def test_what_waits_inside_is_found_with_as_many_statements_among_many(houston: Houston, case: str) -> None:
    part, act = READS[case]
    houston.resources.set("seats", slots=100)
    counts = []
    for size in (3, 30):
        key = f"of {size}"
        houston.submit({"tasks": [spread(size, part)]}, key=key)
        houston.tick()
        with counted_statements(houston.store) as statements:
            act(houston, key)
        counts.append(sum(each.startswith("SELECT") and "mc_inner" in each for each in statements))
        houston.cancel(key, by="ada")
    assert counts[0] == counts[1]


def work_or_break(task: dict[str, Any]) -> None:
    if task["data"].get("bad"):
        raise ValueError("it broke")
    task["status"] = "COMPLETED"


def inline(key: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "key": key,
        "task_type": "inline_flow",
        "task_params": {"flow_spec": {"tasks": list(tasks)}},
        **more,
    }


def work(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "work", "precursors": [], **more}


BAD = work("bad", data={"bad": True})
CHOICE = {"control_value": 1, "default_case": {"task": inline("outer", inline("deep", BAD))}}
ROUNDS = {"max_iterations": 3, "flow_spec": {"tasks": [inline("deep", work("step"))]}}


def skip(houston: Houston) -> None:
    houston.skip("f", ["outer"], by="ada")


def retry_and_skip(houston: Houston) -> None:
    houston.retry("f", ["outer"], by="ada")
    houston.skip("f", ["outer"], by="ada")


def set_params_after_a_retry(houston: Houston) -> None:
    houston.retry("f", ["outer"], by="ada")
    houston.set("f", "outer", params={"flow_spec": {"tasks": [work("other")]}}, by="ada")


def retry_with_other_params(houston: Houston) -> None:
    houston.set("f", "outer", params={"flow_spec": {"tasks": [work("other")]}}, by="ada")
    houston.retry("f", ["outer"], by="ada")


def move_away(houston: Houston) -> None:
    houston.migrate("f", {"tasks": [work("next", precursors=[])]}, by="ada")


def change_by_migration(houston: Houston) -> None:
    houston.migrate("f", {"tasks": [inline("outer", work("other")), work("next")]}, by="ada")
    houston.retry("f", ["outer"], by="ada")


GONE: dict[str, tuple[dict[str, Any], Callable[[Houston], object], set[str]]] = {
    "rounds of a loop that were replaced": (
        {"key": "outer", "task_type": "loop", "task_params": ROUNDS},
        lambda houston: None,
        {"outer", "outer/deep"},
    ),
    "rounds of a loop that waits": (
        {"key": "outer", "task_type": "loop", "task_params": {**ROUNDS, "delay": "1h"}},
        lambda houston: None,
        set(),
    ),
    "what is skipped": (inline("outer", inline("deep", BAD)), skip, set()),
    "what is skipped after a retry": (inline("outer", inline("deep", BAD)), retry_and_skip, set()),
    "what is given other params after a retry": (
        inline("outer", inline("deep", BAD)),
        set_params_after_a_retry,
        {"outer"},
    ),
    "what begins anew with other params": (
        inline("outer", inline("deep", BAD)),
        retry_with_other_params,
        {"outer"},
    ),
    "what a migration removes": (inline("outer", inline("deep", BAD)), move_away, set()),
    "what a migration lets begin anew": (
        inline("outer", inline("deep", BAD)),
        change_by_migration,
        {"outer"},
    ),
    "what an attempt left": (
        inline("outer", inline("deep", BAD), cfg={"retry": {"max_attempts": 2, "delay": "1h"}}),
        lambda houston: None,
        set(),
    ),
    "nothing, of what is kept for a retry": (
        inline("outer", inline("deep", BAD)),
        lambda houston: None,
        {"outer", "outer/deep"},
    ),
    "nothing, of what a switch chose": (
        {
            "key": "outer",
            "task_type": "switch",
            "task_params": {
                "control_value": 1,
                "default_case": {"task": inline("outer", inline("deep", BAD))},
            },
        },
        lambda houston: None,
        {"outer", "outer/deep"},
    ),
    "nothing, of what is done": (
        inline("outer", inline("deep", work("good"))),
        lambda houston: None,
        {"outer", "outer/deep"},
    ),
}


def stored_places(store: FlowStore) -> set[str]:
    with store._database._engine.connect() as connection:
        return {"/".join(loads(path)) for path in connection.scalars(select(tables.inner_flow.c.path))}


@pytest.mark.parametrize("case", sorted(GONE))
def test_rows_stay_for_as_long_as_a_task_names_them(houston: Houston, case: str) -> None:
    task, act, left = GONE[case]
    houston.submit({"tasks": [{**task, "precursors": []}, work("next", precursors=["outer"])]}, key="f")
    houston.tick()
    act(houston)
    houston.tick()
    assert stored_places(houston.store) == left
    check_store(houston.store, Seen(people_act=True))


def of_items(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {**spread(3, *tasks), "key": "outer"}


GOOD_CHOICE = {"control_value": 1, "default_case": {"task": inline("x", work("good"))}}
COPIED: dict[str, tuple[dict[str, Any], Callable[[Houston], object]]] = {
    "what is done": (inline("outer", inline("deep", work("good"))), lambda houston: None),
    "what is done, of each item": (of_items(inline("deep", work("good"))), lambda houston: None),
    "what a switch chose and is done": (
        {"key": "outer", "task_type": "switch", "task_params": GOOD_CHOICE},
        lambda houston: None,
    ),
    "the last round of a loop": (
        {"key": "outer", "task_type": "loop", "task_params": ROUNDS},
        lambda houston: None,
    ),
    "what is done beside what waits": (
        inline("outer", inline("deep", work("good")), NAP),
        lambda houston: None,
    ),
    "what failed and is kept": (
        inline("outer", inline("done", work("good")), inline("deep", BAD)),
        lambda houston: None,
    ),
    "what is to be tried again": (
        inline("outer", inline("done", work("good")), inline("deep", BAD)),
        lambda houston: houston.retry("f", by="ada"),
    ),
}


@pytest.mark.parametrize("case", sorted(COPIED))
def test_an_imported_flow_shows_inside_of_tasks_what_its_original_shows(houston: Houston, case: str) -> None:
    task, act = COPIED[case]
    houston.submit({"tasks": [{**task, "precursors": []}]}, key="f")
    houston.tick()
    act(houston)
    written = houston.export("f")
    assert written["graph"]["tasks"]["outer"].keys() & {"flow_dict", "kept"}
    inside = stored_places(houston.store)
    houston.store.upkeep.delete("f")
    houston.import_(written, key="copy")
    assert {**houston.export("copy"), "key": "f"} == written
    assert stored_places(houston.store) == (set() if "kept" in case else inside)
    check_store(houston.store, Seen(people_act=True))
