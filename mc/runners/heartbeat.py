"""The heartbeat, which keeps a runner's lease alive while a call lasts, and lets everybody see that call."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mc.clock import Clock
from mc.durations import format_time, parse_time
from mc.errors import LeaseLostError, StoreError
from mc.flows.calls.call_note import CallNote
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, LostCalls

__all__ = ["CallsUnderWay", "Heartbeat", "give_back"]

if TYPE_CHECKING:
    from mc.flows.calls.task_call import TaskCall

_logger = logging.getLogger(__name__)

_LASTING_SECONDS: Final = 1.0  # a call that takes longer is noted
_MOST_NOTED: Final = 100  # calls that one row tells of
_LONGEST_WAIT: Final = _LASTING_SECONDS  # of calls that begin in a wait, none is found to last too late
_SHORTEST_WAIT: Final = 0.05

_Claim = tuple[str, int]  # a flow's key and the token


class Heartbeat:
    """The leases that a runner holds: those it works on, and those that come next.

    From the first claim on a thread looks at them again and again: at each beat it renews those that are
    worked on, and gives back the others, so that another runner can take up those flows meanwhile. A lease
    is renewed out of turn as soon as a call of its flow has lasted for a second, and each time it is noted
    in the flow's row which calls last.

    Args:
        store: the store of the leases.
        seconds: between two beats; less than a third of what a lease lasts.
        on_beat: called at each beat, in that thread.
    """

    def __init__(self, store: FlowStore, seconds: float, on_beat: Callable[[], object]) -> None:
        self._store = store
        self._interval = seconds
        self._on_beat = on_beat
        self._current: dict[_Claim, Lease] = {}
        self._watched: dict[_Claim, CallsUnderWay] = {}
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

    def watch(self, lease: Lease, calls: CallsUnderWay) -> None:
        """Note which calls of a flow that is worked on last."""
        self._watched[_claim_of(lease)] = calls

    def end(self, lease: Lease) -> None:
        """Work on a lease no more."""
        with self._lock:
            self._current.pop(_claim_of(lease), None)
            self._watched.pop(_claim_of(lease), None)
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
        beats_at = monotonic() + self._interval
        while not self._end.wait(min(max(beats_at - monotonic(), 0), self._seconds_to_look())):
            is_beat = monotonic() >= beats_at
            steps: list[Callable[[], object]] = []
            if is_beat:
                beats_at = monotonic() + self._interval
                rest = self.take_rest()
                steps += [partial(give_back, self._store, *rest)] if rest else []
            for claim, lease in list(self._current.items()):
                calls = self._watched.get(claim)
                if is_beat or (calls is not None and calls.seconds_to_note() <= 0):
                    steps.append(partial(self._renew, lease, calls))
            if is_beat:
                steps.append(self._on_beat)
            for step in steps:  # of which none is left out because another failed
                try:
                    step()
                except StoreError as error:
                    # the lease lasts for more than one further beat; when it is over, the next save finds out
                    _logger.warning("could not renew leases: %s", error, extra={"action": "renew_failed"})

    def _seconds_to_look(self) -> float:
        """Return after how many seconds to look whether a call lasts."""
        soonest = min(
            (calls.seconds_to_note() for calls in list(self._watched.values())), default=_LONGEST_WAIT
        )
        return max(soonest, _SHORTEST_WAIT)

    def _renew(self, lease: Lease, calls: CallsUnderWay | None) -> None:
        try:
            self._store.renew(lease, calls.note if calls is not None and calls.begin_note() else None)
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


class _Call:
    """A call from its begin to its end, as it was before the task's code could change anything."""

    __slots__ = ("holds_others", "is_noted", "name", "path", "since", "task_type")

    def __init__(self, call: TaskCall) -> None:
        self.path = call.path
        self.name = call.name
        self.task_type = call.task.get("task_type")
        self.since = call.time()
        self.holds_others = False
        self.is_noted = False


class CallsUnderWay:
    """Is told by the thread that makes the calls, and asked by that of the heartbeat.

    A call that ended must not stay in the flow's row. So the heartbeat says that it is going to note a
    call before it looks whether that is still under way, and a save looks for what was noted after it
    said that a call has ended; both write with the row locked.

    Args:
        clock: by which calls last.
        owner: the runner.
    """

    def __init__(self, clock: Clock, owner: str) -> None:
        self._clock = clock
        self._owner = owner
        self._calls: dict[int, _Call] = {}  # by the identity of the call
        self._noted: dict[int, _Call] = {}  # that the row may tell of, by their own

    # --- whoever makes the calls ------------------------------------------------------------

    def begin(self, call: TaskCall) -> None:
        """Take note that a call is about to be made."""
        self._calls[id(call)] = _Call(call)

    def hold_others(self, call: TaskCall) -> None:
        """Take note that a call makes calls of tasks inside of it."""
        known = self._calls.get(id(call))
        if known is not None:
            known.holds_others = True

    def end(self, call: TaskCall) -> None:
        """Take note that a call has come back."""
        self._calls.pop(id(call), None)

    def ended(self) -> list[int]:
        """Return what of the note has ended, for `forget` after a save that writes `rest` instead."""
        if not self._noted:
            return []
        under_way = {id(each) for each in self._calls.values()}
        return [name for name in list(self._noted) if name not in under_way]

    def rest(self) -> list[CallNote]:
        """Return what of the note holds."""
        return [self._describe(each) for each in list(self._calls.values()) if id(each) in self._noted]

    def forget(self, ended: list[int]) -> None:
        """Take note that the row tells of these calls no more."""
        for name in ended:
            self._noted.pop(name, None)

    # --- the heartbeat ----------------------------------------------------------------------

    def seconds_to_note(self) -> float:
        """Return after how many seconds a call lasts that was not noted yet; it may begin now."""
        sinces = [each.since for each in list(self._calls.values())[:_MOST_NOTED] if not each.is_noted]
        if not sinces:
            return _LASTING_SECONDS
        return _LASTING_SECONDS - (self._clock.now() - parse_time(min(sinces))).total_seconds()

    def begin_note(self) -> bool:
        """Tell whether there is something to note: a call lasts, or the row may tell of one that does not.

        Where it cannot be written, it is tried again at the next beat, and not before.
        """
        lasting = self._lasting()
        for each in lasting:
            each.is_noted = True
        return bool(lasting or self._noted)

    def note(self) -> list[CallNote]:
        """Return the calls that last, to be written at once."""
        self._noted.update({id(each): each for each in self._lasting()})
        return self.rest()

    def _lasting(self) -> list[_Call]:
        then = format_time(self._clock.now() - timedelta(seconds=_LASTING_SECONDS))
        return [each for each in list(self._calls.values())[:_MOST_NOTED] if each.since <= then]

    def _describe(self, each: _Call) -> CallNote:
        attempt = each.name.rpartition("/")[2]
        return CallNote(
            task=each.path,
            task_type=str(each.task_type),
            attempt=int(attempt) if attempt.isdecimal() else 0,
            since=parse_time(each.since),
            owner=self._owner,
            host=os.uname().nodename,
            pid=os.getpid(),
            holds_others=each.holds_others,
        )
