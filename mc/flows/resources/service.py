"""How a tick asks for the named resources of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["Answer", "ResourceRequest", "ResourceService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """What one attempt of a task needs before it may run."""

    id: str  # of the attempt, the same whenever it asks
    task_key: str  # of the outermost flow's task
    attempt: int
    needs: Mapping[str, int]  # resource -> slots
    priority: int  # of the task
    since: str  # when it asked first, ISO 8601
    begun: bool = False  # it ran already: it needs its slots again, and takes nothing of a rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a request: all that it needs, or nothing."""

    granted: bool
    lacking: Sequence[str] = field(default=())  # resources of which there is not enough now
    at: str | None = None  # when to ask again, ISO 8601; None: when it is woken


class ResourceService(Protocol):
    """Grants resources; found by ticks as `task_ctx["mc.resources"]`."""

    def holds(self, flow: Flow, request_id: str) -> bool:
        """Tell whether an attempt has what it needs.

        Args:
            flow: the outermost flow.
            request_id: of the attempt.
        """

    def acquire(self, flow: Flow, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs at once, or nothing.

        What was granted is given back when the attempt is over, or no flow has it any more. A stored
        service grants in a transaction of its own, at once, and takes back with the save of the end.

        Args:
            flow: the outermost flow.
            requests: the more urgent first. Once one was refused, others with the same needs are too.
        """
