"""A spec that is right, and data that make no sense of it: the task fails and says what, where and why."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow_engine import FlowEngine

X = "$ctx.flow.data.x"
SPREAD = ("spread", {"items": X, "mapping_params": {"skeleton": {"task_type": "noop"}}})
LOOP = ("loop", {"flow_spec": {"tasks": []}, "max_iterations": X, "until": {"all": []}})
LOOP_DELAY = ("loop", {"flow_spec": {"tasks": []}, "max_iterations": 2, "delay": X})
WAIT = ("wait", {"duration": X})
UNTIL = ("wait", {"until": X})
SIGNAL = ("wait_for_signal", {"signal": X})
SIGNAL_TIMEOUT = ("wait_for_signal", {"signal": "go", "timeout": X})
APPROVAL = ("approval", {"approvers": X})

CASES = [
    (SPREAD, 5, "task_params.items is number; expected a list or a mapping"),
    (SPREAD, "abc", "task_params.items is text; expected a list or a mapping"),
    (SPREAD, None, "task_params.items is null; expected a list or a mapping"),
    (LOOP, 0, "task_params.max_iterations is 0; expected at least 1"),
    (LOOP, None, "task_params.max_iterations is null; expected a whole number"),
    (LOOP, 2.5, "task_params.max_iterations is number; expected a whole number"),
    (LOOP_DELAY, -1, "-1 is not a usable duration: it must lie between 0 and 100 years"),
    (WAIT, -5, "-5 is not a usable duration: it must lie between 0 and 100 years"),
    (WAIT, 1e300, "1e+300 is not a usable duration: it must lie between 0 and 100 years"),
    (WAIT, "soon", "'soon' is not a duration. Write seconds"),
    (WAIT, True, "True is not a duration"),
    (UNTIL, "tomorrow", "'tomorrow' is not a date and a time"),
    (UNTIL, 5, "5 is not a time"),
    (
        UNTIL,
        "2150-01-01T00:00:00Z",
        "task_params.until is 2150-01-01T00:00:00.000000+00:00, which is more than 100 years ahead",
    ),
    (SIGNAL, "", "task_params.signal is empty; expected the name of a signal"),
    (SIGNAL, "  ", "task_params.signal is '  '; expected the name of a signal"),
    (SIGNAL, "mc.own", "not beginning with 'mc.'"),
    (SIGNAL_TIMEOUT, -1, "-1 is not a usable duration"),
    (APPROVAL, [], "task_params.approvers must name who may decide"),
    (APPROVAL, [" "], "task_params.approvers must name who may decide"),
    (APPROVAL, 5, "task_params.approvers is number; expected a list"),
]


@pytest.mark.parametrize(("task", "value", "message"), CASES, ids=str)
def test_the_task_fails_and_tells(task: tuple[str, dict[str, Any]], value: Any, message: str) -> None:
    engine = FlowEngine(clock=ManualClock())
    spec = {"key": "t", "task_type": task[0], "task_params": task[1]}
    flow = engine.flow_spec_to_flow({"data": {"x": value}, "tasks": [spec]})
    with pytest.raises(FlowError, match="task 't'"):
        engine.run_flow(flow)
    assert message in flow.tasks["t"]["error"]["message"]


def test_a_whole_number_may_be_written_with_an_exponent() -> None:
    """JSON has one kind of number: 1e1 is ten."""
    engine = FlowEngine(clock=ManualClock())
    params = {"flow_spec": {"tasks": []}, "max_iterations": 1e1}
    flow = engine.flow_spec_to_flow({"tasks": [{"key": "t", "task_type": "loop", "task_params": params}]})
    engine.run_flow(flow)
    assert flow.tasks["t"]["data"]["iterations"] == 10
