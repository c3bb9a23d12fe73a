"""A task as a row: the columns that a tick or a query needs, and the whole task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mc.flows.state.task_node import Task

__all__ = ["ASLEEP", "DOOMED", "TaskRow"]

DOOMED: Final = -1
ASLEEP: Final = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as a row; all but `task` are columns that a tick or a query needs."""

    key: str
    position: int  # place in the order of the spec, from 1
    rank: int  # grows along every edge
    status: str
    unmet: int  # unfinished precursors; 0: may start; DOOMED: can never start, and is to be SKIPPED
    # ASLEEP: WAITING for an event from outside alone, and read when that comes
    due_at: str | None  # next_tick_at of a task that waits, ISO 8601 UTC
    task: Task  # the whole dict, the flow's own: serialise it at once
    from_tick: int | None = None  # where it might be taken for one that is left: the tick that may call it
