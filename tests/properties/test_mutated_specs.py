"""Specs that a hostile hand changed: only `SpecError` comes out, and what validates can be stored and run.

`make reliability` tries more of them, `MC_TEST_SCALE=10` ten times as many.
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowExistsError, SpecError
from mc.flows.flow_engine import FlowEngine
from mc.spec.planning.plan import plan_flow_spec
from mc.spec.validation import find_problems, inspect_flow_spec
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.support.mutations import mutate
from tests.support.trials import SCALE, Trial

PARTS = 4
WHOLE, SAMPLE = round(2000 * SCALE), 150  # of each part
MAX_TICKS = 25

ROOT = Path(__file__).resolve().parents[2]


def find_specs() -> list[Any]:
    """Return the specs of the examples, of the docs, and those of the tests that are wrong."""
    paths = [*sorted((ROOT / "specs").glob("*.json")), *sorted((ROOT / "specs/invalid").glob("*.json"))]
    specs = [json.loads(path.read_text()) for path in paths if ".problems." not in path.name]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in page.read_text().split("```json\n")[1:]:
            try:
                specs.append(json.loads(block.partition("```")[0]))
            except ValueError:
                continue
    specs.append(EVERYTHING)
    found = [spec for spec in specs if isinstance(spec, dict) and "tasks" in spec]
    sound = [spec for spec in found if not find_problems(spec)]
    return [*found, *(sound * 6)]  # most changes break what was whole


EVERYTHING: dict[str, Any] = {
    "key": "all",
    "label": "one of each",
    "cfg": {"fail_fast": False, "max_running_tasks": 3, "timeout": "9d"},
    "data": {"n": 1, "list": [1, {"a": "b"}], "text": "t"},
    "params": {"properties": {"n": {"type": "integer", "multipleOf": 1}, "text": {"pattern": "^t"}}},
    "tasks": [
        {"key": "a", "task_type": "noop", "cfg": {"retry": {"max_attempts": 2, "delay": "1s", "on": ["X"]}}},
        {"key": "b", "task_type": "wait", "task_params": {"duration": "1h"}, "precursors": []},
        {
            "key": "c",
            "task_type": "switch",
            "task_params": {
                "control_value": "$ctx.flow.data.n",
                "cases": [{"condition": {"op": "eq", "arg": 1}, "task": {"task_type": "noop"}}],
                "default_case": {"task": {"task_type": "log", "task_params": {"msg": "m"}}},
            },
            "cfg": {"when": {"all": [{"value": "$ctx.flow.data.text", "op": "matches", "arg": "t"}]}},
        },
        {
            "key": "d",
            "task_type": "spread",
            "task_params": {
                "items": "$ctx.flow.data.list",
                "mapping_params": {
                    "skeleton": {"task_type": "wire", "task_params": {"wirings": []}},
                    "wirings": ["ctx.item.value => ctx.skeleton.data.v"],
                },
            },
            "precursors": ["a", "b"],
            "cfg": {"start_when": {"any": [{"task": "a", "status": "COMPLETED"}]}},
        },
        {
            "key": "e",
            "task_type": "loop",
            "task_params": {
                "flow_spec": {"tasks": [{"task_type": "noop"}]},
                "max_iterations": 2,
                "until": {"value": 1, "op": "eq", "arg": 1},
            },
            "cfg": {"timeout": "1h", "resources": {"db": 1}},
        },
        {
            "key": "f",
            "task_type": "inline_flow",
            "task_params": {"flow_spec": {"tasks": [{"task_type": "noop"}]}},
        },
        {"key": "g", "task_type": "flow", "task_params": {"flow_spec": {"tasks": []}, "data": {"x": 1}}},
        {
            "key": "h",
            "task_type": "wait_for_signal",
            "task_params": {"signal": "go", "timeout": "1m", "default": 1, "schema": {"type": "integer"}},
        },
        {
            "key": "i",
            "task_type": "approval",
            "task_params": {"approvers": ["ada"], "timeout": "1m", "default": True},
        },
        {"key": "j", "task_type": "call", "task_params": {"function": "math:sqrt", "args": [4]}},
        {"key": "k", "task_type": "wire", "task_params": {"wirings": ["ctx.flow.data.n => ctx.flow.data.m"]}},
    ],
    "results": {"n": "$ctx.flow.data.n"},
}


@pytest.fixture
def store() -> Iterator[FlowStore]:
    opened = FlowStore("sqlite://", clock=ManualClock())
    yield opened
    opened.close()


@pytest.mark.reliability(sample=1)
@pytest.mark.parametrize("part", range(PARTS))
def test_only_spec_errors_come_out_and_what_is_valid_runs(
    part: int, trial: Trial, store: FlowStore, figure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    specs = find_specs()
    seen: Counter[str] = Counter()
    count = trial.size(WHOLE, SAMPLE)
    faults: list[str] = []
    for number in range(part, count * PARTS, PARTS):
        rng = random.Random(number)
        spec = mutate(rng, rng.choice(specs))
        try:
            seen[try_spec(spec, store)] += 1
        except Exception as error:
            faults.append(f"{number}: {error!r:.400} by {spec!r:.1000}")
    print("\n".join(faults[:20]))
    assert not faults, faults[:3]
    assert seen["refused"] > count / 5
    assert seen["accepted"] > count / 30
    for outcome, number in seen.items():
        figure(
            "Hostile input",
            row=f"specs changed at random, {part + 1} of {PARTS}",
            column=outcome,
            value=number,
        )


def try_spec(spec: Any, store: FlowStore) -> str:
    """Try all that reads a spec, and run it if it is valid; raise what must not come out."""
    clock = ManualClock()
    engine = FlowEngine(clock=clock, logger=SILENT, handler_modules=["math"])
    problems, warnings = inspect_flow_spec(spec, task_types=engine.registry)
    str(problems)
    flow, errors = None, []
    try:
        flow = engine.flow_spec_to_flow(spec)
    except SpecError as error:
        errors = list(error.problems)
    refused = [problem for problem in errors if problem.code[:5] != "MC161"]
    # Data that do not fit may be given when the flow is submitted.
    assert bool(problems) == bool(refused), f"validate says {problems}, run {refused}"
    misfits = {problem.pointer for problem in errors if problem.code[:5] == "MC161"} - {"/data"}
    assert misfits <= {warning.pointer for warning in warnings}, "validate does not warn of data"
    if flow is None:
        return "refused"
    plan_flow_spec(spec)
    with suppress(FlowExistsError):
        store.create(flow)
        assert store.load(flow.key).to_flow_dict()["spec"] == flow.to_flow_dict()["spec"]
    for _ in range(MAX_TICKS):
        report = engine.tick_flow(flow)
        flow.check_invariants()
        if flow.status in FINISHED_FLOW_STATUSES or report.next_tick_at is None:
            break
        clock.set(max(report.next_tick_at, clock.now()))
    again = engine.flow_dict_to_flow(flow.to_flow_dict()).to_flow_dict()
    waits_for_resources = {
        "num_tickable_tasks": flow.num_tickable_tasks
    }  # which the engine knows, not the dict
    assert {**again, **waits_for_resources} == flow.to_flow_dict()
    return "accepted"


SILENT = logging.getLogger("mc.mutated")
SILENT.setLevel(logging.CRITICAL + 1)
