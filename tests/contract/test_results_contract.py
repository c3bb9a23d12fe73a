"""Results of flows and of the items of their tasks, on each kind of database, while they run and after."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, select

from mc.clock import ManualClock
from mc.errors import FlowNotFoundError, GraphError
from mc.houston import Houston
from mc.store.schema import tables

containers = pytest.mark.parametrize("container", ["inline_flow", "flow"])


@pytest.fixture
def task_handlers(clock: ManualClock) -> dict[str, Any]:
    def step(params: dict[str, Any], task: dict[str, Any]) -> None:
        clock.advance(2)
        if params["n"] < 0:
            raise ValueError("below zero")
        if params["n"] == 0:
            task["status"], task["next_tick_at"] = "WAITING", "2099-01-01T00:00:00Z"
            return
        task["data"]["root"] = {"of": params["n"], "is": params["n"] ** 0.5}
        task["status"] = "COMPLETED"

    return {"step": step}


def submit(houston: Houston, items: Any, container: str = "inline_flow", **mapping: Any) -> None:
    """Store a flow with a spread over items, and tick it as far as it comes."""
    skeleton = {"task_type": "step", "cfg": {"allow_failure": True}}
    params = {
        "items": "$ctx.flow.data.items",
        "container_task_type": container,
        "mapping_params": {
            "skeleton": skeleton,
            "wirings": ["ctx.item.value.n => ctx.skeleton.task_params.n"],
            **mapping,
        },
    }
    spread = {"key": "sweep", "task_type": "spread", "task_params": params}
    spec = {
        "tasks": [spread],
        "data": {"items": items},
        "results": {"all": "$ctx.flow.tasks.sweep.data.results"},
    }
    houston.submit(spec, key="f")
    while houston.tick().tasks:
        pass


def short(houston: Houston, path: str = "sweep") -> list[tuple[Any, ...]]:
    return [
        (item.task, item.key, item.item, item.status, dict(item.params), dict(item.data))
        for item in houston.results("f", path).items
    ]


@containers
def test_each_item_is_told_with_what_it_was_given_and_what_it_left(houston: Houston, container: str) -> None:
    submit(houston, {"a": {"n": 4}, "b": {"n": -1}, "c": {"n": 9}}, container)
    assert short(houston) == [
        ("item_0", "a", {"n": 4}, "COMPLETED", {"n": 4}, {"root": {"of": 4, "is": 2.0}}),
        ("item_1", "b", {"n": -1}, "FAILED", {"n": -1}, {}),
        ("item_2", "c", {"n": 9}, "COMPLETED", {"n": 9}, {"root": {"of": 9, "is": 3.0}}),
    ]
    found = houston.results("f", "sweep")
    assert (found.key, found.task, found.status) == ("f", "sweep", "COMPLETED")
    assert found.items[1].error == {"type": "ValueError", "message": "below zero"}
    assert [(item.attempt, item.seconds) for item in found.items] == [(1, 2.0)] * 3
    assert found.to_dict()["items"][0]["data"] == {"root": {"of": 4, "is": 2.0}}


@containers
def test_items_are_told_while_others_are_under_way(houston: Houston, container: str) -> None:
    submit(houston, [{"n": 1}, {"n": 0}, {"n": -5}], container)
    found = houston.results("f", "sweep")
    assert (found.status, found.results) == ("WAITING", None)
    assert [(item.key, item.status, item.seconds) for item in found.items] == [
        (0, "COMPLETED", 2.0),
        (1, "WAITING", None),
        (2, "FAILED", 2.0),
    ]


@containers
def test_items_are_told_of_a_task_that_failed_or_was_cancelled(houston: Houston, container: str) -> None:
    submit(houston, [{"n": 1}, {"n": 0}], container)
    houston.cancel("f", by="ann")
    while houston.tick().tasks:
        pass
    found = houston.results("f", "sweep")
    assert found.status == "CANCELLED"
    assert [item.status for item in found.items] == ["COMPLETED", "CANCELLED"]


def test_nothing_is_told_before_a_task_has_begun(houston: Houston) -> None:
    houston.submit(
        {
            "tasks": [
                {
                    "key": "s",
                    "task_type": "spread",
                    "task_params": {"items": [1], "mapping_params": {"skeleton": {"task_type": "noop"}}},
                }
            ]
        },
        key="f",
    )
    assert (houston.results("f", "s").status, houston.results("f", "s").items) == ("PENDING", ())


@containers
def test_what_is_not_stored_any_more_is_told_as_far_as_the_task_knows_it(
    houston: Houston, container: str
) -> None:
    submit(houston, {"a": {"n": 4}, "b": {"n": -1}}, container)

    def forget(connection: Any) -> None:
        connection.execute(delete(tables.inner_flow))
        connection.execute(delete(tables.flow).where(tables.flow.c.waiter_key.is_not(None)))
        used = select(tables.flow.c.spec_digest)
        connection.execute(delete(tables.spec).where(tables.spec.c.digest.not_in(used)))

    houston.store._database.write(forget)
    assert short(houston) == [
        ("item_0", "a", {"n": 4}, "COMPLETED", {}, {"root": {"of": 4, "is": 2.0}}),
        ("item_1", "b", {"n": -1}, None, {}, {}),
    ]


def test_other_tasks_tell_of_what_is_inside_of_them(houston: Houston) -> None:
    step = {"key": "x", "task_type": "step", "task_params": {"n": 1}}
    inner = {"key": "in", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [step]}}}
    outer = {"key": "out", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [inner]}}}
    houston.submit({"tasks": [outer]}, key="f")
    houston.tick()
    assert [row[:4] for row in short(houston, "out")] == [("in", None, None, "COMPLETED")]
    assert [row[:4] for row in short(houston, "out/in")] == [("x", None, None, "COMPLETED")]
    assert short(houston, "out/in/x") == []


def test_the_results_of_a_flow_are_those_that_its_spec_declares(houston: Houston) -> None:
    submit(houston, [{"n": 1}])
    found = houston.results("f")
    assert found.to_dict() == {
        "key": "f",
        "task": None,
        "status": "COMPLETED",
        "results": {"all": [{"root": {"of": 1, "is": 1.0}}]},
        "items": [],
    }


def test_what_is_not_there_is_told(houston: Houston) -> None:
    submit(houston, [{"n": 1}])
    for path, nearest in (("swep", "'sweep'"), ("sweep/item_9", "'sweep/item_0'"), ("sweep/item_0/x", "")):
        with pytest.raises(GraphError, match=f"has no task '{path}'.*{nearest}"):
            houston.results("f", path)
    with pytest.raises(FlowNotFoundError):
        houston.results("nobody", "sweep")
