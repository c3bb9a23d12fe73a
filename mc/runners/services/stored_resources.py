"""Named resources of a stored flow, while it is ticked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mc.errors import McError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.resources.requests import retry_refused
from mc.flows.services import Answer, ResourceRequest
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.rows.request_rows import ended_requests

__all__ = ["StoredResources"]


class StoredResources:
    """The `ResourceService` of one stored flow while it is ticked.

    What is granted is committed at once. What is given back belongs into the save of the task's end.

    Args:
        store: where the resources are.
        flow: the flow.
        lease: the claim on it.
        on_problem: told where the store cannot be used, or the lease was lost: that is no failure of a
            task, so nothing may be saved of its call.
    """

    def __init__(
        self, store: FlowStore, flow: Flow, lease: Lease, on_problem: Callable[[McError], object]
    ) -> None:
        self._store = store
        self._flow = flow
        self._lease = lease
        self._on_problem = on_problem
        self._are_held_around = None if flow.parent_key is not None else False
        self._requests = store.resources.requests_of(flow)
        # What a runner was granted that vanished before it saved may be another's by now.
        active = {node.key for node in flow.state.tasks.running}
        self._held = {
            request_id_
            for request_id_, request in self._requests.items()
            if request.granted and (request.task_key in active or request.token == lease.token)
        }

    @property
    def are_requested(self) -> bool:
        """Whether a task of the flow holds resources or waits for them."""
        return bool(self._requests)

    @property
    def have_ended(self) -> bool:
        """Whether the next save gives something back."""
        return bool(self._requests and ended_requests(self._flow, self._requests))

    def holds(self, flow: Flow, request_id: str) -> bool:
        """Tell whether an attempt has what it needs."""
        return request_id in self._held and request_id in self._requests

    def acquire(self, flow: Flow, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs at once, or nothing."""
        try:
            answers = self._store.resources.acquire(self._flow, self._lease, requests)
        except McError as error:
            self._on_problem(error)
            raise
        for request, answer in zip(requests, answers, strict=True):
            if answer.granted:
                self._held.add(request.id)
        return answers

    def are_held_around(self) -> bool:
        """Tell whether a flow around this one, a sub-flow, holds resources; only its rows are looked at."""
        if self._are_held_around is None:
            try:
                self._are_held_around = self._store.resources.are_held_around(self._flow.key)
            except StoreUnreachableError as error:
                self._on_problem(error)
                raise
        return self._are_held_around

    def retry(self, at: str) -> bool:
        """Let the tasks that were refused ask again; False if there are none."""
        return retry_refused(self._flow, at)
