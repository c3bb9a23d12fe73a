"""Turns of flows: what they have had of one round of a runner, and one of them; each has a bounded share."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from mc.clock import Clock
from mc.errors import (
    FlowNotFoundError,
    LeaseLostError,
    McError,
    SchemaVersionError,
    StoreUnreachableError,
    TaskHandlerError,
)
from mc.flows.calls.task_call import TaskCall
from mc.flows.flow_engine import FlowEngine
from mc.runners.heartbeat import CallsUnderWay
from mc.runners.runner_report import OnProgress
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, LostCalls

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.jobs.job_rounds import JobRounds
    from mc.runners.claimed_flow import CallUnderWay, ClaimedFlow, ClaimResult

__all__ = ["FlowTurn", "Turns"]

_logger = logging.getLogger(__name__)

# What a flow may have of a round. One that could go on for ever then waits for the next round.
_MOST_TICKS: Final = 10_000
_MOST_CLAIMS: Final = 1_000
_MOST_BREAKS: Final = 100  # of one flow in a row; then it is BLOCKED


class Turns:
    """The turns of flows in one round.

    Args:
        max_flows: how many flows may have some; None: all that are due.
    """

    def __init__(self, max_flows: int | None) -> None:
        self._left = max_flows
        self._spent: set[str] = set()  # of whom no more is taken up in this round
        self._going_on: set[str] = set()  # gave way to others, and may go on
        self._ticks: Counter[str] = Counter()
        self._claims: Counter[str] = Counter()

    @property
    def are_over(self) -> bool:
        """Whether no flow may have another."""
        return self._left == 0 and not self._going_on

    def options(self, batch_size: int) -> dict[str, Any]:
        """Return for a claim how many flows, and which, may have a turn."""
        if self._left == 0:
            return {"limit": batch_size, "keys": sorted(self._going_on)}
        limit = batch_size if self._left is None else min(batch_size, self._left)
        return {"limit": limit, "skip": self._spent}

    def begin(self, leases: Iterable[Lease]) -> None:
        """Take note of flows that were claimed."""
        for lease in leases:
            if self._left is not None and lease.flow_key not in self._claims:
                self._left -= 1
            self._claims[lease.flow_key] += 1
            self._going_on.discard(lease.flow_key)

    def end(self, key: str, ticks: int, *, gave_way: bool, is_spent: bool) -> None:
        """Take note of what a flow did in its turn.

        Args:
            key: of the flow.
            ticks: that it made.
            gave_way: whether it could go on at once.
            is_spent: whether it is to wait for the next round.
        """
        self._ticks[key] += ticks
        if is_spent or self._ticks[key] >= _MOST_TICKS or self._claims[key] >= _MOST_CLAIMS:
            self._spent.add(key)
        elif gave_way:
            self._going_on.add(key)


class FlowTurn:
    """One turn of a flow that was claimed: its steps, and what is noted of their calls.

    Args:
        store: of the flow.
        engine: ticks it.
        lease: the claim on it.
        flow: as it was loaded.
        task_ctx: more entries for the `task_ctx` of handlers.
        must_stop: asked between two calls whether to stop.
        on_progress: told of each tick.
        before_effects: as for `ClaimedFlow`.
        recursion_limit: of the process, before a handler changed it.
        jobs: as for `ClaimedFlow`.
    """

    def __init__(
        self,
        store: FlowStore,
        engine: FlowEngine,
        lease: Lease,
        flow: Flow,
        *,
        task_ctx: Mapping[str, Any],
        must_stop: Callable[[], bool],
        on_progress: OnProgress | None,
        before_effects: Callable[[], object] | None,
        recursion_limit: int,
        jobs: JobRounds | None = None,
    ) -> None:
        self.clock: Clock = store.clock
        self.lease = lease
        self.watch = CallsUnderWay(store.clock, lease.owner)
        self._store = store
        self._engine = engine
        self._flow = flow
        self._options: dict[str, Any] = {
            "task_ctx": task_ctx,
            "must_stop": must_stop,
            "on_progress": on_progress,
            "before_effects": before_effects,
            "watch": self.watch,
            "jobs": jobs,
        }
        self._claimed: ClaimedFlow | None = None
        self._earlier_calls = 0
        self._recursion_limit = recursion_limit

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self._earlier_calls + (self._claimed.calls if self._claimed is not None else 0)

    @property
    def lost_calls(self) -> LostCalls:
        """The calls in which runners ended before, and those that this one is in."""
        return self._claimed.lost_calls if self._claimed is not None else self.lease.lost_calls

    def calls_under_way(self) -> list[CallUnderWay]:
        """Return the calls that are made at the moment; from any thread, and in a signal handler."""
        claimed = self._claimed
        return claimed.calls_under_way() if claimed is not None else []

    def steps(self) -> Generator[TaskCall | None, None, ClaimResult]:
        """Tick the flow as far as it gets; tasks whose outcome cannot be saved fail, each by itself."""
        from mc.runners.claimed_flow import ClaimedFlow  # a runner that finds nothing due does without

        broken: Mapping[str, Exception] | None = None
        for number in count(1):
            claimed = self._claimed = ClaimedFlow(
                self._store, self._engine, self.lease, self._flow, broken=broken, **self._options
            )
            try:
                return (yield from claimed.tick())
            except (LeaseLostError, FlowNotFoundError, SchemaVersionError, StoreUnreachableError):
                raise
            except Exception as error:
                broken = claimed.blame(error)
                if broken is None or number == _MOST_BREAKS:
                    raise
                self._read_again(error)
        raise AssertionError  # count() has no end

    def call_done(self, call: TaskCall) -> None:
        """Take note that a call was made and settled."""
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)  # which a handler lowered, and the runner needs
        if self._claimed is not None:
            self._claimed.call_done(call)

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Take note that a call could not be settled: its flow could not be read, or was broken by it."""
        found, limit = sys.getrecursionlimit(), self._recursion_limit
        if found < limit:
            sys.setrecursionlimit(limit)
            error = TaskHandlerError(
                f"The task's function lowered the recursion limit of the process from {limit} to {found}, "
                f"with which its outcome could not be settled ({type(error).__name__}). Let it do so in a "
                f"process of its own."
            )
        if self._claimed is None:
            raise error
        self._claimed.call_broke(call, error)

    def _read_again(self, error: Exception) -> None:
        lease = self.lease
        _logger.warning(
            "flow %s cannot be saved as its tasks left it, and goes on as it was saved last: %s",
            lease.flow_key,
            error,
            extra={"action": "flow_read_again", "flow_key": lease.flow_key, "owner": lease.owner},
        )
        again = self._store.load_claimed([lease])[lease.flow_key]
        self._earlier_calls, self._claimed = self.calls, None
        if isinstance(again, McError):
            raise again from error
        self._flow = again
