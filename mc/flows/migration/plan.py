"""The plan of a migration, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mc.errors import MigrationError, Obstacle
from mc.json_data import JsonData

__all__ = ["MigrationPlan", "TaskChange"]

_MAX_SHOWN = 20  # obstacles in the message of an error


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange(JsonData):
    """A task that the new spec writes in another way.

    Attributes:
        key: of the task.
        status: that it has.
        parts: what differs, of `label`, `task_type`, `task_params`, `data`, `cfg` and `precursors`.
        takes_effect: False where the task is COMPLETED and is left as it is.
    """

    key: str
    status: str
    parts: tuple[str, ...]
    takes_effect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan(JsonData):
    """What stays, is added, is removed and is changed when a flow moves to a new spec, and what forbids it.

    Attributes:
        flow_key: of the flow.
        old_digest: of the spec that it has; None: it has none.
        new_digest: of the spec that it moves to; None: that spec is wrong.
        stays: tasks that both specs write in the same way, and those that were added while the flow ran.
        added: tasks that it gets.
        removed: tasks that it loses.
        changed: tasks that differ.
        attributes: what else of the flow changes, of `label`, `version`, `description`, `cfg`, `params` and
            `results`.
        added_data: entries of `data` that the flow gets.
        kept_data: entries of `data` that the new spec writes in another way, and that the flow keeps.
        obstacles: all that forbids it; empty: it can be done.
        spec: the spec that the flow will have.
        is_applied: whether it was done.
    """

    renamed: ClassVar = {"flow_key": "key", "is_applied": "migrated", "spec": None}

    flow_key: str
    old_digest: str | None = None
    new_digest: str | None = None
    stays: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[TaskChange, ...] = ()
    attributes: tuple[str, ...] = ()
    added_data: tuple[str, ...] = ()
    kept_data: tuple[str, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    spec: dict[str, Any] | None = field(default=None, repr=False)
    is_applied: bool = False

    @property
    def is_same(self) -> bool:
        """Whether the flow has this spec already, so that nothing is to be done."""
        return self.old_digest is not None and self.old_digest == self.new_digest

    def refuse(self) -> None:
        """Raise `MigrationError`, which tells all reasons at once, if something forbids the migration."""
        if self.obstacles:
            raise MigrationError(
                _describe(self.flow_key, self.obstacles), obstacles=self.obstacles, key=self.flow_key
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-safe data, the spec left out."""
        return {**JsonData.to_dict(self), "same_spec": self.is_same}

    def to_detail(self, by: str | None, reason: str | None) -> dict[str, Any]:
        """Return what the history keeps of the migration."""
        return {
            "by": by,
            "reason": reason,
            "old_digest": self.old_digest,
            "new_digest": self.new_digest,
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {change.key: list(change.parts) for change in self.changed},
            "attributes": list(self.attributes),
            "added_data": list(self.added_data),
        }


def _describe(key: str, obstacles: Sequence[Obstacle]) -> str:
    count = len(obstacles)
    head = "1 reason forbids" if count == 1 else f"{count} reasons forbid"
    shown = [f"  {obstacle}" for obstacle in obstacles[:_MAX_SHOWN]]
    if count > len(shown):
        shown.append(f"  ... and {count - len(shown)} more")
    opening = f"Flow {key!r} cannot be moved to the new spec; {head} it, and nothing was changed:"
    return "\n".join([opening, *shown])
