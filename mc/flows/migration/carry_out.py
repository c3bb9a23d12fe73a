"""A planned migration, carried out."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mc.context.json_values import copy_json
from mc.durations import format_time, parse_duration, parse_time
from mc.flows.migration.nested_pairs import NESTED_PARAMS, find_nested_pair
from mc.flows.migration.plan import MigrationPlan
from mc.flows.migration.planning import plan_migration
from mc.flows.migration.spec_pair import SpecPair
from mc.flows.observer import MigrationRecord
from mc.flows.state.rebuilding import rebuild
from mc.flows.state.task_node import BEGUN_WITH_PARAMS, Task, with_proxied
from mc.spec.task_types import canonical_task_type

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["carry_out", "migrate_flow"]


def migrate_flow(
    flow: Flow,
    spec: Any,
    *,
    task_types: Container[str] | None = None,
    by: str | None = None,
    reason: str | None = None,
) -> MigrationPlan:
    """Move a flow to a new spec, as a whole or not at all.

    Args:
        flow: between two ticks, changed in place.
        spec: the new spec, any value; copied.
        task_types: the names of the task types that can be run; None for the built-in ones.
        by: who asks for it, for the history.
        reason: why, for people.

    Returns:
        What was done; nothing, where the flow has that spec already.

    Raises:
        MigrationError: something forbids it; nothing was changed.
    """
    plan = plan_migration(flow, spec, task_types=task_types)
    plan.refuse()
    return carry_out(flow, plan, by=by, reason=reason)


def carry_out(
    flow: Flow,
    plan: MigrationPlan,
    *,
    by: str | None = None,
    reason: str | None = None,
    attempts: Mapping[str, int] | None = None,
) -> MigrationPlan:
    """Do what was planned for a flow, which has not changed since.

    Args:
        flow: changed in place.
        plan: what `plan_migration` returned; without obstacles.
        by: who asks for it.
        reason: why.
        attempts: key -> number of the last attempt of a task that the flow had once and gets again, so that
            no idempotency key is used twice.

    Returns:
        The plan, as applied unless there was nothing to do.
    """
    spec = plan.spec
    if plan.is_same or plan.obstacles or spec is None:
        return plan
    pair = SpecPair.of(flow, flow.spec or {}, spec)
    removed = [key for key in pair.old.tasks if key not in pair.new.tasks and key in pair.statuses]
    record = MigrationRecord(
        journal_length=len(flow.state.unsaved.journal or ()),
        detail=plan.to_detail(by, reason),
        removed=tuple((key, pair.statuses[key]) for key in removed),
    )
    _move(pair, attempts or {}, flow.started_at)
    flow.spec = spec
    flow.state.unsaved.migrations.append(record)
    return replace(plan, is_applied=True)


def _move(pair: SpecPair, attempts: Mapping[str, int], at: str | None) -> None:
    """Give a flow, or a proxied task, what the new spec says, and what lives inside of it likewise.

    Args:
        pair: of the flow.
        attempts: see `carry_out`.
        at: a time that has passed, at which what goes on inside becomes due.
    """
    changes = pair.changes()
    for key, parts in changes.items():
        if pair.statuses[key] == "COMPLETED":
            continue
        task, written = pair.task(key), pair.new.tasks[key]
        inside = find_nested_pair(pair, key) if "task_params" in parts else None
        if inside is not None:
            _move(inside, attempts, at)
            _go_on_inside(task, written, at)
        _rewrite(task, written, [part for part in parts if part != "task_params" or inside is None])
    if pair.is_flow:
        _rebuild(pair, attempts)


def _rebuild(pair: SpecPair, attempts: Mapping[str, int]) -> None:
    flow, tasks, edges = pair.flow, [], pair.edges()
    for key in pair.task_keys():
        node = flow.state.tasks.nodes.get(key)
        if node is not None:
            tasks.append(node.task)
            continue
        written = copy_json(dict(pair.new.tasks[key]))
        before = attempts.get(pair.name(key), 0)
        count = {"attempt": before, "attempts_before": before} if before else {}
        tasks.append({**written, "key": key, **count})
    _change_attributes(pair)
    rebuild(flow.state, tasks, edges)
    flow.state.note_change()


def _go_on_inside(task: Task, written: Mapping[str, Any], at: str | None) -> None:
    """Write the new specs into the parameters of a task that goes on inside, and let it be called next."""
    for name in NESTED_PARAMS[canonical_task_type(task["task_type"])]:
        for params in (task["task_params"], task.get("raw_task_params") or {}):
            if name in params:
                params[name] = copy_json(written["task_params"][name])
    for each in with_proxied(task):
        if each.get("status") == "WAITING":
            each["next_tick_at"] = at


def _rewrite(task: Task, written: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Write into a task dict what the new spec says of the parts that differ."""
    for name in parts:
        if name == "precursors":
            continue
        if name in ("task_type", "task_params"):
            for entry in ("raw_task_params", *BEGUN_WITH_PARAMS):
                task.pop(entry, None)
        if name == "cfg" and task.pop("resource_claim", None) is not None:
            task.pop("next_tick_at", None)  # when it was to ask again for what it needed by its old cfg
        if written.get(name) is not None:
            task[name] = copy_json(written[name])
        else:
            task.pop(name, None)


def _change_attributes(pair: SpecPair) -> None:
    flow, spec = pair.flow, pair.new_spec
    for name in pair.attributes():
        value = copy_json(spec.get(name))
        if name == "cfg":
            _change_cfg(flow, value or {})
        elif name == "results":
            flow.result_paths = value
        else:
            setattr(flow, name, value)
    for name, value in (spec.get("data") or {}).items():
        if name not in flow.state.data:
            flow.data[name] = copy_json(value)


def _change_cfg(flow: Flow, cfg: dict[str, Any]) -> None:
    """Give a flow another cfg; the time that it has runs from its first tick on."""
    timeout = cfg.get("timeout")
    if flow.started_at is not None and timeout != flow.cfg.get("timeout"):
        flow.deadline_at = None
        if timeout is not None:
            end = parse_time(flow.started_at) + timedelta(seconds=parse_duration(timeout))
            flow.deadline_at = format_time(end)
    flow.cfg = cfg
