"""Runs of flows on a clock of their own: real engine, scripted results, nothing of the user's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from mc.clock import ManualClock
from mc.durations import format_time
from mc.errors import SignalError
from mc.flows.flow_engine import FlowEngine
from mc.flows.resource import read_needs
from mc.flows.resources.requests import was_refused
from mc.flows.signals.waits import find_waits
from mc.json_data import JsonData
from mc.simulation.script import Script, SentSignal
from mc.simulation.scripted_handlers import StandInHandlers
from mc.simulation.scripted_results import ScriptedResults
from mc.simulation.timeline import Timeline, TimelineEntry

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.simulation.script import Decision

__all__ = ["Ending", "Simulation", "WaitingTask", "simulate_flow"]

_KEY: Final = "simulation"  # of a flow whose spec names none: jitter comes from it, and has to repeat
_MAX_RETRIES: Final = 1_000  # of all tasks together; each costs more than the one before


class Ending(StrEnum):
    """Why a simulation ended."""

    FINISHED = "finished"  # the flow is finished
    WAITING = "waiting"  # it waits for something from outside that never comes
    TIME = "time"  # the time is up
    ENDLESS = "endless"  # so many ticks or attempts were made that it may never end


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingTask(JsonData):
    """A task that waits at the end of a simulation.

    Attributes:
        task: its path.
        waits_for: `signal 'payment'`, `a decision`, `resources db, disk`, or `time`.
        until: when it stops to wait, ISO 8601; None: never.
    """

    task: str
    waits_for: str
    until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a simulation came to.

    Attributes:
        flow: the flow as it is at the end.
        ending: why the simulation ended.
        started_at: the time at which the clock stood at first.
        ended_at: the time at which it stood at the end.
        timeline: what happened, in order.
        waits: the tasks that wait at the end.
        stood_in: task type -> how many attempts completed with the data of the spec, because their type was
            not run and no scripted result was given.
        unused: scripted results that no task was found for, and events that came too late.
    """

    flow: Flow
    ending: Ending
    started_at: datetime
    ended_at: datetime
    timeline: tuple[TimelineEntry, ...]
    waits: tuple[WaitingTask, ...]
    stood_in: Mapping[str, int]
    unused: tuple[str, ...]

    def seconds_at(self, at: str) -> float:
        """Return how long after its start the simulation was at a time, in seconds."""
        return (datetime.fromisoformat(at) - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Return the simulation as JSON-safe data, without the flow's tasks."""
        return {
            "status": self.flow.status,
            "ending": str(self.ending),
            "started_at": format_time(self.started_at),
            "ended_at": format_time(self.ended_at),
            "seconds": (self.ended_at - self.started_at).total_seconds(),
            "tasks": self.flow.count_tasks(),
            "results": self.flow.results,
            "failure": self.flow.describe_failure() if self.flow.status == "FAILED" else None,
            "timeline": [
                {"seconds": self.seconds_at(entry.at), **entry.to_dict()} for entry in self.timeline
            ],
            "waits": [wait.to_dict() for wait in self.waits],
            "stood_in": dict(self.stood_in),
            "unused": list(self.unused),
        }


def simulate_flow(
    flow_spec: Any,
    script: Script | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    max_seconds: float | None = None,
    max_ticks: int = 20_000,
) -> Simulation:
    """Run a flow in memory to its end, or to where only something from outside can move it.

    The engine and the built-in types that act on the flow alone are real. A scripted result takes the place
    of its task; `call`, `print`, `log` and all other types complete at once with the data that their spec
    gives them. No module is imported. Time passes as fast as the machine can tick.

    Args:
        flow_spec: the spec; copied.
        script: the scripted results of tasks, and what comes from outside.
        data: laid over the spec's data.
        max_seconds: where the time ends; no limit unless given.
        max_ticks: how many ticks are made at most.

    Raises:
        SpecError: the spec is wrong, or its data do not keep to its `params`.
        NotJsonError: JSON cannot hold `data`.
    """
    return _Run(script or Script(results=ScriptedResults()), max_seconds, max_ticks).run(flow_spec, data)


class _Run:
    """One simulation while it goes on."""

    def __init__(self, script: Script, max_seconds: float | None, max_ticks: int) -> None:
        self.script = script
        self.clock = ManualClock(script.start)
        self.limit = None if max_seconds is None else script.start + timedelta(seconds=max_seconds)
        self.max_ticks = max_ticks
        self.handlers = StandInHandlers(script.results)
        self.timeline = Timeline(self.handlers.paths)
        self.engine = FlowEngine(
            registry=self.handlers,
            clock=self.clock,
            observers=[self.timeline],
            resources=script.resources,
        )
        self.engine.resources.limits_unset = False  # how much others leave of them is not known
        self.left = list(script.events)

    def run(self, flow_spec: Any, data: Mapping[str, Any] | None) -> Simulation:
        key = flow_spec.get("key") if isinstance(flow_spec, Mapping) else None
        flow = self.engine.flow_spec_to_flow(flow_spec, key=key or _KEY, data=data)
        ending = self._tick_to_the_end(flow)
        return Simulation(
            flow=flow,
            ending=ending,
            started_at=self.script.start,
            ended_at=self.clock.now(),
            timeline=tuple(self.timeline.entries(flow.key)),
            waits=tuple(self._list_waits(flow)),
            stood_in=dict(self.handlers.stood_in),
            unused=(*self.script.results.unused, *self._list_late(flow)),
        )

    def _tick_to_the_end(self, flow: Flow) -> Ending:
        for _ in range(self.max_ticks):
            self._deliver(flow)
            report = self.engine.tick_flow(flow)
            if flow.status not in ("PENDING", "RUNNING"):
                return Ending.FINISHED
            times = [self._time_of(event) for event in self.left[:1]]
            if report.next_tick_at is not None:
                times.append(report.next_tick_at)
            if not times:
                return Ending.WAITING
            if self.timeline.retries >= _MAX_RETRIES:
                return Ending.ENDLESS
            then = max(min(times), self.clock.now())
            if self.limit is not None and then > self.limit:
                self.clock.set(self.limit)
                return Ending.TIME
            self.clock.set(then)
        return Ending.ENDLESS

    def _time_of(self, event: SentSignal | Decision) -> datetime:
        return self.script.start + timedelta(seconds=event.after)

    def _deliver(self, flow: Flow) -> None:
        """Let come what comes from outside by now; a refusal stands in the timeline."""
        while self.left and self._time_of(self.left[0]) <= self.clock.now():
            event = self.left.pop(0)
            error = None
            try:
                if isinstance(event, SentSignal):
                    self.engine.signal(flow, event.name, event.data, id=event.id, by=event.by)
                else:
                    self.engine.decide(
                        flow, event.task, approved=event.approved, by=event.by, comment=event.comment
                    )
            except SignalError as refusal:
                error = {"type": type(refusal).__name__, "message": refusal.message}
            self.timeline.note(format_time(self.clock.now()), str(event), error)

    def _list_waits(self, flow: Flow) -> Iterator[WaitingTask]:
        if flow.status not in ("PENDING", "RUNNING"):
            return
        named: set[str] = set()
        for wait in find_waits(flow, self.engine.find_sub_flow):
            name = str(wait.task["waits_for"]["signal"])
            path = "/".join(wait.path)
            named.add(wait.path[0])
            what = "a decision" if name.startswith("mc.") else f"signal {name!r}"
            yield WaitingTask(task=path, waits_for=what, until=wait.task["waits_for"]["until"])
        for task in flow.filter_tasks(was_refused):
            named.add(task["key"])
            what = f"resources {', '.join(read_needs(task['cfg']))}"
            yield WaitingTask(task=task["key"], waits_for=what, until=task.get("next_tick_at"))
        for task in flow.filter_tasks(lambda task: bool(task.get("next_tick_at"))):
            if task["key"] not in named:
                yield WaitingTask(task=task["key"], waits_for="time", until=task["next_tick_at"])

    def _list_late(self, flow: Flow) -> Iterator[str]:
        for event in self.left:
            yield f"{event}, which came after the end"
        for signal in flow.mailbox:
            if not signal.name.startswith("mc."):
                yield f"signal {signal.name!r}, which no task took"
