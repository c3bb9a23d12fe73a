from __future__ import annotations

import json
from typing import Any

import pytest

from mc.flows.calls.failed_task import failure_place, find_failed_task
from mc.flows.flow_engine import FlowEngine


def fail() -> None:
    json.loads("{" + str(fail.__name__))


def lie() -> None:
    raise ValueError('no\n  File "/elsewhere.py", line 1, in other')


def run(spec: dict[str, Any]) -> Any:
    engine = FlowEngine(task_handlers={"fail": fail, "lie": lie})
    flow = engine.flow_spec_to_flow(spec)
    for _ in range(5):
        engine.tick_flow(flow)
    assert flow.status == "FAILED"
    return find_failed_task(flow)


def test_the_place_is_where_the_error_was_raised_in_a_library_too() -> None:
    failed = run({"tasks": [{"key": "a", "task_type": "fail"}]})
    assert failed.path == ("a",)
    place = failure_place(failed.error)
    assert place is not None
    assert place.startswith(json.decoder.__file__)


def test_a_message_that_looks_like_a_traceback_names_no_place() -> None:
    place = failure_place(run({"tasks": [{"key": "a", "task_type": "lie"}]}).error)
    assert place is not None
    assert place.startswith(__file__)


def test_an_error_that_the_engine_makes_has_no_place_of_its_own() -> None:
    task = {
        "key": "a",
        "task_type": "wire",
        "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
    }
    assert failure_place(run({"tasks": [task]}).error) is None


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (
            {
                "task_type": "inline_flow",
                "task_params": {"flow_spec": {"tasks": [{"key": "in", "task_type": "fail"}]}},
            },
            ("outer", "in"),
        ),
        (
            {
                "task_type": "spread",
                "task_params": {
                    "items": [1, 2],
                    "mapping_params": {"skeleton": {"task_type": "fail"}, "wirings": []},
                },
            },
            ("outer", "item_0"),
        ),
        (
            {
                "task_type": "inline_flow",
                "task_params": {
                    "flow_spec": {
                        "tasks": [
                            {"key": "fine", "task_type": "noop"},
                            {
                                "key": "in",
                                "task_type": "inline_flow",
                                "task_params": {
                                    "flow_spec": {"tasks": [{"key": "deep", "task_type": "lie"}]}
                                },
                            },
                        ]
                    }
                },
            },
            ("outer", "in", "deep"),
        ),
    ],
    ids=["inline_flow", "spread", "nested"],
)
def test_the_task_is_found_inside_of_others(task: dict[str, Any], path: tuple[str, ...]) -> None:
    failed = run({"tasks": [{"key": "outer", **task}]})
    assert failed.path == path
    assert failed.error["type"] in ("JSONDecodeError", "ValueError")


def test_the_rest_is_counted() -> None:
    tasks = [{"key": key, "task_type": "fail", "precursors": []} for key in "abc"]
    failed = run({"tasks": tasks, "cfg": {"fail_fast": False}})
    assert (failed.path, failed.others) == (("a",), 2)
