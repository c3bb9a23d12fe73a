"""Tasks inside of tasks, on each kind of store: what is stored, and what people ask of them by path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from mc.errors import ControlError, GraphError, SpecError
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.calls.task_paths import find_task
from mc.houston import Houston
from mc.store.schema import tables


class Workshop:
    """Tasks that fail for as long as their data do not say otherwise, and note each call."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def work(self, task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        self.calls.append(task_ctx["idempotency_key"])
        if task["data"].get("bad"):
            raise ValueError("it broke")
        task["status"] = "COMPLETED"

    async def await_work(self, task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.work(task, task_ctx)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def task_handlers(workshop: Workshop) -> dict[str, Any]:
    return {"work": workshop.work, "await_work": workshop.await_work}


def work(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "work", **more}


def awaited(task: dict[str, Any]) -> dict[str, Any]:
    return {**task, "task_type": "await_work"}


def inline(key: str, *tasks: dict[str, Any], **cfg: Any) -> dict[str, Any]:
    return {
        "key": key,
        "task_type": "inline_flow",
        "precursors": [],
        "task_params": {"flow_spec": {"tasks": list(tasks), "cfg": cfg}},
    }


def switch(key: str, task: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: value for name, value in task.items() if name != "precursors"}
    params = {"control_value": 1, "default_case": {"task": chosen}}
    return {"key": key, "task_type": "switch", "precursors": [], "task_params": params}


def nap(key: str = "nap") -> dict[str, Any]:
    return {"key": key, "task_type": "wait", "precursors": [], "task_params": {"duration": "1h"}}


BAD = work("bad", precursors=[], data={"bad": True})
ALSO_BAD = work("also_bad", precursors=[], data={"bad": True})
WITHOUT_RESULTS = inline("o2", work("done", precursors=[]))
WITHOUT_RESULTS["task_params"]["flow_spec"]["results"] = {"none": "$ctx.flow.data.nothing"}
AROUND = {
    "a flow": (lambda *tasks, **cfg: inline("outer", *tasks, **cfg), "outer"),
    "a flow in a flow": (lambda *tasks, **cfg: inline("top", inline("outer", *tasks, **cfg)), "top/outer"),
    "a switch": (lambda *tasks, **cfg: switch("top", inline("outer", *tasks, **cfg)), "top/outer"),
}


@pytest.fixture(params=sorted(AROUND))
def around(request: pytest.FixtureRequest) -> Any:
    return AROUND[request.param]


def start(houston: Houston, *tasks: dict[str, Any]) -> None:
    houston.submit({"tasks": list(tasks)}, key="f")
    houston.tick()


def statuses(houston: Houston, path: str) -> dict[str, str]:
    """Return the statuses of the tasks inside of one, as they are stored."""
    flow = houston.load("f")
    state, tasks = flow.state, {key: (flow.state, task) for key, task in flow.tasks.items()}
    for key in path.split("/"):
        state, task = tasks[key]
        tasks = inner_tasks(state, task)
    return {key: task["status"] for key, (_, task) in tasks.items()}


def test_what_had_failed_inside_is_mended_and_tried_again_by_its_path(
    houston: Houston, workshop: Workshop, around: Any
) -> None:
    make, path = around
    start(houston, make(work("good", precursors=[]), BAD, fail_fast=False))
    assert houston.load("f").status == "FAILED"
    assert statuses(houston, path) == {"good": "COMPLETED", "bad": "FAILED"}
    houston.set("f", f"{path}/bad", data={"bad": False}, by="ada")
    houston.retry("f", [f"{path}/bad"], by="ada")
    houston.tick()
    assert houston.load("f").status == "COMPLETED"
    assert [call.split("/")[-2:] for call in workshop.calls] == [["good", "1"], ["bad", "1"], ["bad", "2"]]


def test_only_what_is_named_is_tried_again(houston: Houston, workshop: Workshop, around: Any) -> None:
    make, path = around
    start(houston, make(BAD, ALSO_BAD, fail_fast=False))
    workshop.calls.clear()
    houston.retry("f", [f"{path}/bad"], by="ada")
    houston.tick()
    assert [call.split("/")[-2] for call in workshop.calls] == ["bad"]
    assert houston.load("f").status == "FAILED"


def test_a_task_inside_is_skipped_while_it_waits(houston: Houston, around: Any) -> None:
    make, path = around
    start(houston, make(nap(), work("next", precursors=["nap"], cfg={"start_when": "all_finished"})))
    assert statuses(houston, path) == {"nap": "WAITING", "next": "PENDING"}
    assert houston.skip("f", [f"{path}/nap"], by="ada").done
    assert statuses(houston, path)["nap"] == "SKIPPED"
    houston.tick()
    assert houston.load("f").status == "COMPLETED"
    assert statuses(houston, path.partition("/")[0])  # they are kept as evidence


def test_a_task_inside_is_retried_while_others_go_on(
    houston: Houston, workshop: Workshop, around: Any
) -> None:
    make, path = around
    start(houston, make(nap(), BAD, fail_fast=False))
    houston.set("f", f"{path}/bad", data={"bad": False}, by="ada")
    houston.retry("f", [f"{path}/bad"], by="ada")
    houston.tick()
    assert statuses(houston, path) == {"nap": "WAITING", "bad": "COMPLETED"}


NOWHERE = {
    "outer/gone": "Flow 'f' has no task 'outer/gone'. Did you mean 'outer/nap'?",
    "outer/nop": "Flow 'f' has no task 'outer/nop'. Did you mean 'outer/nap'?",
    "outer/nap/deeper": "Flow 'f' has no task 'outer/nap/deeper'.",
    "gone/x": "Flow 'f' has no task 'gone/x'. Did you mean 'done'?",
    "outr": "Flow 'f' has no task 'outr'. Did you mean 'outer'?",
    "top/nap": "Flow 'f' has no task 'top/nap'. Did you mean 'top/in'?",  # which is what top runs
}
ASKED_BY_PATH: dict[str, Callable[[Houston, str], object]] = {
    "skip": lambda houston, path: houston.skip("f", [path], by="ada"),
    "retry": lambda houston, path: houston.retry("f", [path], by="ada"),
    "set": lambda houston, path: houston.set("f", path, data={}, by="ada"),
    "set of params": lambda houston, path: houston.set("f", path, params={}, by="ada"),
    "results": lambda houston, path: houston.results("f", path),
    "find": lambda houston, path: find_task(houston.load("f"), path),  # for show and history
}


@pytest.mark.parametrize("path", sorted(NOWHERE))
@pytest.mark.parametrize("verb", sorted(ASKED_BY_PATH))
def test_a_path_that_leads_nowhere_is_refused_in_the_same_words(
    houston: Houston, path: str, verb: str
) -> None:
    start(houston, inline("outer", nap()), work("done", precursors=[]), switch("top", inline("in", nap())))
    with pytest.raises((ControlError, GraphError)) as refused:
        ASKED_BY_PATH[verb](houston, path)
    assert refused.value.message == f"{NOWHERE[path]} `houston show f` lists its tasks."
    assert statuses(houston, "outer") == {"nap": "WAITING"}


def test_what_runs_in_the_place_of_a_task_is_named_by_that(houston: Houston) -> None:
    start(houston, switch("top", inline("in", nap())))
    with pytest.raises(ControlError, match="Task 'top/in' runs in the place of 'top'; name that one"):
        houston.skip("f", ["top/in"], by="ada")


def test_what_is_inside_of_a_task_that_is_done_stays_as_it_is(houston: Houston) -> None:
    start(houston, inline("outer", inline("deep", work("good", precursors=[])), nap()))
    with pytest.raises(ControlError, match="inside of task 'deep' stays as it was: that is COMPLETED"):
        houston.skip("f", ["outer/deep/good"], by="ada")


def test_a_task_inside_is_found_between_a_retry_and_the_next_tick(houston: Houston, around: Any) -> None:
    make, path = around
    start(houston, make(work("good", precursors=[]), BAD, ALSO_BAD, fail_fast=False))
    houston.retry("f", [f"{path}/bad", f"{path}/also_bad"], by="ada")
    assert statuses(houston, path) == {"good": "COMPLETED", "bad": "PENDING", "also_bad": "PENDING"}
    houston.skip("f", [f"{path}/also_bad"], by="ada")
    houston.set("f", f"{path}/bad", data={"bad": False}, by="ada")
    houston.tick()
    assert houston.load("f").status == "COMPLETED"


def test_params_that_are_set_inside_fit_the_type_of_the_task(houston: Houston, around: Any) -> None:
    make, path = around
    later = {**nap("later"), "precursors": ["nap"]}
    start(houston, make(nap(), later))
    with pytest.raises(SpecError, match="/task_params/duration") as refused:
        houston.set("f", f"{path}/later", params={"duration": "soon"}, by="ada")
    assert [problem.code for problem in refused.value.problems] == ["MC130 invalid-duration"]
    houston.set("f", f"{path}/later", params={"duration": "2h"}, by="ada")
    assert find_task(houston.load("f"), f"{path}/later")[1]["task_params"] == {"duration": "2h"}


REFUSED_IN_PART = {
    "a task that waits, and one that is done": (
        [inline("o1", nap()), inline("o2", work("done", precursors=[]), nap())],
        lambda houston: houston.skip("f", ["o1/nap", "o2/done"], by="ada"),
    ),
    "one that failed, and one that is done": (
        [inline("o1", BAD), inline("o2", work("done", precursors=[]), ALSO_BAD)],
        lambda houston: houston.retry("f", ["o1/bad", "o2/done"], by="ada"),
    ),
    "one of two that failed side by side": (
        [inline("o1", BAD), inline("o2", work("done", precursors=[]), *map(awaited, (BAD, ALSO_BAD)))],
        lambda houston: houston.retry("f", ["o1/bad", "o2/bad"], by="ada"),
    ),
    "one of the flow, and one inside that is done": (
        [nap("n"), inline("o2", work("done", precursors=[]), nap())],
        lambda houston: houston.skip("f", ["n", "o2/done"], by="ada"),
    ),
    "params of a task that is done": (
        [inline("o2", work("done", precursors=[]), nap())],
        lambda houston: houston.set("f", "o2/done", params={}, data={"x": 1}, by="ada"),
    ),
    "a flow whose results lead nowhere": (
        [inline("o1", BAD), WITHOUT_RESULTS],
        lambda houston: houston.retry("f", by="ada"),
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED_IN_PART))
def test_what_is_refused_of_one_task_is_done_to_none(houston: Houston, case: str) -> None:
    tasks, ask = REFUSED_IN_PART[case]
    houston.submit({"tasks": tasks, "cfg": {"fail_fast": False}}, key="f")
    asyncio.run(houston.runner.atick())
    before = houston.load("f").to_flow_dict()
    with pytest.raises(ControlError, match="Inside of task 'o2'"):
        ask(houston)
    assert houston.load("f").to_flow_dict() == before


def test_the_history_tells_what_happened_inside_by_path(houston: Houston, around: Any) -> None:
    make, path = around
    start(houston, make(work("good", precursors=[])))
    told = [
        (event.old_status, event.new_status)
        for event in houston.history("f")
        if event.task_key == f"{path}/good"
    ]
    assert told == [("PENDING", "RUNNING"), ("RUNNING", "COMPLETED")]
    assert [
        each.status for each in houston.store.history.attempts("f") if each.task_key == f"{path}/good"
    ] == ["COMPLETED"]


def test_of_a_loop_the_latest_round_is_stored_and_the_history_of_all(houston: Houston) -> None:
    params = {"max_iterations": 3, "flow_spec": {"tasks": [work("step")]}}
    start(houston, {"key": "loop", "task_type": "loop", "task_params": params})
    assert statuses(houston, "loop") == {"step": "COMPLETED"}
    assert [event.task_key for event in houston.history("f")].count("loop/step") == 6


def test_nothing_is_left_of_a_flow_that_is_deleted(houston: Houston, around: Any) -> None:
    make, _ = around
    start(houston, make(nap()))
    houston.store.upkeep.delete("f")

    def count(connection: Any) -> list[int]:
        found = (tables.inner_flow, tables.inner_task, tables.inner_edge)
        return [connection.scalar(select(func.count()).select_from(table)) for table in found]

    assert houston.store._database.read(count) == [0, 0, 0]
