"""The history of a flow as values: events, attempts, and what a flow is after its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from mc.json_data import JsonData

__all__ = ["ACTIVE_STATUSES", "LOST", "Attempt", "Event", "EventKind", "Replayed", "replay"]

ACTIVE_STATUSES: Final = frozenset({"RUNNING", "WAITING"})  # between the start and the end of an attempt
LOST: Final = "LOST"  # what became of a call that its runner did not outlive; no task has this status


class EventKind(StrEnum):
    """What an event tells of."""

    CREATED = "created"  # the flow was stored; for a task: what it was already at that time
    ADDED = "added"  # a task was added to the stored flow
    MIGRATED = "migrated"  # the flow moved to another spec
    REMOVED = "removed"  # a task went away with that
    CHANGED = "changed"  # a status changed, of a task or of the flow
    INSIDE = "inside"  # a status changed of a task inside of others, whose path is `task_key`
    TAKEN_OVER = "taken_over"  # a runner claimed the flow over the expired lease of another
    SIGNAL_SENT = "signal_sent"  # a signal came
    SIGNAL_TAKEN = "signal_taken"  # a task took it
    CONTROL = "control"  # a person asked for something: `detail` has what, who and why
    CONTROL_REFUSED = "control_refused"  # it could not be done any more when its turn came
    RESULT_TAKEN = "result_taken"  # a task took the result of the job that `detail` names, and started none
    LOST = "lost"  # the outcome of a call is not known: its runner ended; `detail` has since when, and who
    LOST_RESULT = "lost_result"  # what a runner wanted to save after its lease had been taken over


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(JsonData):
    """Something that happened to a flow; what is recorded once is never changed."""

    renamed: ClassVar = {"flow_key": None}

    flow_key: str
    number: int  # place in the history of the flow, from 1
    kind: EventKind
    task_key: str | None  # None: the flow itself; inside of others its path, `outer/inner`
    attempt: int  # of the task, from 1; 0 before the first and for flows
    old_status: str | None
    new_status: str | None
    at: datetime  # when it happened, by the engine's clock
    recorded_at: datetime  # when it was saved
    owner: str | None  # the runner; None: saved without a lease
    token: int | None  # of the runner's lease
    error: dict[str, Any] | None  # type, message, traceback
    detail: dict[str, Any] | None  # what else there is to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(JsonData):
    """One try of a task; later ones leave it as it is."""

    task_key: str  # inside of others its path
    attempt: int  # from 1
    # RUNNING until it is finished; FAILED where another attempt followed; LOST where its runner ended in a
    # call that lasted, which is made again: that try has an entry of its own
    status: str
    started_at: datetime | None
    finished_at: datetime | None  # of one that was LOST: when that was found
    owner: str | None  # the runner that began it, or ended it; None: saved without a lease
    error: dict[str, Any] | None  # type, message, traceback


_STATUS_KINDS: Final = frozenset({EventKind.CREATED, EventKind.ADDED, EventKind.CHANGED})


@dataclass(slots=True)
class Replayed:
    """What a flow is after its events; a task that no event names is PENDING, without an attempt."""

    status: str | None = None  # None: no event tells of the flow
    tasks: dict[str, str] = field(default_factory=dict)  # key -> status
    attempts: dict[str, int] = field(default_factory=dict)  # key -> number of the last attempt
    breaks: list[str] = field(default_factory=list)  # where an event does not begin with what was before it


def replay(events: Iterable[Event]) -> Replayed:
    """Return what a flow is after its events, which come in order.

    A break is a change whose old status is not the one that the events before it led to: a change that
    is missing, or was recorded twice. Tasks inside of others begin anew with each attempt and round of these.
    """
    after = Replayed()
    inside: dict[str, str] = {}
    for event in events:
        if event.kind is EventKind.INSIDE and event.task_key is not None:
            known = inside.get(event.task_key, event.old_status)
            if event.old_status not in (known, "PENDING"):
                after.breaks.append(_break(event, event.task_key, known))
            inside[event.task_key] = event.new_status or "PENDING"
        if event.kind is EventKind.REMOVED and event.task_key is not None:
            after.tasks.pop(event.task_key, None)
            after.attempts.pop(event.task_key, None)
        if event.kind not in _STATUS_KINDS:
            continue
        key, new = event.task_key, event.new_status or "PENDING"
        known = after.status if key is None else after.tasks.get(key, "PENDING")
        if event.kind is EventKind.CHANGED and event.old_status != known:
            after.breaks.append(_break(event, key or "the flow", known))
        if key is None:
            after.status = new
        else:
            after.tasks[key] = new
            after.attempts[key] = event.attempt
    return after


def _break(event: Event, what: str, known: str | None) -> str:
    changes = f"goes from {event.old_status} to {event.new_status or 'PENDING'}"
    return f"event {event.number}: {what} {changes}, but was {known}"
