"""Facts that a store knows of a flow, as far as it takes to explain why the flow does not move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mc.flows.calls.call_note import CallNote
from mc.flows.controls.control import Control
from mc.flows.jobs.executor import BY_HAND
from mc.flows.state.task_node import Task

__all__ = ["ChangeFacts", "FlowFacts", "JobFacts", "LeaseFacts", "RunnerFacts", "ShortageFacts", "TaskFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """A task and what it waits for."""

    key: str
    status: str
    task: Task  # only to be read
    unmet: int = 0  # unfinished precursors; 0: may start; below 0: can never start
    precursors: tuple[tuple[str, str], ...] = ()  # key and status, the first of those that are unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """A runner's claim on the flow."""

    owner: str
    expires_at: datetime  # by the database's clock
    is_live: bool  # by the same
    lost_leases: int = 0  # runners in a row that vanished before


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFacts:
    """How the flow came to its status."""

    at: datetime
    by: str | None = None  # a person
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFacts:
    """The last tick that took up whatever was due."""

    owner: str
    host: str
    began_at: datetime
    ended_at: datetime | None = None  # None: under way, or its process vanished


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortageFacts:
    """A resource of which a task of the flow asks for more than there is, as it is set."""

    asked: int  # slots
    most: int  # that can be granted at once
    is_set: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A job that a task waits for."""

    key: str
    status: str
    executor: str
    place: str | None  # the host that alone sees it
    since: datetime  # in this status
    reason: str | None = None  # why it was not started yet, or is LOST
    stop_reason: str | None = None  # why it is to end
    progress: str = ""  # what it says of it
    folder: str | None = None
    native_id: str | None = None  # what its executor calls it
    started_by: str | None = None  # `tick`, `worker` or `loop`; None: its executor is not known here

    @property
    def is_by_hand(self) -> bool:
        """Whether it waits for a person to take its work directory in."""
        return self.status == "SUBMITTED" and (self.native_id or "").startswith(BY_HAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFacts:
    """A flow as its store had it at one moment."""

    key: str
    status: str
    now: datetime
    counts: Mapping[str, int]  # status -> number of tasks
    tasks: tuple[TaskFacts, ...] = ()  # unfinished ones: active, then those that may start, then the others
    failed: tuple[TaskFacts, ...] = ()  # the first of the FAILED ones
    cfg: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None  # of the flow itself
    blocked_reason: str | None = None
    missing_handlers: tuple[Mapping[str, Any], ...] = ()
    next_tick_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    parent_key: str | None = None  # the flow that this one is inside of
    failures: int | None = 0  # FAILED tasks that count; None: not known
    lease: LeaseFacts | None = None
    calls: tuple[CallNote, ...] = ()  # of its tasks that last, while the lease is live
    last_change: ChangeFacts | None = None
    controls: tuple[Control, ...] = ()  # what people ask for that was not done yet
    cancel: str | None = None  # why it is to be cancelled; an empty text where nobody said
    free_signals: tuple[str, ...] = ()  # names of signals that no task has taken
    shortages: Mapping[str, ShortageFacts] = field(default_factory=dict)  # by name
    sub_flows: Mapping[str, FlowFacts | None] = field(default_factory=dict)  # awaited ones; None: not stored
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)  # awaited ones, by key
    last_runner: RunnerFacts | None = None  # None: there was none
