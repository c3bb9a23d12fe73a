"""The names of the task types of the format."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUILT_IN_TASK_TYPES",
    "OLDER_PREFIX",
    "SPREAD_ITEM",
    "canonical_task_type",
]

BUILT_IN_TASK_TYPES: Final = frozenset(
    {
        "approval",
        "call",
        "flow",
        "http",
        "inline_flow",
        "job",
        "log",
        "loop",
        "noop",
        "print",
        "shell",
        "spread",
        "switch",
        "wait",
        "wait_for_signal",
        "wire",
    }
)

OLDER_PREFIX: Final = "mc.tasks."

# Of the tasks that stand for the items of a `spread` whose items are flows; no spec may name it.
SPREAD_ITEM: Final = "mc.spread_item"


def canonical_task_type(name: str) -> str:
    """Return the name that the format uses today: `mc.tasks.flow` is `flow`, the rest stays as it is."""
    short = name.removeprefix(OLDER_PREFIX)
    return short if short in BUILT_IN_TASK_TYPES else name
