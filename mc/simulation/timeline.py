"""The timeline of a flow and of all flows inside it, by the paths of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mc.flows.observer import ChangeEvent
from mc.simulation.task_paths import TaskPaths

__all__ = ["Timeline", "TimelineEntry"]


class TimelineEntry(NamedTuple):
    """One change of a status, or something that came from outside."""

    at: str  # ISO 8601, UTC
    task: str | None  # path of the task; None: the outermost flow
    event: str  # the new status, or what came
    attempt: int  # of the task, from 1; 0 for flows and for what came
    error: dict[str, Any] | None = None  # type and message
    old_status: str | None = None  # None: no status changed

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-safe data."""
        return self._asdict()


class Timeline:
    """An observer that keeps what it is told.

    Args:
        paths: where the flows are whose tasks were called.

    Attributes:
        retries: how often a task was to be tried again.
    """

    def __init__(self, paths: TaskPaths) -> None:
        self._paths = paths
        self._noted: list[ChangeEvent | TimelineEntry] = []
        self.retries = 0

    def on_change(self, event: ChangeEvent) -> None:
        """Keep a change."""
        self._noted.append(event)
        if event.new_status == "PENDING":
            self.retries += 1

    def note(self, at: str, event: str, error: dict[str, Any] | None = None) -> None:
        """Keep something that came from outside."""
        self._noted.append(TimelineEntry(at, None, event, 0, error))

    def entries(self, flow_key: str) -> Iterator[TimelineEntry]:
        """Yield what happened to a flow and inside it; the flows inside it are told of by their tasks."""
        for noted in self._noted:
            if isinstance(noted, TimelineEntry):
                yield noted
                continue
            path = self._path_of(noted, flow_key)
            if path is None or self._is_told_inside(noted, path):
                continue
            error = noted.error and {name: noted.error.get(name) for name in ("type", "message")}
            yield TimelineEntry(
                noted.at,
                "/".join(path) or None,
                noted.new_status,
                noted.attempt,
                error or None,
                noted.old_status,
            )

    def _is_told_inside(self, event: ChangeEvent, path: tuple[str, ...]) -> bool:
        """Tell whether the task of an item that is a flow, which has the same path, tells of the change."""
        inside = self._paths.of_flow(f"{event.flow_key}/{event.task_key}/{event.attempt}")
        return inside is not None and inside == path[:-1]

    def _path_of(self, event: ChangeEvent, flow_key: str) -> tuple[str, ...] | None:
        if event.flow_key == flow_key:
            return () if event.task_key is None else (event.task_key,)
        if event.task_key is None or not event.flow_key.startswith(f"{flow_key}/"):
            return None
        place = self._paths.of_flow(event.flow_key)
        if place is None:  # none of its tasks was ever called: a key names task and attempt in turn
            steps = event.flow_key[len(flow_key) + 1 :].split("/")
            place = tuple(step for step in steps if not step.isdigit())
        return (*place, event.task_key)
