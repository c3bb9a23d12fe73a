"""An answer to the question why a flow does not move: reasons, and what would move it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from mc.json_data import JsonData
from mc.statuses import FINISHED_FLOW_STATUSES

__all__ = ["Explanation", "Reason", "ReasonKind"]


class ReasonKind(StrEnum):
    """Why a flow, or a task of it, does not move."""

    FINISHED = "finished"  # the flow has ended
    PAUSED = "paused"  # by a person
    BLOCKED = "blocked"  # until a person acts
    MISSING_HANDLER = "missing-handler"  # BLOCKED until a runner has a handler
    ASKED = "asked"  # the next tick does what a person asks for
    CANCELLING = "cancelling"  # the next tick cancels the flow
    HELD = "held"  # a runner is at work on it
    CALLED = "called"  # a runner calls the task at this moment
    LEASE_EXPIRED = "lease-expired"  # the runner that was vanished
    DUE = "due"  # a tick can do something now
    LATE = "late"  # it could for a long time
    TIME = "time"  # not before a time
    EVENT = "event"  # only something from outside moves it
    SIGNAL = "signal"  # the task waits for a signal
    APPROVAL = "approval"  # the task waits for a yes or no
    SUB_FLOW = "sub-flow"  # the task waits for a stored sub-flow
    JOB = "job"  # the task waits for the end of a job
    RETRY = "retry"  # the task failed and is tried again at a time
    PRECURSORS = "precursors"  # the task waits for others
    LIMIT = "limit"  # the task may start, but too many run
    STARTABLE = "startable"  # the task starts at the next tick
    RUNNING = "running"  # the task is called at the next tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(JsonData):
    """Why a flow or one of its tasks does not move, and what would move it.

    Attributes:
        kind: what a program can go by.
        text: for people, a sentence.
        moves: what would move it, a sentence.
        task: path of the task, `outer/inner` inside others; None: the flow itself.
        since: from when on, if it is known.
        until: when it ends by itself, if it does.
        commands: that help, to type as they are, words in capitals replaced.
        sub_flow: the explanation of the sub-flow that the task waits for.
    """

    kind: ReasonKind
    task: str | None = None
    text: str
    moves: str
    since: datetime | None = None
    until: datetime | None = None
    commands: tuple[str, ...] = ()
    sub_flow: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(JsonData):
    """Why a flow does not move.

    Attributes:
        flow_key: the flow.
        status: its status.
        at: when the question was asked.
        reasons: at least one; those of the flow itself come first, the decisive one before all.
        tasks_not_shown: unfinished tasks of which no reason tells.
        fails_at: when the flow fails by its `cfg.timeout` unless it ends before.
        parent_key: the flow that it is inside of.
    """

    renamed: ClassVar = {"flow_key": "key"}

    flow_key: str
    status: str
    at: datetime
    reasons: tuple[Reason, ...]
    tasks_not_shown: int = 0
    fails_at: datetime | None = None
    parent_key: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the flow has ended, so that nothing moves it but a person."""
        return self.status in FINISHED_FLOW_STATUSES
