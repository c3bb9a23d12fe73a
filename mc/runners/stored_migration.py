"""The migration of a stored flow to a new spec."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from mc.errors import StaleFlowError
from mc.flows.controls.control import check_who
from mc.flows.migration.carry_out import carry_out
from mc.flows.migration.plan import MigrationPlan
from mc.flows.migration.planning import plan_migration
from mc.store.flow_store import FlowStore

__all__ = ["migrate_stored_flow"]

_TRIES: Final = 5  # where runners save the flow meanwhile


def migrate_stored_flow(
    store: FlowStore,
    key: str,
    spec: Any,
    *,
    task_types: Container[str] | None = None,
    dry_run: bool = False,
    by: str | None = None,
    reason: str | None = None,
) -> MigrationPlan:
    """Move a stored flow to a new spec; see `Houston.migrate`.

    Where another save comes in between, the plan is made anew of what that left, and the same is tried again.

    Raises:
        MigrationError: something forbids it.
        ControlError: `by` is given and names nobody.
        StaleFlowError: a runner ticks the flow, or it was saved again and again meanwhile.
        FlowNotFoundError: there is no flow with that key.
    """
    if by is not None:
        check_who(by, "migrate")
    for tries_left in reversed(range(_TRIES)):
        flow = store.load(key)
        plan = plan_migration(flow, spec, task_types=task_types)
        if dry_run:
            return plan
        plan.refuse()
        done = carry_out(flow, plan, by=by, reason=reason, attempts=_last_attempts(store, plan))
        if not done.is_applied:
            return done
        try:
            store.save(flow)
        except StaleFlowError as error:
            if "owner" in error.details:
                raise _is_held(key, str(error.owner)) from error
            if not tries_left:
                raise
        else:
            return done
    raise AssertionError("the last try returns or raises")


def _last_attempts(store: FlowStore, plan: MigrationPlan) -> dict[str, int]:
    """Return the last attempts of tasks that the flow had before, was moved away from, and gets again."""
    if not plan.added or plan.is_same:
        return {}
    added, last = set(plan.added), dict[str, int]()
    for attempt in store.history.attempts(plan.flow_key):
        if attempt.task_key in added:
            last[attempt.task_key] = max(attempt.attempt, last.get(attempt.task_key, 0))
    return last


def _is_held(key: str, owner: str) -> StaleFlowError:
    return StaleFlowError(
        f"Flow {key!r} is being ticked by {owner}; nothing was changed. Repeat it when that runner "
        f"has let go of the flow, or pause the flow first (houston pause {key}).",
        key=key,
        owner=owner,
    )
