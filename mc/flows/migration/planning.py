"""Plans of migrations: what moving a flow to a new spec comes to, without changing anything.

Tasks are compared as the two specs write them, not as the flow's task dicts stand, which other tasks
may have changed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json, json_equal
from mc.errors import Obstacle, Problem
from mc.flows.migration.obstacles import find_flow_obstacles, find_task_obstacles
from mc.flows.migration.plan import MigrationPlan, TaskChange
from mc.flows.migration.spec_pair import SpecPair
from mc.flows.migration.written_tasks import WrittenTasks
from mc.spec.digest import spec_digest
from mc.spec.task_graph import assign_task_keys
from mc.spec.validation import find_problems

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["plan_migration"]

_ATTRIBUTES: Final = ("label", "version", "description", "cfg", "params", "results")


def plan_migration(flow: Flow, spec: Any, *, task_types: Container[str] | None = None) -> MigrationPlan:
    """Return what moving a flow to a new spec comes to; nothing is changed.

    Args:
        flow: between two ticks. One that is not wholly in memory is read whole.
        spec: the new spec, any value; copied.
        task_types: the names of the task types that can be run; None for the built-in ones.

    Returns:
        The plan. `obstacles` names all reasons that forbid it; of a spec that is wrong they are the problems.
    """
    flow.reconcile()
    problems = find_problems(spec, task_types=task_types)
    if problems:
        obstacles = tuple(_of_problem(problem, spec) for problem in problems)
        return MigrationPlan(flow_key=flow.key, old_digest=_digest_of(flow.spec), obstacles=obstacles)
    old_spec = flow.spec
    given = {name: part for name, part in spec.items() if name != "$schema"}
    new_spec = _with_what_it_began_with(copy_json(given), old_spec or {})
    plan = MigrationPlan(
        flow_key=flow.key,
        old_digest=_digest_of(old_spec),
        new_digest=spec_digest(new_spec),
        spec=new_spec,
    )
    old = _read_tasks(old_spec)
    if old is None or old_spec is None:
        return replace(plan, obstacles=(_NO_SPEC,))
    pair = SpecPair.of(flow, old, WrittenTasks.from_flow_spec(new_spec))
    plan = replace(plan, kept_data=_kept_data(spec, old_spec))
    if plan.is_same:
        return replace(plan, stays=tuple(pair.task_keys()))
    return _compare(pair, old_spec, new_spec, plan)


def _compare(
    pair: SpecPair, old_spec: dict[str, Any], new_spec: dict[str, Any], plan: MigrationPlan
) -> MigrationPlan:
    flow, old, new, statuses = pair.flow, pair.old, pair.new, pair.statuses
    changes = [_change_of(pair, key) for key in new.tasks if key in old.tasks and key in statuses]
    differing = {change.key: change for change in changes if change.parts}
    removed = tuple(key for key in old.tasks if key not in new.tasks and key in statuses)
    attributes = [
        name for name in _ATTRIBUTES if not json_equal(_attribute(old_spec, name), _attribute(new_spec, name))
    ]
    obstacles = [
        *find_flow_obstacles(pair, old_spec, new_spec),
        *find_task_obstacles(pair, differing, removed),
    ]
    return replace(
        plan,
        stays=tuple(key for key in pair.task_keys() if key in statuses and key not in differing),
        added=tuple(key for key in new.tasks if key not in statuses),
        removed=removed,
        changed=tuple(differing.values()),
        attributes=tuple(attributes),
        added_data=tuple(name for name in new_spec.get("data") or {} if name not in flow.state.data),
        obstacles=tuple(obstacles),
    )


def _change_of(pair: SpecPair, key: str) -> TaskChange:
    status = pair.statuses[key]
    parts = pair.old.differing_parts(pair.new, key)
    return TaskChange(key=key, status=status, parts=parts, takes_effect=status != "COMPLETED")


def _attribute(spec: Mapping[str, Any], name: str) -> Any:
    value = spec.get(name)
    return value or {} if name == "cfg" else value


def _with_what_it_began_with(new: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new spec with the data that the flow began with, which no spec changes any more."""
    if new.get("data") or old.get("data"):
        new["data"] = {**(new.get("data") or {}), **copy_json(old.get("data") or {})}
    if new.get("key") is None and old.get("key") is not None:
        new["key"] = old["key"]
    return new


def _kept_data(new: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the entries of `data` that both specs write, in different ways."""
    before, after = old.get("data") or {}, new.get("data") or {}
    return tuple(
        name for name, value in after.items() if name in before and not json_equal(before[name], value)
    )


def _read_tasks(spec: Any) -> WrittenTasks | None:
    try:
        return WrittenTasks.from_flow_spec(spec)
    except (AttributeError, KeyError, TypeError):  # none, or one that nobody checked
        return None


def _digest_of(spec: Any) -> str | None:
    return spec_digest(spec) if spec is not None else None


def _of_problem(problem: Problem, spec: Any) -> Obstacle:
    meant = f"Did you mean {problem.suggestion!r}?" if problem.suggestion else ""
    return Obstacle(
        code="invalid-spec",
        task_key=_task_at(problem.pointer, spec),
        pointer=problem.pointer,
        message=f"{problem.message} [{problem.code}]",
        advice=meant or "Mend the new spec; houston validate checks it.",
    )


def _task_at(pointer: str, spec: Any) -> str | None:
    """Return the key of the task that a problem of a spec lies in."""
    steps = pointer.split("/")[1:3]
    if len(steps) < 2 or steps[0] != "tasks" or not steps[1].isdecimal():
        return None
    try:
        key: Any = assign_task_keys(spec["tasks"])[int(steps[1])]
    except (AttributeError, KeyError, TypeError, IndexError):
        return None
    return key if isinstance(key, str) else None


_NO_SPEC: Final = Obstacle(
    code="no-spec",
    task_key=None,
    pointer="",
    message="The flow has no spec that the new one could be compared with.",
    advice="Submit the new spec as a new flow.",
)
