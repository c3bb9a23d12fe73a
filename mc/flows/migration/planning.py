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
from mc.flows.migration.nested_pairs import find_nested_pair
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
    pair = SpecPair.of(flow, old_spec, new_spec)
    plan = replace(plan, kept_data=_kept_data(spec, old_spec))
    if plan.is_same:
        return replace(plan, stays=tuple(pair.task_keys()))
    changed = pair.changes()
    return replace(
        _add_comparison(plan, pair),
        stays=tuple(key for key in pair.task_keys() if key in pair.statuses and key not in changed),
    )


def _add_comparison(plan: MigrationPlan, pair: SpecPair) -> MigrationPlan:
    """Return a plan with what becomes of a flow, and of what lives inside of its tasks."""
    statuses, changed = pair.statuses, pair.changes()
    nested = {key: find_nested_pair(pair, key) for key, parts in changed.items() if "task_params" in parts}
    inside = {key: each for key, each in nested.items() if each is not None}
    removed = [key for key in pair.old.tasks if key not in pair.new.tasks and key in statuses]
    fixed = {
        key: [part for part in parts if part != "task_params" or key not in inside]
        for key, parts in changed.items()
    }
    told = {change.key for change in plan.changed} if pair.proxied is not None else ()
    where = f" of {pair.around[:-1]}" if pair.around else ""
    added_data = [name for name in pair.new_spec.get("data") or {} if name not in pair.flow.state.data]
    plan = replace(
        plan,
        added=(*plan.added, *(pair.name(key) for key in pair.new.tasks if key not in statuses)),
        removed=(*plan.removed, *map(pair.name, removed)),
        changed=(
            *plan.changed,
            *(_change_of(pair, key, parts) for key, parts in changed.items() if pair.name(key) not in told),
        ),
        attributes=(*plan.attributes, *(f"{name}{where}" for name in pair.attributes())),
        added_data=(*plan.added_data, *(f"{name}{where}" for name in added_data if pair.is_flow)),
        obstacles=(
            *plan.obstacles,
            *(find_flow_obstacles(pair) if pair.is_flow else ()),
            *find_task_obstacles(pair, fixed, removed),
        ),
    )
    for each in inside.values():
        plan = _add_comparison(plan, each)
    return plan


def _change_of(pair: SpecPair, key: str, parts: tuple[str, ...]) -> TaskChange:
    status = pair.statuses[key]
    return TaskChange(key=pair.name(key), status=status, parts=parts, takes_effect=status != "COMPLETED")


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
