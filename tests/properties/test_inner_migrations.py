"""What a migration does inside of a task is what it does to a flow of the same tasks."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.migration.carry_out import migrate_flow
from mc.flows.migration.plan import MigrationPlan
from mc.flows.migration.planning import plan_migration
from mc.statuses import FINISHED_FLOW_STATUSES
from tests.support.random_migrations import new_specs
from tests.support.random_specs import Act, wild_specs

TYPES = {"act", "inline_flow"}
MOST_TICKS = 400


def inside(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec with one task, inside of which the flow of another spec runs."""
    inner = {name: value for name, value in spec.items() if name != "key"}
    return {"tasks": [{"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": inner}}]}


def without_jitter(spec: dict[str, Any]) -> dict[str, Any]:
    """Take out what depends on the key of the flow, which is another one inside."""
    for task in spec["tasks"]:
        (task.get("cfg") or {}).get("retry", {}).pop("jitter", None)
    return spec


class Pair:
    """A flow, and one of the same spec inside of a task, which are ticked at the same times."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.clock = ManualClock()
        self.engine = FlowEngine(task_handlers={"act": Act}, clock=self.clock)
        self.plain = self.engine.flow_spec_to_flow(spec)
        self.around = self.engine.flow_spec_to_flow(inside(spec))

    def tick(self) -> bool:
        """Tick both; False where there is nothing to tick."""
        if self.plain.status in FINISHED_FLOW_STATUSES:
            return False
        due = self.engine.tick_flow(self.plain).next_tick_at
        self.engine.tick_flow(self.around)
        if due is not None:
            self.clock.advance(max((due - self.clock.now()).total_seconds(), 0))
        return due is not None

    @property
    def statuses(self) -> dict[str, tuple[str, int]]:
        return {task["key"]: (task["status"], task["attempt"]) for task in self.plain.filter_tasks()}

    @property
    def statuses_inside(self) -> dict[str, tuple[str, int]]:
        found = inner_tasks(self.around.state, self.around.tasks["outer"])
        return {key: (task["status"], task["attempt"]) for key, (_, task) in found.items()}


def told(plan: MigrationPlan, prefix: str) -> Any:
    """Return what a plan tells of tasks whose paths begin so, without that."""
    at = len(prefix)
    changes = {change.key[at:]: change for change in plan.changed if change.key.startswith(prefix)}
    return (
        [key[at:] for key in plan.added],
        [key[at:] for key in plan.removed],
        {key: (change.status, change.parts, change.takes_effect) for key, change in changes.items()},
        [(each.code, each.task_key and each.task_key[at:]) for each in plan.obstacles if each.task_key],
    )


@given(wild_specs(), st.integers(1, 5), st.data())
def test_inside_of_a_task_the_same_is_done_as_outside(
    spec: dict[str, Any], ticks: int, data: st.DataObject
) -> None:
    pair = Pair(without_jitter(spec))
    for _ in range(ticks):
        pair.tick()
    flow, around = pair.plain, pair.around
    if flow.status != "RUNNING" or around.status != "RUNNING":
        return
    polite = data.draw(st.booleans(), "polite")
    statuses = {key: status for key, (status, _) in pair.statuses.items()}
    new = without_jitter(data.draw(new_specs(spec, statuses, polite=polite), "new spec"))
    new["label"] = spec.get("label")
    plans = plan_migration(flow, new, task_types=TYPES), plan_migration(around, inside(new), task_types=TYPES)
    assert told(plans[0], "") == told(plans[1], "outer/")
    if plans[0].obstacles or plans[0].is_same:
        event("refused" if plans[0].obstacles else "the same")
        return
    event("migrated")
    _migrate(flow, new)
    _migrate(around, inside(new))
    assert pair.statuses == pair.statuses_inside
    for _ in range(MOST_TICKS):
        if not pair.tick():
            break
    if around.status == "FAILED":  # what failed is kept, and looks the same
        assert pair.statuses == pair.statuses_inside
    assert (flow.status == "COMPLETED") == (around.status == "COMPLETED")


def _migrate(flow: Flow, spec: dict[str, Any]) -> None:
    assert migrate_flow(flow, spec, task_types=TYPES).is_applied
    flow.check_invariants()
