"""Named resources of flows that run without a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mc.durations import format_time
from mc.errors import ResourceError
from mc.flows.resource import Resource, make_resource
from mc.flows.resources.requests import request_ids, retry_refused
from mc.flows.resources.rules import Situation, judge
from mc.flows.services import Answer, ResourceRequest
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.services import EngineServices

__all__ = ["InMemoryResources"]


class InMemoryResources:
    """What there is of each resource for the flows of one engine, and which of them has it.

    What a task holds is given back at the end of the tick in which it ends. There is no queue: what is free
    goes to the flow that is ticked first. A flow is known by its key, so that one that went through its dict
    holds what it held.

    Attributes:
        is_in_use: whether anything was ever asked for.
        limits_unset: whether what nobody set is waited for; False: there is enough of it.
    """

    def __init__(self, engine: EngineServices, resources: Iterable[Resource] = ()) -> None:
        self.is_in_use = False
        self.limits_unset = True
        self._engine = engine
        self._resources = {resource.name: resource for resource in resources}
        self._requests: dict[str, dict[str, ResourceRequest]] = {}  # by flow
        self._flows: WeakValueDictionary[str, Flow] = WeakValueDictionary()  # as they were seen last
        self._taken: dict[str, list[tuple[datetime, int]]] = {}

    def set(self, name: str, *, slots: int | None = None, rate: str | None = None) -> Resource:
        """Say how much there is of a resource; see `Houston.resources`.

        Raises:
            ResourceError: the name, the slots or the rate cannot be used.
        """
        resource = self._resources[name] = make_resource(name, slots, rate)
        return resource

    def list(self) -> Sequence[Resource]:
        """Return the resources that were set, by name."""
        return [resource for _, resource in sorted(self._resources.items())]

    def delete(self, name: str) -> None:
        """Forget a resource; what was granted stays granted.

        Raises:
            ResourceError: there is none of that name.
        """
        if self._resources.pop(name, None) is None:
            raise ResourceError(f"There is no resource {name!r}.", name=name)

    def holds(self, flow: Flow, request_id: str) -> bool:
        """Tell whether an attempt has what it needs."""
        return request_id in self._requests.get(flow.key, {})

    def acquire(self, flow: Flow, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs at once, or nothing."""
        self.is_in_use = True
        for holder in list(self._flows.values()):
            if holder.key != flow.key:
                self._take_back(holder)
        now = self._engine.clock.now()
        self._flows[flow.key] = flow
        known = self._requests.setdefault(flow.key, {})
        refused: dict[tuple[tuple[str, int], ...], Answer] = {}
        answers: list[Answer] = []
        for request in requests:
            needs = tuple(sorted(request.needs.items()))
            known.pop(request.id, None)
            answer = refused.get(needs) or self._decide(request, now)
            if answer.granted:
                known[request.id] = request
                for name, amount in () if request.begun else needs:
                    self._taken.setdefault(name, []).append((now, amount))
            else:
                refused[needs] = answer
            answers.append(answer)
        return answers

    def are_held_around(self) -> bool:
        """Tell that no flow is around the outermost one."""
        return False

    def end_tick(self, flow: Flow, at: str) -> None:
        """Take back what the tick's tasks are done with, and let those that were refused ask again.

        Args:
            flow: the outermost flow.
            at: the time of the tick, ISO 8601.
        """
        if self._take_back(flow):
            retry_refused(flow, at, self._engine.find_sub_flow)

    def _take_back(self, flow: Flow) -> bool:
        known = self._requests.get(flow.key)
        if not known:
            return False
        self._flows[flow.key] = flow
        if flow.status in FINISHED_FLOW_STATUSES or flow.status in ("PAUSED", "BLOCKED"):
            del self._requests[flow.key]
            return True
        ended = known.keys() - request_ids(flow, self._engine.find_sub_flow)
        for ended_id in ended:
            del known[ended_id]
        return bool(ended)

    def _decide(self, request: ResourceRequest, now: datetime) -> Answer:
        lacking: list[str] = []
        times: list[datetime | None] = []
        for name, amount in sorted(request.needs.items()):
            if name not in self._resources and not self.limits_unset:
                continue
            resource = self._resources.get(name) or Resource(name=name)
            situation = Situation(held=self._held(name), taken=self._taken_lately(resource, now))
            verdict = judge(resource, amount, situation, now, begun=request.begun)
            if not verdict.fits:
                lacking.append(name)
                times.append(verdict.at)
        if not lacking:
            return Answer(granted=True)
        known = [time for time in times if time is not None]
        at = max(known) if len(known) == len(times) else None
        return Answer(granted=False, lacking=lacking, at=format_time(at) if at else None)

    def _held(self, name: str) -> int:
        return sum(
            request.needs.get(name, 0) for known in self._requests.values() for request in known.values()
        )

    def _taken_lately(self, resource: Resource, now: datetime) -> Sequence[tuple[datetime, int]]:
        taken = self._taken.get(resource.name)
        if not taken or resource.rate is None:
            return []
        period = timedelta(seconds=resource.rate.seconds)
        lately = self._taken[resource.name] = [(at, count) for at, count in taken if at + period > now]
        return lately
