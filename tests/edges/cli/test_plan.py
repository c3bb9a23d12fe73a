from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mc.spec.planning.plan import plan_flow_spec

TASKS = [
    {"key": "a", "task_type": "noop", "data": {"n": 1}},
    {"key": "b", "task_type": "wait", "task_params": {"duration": "1h"}},
    {
        "key": "c",
        "task_type": "print",
        "task_params": {"msg": "$ctx.flow.tasks.a.data.m"},
        "precursors": ["a"],
    },
]


def test_the_plan_is_shown_for_people(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    ended = houston("plan", write_spec(TASKS))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1:4] == [
        "0     a     noop",
        "1     b     wait   a      1h",
        "1     c     print  a",
    ]
    assert "critical path  a -> b (2 tasks, 1h)\nwidth          2 at the same time\n" in ended.out
    assert "nobody-writes: c reads ctx.flow.tasks.a.data.m, but task 'a' (noop) has no 'm'" in ended.out
    assert "\n  at /tasks/2/task_params/msg\n" in ended.out
    assert ended.out.endswith("\n1 finding\n")


def test_json_holds_the_whole_plan(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    document = houston("plan", write_spec(TASKS), "--json").document
    assert set(document) == {
        *("path", "tasks", "critical_path", "width", "max_running", "in_turn", "shared"),
        *("sub_flows", "inputs", "not_interrupted", "findings"),
    }
    assert document["critical_path"] == {"tasks": ["a", "b"], "seconds": 3600.0}
    assert [finding["kind"] for finding in document["findings"]] == ["nobody-writes"]


def test_data_are_laid_over_the_spec(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    condition = {"value": "$ctx.flow.data.on", "op": "is_true"}
    spec = write_spec([{"task_type": "noop", "cfg": {"when": condition}}], data={"on": True})
    assert "always-true" in houston("plan", spec).out
    shown = houston("plan", spec, "--data", "on=false").out
    assert "always-skipped" in shown
    assert "as long as nothing else is given: ctx.flow.data.on" in shown


def test_a_spec_that_is_wrong_is_bad_input(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    ended = houston("plan", "--json", write_spec([{"task_type": "prnt"}]))
    assert (ended.code, ended.out) == (2, "")
    assert ended.error["problems"][0]["suggestion"] == "print"


def test_a_spec_is_read_from_stdin_and_nothing_is_stored(
    houston_process: Callable[..., Any], tmp_path: Path
) -> None:
    assert houston_process("plan", "-", stdin=json.dumps({"tasks": TASKS})).code == 0
    assert list(tmp_path.iterdir()) == []


def test_it_names_the_calls_that_a_timeout_does_not_interrupt() -> None:
    timeout = {"cfg": {"timeout": "1h"}}
    inner = {"key": "deep", "task_type": "print", "task_params": {"msg": "x"}, **timeout}
    tasks = [
        {"key": "act", "task_type": "print", "task_params": {"msg": "x"}, **timeout},
        {"key": "sleep", "task_type": "wait", "task_params": {"duration": "1d"}, **timeout},
        {
            "key": "box",
            "task_type": "inline_flow",
            "task_params": {"flow_spec": {"tasks": [inner]}},
            **timeout,
        },
        {"key": "elsewhere", "task_type": "job", "task_params": {"job_type": "m:f"}, **timeout},
        {"key": "free", "task_type": "print", "task_params": {"msg": "x"}},
    ]
    assert plan_flow_spec({"tasks": tasks}).not_interrupted == ("act", "box/deep")


def test_it_is_said_what_one_runner_does_in_turn_and_what_several_share(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    def spread(key: str, **params: str) -> dict[str, Any]:
        params = {"items": [1, 2], "mapping_params": {"skeleton": {"task_type": "noop"}}, **params}  # type: ignore[dict-item]
        return {"key": key, "task_type": "spread", "task_params": params, "precursors": []}

    tasks = [
        spread("alone"),
        spread("shared", item_container="flow", tolerated_failures="50%", min_completed="$ctx.flow.data.n"),
        spread("stored", container_task_type="flow"),
    ]
    noop = {"key": "noop", "task_type": "noop", "precursors": []}
    lines = houston("plan", write_spec([*tasks, noop])).out.splitlines()
    at = lines.index("width          4 at the same time")
    assert lines[at + 1 : at + 6] == [
        "one runner     calls 2 of them in turn, side by side only where handlers are async",
        "items in turn  alone",
        "items shared   shared",
        "limits         shared: min_completed $ctx.flow.data.n, tolerated_failures 50%",
        "any runner     stored",
    ]
