"""Sub-flows of `flow` tasks in memory, for an engine that runs without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc.errors import FlowNotFoundError
from mc.flows.calls.failure import failure_names
from mc.flows.services import SubFlowState

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.services import EngineServices

__all__ = ["InMemorySubFlows"]


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

    def find(self, key: str) -> Flow | None:
        """Return a sub-flow that is kept here; its parent's tick ticks it."""
        return self._flows.get(key)

    def poll(self, key: str) -> SubFlowState:
        """Return how far a sub-flow is, and forget it once it is COMPLETED; `leave` forgets the others."""
        flow = self._get(key)
        if flow.status == "COMPLETED":
            del self._flows[key]
        return SubFlowState(
            status=flow.status,
            data=flow.state.data,
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

    def _get(self, key: str) -> Flow:
        try:
            return self._flows[key]
        except KeyError:
            raise FlowNotFoundError(
                f"The sub-flow {key!r} is not in this process's memory. A flow with `flow` tasks is resumed "
                f"in another process only through a store (FlowRunner).",
                key=key,
            ) from None
