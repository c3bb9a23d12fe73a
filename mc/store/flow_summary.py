"""A stored flow at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mc.flows.calls.call_note import CallNote
from mc.json_data import JsonData

__all__ = ["FlowSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSummary(JsonData):
    """What a list of flows shows of each.

    A flow is RUNNING, and so are its tasks, as soon as it is noted that they are called, also where neither
    was saved yet.
    """

    key: str
    label: str | None
    status: str
    created_at: datetime
    modified_at: datetime  # of the last save
    finished_at: datetime | None
    next_tick_at: datetime | None  # None: nothing to do until an event from outside, or never
    tasks: dict[str, int]  # status -> number of tasks
    seconds: float | None  # from its first tick to its end; None: it is unfinished
    calls: tuple[CallNote, ...] = ()  # of its tasks, that last
