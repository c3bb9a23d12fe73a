"""Whatever the spec: what its plan rules out never happens when it is run."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from mc.spec.planning.plan import FlowPlan, plan_flow_spec
from tests.support.random_specs import Act, wild_specs

UNDER_WAY = {"RUNNING", "WAITING"}


class Crowd:
    """Notes which tasks ever started, and how many were under way at once.

    Tasks that fail as they start, because their condition cannot be evaluated, are not counted.
    """

    def __init__(self, uncounted: set[str]) -> None:
        self.uncounted = uncounted
        self.started: set[str] = set()
        self.under_way: set[str] = set()
        self.most = 0

    def on_change(self, event: ChangeEvent) -> None:
        if event.task_key is None:
            return
        if event.new_status in UNDER_WAY:
            self.started.add(event.task_key)
            self.under_way.add(event.task_key)
        else:
            self.under_way.discard(event.task_key)
        self.most = max(self.most, len(self.under_way - self.uncounted))


@st.composite
def planned_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Wild specs with some tasks that cannot fail, and conditions on data."""
    spec = draw(wild_specs())
    spec["data"] = {"yes": True, "number": 3}
    conditions = st.sampled_from(
        [
            {"value": "$ctx.flow.data.yes", "op": "is_true"},
            {"value": "$ctx.flow.data.number", "op": "gt", "arg": 5},
            {"value": "$ctx.flow.data.number", "op": "gt", "arg": "five"},
            {"not": {"value": "$ctx.flow.data.yes", "op": "eq", "arg": True}},
        ]
    )
    for task in spec["tasks"]:
        if draw(st.integers(0, 2)) == 0:
            task.update(task_type="noop", task_params={})
        if draw(st.integers(0, 3)) == 0:
            task.setdefault("cfg", {})["when"] = draw(conditions)
    return spec


def plan(spec: dict[str, Any]) -> FlowPlan:
    return plan_flow_spec(spec, task_types={"act", "noop"})


@given(planned_specs())
def test_what_a_plan_rules_out_never_happens(spec: dict[str, Any]) -> None:
    planned = plan(spec)
    idle = {task.key for task in planned.flow.tasks if not task.can_run}
    crowd, clock = Crowd(idle), ManualClock()
    engine = FlowEngine(task_handlers={"act": Act}, clock=clock, observers=[crowd])
    flow = engine.flow_spec_to_flow(spec)
    while flow.status in {"PENDING", "RUNNING"}:
        report = engine.tick_flow(flow)
        if flow.status == "RUNNING":
            assert report.next_tick_at is not None
            clock.advance(max((report.next_tick_at - clock.now()).total_seconds(), 0))
    never = {
        finding.task for finding in planned.findings if finding.kind in ("never-starts", "always-skipped")
    }
    assert crowd.started & never == set()
    assert {task["key"] for task in flow.get_tasks_by_status("COMPLETED")} & idle == set()
    assert crowd.most <= planned.flow.max_running


@given(planned_specs())
def test_the_order_of_a_plan_keeps_to_the_edges(spec: dict[str, Any]) -> None:
    tasks = plan(spec).flow.tasks
    seen: set[str] = set()
    for task in tasks:
        assert set(task.precursors) <= seen
        seen.add(task.key)
    assert seen == {task["key"] for task in spec["tasks"]}
