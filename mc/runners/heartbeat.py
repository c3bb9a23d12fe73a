"""The heartbeat, which keeps a runner's lease alive while a task takes long."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from mc.errors import LeaseLostError, StoreError
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, LostCalls

__all__ = ["Heartbeat", "give_back"]

_logger = logging.getLogger(__name__)

_Claim = tuple[str, int]  # a flow's key and the token


class Heartbeat:
    """The leases that a runner holds: those it works on, and those that come next.

    From the first claim on a thread looks at them again and again: it renews those that are worked on,
    and gives back the others, so that another runner can take up those flows meanwhile.

    Args:
        store: the store of the leases.
        seconds: between two looks; less than a third of what a lease lasts.
        on_beat: called at each look, in that thread.
    """

    def __init__(self, store: FlowStore, seconds: float, on_beat: Callable[[], object]) -> None:
        self._store = store
        self._interval = seconds
        self._on_beat = on_beat
        self._current: dict[_Claim, Lease] = {}
        self._next: deque[Lease] = deque()
        self._lock = Lock()
        self._end = Event()
        self._thread: Thread | None = None
        # of the current ones: another runner works on the flow, or a person asks for something of it
        self._to_let_go: set[_Claim] = set()

    def add(self, leases: Iterable[Lease]) -> None:
        """Take over leases that were claimed."""
        with self._lock:
            self._next.extend(leases)
        if self._thread is None:
            self._thread = Thread(target=self._beat, name="mc-heartbeat", daemon=True)
            self._thread.start()

    def must_let_go(self, lease: Lease) -> bool:
        """Tell whether the runner is to stop working on a flow after the task under way."""
        return _claim_of(lease) in self._to_let_go

    def coming(self, max_tasks: int) -> list[Lease]:
        """Return the leases that come next: the first, and more of them up to so many tasks in all."""
        chosen: list[Lease] = []
        with self._lock:
            for lease in self._next:
                max_tasks -= lease.num_tasks
                if chosen and max_tasks < 0:
                    break
                chosen.append(lease)
        return chosen

    def begin(self, lease: Lease) -> bool:
        """Work on a lease from now on; False if it was given back meanwhile."""
        with self._lock:
            if lease not in self._next:
                return False
            self._next.remove(lease)
            self._current[_claim_of(lease)] = lease
            return True

    def end(self, lease: Lease) -> None:
        """Work on a lease no more."""
        with self._lock:
            self._current.pop(_claim_of(lease), None)
            self._to_let_go.discard(_claim_of(lease))

    def take_rest(self) -> list[Lease]:
        """Return the leases that were not begun, and forget them."""
        with self._lock:
            rest = list(self._next)
            self._next.clear()
        return rest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self._interval):
            rest = self.take_rest()
            steps: list[Callable[[], object]] = [partial(give_back, self._store, *rest)] if rest else []
            steps += [partial(self._renew, lease) for lease in list(self._current.values())]
            for step in [*steps, self._on_beat]:  # of which none is left out because another failed
                try:
                    step()
                except StoreError as error:
                    # the lease lasts for more than one further beat; when it is over, the next save finds out
                    _logger.warning("could not renew leases: %s", error, extra={"action": "renew_failed"})

    def _renew(self, lease: Lease) -> None:
        try:
            self._store.renew(lease)
            if not self._store.messages.is_controlled(lease.flow_key):
                return
        except LeaseLostError as error:
            if _claim_of(lease) not in self._current:
                return  # it was given back in the meantime
            # the save that fails for it is the one that warns; a save may just have given the lease back
            _logger.info(
                "%s", error, extra={"action": "lease_lost", "flow_key": lease.flow_key, "owner": lease.owner}
            )
        with self._lock:
            if _claim_of(lease) in self._current:
                self._to_let_go.add(_claim_of(lease))


def give_back(store: FlowStore, *leases: Lease, lost_calls: LostCalls | None = None) -> None:
    """Give leases back; those that were taken over belong to other runners and are left to them.

    Args:
        store: of the leases.
        leases: what to give back.
        lost_calls: the runner ends while it is in the flow of the only lease, in these calls.
    """
    try:
        store.release(*leases, lost_calls=lost_calls)
    except LeaseLostError as error:
        for lease in error.lost:
            _logger.info(
                "the lease on flow %s had been taken over before it was given back",
                lease.flow_key,
                extra={"action": "lease_lost", "flow_key": lease.flow_key, "owner": lease.owner},
            )


def _claim_of(lease: Lease) -> _Claim:
    return lease.flow_key, lease.token
