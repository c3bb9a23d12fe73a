"""Moving flows to new specs while something runs inside of their tasks, on each kind of store."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import MigrationError
from mc.flows.calls.task_paths import find_task
from mc.houston import Houston
from tests.support.invariants import Seen, check_store


class Calls:
    """Tasks that note what they were called with."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def note(self, task: dict[str, Any]) -> None:
        self.made.append((task["key"], task["task_params"].get("n")))
        task["status"] = "COMPLETED"

    def fail(self, task: dict[str, Any]) -> None:
        raise ValueError("it broke")


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def task_handlers(calls: Calls) -> dict[str, Any]:
    return {"note": calls.note, "fail": calls.fail}


def note(key: str, *precursors: str, n: int = 1, **more: Any) -> dict[str, Any]:
    params = {"task_type": "note", "task_params": {"n": n}, "precursors": list(precursors)}
    return {"key": key, **params, **more}


def nap(key: str = "nap", *precursors: str, duration: str = "1h") -> dict[str, Any]:
    params = {"duration": duration}
    return {"key": key, "task_type": "wait", "task_params": params, "precursors": list(precursors)}


def inline(*tasks: dict[str, Any], key: str = "outer", **spec: Any) -> dict[str, Any]:
    params = {"flow_spec": {"tasks": list(tasks), **spec}}
    return {"key": key, "task_type": "inline_flow", "task_params": params, "precursors": []}


def loop(*tasks: dict[str, Any], **params: Any) -> dict[str, Any]:
    params = {"flow_spec": {"tasks": list(tasks)}, "max_iterations": 2, **params}
    return {"key": "outer", "task_type": "loop", "task_params": params, "precursors": []}


def switch(*tasks: dict[str, Any], on: int = 1) -> dict[str, Any]:
    """Return a task that chooses the second of three cases, a flow of these tasks."""
    cases = [{"condition": {"op": "eq", "arg": at}, "task": note("other")} for at in range(3)]
    cases[1]["task"] = inline(*tasks, key="inner")
    for case in cases:
        del case["task"]["precursors"]  # type: ignore[attr-defined]
    params = {"control_value": on, "cases": cases}
    return {"key": "outer", "task_type": "switch", "task_params": params, "precursors": []}


def spread(skeleton: dict[str, Any], **params: Any) -> dict[str, Any]:
    wirings = params.pop("wirings", [])
    mapping = {"skeleton": skeleton, "wirings": wirings}
    params = {"items": [0, 1], "mapping_params": mapping, **params}
    return {"key": "outer", "task_type": "spread", "task_params": params, "precursors": []}


def each(*tasks: dict[str, Any]) -> dict[str, Any]:
    skeleton = inline(*tasks)
    del skeleton["key"], skeleton["precursors"]
    return spread(skeleton)


AROUND = {
    "a flow": (inline, ["outer"]),
    "a flow in a flow": (lambda *tasks: inline(inline(*tasks, key="deep")), ["outer/deep"]),
    "a round of a loop": (loop, ["outer"]),
    "what a switch chose": (switch, ["outer/inner"]),
    "each item": (each, ["outer/item_0", "outer/item_1"]),
}


@pytest.fixture(params=sorted(AROUND))
def around(request: pytest.FixtureRequest) -> Any:
    return AROUND[request.param]


def begin(houston: Houston, *tasks: dict[str, Any]) -> None:
    houston.submit({"tasks": list(tasks)}, key="f")
    houston.tick()


def of_each(paths: list[str], *keys: str) -> tuple[str, ...]:
    return tuple(f"{path}/{key}" for path in paths for key in keys)


def finish(houston: Houston, clock: ManualClock) -> None:
    for _ in range(5):
        clock.advance("2h")
        houston.tick()
    assert houston.load("f").status == "COMPLETED"


def test_unfinished_tasks_inside_follow_the_new_spec(
    houston: Houston, clock: ManualClock, calls: Calls, around: Any
) -> None:
    make, paths = around
    begin(houston, make(note("done"), nap(), note("next", "nap"), note("gone", "nap")))
    calls.made.clear()
    new = {"tasks": [make(note("done"), note("new"), nap(), note("next", "nap", "new", n=2))]}
    plan = houston.migrate("f", new, dry_run=True)
    assert plan.obstacles == ()
    assert plan.added == of_each(paths, "new")
    assert plan.removed == of_each(paths, "gone")
    changed = {change.key: change.parts for change in plan.changed}
    assert all(changed[path] == ("task_params", "precursors") for path in of_each(paths, "next"))
    assert changed["outer"] == ("task_params",)
    houston.migrate("f", new, by="ada")
    check_store(houston.store, Seen(people_act=True))
    houston.tick()
    assert calls.made == [("new", 1)] * len(paths)  # at once, though what is around it waits
    finish(houston, clock)
    assert calls.made.count(("next", 2)) >= len(paths)
    assert {key for key, _ in calls.made} == {"new", "next", "done"} - (set() if make is loop else {"done"})
    assert houston.migrate("f", new).is_same


FORBIDDEN = {
    "active-task-changed": [note("done"), nap(duration="2h"), note("next", "nap")],
    "active-task-removed": [note("done"), note("next", "done")],
    "finished-task-changed": [note("done", n=2), nap(), note("next", "nap")],
    "finished-task-removed": [nap(), note("next", "nap")],
    "unfinished-precursor": [note("done"), note("new"), nap("nap", "new"), note("next", "nap")],
}


@pytest.mark.parametrize("code", sorted(FORBIDDEN))
def test_what_happened_inside_forbids_the_same_as_in_the_flow(
    houston: Houston, around: Any, code: str
) -> None:
    make, paths = around
    begin(houston, make(note("done"), nap(), note("next", "nap")))
    before = houston.load("f").to_flow_dict()
    with pytest.raises(MigrationError) as refused:
        houston.migrate("f", {"tasks": [make(*FORBIDDEN[code])]})
    found = refused.value.obstacles
    assert {obstacle.code for obstacle in found} == {code}
    key = "nap" if "active" in code or "unfinished" in code else "done"
    assert [obstacle.task_key for obstacle in found] == list(of_each(paths, key))
    assert all(obstacle.pointer.startswith("/tasks/0/task_params/") for obstacle in found)
    assert all(path in str(obstacle) for path, obstacle in zip(of_each(paths, key), found, strict=True))
    assert houston.load("f").to_flow_dict() == before


BESIDE = {
    "another parameter": (inline(nap()), {"data": {"x": 1}}),
    "how often it runs": (loop(nap()), {"max_iterations": 7}),
    "what is chosen by": (switch(nap()), {"control_value": 2}),
    "the items": (each(nap()), {"items": [0]}),
}


@pytest.mark.parametrize("case", sorted(BESIDE))
def test_what_else_a_task_was_begun_with_cannot_change(houston: Houston, case: str) -> None:
    task, params = BESIDE[case]
    begin(houston, task)
    new = deepcopy(task)
    new["task_params"] |= params
    plan = houston.migrate("f", {"tasks": [new]}, dry_run=True)
    assert [(obstacle.code, obstacle.task_key) for obstacle in plan.obstacles] == [
        ("active-task-changed", "outer")
    ]


def test_items_keep_what_wirings_wrote(houston: Houston, clock: ManualClock, calls: Calls) -> None:
    def of(*tasks: dict[str, Any]) -> dict[str, Any]:
        skeleton = inline(*tasks)
        del skeleton["key"], skeleton["precursors"]
        skeleton["task_params"]["data"] = {"n": 0}
        return spread(skeleton, items=[5, 6], wirings=["ctx.item.value => ctx.skeleton.task_params.data.n"])

    begin(houston, of(nap(), note("next", "nap")))
    later = note("next", "nap")
    later["task_params"]["n"] = "$ctx.flow.data.n"
    houston.migrate("f", {"tasks": [of(nap(), later)]}, by="ada")
    finish(houston, clock)
    assert calls.made == [("next", 5), ("next", 6)]


def test_rounds_to_come_follow_the_new_spec(houston: Houston, clock: ManualClock, calls: Calls) -> None:
    begin(houston, loop(note("step"), delay="1h"))
    houston.migrate("f", {"tasks": [loop(note("step", n=2), delay="1h")]})
    finish(houston, clock)
    assert calls.made == [("step", 1), ("step", 2)]


def test_what_belongs_to_the_flow_inside_follows_the_new_spec(
    houston: Houston, clock: ManualClock, calls: Calls
) -> None:
    begin(houston, inline(nap(), data={"a": 1}))
    results = {"sum": "$ctx.flow.data.b"}
    plan = houston.migrate("f", {"tasks": [inline(nap(), data={"a": 1, "b": 2}, results=results)]})
    assert (plan.attributes, plan.added_data) == (("results of outer",), ("b of outer",))
    finish(houston, clock)
    assert find_task(houston.load("f"), "outer")[1]["data"]["results"] == {"sum": 2}
