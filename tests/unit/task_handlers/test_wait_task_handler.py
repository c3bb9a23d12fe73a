from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mc.flows.flow import Flow


def start(engine, **params):
    flow = Flow.from_flow_spec({"tasks": [{"key": "w", "task_type": "wait", "task_params": params}]})
    report = engine.tick_flow(flow)
    return flow, report


def test_a_duration_passes(engine, clock):
    flow, report = start(engine, duration="1h30m")
    assert report.next_tick_at == datetime(2000, 1, 1, 1, 30, tzinfo=UTC)
    assert flow.tasks["w"]["status"] == "WAITING"
    assert flow.tasks["w"]["data"] == {"due_at": "2000-01-01T01:30:00.000000+00:00"}
    clock.advance(5399.999)
    engine.tick_flow(flow)
    assert flow.tasks["w"]["status"] == "WAITING"
    clock.advance(0.001)
    engine.tick_flow(flow)
    assert flow.status == "COMPLETED"
    flow.check_invariants()


def test_a_time_comes(engine, clock):
    flow, report = start(engine, until="2000-01-02T00:00:00+01:00")
    assert report.next_tick_at == datetime(2000, 1, 1, 23, tzinfo=UTC)
    clock.advance(23 * 3600)
    engine.tick_flow(flow)
    assert flow.status == "COMPLETED"


@pytest.mark.parametrize("params", [{"duration": 0}, {"until": "1999-12-31T00:00:00Z"}])
def test_what_is_over_already_completes_at_once(engine, params):
    flow, _ = start(engine, **params)
    assert flow.status == "COMPLETED"
    assert "due_at" in flow.tasks["w"]["data"]


def test_woken_too_early_it_goes_on_waiting(engine, clock):
    flow, _ = start(engine, duration=60)
    clock.advance(59)
    flow.tasks["w"]["status"] = "RUNNING"
    report = engine.tick_flow(flow)
    assert flow.tasks["w"]["status"] == "WAITING"
    assert (report.next_tick_at - clock.now()).total_seconds() == 1


def test_a_new_attempt_waits_anew(engine, clock):
    spec = {
        "key": "w",
        "task_type": "wait",
        "task_params": {"duration": 10},
        "cfg": {"timeout": 5, "retry": {"max_attempts": 2}},
    }
    flow = Flow.from_flow_spec({"tasks": [spec]})
    engine.tick_flow(flow)
    clock.advance(5)
    engine.tick_flow(flow)
    engine.tick_flow(flow)
    assert flow.tasks["w"]["data"] == {"due_at": "2000-01-01T00:00:15.000000+00:00"}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "task_params needs either duration or until; found neither"),
        ({"duration": 1, "until": "2000-01-01T00:00:00Z"}, "found both"),
        ({"duration": "soon"}, "'soon' is not a duration"),
        ({"until": "2000-01-01T00:00:00"}, "names no time zone"),
        ({"until": 5}, "5 is not a time"),
    ],
)
def test_what_is_wrong_with_the_parameters_is_said(fail_with, params, problem):
    assert problem in fail_with({"task_type": "wait", "task_params": params})
