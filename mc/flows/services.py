"""Services: what parts of a tick may ask of the engine and of the tick, and how resources are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging
    from datetime import datetime

    from mc.clock import Clock
    from mc.context.sizes import Limits
    from mc.flows.flow import Flow
    from mc.flows.handlers.handler_registry import Handler, HandlerRegistry
    from mc.flows.observer import Observer
    from mc.flows.state.task_node import TaskNode
    from mc.flows.tick_report import TickReport

__all__ = ["Answer", "EngineServices", "OpenTick", "OwnResources", "ResourceRequest", "ResourceService"]


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


class OwnResources(ResourceService, Protocol):
    """Grants resources to the flows in an engine's memory.

    Attributes:
        is_in_use: whether anything was ever asked for.
    """

    is_in_use: bool

    def end_tick(self, flow: Flow, at: str) -> None:
        """Take back what the tick's tasks are done with, and let those that were refused ask again."""


class EngineServices(Protocol):
    """What the parts of a tick ask of the engine; `FlowEngine` is one."""

    clock: Clock
    limits: Limits
    logger: logging.Logger
    max_msg_len: int | None
    registry: HandlerRegistry

    @property
    def known_handlers(self) -> Mapping[str, Handler]:
        """Handlers by task type, as far as they were looked up."""

    @property
    def observers(self) -> Sequence[Observer]:
        """Who is told of changes."""

    def find_sub_flow(self, key: str) -> Flow | None:
        """Return a sub-flow that is in memory."""

    def read_timestamp(self) -> float:
        """Read the clock: seconds since 1970."""

    def format_timestamp(self, timestamp: float) -> str:
        """Return a time as ISO 8601."""

    @property
    def resources(self) -> OwnResources:
        """Who grants resources where no store does."""

    def begin_tick(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> OpenTick:
        """Return a tick whose calls somebody else makes; see `FlowEngine.begin_tick`."""

    def cancel_flow(
        self, flow: Flow, reason: str | None = None, task_ctx: Mapping[str, Any] | None = None
    ) -> None:
        """Cancel a flow that is unfinished; see `FlowEngine.cancel_flow`."""

    def has_handler(self, task_type: Any) -> bool:
        """Tell whether there is a handler of a task type that can be used."""

    def resolve_handler(self, task_type: Any) -> Handler:
        """Return the handler of a task type, or raise `TaskHandlerError`."""

    def sub_flow_service(self, task_ctx: Mapping[str, Any]) -> Any:
        """Return the `SubFlowService` that keeps the sub-flows of a call."""


class OpenTick(Protocol):
    """What the parts of a tick ask of it; `Tick` is one.

    Attributes:
        at: its time, ISO 8601.
        has_pending_calls: whether outcomes of calls are awaited.
    """

    at: str
    engine: EngineServices
    flow: Flow
    has_pending_calls: bool
    report: TickReport

    @property
    def ctx(self) -> Mapping[str, Any]:
        """What handlers find in their `task_ctx`, whatever the task."""

    @property
    def now(self) -> datetime:
        """The time of the tick."""

    def between_ticks(self) -> AbstractContextManager[None]:
        """Let observers and the journal hear of what is changed meanwhile."""

    def calls(self) -> Any:
        """Yield the calls that the tick wants made."""

    def cancel(self) -> None:
        """End an unfinished flow CANCELLED, with what runs in it."""

    def finish(self) -> TickReport:
        """Settle the flow's status, and say what the tick did."""

    def new_call(self, node: TaskNode, handler: Handler) -> Any:
        """Return a call of a task's handler that is not made yet."""

    def read_results(self) -> dict[str, Any]:
        """Return what the flow's `results` lead to, or raise `PathError`."""

    def stop_task(self, node: TaskNode) -> None:
        """Let the handler of a task that is under way stop what it started."""
