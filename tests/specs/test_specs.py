"""Each example spec ends as it says, in memory and in a store, and both ways end alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.spec.validation import validate_flow_spec
from mc.store.flow_store import FlowStore

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "specs").glob("*.json"))
KEY = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a spec ends."""

    status: str = "COMPLETED"
    tasks: dict[str, str] | str = "COMPLETED"  # one status stands for all tasks
    results: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)  # of the flow, beside what the spec gives it
    task_data: dict[str, Any] = field(default_factory=dict)  # of some tasks
    printed: list[str]


BROCKEN = {"station": "Brocken", "unit": "celsius"}
ROOT_OF_TWO = 1.4142135623746899  # Newton's fourth iterate from 2

OUTCOMES = {
    "linear": Outcome(printed=["mix flour, water and salt", "knead the dough", "bake the bread"]),
    "diamond": Outcome(printed=["21.5 degrees, humidity 40 and 55 percent"]),
    "wiring": Outcome(
        printed=["Brocken on Tuesday: -1 degrees"],
        results={
            "records": {
                "mon": {**BROCKEN, "day": "mon", "value": 3.5},
                "tue": {**BROCKEN, "day": "tue", "value": -1},
            }
        },
        data={
            "site": {"station": "Brocken", "altitude": 1141},
            "records": {
                "mon": {**BROCKEN, "day": "mon", "value": 3.5},
                "tue": {**BROCKEN, "day": "tue", "value": -1},
            },
        },
        task_data={"show": {"remark": "none so far"}},
    ),
    "switch": Outcome(
        printed=["wear gloves"],
        results={"advice": "wear gloves"},
        task_data={"advise": {"advice": "wear gloves"}},
    ),
    "spread": Outcome(
        printed=["Mercury", "Venus", "Earth"],
        results={
            "planets": [
                {"place": 0, "name": "Mercury"},
                {"place": 1, "name": "Venus"},
                {"place": 2, "name": "Earth"},
            ],
            "moons": {"Earth": {"unit": "moons", "number": 1}, "Mars": {"unit": "moons", "number": 2}},
        },
    ),
    "inline_flow": Outcome(
        printed=["Dear Ada,", "posted to Ada"],
        results={"addressee": "Ada"},
        task_data={
            "letter": {
                "flow_data": {"greeting": "Dear", "addressee": "Ada"},
                "results": {"addressee": "Ada"},
            }
        },
    ),
    "sub_flow": Outcome(
        printed=["pack order 17", "hand it over to the post", "order 17 is on its way"],
        results={"shipped": 17},
    ),
    "loop": Outcome(
        printed=[f"{ROOT_OF_TWO} after 4 rounds"],
        results={"root": ROOT_OF_TWO},
        task_data={
            "find_root": {
                "iterations": 4,
                "last": {"root": ROOT_OF_TWO, "error": abs(ROOT_OF_TWO * ROOT_OF_TWO - 2)},
            }
        },
    ),
    "retry": Outcome(
        printed=["fetched at attempt 3"],
        results={"fetched": {"value": 42, "idempotency_key": f"{KEY}/fetch/3"}},
    ),
    "custom_type": Outcome(
        printed=["the mean is 5.0"],
        results={"mean": 5.0, "counted": [3, 2, 1, 0]},
        task_data={"average": {"mean": 5.0}, "countdown": {"counted": [3, 2, 1, 0]}},
    ),
    "failure_without_fail_fast": Outcome(
        status="FAILED",
        tasks={
            "read_humidity": "FAILED",
            "plot_humidity": "SKIPPED",
            "read_temperature": "COMPLETED",
            "plot_temperature": "COMPLETED",
            "combine": "SKIPPED",
        },
        printed=["temperature: 21.5"],
    ),
    "start_when": Outcome(
        tasks={
            "primary": "FAILED",
            "fallback": "COMPLETED",
            "celebrate": "SKIPPED",
            "announce": "SKIPPED",
            "store_value": "COMPLETED",
            "tidy_up": "COMPLETED",
        },
        results={"value": 7},
        data={"value": 7},
        printed=["tidied up"],
    ),
    "wait": Outcome(
        printed=["put the kettle on", "it was ready at 2000-01-01T00:00:00.200000+00:00"],
        task_data={"boil": {"due_at": "2000-01-01T00:00:00.200000+00:00"}},
    ),
}


def read_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((ROOT / "specs" / f"{name}.json").read_text(encoding="utf-8"))
    return spec


def make_engine(name: str) -> FlowEngine:
    """Return an engine that allows the module of the spec, if it has one, and a clock that never waits."""
    has_module = (ROOT / "specs" / f"{name}.py").is_file()
    modules = [f"specs.{name}"] if has_module else []
    return FlowEngine(handler_modules=modules, allow="shell", clock=ManualClock())


def run_in_memory(name: str, data: dict[str, Any] | None = None) -> Flow:
    engine = make_engine(name)
    flow = engine.flow_spec_to_flow(read_spec(name), key=KEY, data=data)
    try:
        engine.run_flow(flow, max_ticks=1_000)
    except FlowError:
        assert flow.status == "FAILED"
    flow.check_invariants()
    return flow


def run_stored(name: str, url: str, data: dict[str, Any] | None = None) -> Flow:
    engine = make_engine(name)
    with FlowStore(url, clock=engine.clock) as store:
        store.create(engine.flow_spec_to_flow(read_spec(name), key=KEY, data=data))
        FlowRunner(store, engine).run_flow(KEY)
    with FlowStore(url, clock=engine.clock) as store:
        flow = store.load(KEY)
    flow.check_invariants()
    return flow


def describe(flow: Flow) -> dict[str, Any]:
    """Return what must not depend on the way in which a flow was run."""
    flow_dict = flow.to_flow_dict()
    kept = ("status", "data", "attempt", "attempts", "task_params", "error")
    return {
        **{name: flow_dict[name] for name in ("key", "label", "status", "data", "results", "cfg")},
        "tasks": {
            key: {name: without_times(task.get(name)) for name in kept}
            for key, task in flow_dict["graph"]["tasks"].items()
        },
        "edges": flow_dict["graph"]["edges"],
    }


def without_times(value: Any) -> Any:
    """Leave out when it happened, and the traceback, which tells who made the call."""
    if isinstance(value, dict):
        left_out = {"at", "started_at", "finished_at", "traceback"}
        return {name: without_times(part) for name, part in value.items() if name not in left_out}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def check_outcome(name: str, flow: Flow, printed: str) -> None:
    expected = OUTCOMES[name]
    found = describe(flow)
    del found["tasks"]["ROOT"]
    keys = list(found["tasks"])
    statuses = dict.fromkeys(keys, expected.tasks) if isinstance(expected.tasks, str) else expected.tasks
    assert {key: task["status"] for key, task in found["tasks"].items()} == statuses
    assert found["status"] == expected.status
    assert found["results"] == expected.results
    assert found["data"] == {**read_spec(name).get("data", {}), **expected.data}
    assert {key: found["tasks"][key]["data"] for key in expected.task_data} == expected.task_data
    assert printed.splitlines() == expected.printed


class TestEverySpec:
    @pytest.mark.parametrize("name", NAMES)
    def test_it_is_valid(self, name: str) -> None:
        validate_flow_spec(read_spec(name), task_types=make_engine(name).registry)

    @pytest.mark.parametrize("name", NAMES)
    def test_it_says_what_it_teaches(self, name: str) -> None:
        spec = read_spec(name)
        assert spec["label"]
        assert spec["description"].endswith(".")

    @pytest.mark.parametrize("name", NAMES)
    def test_it_is_listed_in_the_tutorial(self, name: str) -> None:
        assert f"`{name}.json`" in (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")

    def test_its_outcome_is_declared(self) -> None:
        assert sorted([*OUTCOMES, "nightly_report", "stdlib_census"]) == NAMES


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_spec_ends_in_memory_as_declared(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flow = run_in_memory(name)
    check_outcome(name, flow, capsys.readouterr().out)


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_spec_ends_in_a_store_as_declared(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = run_stored(name, f"sqlite:///{tmp_path / 'mc.sqlite3'}")
    check_outcome(name, flow, capsys.readouterr().out)


@pytest.mark.parametrize("name", OUTCOMES)
def test_both_ways_end_alike(name: str, tmp_path: Path) -> None:
    stored = run_stored(name, f"sqlite:///{tmp_path / 'mc.sqlite3'}")
    assert describe(stored) == describe(run_in_memory(name))


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_spec_is_not_changed_by_its_run(name: str) -> None:
    assert run_in_memory(name).to_flow_dict()["spec"] == read_spec(name)


class TestWhatTheyTeach:
    """What the outcome alone does not show."""

    def test_the_failure_is_recorded_and_names_the_missing_step(self) -> None:
        error = run_in_memory("failure_without_fail_fast").tasks["read_humidity"]["error"]
        assert error["type"] == "PathError"
        assert "'humidity'" in error["message"]

    def test_the_attempts_of_a_retried_task_stay_on_record(self) -> None:
        task = run_in_memory("retry").tasks["fetch"]
        assert [record["error"]["type"] for record in task["attempts"]] == ["ConnectionResetError"] * 2
        assert task["attempt"] == 3

    def test_the_pauses_between_attempts_grow(self) -> None:
        engine = make_engine("retry")
        engine.run_flow(engine.flow_spec_to_flow(read_spec("retry")))
        assert (engine.clock.now() - ManualClock().now()).total_seconds() == pytest.approx(0.1 + 0.2)

    def test_a_sub_flow_has_a_record_of_its_own(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'mc.sqlite3'}"
        parent = run_stored("sub_flow", url)
        with FlowStore(url) as store:
            child = store.load(parent.tasks["ship"]["data"]["flow_key"])
        assert (child.parent_key, child.status, child.data["order"]) == (KEY, "COMPLETED", 17)
