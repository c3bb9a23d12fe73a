"""Each example spec can be planned and simulated, and neither contradicts what happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.simulation.simulation import simulate_flow

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted((ROOT / "specs").glob("*.json"))
OWN_CODE = {"custom_type", "loop", "nightly_report", "retry", "stdlib_census"}


def read(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return spec


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_plan_names_every_task_and_finds_no_reference_amiss(path: Path) -> None:
    spec = read(path)
    own_module = f"specs.{path.stem}" if path.stem in OWN_CODE else "specs"
    plan = Houston(handler_modules=[own_module], allow="shell").plan(spec)
    assert {task.key for task in plan.flow.tasks} == {task["key"] for task in spec["tasks"]}
    assert [finding for finding in plan.findings if finding.kind == "nobody-writes"] == []


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_simulation_ends_as_the_flow_itself_where_no_code_is_called(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = simulate_flow(read(path))
    assert (simulation.ending, capsys.readouterr().out) == ("finished", "")
    if path.stem in OWN_CODE:
        return
    engine = FlowEngine(clock=ManualClock())
    flow = engine.flow_spec_to_flow(read(path))
    try:
        engine.run_flow(flow)
    except FlowError:
        assert simulation.flow.status == "FAILED"
    ends = [{task["key"]: task["status"] for task in each.filter_tasks()} for each in (flow, simulation.flow)]
    assert ends[0] == ends[1]
