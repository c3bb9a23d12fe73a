"""Named resources of a stored flow, while it is ticked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mc.errors import McError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.resources.requests import retry_refused
from mc.flows.services import Answer, ResourceRequest
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, StoredRequest
from mc.store.rows.request_rows import ended_requests

__all__ = ["StoredResources", "requests_held"]


@dataclass(slots=True, kw_only=True)
class StoredResources:
    """The `ResourceService` of one stored flow while it is ticked.

    What is granted is committed at once. What is given back belongs into the save of the task's end.

    Args:
        store: where the resources are.
        flow: the flow.
        lease: the claim on it.
        requests: what is stored of what its tasks hold of resources or wait for, by id.
        held: ids of those that were granted and hold still; see `requests_held`.
        on_problem: told where the store cannot be used, or the lease was lost: that is no failure of a
            task, so nothing may be saved of its call.
    """

    store: FlowStore
    flow: Flow
    lease: Lease
    requests: dict[str, StoredRequest]
    held: set[str]
    on_problem: Callable[[McError], object]
    _are_held_around: bool | None = None

    @property
    def have_ended(self) -> bool:
        """Whether the next save gives something back."""
        return bool(ended_requests(self.flow, self.requests))

    def holds(self, flow: Flow, request_id: str) -> bool:
        """Tell whether an attempt has what it needs."""
        return request_id in self.held and request_id in self.requests

    def acquire(self, flow: Flow, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs at once, or nothing."""
        try:
            answers = self.store.resources.acquire(self.flow, self.lease, requests)
        except McError as error:
            self.on_problem(error)
            raise
        for request, answer in zip(requests, answers, strict=True):
            if answer.granted:
                self.held.add(request.id)
        return answers

    def are_held_around(self) -> bool:
        """Tell whether a flow around this one, a sub-flow, holds resources; only its rows are looked at."""
        if self.flow.parent_key is None:
            return False
        if self._are_held_around is None:
            try:
                self._are_held_around = self.store.resources.are_held_around(self.flow.key)
            except StoreUnreachableError as error:
                self.on_problem(error)
                raise
        return self._are_held_around

    def retry(self, at: str) -> bool:
        """Let the tasks that were refused ask again; False if there are none."""
        return retry_refused(self.flow, at)


def requests_held(flow: Flow, requests: Mapping[str, StoredRequest], lease: Lease) -> set[str]:
    """Return the ids of what tasks hold still.

    What a runner was granted that vanished before it saved may be another's by now.

    Args:
        flow: as it was loaded.
        requests: what is stored of what its tasks hold or wait for, by id.
        lease: the claim on the flow.
    """
    active = {node.key for node in flow.state.tasks.running}
    return {
        request_id
        for request_id, request in requests.items()
        if request.granted and (request.task_key in active or request.token == lease.token)
    }
