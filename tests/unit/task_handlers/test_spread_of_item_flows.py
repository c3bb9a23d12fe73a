"""A spread whose items are flows of their own leaves what one leaves whose items are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import FlowError
from mc.flows.controls.apply_control import apply_control
from mc.flows.controls.control import Control, ControlKind
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.spec.validation import find_problems

CONTAINERS = ("inline_flow", "flow")
VALUE = "ctx.item.value => ctx.skeleton.task_params.value"

Run = Callable[..., Flow]


def spread(items: Any, skeleton: dict[str, Any], *wirings: Any, **params: Any) -> dict[str, Any]:
    mapping = {"skeleton": skeleton, "wirings": [VALUE, *wirings]}
    params = {"items": items, "mapping_params": mapping, "item_container": "flow", **params}
    return {"key": "t", "task_type": "spread", "task_params": params}


def act(task: dict[str, Any]) -> None:
    """Leave what the item is, fail for `bad`, and wait at the first tick for `slow`."""
    value = task["task_params"]["value"]
    if value == "bad":
        raise ValueError(f"{task['key']} is bad")
    slow = value == "slow" and task["status"] == "RUNNING" and "seen" not in task["data"]
    task["data"]["seen"] = value
    task["status"] = "RUNNING" if slow else "COMPLETED"


ITEMS = st.sampled_from(["good", "bad", "slow", "skipped", None, 7, {"a": [1]}])
SKELETONS = st.fixed_dictionaries(
    {
        "allow_failure": st.booleans(),
        "retry": st.none() | st.just({"max_attempts": 2}),
        "when": st.none() | st.just({"value": "$ctx.task.task_params.value", "op": "ne", "arg": "skipped"}),
    }
)


@given(
    items=st.lists(ITEMS, max_size=6) | st.dictionaries(st.text(max_size=3), ITEMS, max_size=6),
    cfg=SKELETONS,
    container=st.sampled_from(CONTAINERS),
    limit=st.none() | st.integers(1, 3),
)
def test_results_and_failures_are_those_of_items_without_flows(
    items: Any, cfg: dict[str, Any], container: str, limit: int | None
) -> None:
    skeleton = {
        "task_type": "act",
        "data": {"of": "$ctx.parent.flow.key"},
        "cfg": {name: value for name, value in cfg.items() if value is not None},
    }
    ends = []
    for item_container in ({}, {"item_container": "flow"}):
        task = spread(items, skeleton, container_task_type=container)
        del task["task_params"]["item_container"]
        task["task_params"] |= item_container
        flow = Flow.from_flow_spec(
            {"key": "f", "tasks": [task], "cfg": {} if limit is None else {"max_running_tasks": limit}}
        )
        try:
            FlowEngine(task_handlers={"act": act}).run_flow(flow, max_ticks=200)
        except FlowError:
            error = flow.tasks["t"]["error"]
            ends.append((flow.status, error["message"], error["types"][:2] if "types" in error else None))
        else:
            ends.append((flow.status, flow.tasks["t"]["data"]["results"], None))
    assert ends[0] == ends[1]


def test_the_item_reads_what_is_around_the_spread(run: Run) -> None:
    for container in CONTAINERS:
        wire = {
            "task_type": "wire",
            "task_params": {
                "wirings": [
                    "ctx.task.key => ctx.flow.tasks.item_0.data.key",
                    "ctx.parent.flow.data.unit => ctx.flow.tasks.item_0.data.unit",
                    "ctx.parent.task.key => ctx.flow.tasks.item_0.data.around",
                    "ctx.flow.key => ctx.flow.tasks.item_0.data.flow",
                ]
            },
            "data": {"n": 5},
        }
        task = spread([1], wire, container_task_type=container)
        task["task_params"]["mapping_params"]["wirings"] = []
        flow = run(task, data={"unit": "m"})
        assert flow.tasks["t"]["data"]["results"] == [
            {"n": 5, "key": "item_0", "unit": "m", "around": "t", "flow": "f/t/1/item_0/1"}
        ]


def test_items_may_wait_for_each_other(run: Run, engine: FlowEngine) -> None:
    called: list[int] = []
    engine.registry.register("note", lambda params: called.append(params["value"]))
    items = [{"n": 2, "before": ["item_1"]}, {"n": 1, "before": []}]
    chain = spread(items, {"task_type": "note"}, "ctx.item.value.before => ctx.skeleton.precursors")
    wirings = chain["task_params"]["mapping_params"]["wirings"]
    wirings[0] = "ctx.item.value.n => ctx.skeleton.task_params.value"
    run(chain)
    assert called == [1, 2]


def test_no_more_items_run_than_the_flow_allows(engine: FlowEngine) -> None:
    task = spread([0, 1, 2, 3, 4], {"task_type": "wait_for_ever"})
    flow = Flow.from_flow_spec({"key": "f", "tasks": [task], "cfg": {"max_running_tasks": 2}})
    engine.tick_flow_until_has_no_pending(flow)
    inside = flow.find_sub_flow(flow.tasks["t"])
    assert inside is not None
    assert Counter(each["status"] for each in inside.filter_tasks()) == {"WAITING": 2, "PENDING": 3}


def test_a_failure_stops_the_other_items_and_a_retry_goes_on(engine: FlowEngine) -> None:
    called: Counter[int] = Counter()
    bad = {1}

    def note(task: dict[str, Any]) -> None:
        value = task["task_params"]["value"]
        called[value] += 1
        if value in bad:
            raise ValueError("one")
        task["status"] = "WAITING" if value == 3 and bad else "COMPLETED"

    engine.registry.register("note", note)
    flow = Flow.from_flow_spec({"key": "f", "tasks": [spread([3, 0, 1, 2], {"task_type": "note"})]})
    with pytest.raises(FlowError, match="task 'item_2': ValueError: one"):
        engine.run_flow(flow)
    assert called == {3: 1, 0: 1, 1: 1}
    bad.clear()
    apply_control(engine, flow, Control(kind=ControlKind.RETRY, by="ann", reason=None, at=""))
    engine.run_flow(flow)
    assert called == {3: 2, 0: 1, 1: 2, 2: 1}  # what was COMPLETED is not called again


def test_a_timeout_of_the_skeleton_counts_from_the_start_of_the_item(run: Run) -> None:
    skeleton = {"task_type": "wait_for_ever", "cfg": {"timeout": 5, "allow_failure": True}}
    flow = run(spread([0, 1], skeleton))
    assert flow.tasks["t"]["data"]["results"] == [None, None]
    assert flow.finished_at == "2000-01-01T00:00:05.000000+00:00"


@pytest.mark.parametrize("word", ["flwo", "inline_flow", 3])
def test_a_wrong_word_is_told(word: Any, run: Run) -> None:
    task = spread([1], {"task_type": "noop"}, item_container=word)
    task["task_params"]["mapping_params"]["wirings"] = []
    (problem,) = find_problems({"tasks": [task]})
    assert problem.pointer == "/tasks/0/task_params/item_container"
    if word == "flwo":
        assert problem.suggestion == "flow"
    assert "task_params.item_container is" in run(task).tasks["t"]["error"]["message"]


def test_no_spec_names_the_type_of_the_engines_own(engine: FlowEngine, run: Run) -> None:
    run(spread([1], {"task_type": "noop"}))
    for task_types in (None, engine.registry):
        spec = {"tasks": [{"task_type": "mc.spread_item", "task_params": {"task": {"task_type": "noop"}}}]}
        (problem,) = find_problems(spec, task_types=task_types)
        assert problem.pointer == "/tasks/0/task_type"
    assert "mc.spread_item" not in list(engine.registry)
