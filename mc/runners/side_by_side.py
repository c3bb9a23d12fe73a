"""Threads of a runner, in each of which one flow has its turn beside those of others."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mc.errors import StoreError
from mc.flows.calls.task_call import make_steps
from mc.interrupts import TurnThread
from mc.runners.turns import FlowTurn

if TYPE_CHECKING:
    from mc.runners.claimed_flow import ClaimResult

__all__ = ["SideBySide"]

_LONGEST_WAIT: Final = 60.0  # seconds; then it waits again


class SideBySide:
    """Turns of flows that are made by threads of their own, and settled by the thread that hands them out.

    At the end of its block the turns under way are asked to end, and waited for; unless an interruption ends
    it, after which nobody waits, and the flows are let go.

    Args:
        threads: at most so many; each is started when it is first needed.
        settle: called with each turn that ended, and what it came to.
        stop: asks all turns to end.
        let_go: called with the leases of the turns that are not waited for.
    """

    def __init__(
        self,
        threads: int,
        *,
        settle: Callable[[FlowTurn, ClaimResult | BaseException], object],
        stop: Callable[[], object],
        let_go: Callable[..., object],
    ) -> None:
        self.under_way: list[FlowTurn] = []
        self._threads = threads
        self._made: list[TurnThread] = []
        self._settle = settle
        self._stop = stop
        self._let_go = let_go
        self._waiting: queue.SimpleQueue[FlowTurn | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[FlowTurn, ClaimResult | BaseException]] = queue.SimpleQueue()

    @property
    def room(self) -> int:
        """How many turns may begin."""
        return self._threads - len(self.under_way)

    def start(self, turn: FlowTurn) -> None:
        """Let a thread make a turn; there must be room."""
        if len(self._made) <= len(self.under_way):
            thread = TurnThread(target=self._make_turns, name=f"mc-runner-{len(self._made)}")
            thread.start()
            self._made.append(thread)
        self.under_way.append(turn)
        self._waiting.put(turn)

    def settle_ended(self, seconds: float) -> bool:
        """Settle the turns that have ended; wait so long for the first, and tell whether there was one.

        Raises:
            StoreUnreachableError: the first error that ended a turn with which the runner cannot go on.
        """
        problem: StoreError | None = None
        found = False
        with suppress(queue.Empty):
            while True:
                turn, outcome = self._ended.get(timeout=0 if found else seconds)
                found = True
                self.under_way.remove(turn)
                try:
                    self._settle(turn, outcome)
                except StoreError as error:
                    problem = problem or error
        if problem is not None:
            raise problem
        return found

    def settle_all(self) -> None:
        """Wait for all turns, and settle them.

        Raises:
            StoreUnreachableError: as for `settle_ended`, when all have ended.
        """
        problem: StoreError | None = None
        while self.under_way:
            try:
                self.settle_ended(_LONGEST_WAIT)
            except StoreError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop()
        try:
            if kind is None or issubclass(kind, Exception):
                self.settle_all()
        finally:
            for _ in self._made:
                self._waiting.put(None)
            if self.under_way:
                self._let_go(*(turn.lease for turn in self.under_way))
        for thread in self._made:
            if not self.under_way:
                thread.join()

    def _make_turns(self) -> None:
        while (turn := self._waiting.get()) is not None:
            outcome: ClaimResult | BaseException
            try:
                outcome = make_steps(turn, turn.steps())
            except BaseException as error:  # noqa: BLE001 - raised by whoever settles the turn
                outcome = error
            self._ended.put((turn, outcome))
