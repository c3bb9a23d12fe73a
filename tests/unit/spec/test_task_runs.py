"""What a plan says of tasks beside each other: in turn in one process, or by any runner."""

from __future__ import annotations

from typing import Any

import pytest

from mc.spec.planning.plan import SubFlowPlan, plan_flow_spec
from mc.spec.task_types import BUILT_IN_TASK_TYPES

NOOP = {"task_type": "noop"}
CASES = {"control_value": 1, "default_case": {"task": NOOP}}
PARAMS: dict[str, dict[str, Any]] = {
    "call": {"function": "shop:pack"},
    "flow": {"flow_spec": {"tasks": [NOOP]}},
    "http": {"url": "https://example.org"},
    "inline_flow": {"flow_spec": {"tasks": [NOOP]}},
    "job": {"job_type": "shop:pack"},
    "log": {"msg": "x"},
    "loop": {"flow_spec": {"tasks": [NOOP]}, "max_iterations": 2},
    "print": {"msg": "x"},
    "shell": {"argv": ["true"]},
    "spread": {"items": [1, 2], "mapping_params": {"skeleton": NOOP}},
    "switch": CASES,
    "wait": {"duration": 5},
    "wait_for_signal": {"signal": "go"},
    "wire": {"wirings": []},
}


class AllTypes:
    def __contains__(self, name: object) -> bool:
        return True


def plan(*tasks: dict[str, Any], **cfg: Any) -> SubFlowPlan:
    return plan_flow_spec({"tasks": list(tasks), "cfg": cfg}, task_types=AllTypes()).flow


def task(key: str, *precursors: str, task_type: str = "act", **params: Any) -> dict[str, Any]:
    params = {**PARAMS.get(task_type, {}), **params}
    return {"key": key, "task_type": task_type, "precursors": list(precursors), "task_params": params}


@pytest.mark.parametrize("name", sorted(BUILT_IN_TASK_TYPES))
def test_each_type_says_how_it_runs(name: str) -> None:
    runs = {
        **dict.fromkeys(("approval", "wait", "wait_for_signal"), "waits"),
        **dict.fromkeys(("http", "job", "shell"), "job"),
        **dict.fromkeys(("inline_flow", "loop", "spread", "switch"), "inside"),
        "flow": "own flow",
    }
    assert plan(task("a", task_type=name)).tasks[0].runs == runs.get(name, "in turn")


def test_one_runner_calls_in_turn_what_may_be_under_way_together() -> None:
    planned = plan(
        task("a"), task("b", task_type="spread"), task("c", task_type="wait"), task("d", task_type="flow")
    )
    assert (planned.width, planned.in_turn, planned.shared) == (4, 2, ("d",))
    assert plan(*(task(key) for key in "abcd"), max_running_tasks=3).in_turn == 3


def test_a_wait_between_two_calls_keeps_them_in_order() -> None:
    planned = plan(task("a"), task("b", "a", task_type="wait"), task("c", "b"), task("d"))
    assert (planned.width, planned.in_turn) == (2, 2)
    assert plan(task("a"), task("b", "a", task_type="wait"), task("c", "b")).in_turn == 1


@pytest.mark.parametrize(
    ("params", "runs"),
    [
        ({"item_container": "flow"}, "own flows"),
        ({"item_container": "flow", "container_task_type": "flow"}, "own flows"),
        ({"container_task_type": "mc.tasks.flow"}, "own flow"),
        ({"container_task_type": "inline_flow"}, "inside"),
        ({"item_container": "$ctx.flow.data.how"}, "inside"),
    ],
)
def test_the_items_of_a_spread_are_shared_by_the_word_alone(params: dict[str, str], runs: str) -> None:
    planned = plan(task("a", task_type="spread", **params))
    assert planned.tasks[0].runs == runs
    assert planned.to_dict()["shared"] == ([] if runs == "inside" else ["a"])
