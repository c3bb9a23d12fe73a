"""Turns: what flows have had of one round of a runner; each gives way after a bounded share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from mc.store.lease import Lease

__all__ = ["Turns"]

# What a flow may have of a round. One that could go on for ever then waits for the next round.
_MOST_TICKS: Final = 10_000
_MOST_CLAIMS: Final = 1_000


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
