"""A planned migration, carried out."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.durations import format_time, parse_duration, parse_time
from mc.flows.migration.plan import MigrationPlan
from mc.flows.migration.planning import plan_migration
from mc.flows.migration.spec_pair import SpecPair
from mc.flows.migration.written_tasks import WrittenTasks
from mc.flows.observer import MigrationRecord
from mc.flows.state.rebuilding import rebuild
from mc.flows.state.task_node import Task

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["carry_out", "migrate_flow"]

# entries of a task dict that were made by its type and of its parameters; a retry would go on with them
_BEGUN_WITH_THEM: Final = (
    "flow_dict",
    "initialised",
    "kept",
    "proxied_task",
    "raw_task_params",
    "retries_sub_flow",
    "sub_flow",
    "waits_for",
)


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
    pair = SpecPair.of(flow, WrittenTasks.from_flow_spec(flow.spec or {}), WrittenTasks.from_flow_spec(spec))
    changes = {change.key: change for change in plan.changed if change.takes_effect}
    edges, tasks = pair.edges(), []
    for key in pair.task_keys():
        node = flow.state.tasks.nodes.get(key)
        if node is None:
            written = copy_json(dict(pair.new.tasks[key]))
            before = (attempts or {}).get(key, 0)
            count = {"attempt": before, "attempts_before": before} if before else {}
            tasks.append({**written, "key": key, **count})
            continue
        if key in changes:
            _rewrite(node.task, pair.new.tasks[key], changes[key].parts)
        tasks.append(node.task)
    record = MigrationRecord(
        journal_length=len(flow.state.unsaved.journal or ()),
        detail=plan.to_detail(by, reason),
        removed=tuple((key, pair.statuses[key]) for key in plan.removed),
    )
    _change_attributes(flow, spec, plan)
    flow.spec = spec
    rebuild(flow.state, tasks, edges)
    flow.state.unsaved.migrations.append(record)
    return replace(plan, is_applied=True)


def _rewrite(task: Task, written: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    """Write into a task dict what the new spec says of the parts that differ."""
    for name in parts:
        if name == "precursors":
            continue
        if name in ("task_type", "task_params"):
            for entry in _BEGUN_WITH_THEM:
                task.pop(entry, None)
        if name == "cfg" and task.pop("resource_claim", None) is not None:
            task.pop("next_tick_at", None)  # when it was to ask again for what it needed by its old cfg
        if written.get(name) is not None:
            task[name] = copy_json(written[name])
        else:
            task.pop(name, None)


def _change_attributes(flow: Flow, spec: Mapping[str, Any], plan: MigrationPlan) -> None:
    for name in plan.attributes:
        value = copy_json(spec.get(name))
        if name == "cfg":
            _change_cfg(flow, value or {})
        elif name == "results":
            flow.result_paths = value
        else:
            setattr(flow, name, value)
    for name in plan.added_data:
        flow.data[name] = copy_json(spec["data"][name])


def _change_cfg(flow: Flow, cfg: dict[str, Any]) -> None:
    """Give a flow another cfg; the time that it has runs from its first tick on."""
    timeout = cfg.get("timeout")
    if flow.started_at is not None and timeout != flow.cfg.get("timeout"):
        flow.deadline_at = None
        if timeout is not None:
            end = parse_time(flow.started_at) + timedelta(seconds=parse_duration(timeout))
            flow.deadline_at = format_time(end)
    flow.cfg = cfg
