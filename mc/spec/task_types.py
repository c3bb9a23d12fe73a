"""The names of task types: those of the format, and those that this version runs."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUILT_IN_TASK_TYPES",
    "OLDER_PREFIX",
    "SPREAD_ITEM",
    "TASK_TYPES_NOT_YET_RUN",
    "canonical_task_type",
]

BUILT_IN_TASK_TYPES: Final = frozenset(
    {
        "approval",
        "call",
        "flow",
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

# Part of the format, so that a spec which names one is told apart from a misspelt one.
TASK_TYPES_NOT_YET_RUN: Final = frozenset({"http"})

OLDER_PREFIX: Final = "mc.tasks."

# Of the tasks that stand for the items of a `spread` whose items are flows; no spec may name it.
SPREAD_ITEM: Final = "mc.spread_item"


def canonical_task_type(name: str) -> str:
    """Return the name that the format uses today: `mc.tasks.flow` is `flow`, the rest stays as it is."""
    short = name.removeprefix(OLDER_PREFIX)
    return short if short in BUILT_IN_TASK_TYPES or short in TASK_TYPES_NOT_YET_RUN else name
