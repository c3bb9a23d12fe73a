"""The facade that applications hold, and that the command is a face of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mc import task_handler
from mc.clock import ManualClock
from mc.errors import (
    FlowError,
    FlowExistsError,
    FlowFormatError,
    FlowNotFoundError,
    McError,
    NotJsonError,
    SpecError,
)
from mc.houston import Houston, Submission

ROOT = Path(__file__).resolve().parents[3]
SPEC: dict[str, Any] = {"tasks": [{"key": "a", "task_type": "noop"}, {"key": "b", "task_type": "noop"}]}
LATER = {"tasks": [{"key": "a", "task_type": "wait", "task_params": {"duration": "1m"}}]}


class Changes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, str]] = []

    def on_change(self, event: Any) -> None:
        self.seen.append((event.task_key, event.new_status))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def houston(clock: ManualClock) -> Iterator[Houston]:
    with Houston("sqlite:///facade.sqlite3", clock=clock) as facade:
        yield facade


class TestParts:
    def test_making_one_opens_and_imports_nothing(self) -> None:
        script = "import sys; from mc.houston import Houston; Houston(); print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert {"sqlalchemy", "jsonschema", "mc.store.flow_store", "mc.flows.flow"} & set(
            done.stdout.split()
        ) == set()
        assert not Path("mc.sqlite3").exists()

    def test_each_part_is_made_once(self, houston: Houston) -> None:
        assert houston.store is houston.store
        assert houston.engine is houston.engine
        assert houston.runner is houston.runner

    def test_it_can_be_used_again_after_it_was_closed(self, houston: Houston) -> None:
        key = houston.submit(SPEC)
        houston.close()
        houston.close()
        assert houston.load(key).key == key


class TestSubmit:
    def test_a_flow_is_stored_pending(self, houston: Houston) -> None:
        flow = houston.load(houston.submit(SPEC, {"x": 1}, key="k", label="mine"))
        assert (flow.key, flow.label, flow.status, flow.data) == ("k", "mine", "PENDING", {"x": 1})

    def test_the_spec_is_not_changed(self, houston: Houston) -> None:
        spec = {**SPEC, "data": {"x": 0}}
        houston.submit(spec, {"x": 1})
        assert spec == {**SPEC, "data": {"x": 0}}

    def test_a_repetition_finds_the_flow_even_when_its_data_has_changed(self, houston: Houston) -> None:
        wire = {
            "key": "w",
            "task_type": "wire",
            "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
        }
        spec = {"tasks": [wire]}
        assert houston.submit_once(spec, {"x": 1}, key="k") == Submission("k", created=True)
        houston.tick()
        assert houston.load("k").data == {"x": 1, "y": 1}
        assert houston.submit_once(spec, {"x": 1}, key="k") == Submission("k", created=False)

    def test_a_repetition_may_write_the_spec_in_another_order(self, houston: Houston) -> None:
        houston.submit({"label": "x", **SPEC}, key="k")
        assert houston.submit({**SPEC, "label": "x", "key": "k"}) == "k"

    def test_another_spec_under_the_same_key_is_refused(self, houston: Houston) -> None:
        houston.submit(SPEC, key="k")
        with pytest.raises(FlowExistsError, match="another spec or other data"):
            houston.submit(LATER, key="k")

    def test_a_wrong_spec_is_refused_and_not_stored(self, houston: Houston) -> None:
        with pytest.raises(SpecError):
            houston.submit({"tasks": [{"key": "a"}]})
        assert houston.list() == []

    @pytest.mark.parametrize(
        "wrong", [{1: "one"}, {"data": {2: 3}}, {"data": {"x": {1}}}, {"data": {"x": float("nan")}}, [], None]
    )
    def test_a_spec_that_json_cannot_hold_is_refused_and_not_stored(
        self, houston: Houston, wrong: Any
    ) -> None:
        with pytest.raises(SpecError):
            houston.submit(wrong)
        assert houston.list() == []

    @pytest.mark.parametrize("value", [{1, 2}, float("nan"), {1: 2}, object()])
    def test_data_that_json_cannot_hold_are_refused_and_not_stored(
        self, houston: Houston, value: Any
    ) -> None:
        with pytest.raises(NotJsonError, match="x"):
            houston.submit(SPEC, {"x": value})
        assert houston.list() == []

    def test_problems_can_be_asked_for(self, houston: Houston) -> None:
        assert [problem.pointer for problem in houston.validate({"tasks": 1})] == ["/tasks"]
        assert houston.validate(SPEC) == []

    @pytest.mark.parametrize("key", ["", 0, b"k"])
    def test_a_key_that_is_none_is_refused_and_no_other_is_made_up(self, houston: Houston, key: Any) -> None:
        with pytest.raises(McError, match="a text of 1 to 255 characters"):
            houston.submit(SPEC, key=key)
        with pytest.raises(McError, match="a text of 1 to 255 characters"):
            houston.run(SPEC, key=key)
        assert houston.list() == []


class TestRunning:
    def test_a_flow_is_run_to_its_end(self, houston: Houston, clock: ManualClock) -> None:
        flow = houston.run(LATER, key="k")
        assert (flow.key, flow.status) == ("k", "COMPLETED")
        assert clock.now() >= datetime(2030, 1, 1, 0, 1, tzinfo=UTC)

    def test_a_run_that_runs_out_of_time_returns_the_unfinished_flow(self, houston: Houston) -> None:
        assert houston.run(LATER, max_seconds=30).status == "RUNNING"

    def test_a_run_that_fails_returns_the_flow_or_raises_on_request(self, clock: ManualClock) -> None:
        spec = {"key": "k", "tasks": [{"key": "a", "task_type": "bad"}]}
        with Houston("sqlite://", task_handlers={"bad": lambda: 1 / 0}, clock=clock) as houston:
            assert houston.run(spec).status == "FAILED"
            with pytest.raises(FlowError, match="Flow 'k' failed") as caught:
                houston.run(spec, raise_on_failure=True)
        assert caught.value.flow.status == "FAILED"

    def test_a_tick_advances_what_is_due(self, houston: Houston, clock: ManualClock) -> None:
        houston.submit(SPEC)
        houston.submit(LATER)
        report = houston.tick()
        assert (report.completed, report.waiting) == (1, 1)
        clock.advance(60)
        assert houston.tick().completed == 1
        assert houston.tick().claimed == 0

    def test_handlers_and_observers_are_used(self, clock: ManualClock) -> None:
        @task_handler("greet")
        def greet(params: dict[str, Any]) -> dict[str, str]:
            return {"text": f"Hello, {params['name']}!"}

        changes = Changes()
        spec = {"tasks": [{"key": "a", "task_type": "greet", "task_params": {"name": "you"}}]}
        with Houston("sqlite://", task_handlers=[greet], clock=clock, observers=[changes]) as houston:
            flow = houston.run(spec)
        assert flow.tasks["a"]["data"] == {"text": "Hello, you!"}
        assert ("a", "COMPLETED") in changes.seen


class TestStoredFlows:
    def test_flows_are_listed_newest_first(self, houston: Houston, clock: ManualClock) -> None:
        houston.submit(SPEC, key="one")
        clock.advance(1)
        houston.submit(SPEC, key="two", label="mine")
        assert [flow.key for flow in houston.list()] == ["two", "one"]
        assert [flow.key for flow in houston.list(label="mine")] == ["two"]
        assert [flow.key for flow in houston.list(status="FAILED")] == []
        assert [flow.key for flow in houston.list(limit=1)] == ["two"]
        assert houston.summary("one").tasks["PENDING"] == 2

    def test_a_deleted_flow_is_gone(self, houston: Houston) -> None:
        houston.submit(SPEC, key="k")
        houston.delete("k", cancel=True, by="ann")
        for act in (houston.load, houston.delete, houston.export, houston.summary):
            with pytest.raises(FlowNotFoundError, match="'k'"):
                act("k")

    def test_an_exported_flow_can_be_imported_elsewhere(self, houston: Houston, clock: ManualClock) -> None:
        houston.submit(LATER, key="k")
        houston.tick()
        with Houston("sqlite:///there.sqlite3", clock=clock) as there:
            assert there.import_(houston.export("k")) == "k"
            assert there.export("k") == houston.export("k")
            clock.advance(60)
            assert there.tick().completed == 1

    def test_an_import_may_bring_its_own_key(self, houston: Houston) -> None:
        houston.submit(SPEC, key="k")
        assert houston.import_(houston.export("k"), key="copy") == "copy"
        with pytest.raises(FlowExistsError):
            houston.import_(houston.export("k"))

    def test_a_malformed_flow_dict_is_refused(self, houston: Houston) -> None:
        with pytest.raises(FlowFormatError):
            houston.import_({"status": "DONE"})
        assert houston.list() == []
