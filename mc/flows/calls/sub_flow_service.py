"""Where `flow` tasks keep the sub-flows that have a record of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mc.errors import FlowNotFoundError
from mc.flows.calls.failure import failure_names
from mc.flows.calls.sub_flow_tick import tick_sub_flow
from mc.flows.calls.task_call import Calls
from mc.flows.state.task_node import Task

if TYPE_CHECKING:
    from mc.flows.calls.task_call import TaskCall
    from mc.flows.flow import Flow
    from mc.flows.services import EngineServices

__all__ = ["InMemorySubFlows", "SubFlowService", "SubFlowState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowState:
    """What a `flow` task needs to know of its sub-flow."""

    status: str
    data: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] | None = None
    failure: str | None = None  # one sentence, where the sub-flow failed
    failure_names: Iterable[str] = ()  # of the classes of what failed in it
    read_tasks: Callable[[], Iterable[Task]] = tuple  # its task dicts, in order


class SubFlowService(Protocol):
    """Keeps sub-flows; found by handlers as `task_ctx["mc.flows"]`."""

    def start(self, flow: Flow, parent: Flow) -> None:
        """Take over a new sub-flow; does nothing if one with that key was started already.

        A stored service writes it in the same transaction as the parent's next save.
        """

    def tick(self, key: str, task_ctx: TaskCall) -> Calls | None:
        """Return the handler calls that a tick of the sub-flow wants, or None if others tick it."""

    def poll(self, key: str) -> SubFlowState:
        """Return how far a sub-flow is.

        Raises:
            FlowNotFoundError: there is none with that key.
        """

    def cancel(self, key: str, reason: str) -> bool:
        """Cancel a sub-flow that is unfinished; does nothing otherwise.

        Returns:
            Whether there is a sub-flow that a person may retry; not where none was stored yet.
        """

    def leave(self, key: str) -> dict[str, Any] | None:
        """Return the flow dict of a sub-flow that failed or was cancelled; None if the service keeps it."""

    def retry(self, key: str, flow_dict: dict[str, Any] | None, by: str, reason: str) -> bool:
        """Retry a sub-flow that failed or was cancelled.

        Args:
            key: of the sub-flow.
            flow_dict: what `leave` returned, retried already.
            by: who asks.
            reason: why.

        Returns:
            True if that is still to be done by others, who wake the task when the sub-flow has ended.

        Raises:
            FlowNotFoundError: there is none with that key.
        """


class InMemorySubFlows:
    """Keeps sub-flows in memory, for an engine that runs without a store.

    They live as long as this object: a flow with an unfinished `flow` task is resumed in another
    process only through a store.
    """

    def __init__(self, engine: EngineServices) -> None:
        self._engine = engine
        self._flows: dict[str, Flow] = {}

    def start(self, flow: Flow, parent: Flow) -> None:
        """Keep a sub-flow, in the place of one that a flow left behind which was given up."""
        self._flows[flow.key] = flow

    def tick(self, key: str, task_ctx: TaskCall) -> Calls | None:
        """Tick a sub-flow as part of its parent's tick."""
        return tick_sub_flow(self._get(key), task_ctx)

    def poll(self, key: str) -> SubFlowState:
        """Return how far a sub-flow is, and forget it once it is COMPLETED; `leave` forgets the others."""
        flow = self._get(key)
        if flow.status == "COMPLETED":
            del self._flows[key]
        return SubFlowState(
            status=flow.status,
            data=flow._data,
            results=flow.results,
            failure=flow.describe_failure(),
            failure_names=failure_names(flow),
            read_tasks=flow.filter_tasks,
        )

    def cancel(self, key: str, reason: str) -> bool:
        """Cancel a sub-flow."""
        flow = self._flows.get(key)
        if flow is not None:
            self._engine.cancel_flow(flow, reason)
        return flow is not None

    def leave(self, key: str) -> dict[str, Any] | None:
        """Return a sub-flow that ended, for the task to keep, and forget it."""
        flow = self._flows.pop(key, None)
        return flow.to_flow_dict() if flow is not None else None

    def retry(self, key: str, flow_dict: dict[str, Any] | None, by: str, reason: str) -> bool:
        """Take up a sub-flow again that was left to its task; it goes on with the tick of its parent."""
        from mc.flows.flow import Flow

        if flow_dict is not None:
            self._flows[key] = Flow.from_flow_dict(flow_dict)
        return False

    def find(self, key: str) -> Flow | None:
        """Return a sub-flow that is kept here."""
        return self._flows.get(key)

    def _get(self, key: str) -> Flow:
        try:
            return self._flows[key]
        except KeyError:
            raise FlowNotFoundError(
                f"The sub-flow {key!r} is not in this process's memory. A flow with `flow` tasks is resumed "
                f"in another process only through a store (FlowRunner).",
                key=key,
            ) from None
