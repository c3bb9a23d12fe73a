"""The task type `approval`, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError, SignalError, SpecError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(clock=clock)


def begin(engine: FlowEngine, cfg: Any = None, **params: Any) -> Flow:
    task = {"key": "ask", "task_type": "approval", "task_params": params, "cfg": cfg or {}}
    flow = engine.flow_spec_to_flow({"tasks": [task]})
    engine.tick_flow(flow)
    return flow


def test_a_yes_completes_the_task_and_is_signed(engine: FlowEngine, clock: ManualClock) -> None:
    flow = begin(engine, message="ok?")
    assert engine.decide(flow, "ask", approved=True, by="ada", comment="fine")
    assert engine.run_flow(flow).status == "COMPLETED"
    data = flow.tasks["ask"]["data"]
    assert data == {"approved": True, "by": "ada", "at": data["at"], "comment": "fine"}


def test_a_no_fails_the_task(engine: FlowEngine) -> None:
    flow = begin(engine)
    engine.decide(flow, "ask", approved=False, by="ada", comment="bad")
    with pytest.raises(FlowError, match="Rejected by ada: bad"):
        engine.run_flow(flow)
    assert flow.tasks["ask"]["error"]["type"] == "Rejected"
    assert flow.tasks["ask"]["data"]["approved"] is False


def test_a_no_may_complete_the_task(engine: FlowEngine) -> None:
    flow = begin(engine, on_reject="complete")
    engine.decide(flow, "ask", approved=False, by="ada")
    assert engine.run_flow(flow).status == "COMPLETED"
    assert flow.tasks["ask"]["data"]["approved"] is False


def test_only_approvers_decide(engine: FlowEngine) -> None:
    flow = begin(engine, approvers=["ada", "bob"])
    with pytest.raises(SignalError, match="not for 'eve' to decide; its approvers are ada, bob"):
        engine.decide(flow, "ask", approved=True, by="eve")
    assert engine.decide(flow, "ask", approved=True, by="bob")


@pytest.mark.parametrize("by", ["", "  ", None])
def test_an_approval_by_nobody_is_refused(engine: FlowEngine, by: Any) -> None:
    with pytest.raises(SignalError, match="by nobody"):
        engine.decide(begin(engine), "ask", approved=True, by=by)


@pytest.mark.parametrize("ticked", [False, True])
def test_a_decision_stands(engine: FlowEngine, ticked: bool) -> None:
    flow = begin(engine)
    assert engine.decide(flow, "ask", approved=True, by="ada")
    if ticked:
        engine.run_flow(flow)
    assert not engine.decide(flow, "ask", approved=True, by="ada")
    for approved, by, comment in ((False, "ada", None), (True, "bob", None), (True, "ada", "but")):
        with pytest.raises(SignalError, match=r"was approved by ada at .* already"):
            engine.decide(flow, "ask", approved=approved, by=by, comment=comment)


def test_a_task_that_does_not_wait_is_not_decided(engine: FlowEngine) -> None:
    spec = {"tasks": [{"key": "n", "task_type": "noop"}, {"key": "ask", "task_type": "approval"}]}
    flow = engine.flow_spec_to_flow(spec)
    with pytest.raises(SignalError, match="is PENDING; it does not wait"):
        engine.decide(flow, "ask", approved=True, by="ada")
    with pytest.raises(SignalError, match="no approval 'n'; it has ask"):
        engine.decide(flow, "n", approved=True, by="ada")


def test_another_attempt_asks_anew(engine: FlowEngine) -> None:
    flow = begin(engine, cfg={"retry": {"max_attempts": 2}})
    engine.decide(flow, "ask", approved=False, by="ada")
    engine.tick_flow(flow)
    engine.tick_flow(flow)
    assert flow.count_tasks() == {"WAITING": 1}
    assert engine.decide(flow, "ask", approved=True, by="ada")
    assert engine.run_flow(flow).status == "COMPLETED"


@pytest.mark.parametrize(("default", "status"), [(True, "COMPLETED"), (False, "FAILED"), (None, "FAILED")])
def test_the_default_decides_at_the_timeout(
    engine: FlowEngine, clock: ManualClock, default: bool | None, status: str
) -> None:
    flow = begin(engine, timeout="1h", **({} if default is None else {"default": default}))
    clock.advance(3600)
    engine.tick_flow(flow)
    assert flow.status == status
    task = flow.tasks["ask"]
    if default is None:
        assert task["error"]["message"] == "Nobody approved or rejected within the timeout (1h)."
    else:
        assert (task["data"]["approved"], task["data"]["by"]) == (default, None)


def test_inner_approvals_are_named_by_path_or_by_a_key_that_is_theirs_alone(engine: FlowEngine) -> None:
    def inner(key: str) -> dict[str, Any]:
        asks = [{"key": "ask", "task_type": "approval"}]
        params = {"flow_spec": {"tasks": asks}}
        return {"key": key, "task_type": "inline_flow", "precursors": [], "task_params": params}

    flow = engine.flow_spec_to_flow({"tasks": [inner("a"), inner("b")]})
    engine.run_flow(flow)
    with pytest.raises(SignalError, match=r"several approvals 'ask'\. Name one of a/ask, b/ask"):
        engine.decide(flow, "ask", approved=True, by="ada")
    assert engine.decide(flow, "a/ask", approved=True, by="ada")
    engine.run_flow(flow)
    assert engine.decide(flow, "ask", approved=True, by="ada")
    assert engine.run_flow(flow).status == "COMPLETED"


@pytest.mark.parametrize(
    "params", [{"approvers": []}, {"approvers": [""]}, {"default": "yes"}, {"on_reject": "shrug"}]
)
def test_parameters_that_make_no_sense_are_problems_of_the_spec(engine: FlowEngine, params: Any) -> None:
    with pytest.raises(SpecError, match="/tasks/0/task_params"):
        begin(engine, **params)


@pytest.mark.parametrize("value", [[], [""], ["ada", 1], "ada"])
def test_approvers_that_a_reference_leads_to_are_checked_when_the_task_starts(
    engine: FlowEngine, value: Any
) -> None:
    task = {"key": "ask", "task_type": "approval", "task_params": {"approvers": "$ctx.flow.data.who"}}
    flow = engine.flow_spec_to_flow({"data": {"who": value}, "tasks": [task]})
    engine.tick_flow(flow)
    assert (flow.status, flow.tasks["ask"]["error"]["type"]) == ("FAILED", "SpecError")
