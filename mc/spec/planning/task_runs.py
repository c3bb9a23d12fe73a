"""Ways in which tasks run beside each other: in turn in one process, or by any runner."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from mc.spec.task_outputs import params_of, task_type_of
from mc.spec.task_types import canonical_task_type

__all__ = ["SHARED", "TAKE_TURNS", "TaskRuns", "task_runs"]


class TaskRuns(StrEnum):
    """How a task runs beside others of its flow."""

    IN_TURN = "in turn"  # called by the flow's runner, one after the other; async handlers side by side
    INSIDE = "inside"  # so are the tasks inside of it, under the lease of the flow
    WAITS = "waits"  # for a time or an event, which takes nobody's time
    JOB = "job"  # outside of ticks, side by side as far as its executor has room
    OWN_FLOW = "own flow"  # a stored flow that any runner may take
    OWN_FLOWS = "own flows"  # one for each item


TAKE_TURNS: Final = frozenset({TaskRuns.IN_TURN, TaskRuns.INSIDE})
SHARED: Final = frozenset({TaskRuns.OWN_FLOW, TaskRuns.OWN_FLOWS})

_KINDS: Final[Mapping[str, TaskRuns]] = {
    "approval": TaskRuns.WAITS,
    "flow": TaskRuns.OWN_FLOW,
    "http": TaskRuns.JOB,
    "inline_flow": TaskRuns.INSIDE,
    "job": TaskRuns.JOB,
    "loop": TaskRuns.INSIDE,
    "shell": TaskRuns.JOB,
    "spread": TaskRuns.INSIDE,
    "switch": TaskRuns.INSIDE,
    "wait": TaskRuns.WAITS,
    "wait_for_signal": TaskRuns.WAITS,
}


def task_runs(task: Mapping[str, Any]) -> TaskRuns:
    """Return how a task of a sound spec runs beside others; what a reference decides is not known."""
    name, params = task_type_of(task), params_of(task)
    if name == "spread" and params.get("item_container") == "flow":
        return TaskRuns.OWN_FLOWS
    if name == "spread" and canonical_task_type(str(params.get("container_task_type"))) == "flow":
        return TaskRuns.OWN_FLOW
    if name == "call" and params.get("executor") is not None:
        return TaskRuns.JOB
    return _KINDS.get(name, TaskRuns.IN_TURN)
