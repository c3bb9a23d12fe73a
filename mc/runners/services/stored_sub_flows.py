"""Sub-flows of `flow` tasks, where a store keeps the flow itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc.durations import format_time
from mc.errors import FlowNotFoundError, StoreError, StoreUnreachableError
from mc.flows.calls.failure import failure_names
from mc.flows.services import SubFlowState
from mc.store.flow_store import FlowStore
from mc.store.saving.flow_saver import Outbox
from mc.store.schema.tables import MAX_KEY_LENGTH

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["StoredSubFlows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSubFlows:
    """The `SubFlowService` of one stored flow while it is ticked.

    What is started or cancelled goes into the outbox, and so into the transaction of the flow's next
    save. Sub-flows are ticked by whoever claims them; when one ends, its flow becomes due.

    Args:
        store: where the sub-flows are.
        outbox: of the flow.
        on_outage: told where the store cannot be read: that is no failure of the task, so nothing may
            be saved of its call.
    """

    store: FlowStore
    outbox: Outbox
    on_outage: Callable[[StoreUnreachableError], object]

    def start(self, flow: Flow, parent: Flow) -> None:
        """Store a sub-flow with the flow's next save."""
        if len(flow.key) > MAX_KEY_LENGTH:
            raise StoreError(
                f"The sub-flow's key {flow.key[:40]!r}... would have {len(flow.key)} characters; at most "
                f"{MAX_KEY_LENGTH} can be stored. Choose shorter keys, or nest `flow` tasks less deep.",
                key=flow.key,
            )
        self.outbox.started.setdefault(flow.key, flow)

    def find(self, key: str) -> None:
        """Leave the sub-flow to whoever claims it."""
        return

    def poll(self, key: str) -> SubFlowState:
        """Return how far a sub-flow is."""
        if key in self.outbox.started:
            return SubFlowState(status="PENDING")
        try:
            flow = self.store.load(key)
        except FlowNotFoundError as error:
            raise FlowNotFoundError(f"The sub-flow {key!r} was deleted before it ended.", key=key) from error
        except StoreUnreachableError as error:
            self.on_outage(error)
            raise
        return SubFlowState(
            status=flow.status,
            data=flow.data,
            results=flow.results,
            failure=flow.describe_failure(),
            failure_names=failure_names(flow),
            read_tasks=flow.filter_tasks,
        )

    def leave(self, key: str) -> None:
        """Keep a sub-flow that ended: it is stored."""
        return

    def retry(self, key: str, flow_dict: dict[str, Any] | None, by: str, reason: str) -> bool:
        """Ask for a sub-flow's retry with the flow's next save; its end wakes the flow."""
        try:
            summary = self.store.summary(key)
        except FlowNotFoundError as error:
            raise FlowNotFoundError(f"The sub-flow {key!r} was deleted before it ended.", key=key) from error
        except StoreUnreachableError as error:
            self.on_outage(error)
            raise
        if summary.status == "COMPLETED":
            return False
        from mc.flows.controls.control import Control, ControlKind  # few flows need it

        at = format_time(self.store.clock.now())
        retry = Control(kind=ControlKind.RETRY, by=by, reason=reason, at=at)
        self.outbox.asked[key] = retry
        return True

    def cancel(self, key: str, reason: str) -> bool:
        """Cancel a sub-flow with the flow's next save, whoever ticks it at that moment."""
        self.outbox.asked.pop(key, None)  # of a retry in the same tick, which is not wanted any more
        if self.outbox.started.pop(key, None) is not None:
            return False  # it was begun since the last save, and is stored nowhere
        self.outbox.cancelled[key] = reason
        return True
