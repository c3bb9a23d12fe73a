"""What is done to many flows at once is done to each, whatever becomes of the others, on each database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import (
    ControlError,
    FlowExistsError,
    FlowNotFoundError,
    SelectionError,
    StoreUnreachableError,
)
from mc.houston import Houston
from mc.runners.many_flows import FlowOutcome, ManyReport, settle
from mc.store.event import EventKind
from mc.store.flow_selection import FlowSelection

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "9h"}}
FAIL = {"key": "fail", "task_type": "fail"}
DONE = {"key": "done", "task_type": "noop"}
INNER = {"key": "in", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NAP]}}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def task_handlers() -> dict[str, Any]:
    def fail() -> None:
        raise ValueError("broken")

    return {"fail": fail}


@pytest.fixture
def town(houston: Houston, clock: ManualClock) -> Houston:
    """Six flows, a minute apart: two that failed, one that is done, one that waits, two with sub-flows."""
    for key, task in {"f1": FAIL, "f2": FAIL, "done": DONE, "nap": NAP, "in1": INNER, "in2": INNER}.items():
        houston.submit({"tasks": [task]}, key=key, label="odd" if key in ("f1", "nap", "in1") else "even")
        houston.tick()
        clock.advance("1m")
    return houston


def statuses(houston: Houston) -> dict[str, str]:
    return {flow.key: flow.status for flow in houston.list()}


def outcomes(told: list[FlowOutcome]) -> dict[str, bool | str]:
    """Return of each flow whether it was done, or the code of the error."""
    return {
        each.key: each.report.done if each.report is not None else each.to_dict()["error"]["code"]
        for each in told
    }


def refused(report: ManyReport) -> list[str]:
    return [problem.key for problem in report.problems]


class TestWhichAreMeant:
    def test_each_action_means_the_flows_that_it_is_made_for(self, town: Houston) -> None:
        everything = FlowSelection(since="1h")
        report = town.retry_many(everything, by="ann", reason="again")
        assert (report.flows, report.done, report.problems) == (2, 2, [])
        (asked,) = [event.detail for event in town.history("f1") if event.kind is EventKind.CONTROL]
        assert asked == {"control": "retry", "by": "ann", "reason": "again"}
        town.tick()
        assert town.cancel_many(everything, by="ann").flows == 3
        assert statuses(town) == {
            **dict.fromkeys(["nap", "in1", "in2"], "CANCELLED"),
            **dict.fromkeys(["f1", "f2"], "FAILED"),
            "done": "COMPLETED",
        }
        assert town.rerun_many(FlowSelection(prefix="f"), by="ann").flows == 2
        assert town.delete_many(everything).flows == 6
        assert set(statuses(town).values()) == {"PENDING"}

    def test_a_status_that_is_asked_for_counts(self, town: Houston) -> None:
        report = town.cancel_many(FlowSelection(status=["RUNNING", "FAILED"], label="odd"), by="ann")
        assert (report.done, report.refused) == (2, 1)
        assert refused(report) == ["f1"]

    def test_flows_that_are_named_are_meant_whatever_they_are(self, town: Houston) -> None:
        told: list[FlowOutcome] = []
        selection = FlowSelection(keys=["f1", "gone", "done", "f2", "nap", "f1"])
        report = town.retry_many(selection, by="ann", tell=told.append)
        assert outcomes(told) == {
            "f1": True,
            "gone": "flow-not-found",
            "done": "control-refused",
            "f2": True,
            "nap": "control-refused",
        }
        assert (report.flows, report.done, report.refused, refused(report)) == (
            5,
            2,
            3,
            ["gone", "done", "nap"],
        )
        assert [type(problem.error) for problem in report.problems] == [
            FlowNotFoundError,
            ControlError,
            ControlError,
        ]

    @pytest.mark.parametrize(
        "act",
        [
            lambda houston, selection: houston.cancel_many(selection, by="ann"),
            lambda houston, selection: houston.retry_many(selection, by="ann"),
            lambda houston, selection: houston.rerun_many(selection, by="ann"),
            lambda houston, selection: houston.delete_many(selection),
        ],
        ids=["cancel", "retry", "rerun", "delete"],
    )
    def test_no_flow_is_meant_where_nothing_says_which(self, act: Callable[..., ManyReport]) -> None:
        with Houston("sqlite://") as houston:
            houston.submit({"tasks": [DONE]}, key="f")
            houston.tick()
            for nothing in (FlowSelection(), FlowSelection(keys=[]), FlowSelection(status=[])):
                with pytest.raises(SelectionError, match=r"No flows to .* are chosen"):
                    act(houston, nothing)
            assert act(houston, FlowSelection(prefix="g")).flows == 0
            assert len(houston.list(sub_flows=True)) == 1

    def test_somebody_asks(self) -> None:
        with Houston("sqlite://") as houston:
            for act in (houston.cancel_many, houston.retry_many, houston.rerun_many):
                with pytest.raises(ControlError, match="expected a name"):
                    act(FlowSelection(prefix="f"), by=" ")
            with pytest.raises(ControlError, match="expected a name"):
                houston.delete_many(FlowSelection(prefix="f"), cancel=True)


class TestDryRuns:
    def test_all_is_told_and_nothing_is_changed(self, town: Houston) -> None:
        before = [town.export(flow.key) for flow in town.list(sub_flows=True)]
        told: list[FlowOutcome] = []
        every = FlowSelection(keys=["f1", "done", "nap", "in1", "gone"])
        town.retry_many(every, by="ann", dry_run=True, tell=told.append)
        missing, no = "flow-not-found", "control-refused"
        assert outcomes(told) == {"f1": False, "done": no, "nap": no, "in1": no, "gone": missing}
        told.clear()
        town.cancel_many(every, by="ann", dry_run=True, tell=told.append)
        assert outcomes(told) == {"f1": no, "done": no, "nap": False, "in1": False, "gone": missing}
        told.clear()
        town.rerun_many(every, by="ann", dry_run=True, tell=told.append)
        assert outcomes(told) == {**dict.fromkeys(["f1", "done", "nap", "in1"], False), "gone": missing}
        told.clear()
        town.delete_many(every, dry_run=True, tell=told.append)
        assert outcomes(told) == {"f1": False, "done": False, "nap": no, "in1": no, "gone": missing}
        deletion = town.delete("in1", cancel=True, by="ann", dry_run=True)
        assert (deletion.deleted, deletion.tasks, len(deletion.sub_flows)) == (False, 2, 1)
        assert [town.export(flow.key) for flow in town.list(sub_flows=True)] == before


class TestChangesMeanwhile:
    def test_what_was_not_there_when_flows_were_counted_is_left_alone(
        self, town: Houston, clock: ManualClock
    ) -> None:
        counted = settle(FlowSelection(label="even"), "delete", clock.now())
        assert town.count(counted) == 2  # f2 and done
        clock.advance("1s")
        town.cancel("in2", by="bob")
        town.submit({"tasks": [DONE]}, key="new", label="even")
        town.tick()
        town.retry("f2", by="bob")
        town.tick()  # it fails again, for another reason perhaps
        report = town.delete_many(counted)
        assert (report.flows, set(statuses(town))) == (1, {"f1", "f2", "nap", "in1", "in2", "new"})

    def test_a_flow_whose_turn_comes_too_late_is_left_alone(self, town: Houston, clock: ManualClock) -> None:
        def resume_the_other(outcome: FlowOutcome) -> None:
            told.append(outcome)
            clock.advance("1s")
            town.resume("f1" if outcome.key == "f2" else "f2", by="bob")

        told: list[FlowOutcome] = []
        town.retry_many(FlowSelection(prefix="f"), by="ann")
        for key in ("f1", "f2"):
            town.pause(key, by="bob")
        clock.advance("1s")
        report = town.cancel_many(FlowSelection(status="PAUSED"), by="ann", tell=resume_the_other)
        assert (report.flows, outcomes(told)) == (1, {"f2": True})
        assert statuses(town)["f1"] == "RUNNING"

    def test_new_flows_are_not_run_again_themselves(
        self, town: Houston, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mc.store.reading.selected_flows._PAGE", 1)
        report = town.rerun_many(
            FlowSelection(label="even"),
            {"n": 2},
            by="ann",
            new_key=lambda key: f"{key} again",
            tell=lambda _: clock.advance("1s"),
        )
        assert report.done == 3
        new = [flow.key for flow in town.list(prefix="in2") + town.list(prefix="f2 ")]
        assert new == ["in2 again", "in2", "f2 again"]
        assert (town.load("f2 again").label, town.load("f2 again").data) == ("even", {"n": 2})


class TestDelete:
    def test_sub_flows_and_history_go_with_their_flow_and_the_key_is_not_free(self, town: Houston) -> None:
        town.cancel_many(FlowSelection(prefix="in"), by="ann")
        (sub_flow,) = [flow.key for flow in town.list(sub_flows=True, prefix="in1/")]
        deletion = town.delete("in1")
        assert deletion.to_dict() == {
            "key": "in1",
            "deleted": True,
            "label": "odd",
            "status": "CANCELLED",
            "tasks": 2,
            "sub_flows": [sub_flow],
            "why_not": None,
        }
        for key in ("in1", sub_flow):
            with pytest.raises(FlowNotFoundError):
                town.history(key)
        with pytest.raises(FlowExistsError, match="was used before"):
            town.submit({"tasks": []}, key="in1")
        assert town.count(FlowSelection(prefix="in2", sub_flows=True)) == 2

    def test_what_is_unfinished_is_refused(self, town: Houston) -> None:
        report = town.delete_many(FlowSelection(keys=["nap", "f1", "in1"]))
        assert (report.done, refused(report)) == (1, ["nap", "in1"])
        assert "Flow 'nap' is RUNNING; only what is finished" in str(report.problems[0].error)

    def test_a_finished_flow_with_an_unfinished_sub_flow_is_refused(self, town: Houston) -> None:
        (sub_flow,) = [flow.key for flow in town.list(sub_flows=True, prefix="in1/")]
        (lease,) = town.store.claim(owner="runner", keys=[sub_flow], due_at=NOON.replace(year=2027))
        town.cancel("in1", by="ann")
        with pytest.raises(ControlError, match=r"has the sub-flow 'in1/.*', which is being ticked by runner"):
            town.delete("in1")
        town.store.release(lease)
        with pytest.raises(ControlError, match=r"'in1' has the sub-flow 'in1/.*', which is RUNNING"):
            town.delete("in1")
        assert town.delete("in1", cancel=True, by="ann").deleted
        assert town.list(sub_flows=True, prefix="in1") == []

    def test_it_may_be_cancelled_first(self, town: Houston) -> None:
        told: list[FlowOutcome] = []
        report = town.delete_many(FlowSelection(label="odd"), cancel=True, by="ann", tell=told.append)
        assert (report.done, outcomes(told)) == (3, {"in1": True, "nap": True, "f1": True})
        assert statuses(town).keys() == {"f2", "done", "in2"}
        assert town.list(sub_flows=True, prefix="in1") == []

    def test_what_a_runner_holds_is_refused_and_cancelled_by_that_runner(self, town: Houston) -> None:
        (lease,) = town.store.claim(owner="runner", keys=["nap"], due_at=NOON.replace(year=2027))
        with pytest.raises(ControlError, match="Flow 'nap' is being ticked by runner"):
            town.delete("nap")
        left = town.delete("nap", cancel=True, by="ann", reason="too late")
        assert (left.deleted, left.status) == (False, "RUNNING")
        assert "being ticked by runner; delete it when it has let go" in str(left.why_not)
        town.store.release(lease)
        town.tick()
        assert town.delete("nap").status == "CANCELLED"


class TestTroubles:
    def test_a_database_that_goes_away_stops_it(self, town: Houston, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[FlowOutcome] = []
        send = town.store.messages.control

        def send_once(*arguments: Any) -> str:
            if told:
                raise StoreUnreachableError("gone")
            return send(*arguments)

        monkeypatch.setattr(town.store.messages, "control", send_once)
        with pytest.raises(StoreUnreachableError):
            town.retry_many(FlowSelection(prefix="f"), by="ann", tell=told.append)
        assert (outcomes(told), statuses(town)["f1"]) == ({"f2": True}, "FAILED")

    def test_the_first_thousand_problems_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mc.runners.many_flows._MOST_PROBLEMS", 2)
        with Houston("sqlite://") as houston:
            report = houston.retry_many(FlowSelection(keys=["a", "b", "c", "d"]), by="ann")
        assert (report.refused, refused(report)) == (4, ["a", "b"])
        assert report.to_dict()["problems"][0]["error"]["code"] == "flow-not-found"
