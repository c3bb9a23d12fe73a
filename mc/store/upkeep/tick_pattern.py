"""What the rows of ticks tell: times without one, and ticks at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from mc.store.history.tick_log import Tick

__all__ = ["Gap", "count_overlaps", "find_gaps", "longest_rest"]

_SHORTEST_GAP: Final = timedelta(minutes=5)
_INTERVALS: Final = 3  # so many times the usual distance between two ticks make a gap


class Gap(NamedTuple):
    """A time without a tick."""

    begins_at: datetime
    ends_at: datetime

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.ends_at - self.begins_at).total_seconds()


def longest_rest(ticks: Sequence[Tick]) -> timedelta:
    """Return after how long without a tick something is wrong, from the usual distance between two."""
    starts = sorted(tick.started_at for tick in ticks)
    distances = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    usual = timedelta(seconds=median(distances)) if distances else timedelta()
    return max(_SHORTEST_GAP, usual * _INTERVALS)


def find_gaps(ticks: Sequence[Tick], now: datetime, alive: Iterable[str] = ()) -> list[Gap]:
    """Return the times without a tick that are longer than usual, the last up to now included.

    Args:
        ticks: in any order.
        now: the present.
        alive: ids of ticks that are under way. Others without an end are taken to have ended at once.
    """
    rest = longest_rest(ticks)
    under_way = set(alive)
    gaps = []
    covered: datetime | None = None
    for tick in sorted(ticks, key=lambda tick: tick.started_at):
        if covered is not None and tick.started_at - covered > rest:
            gaps.append(Gap(covered, tick.started_at))
        end = now if tick.id in under_way else tick.ended_at or tick.started_at
        covered = end if covered is None else max(covered, end)
    if covered is not None and now - covered > rest:
        gaps.append(Gap(covered, now))
    return gaps


def count_overlaps(ticks: Iterable[Tick]) -> int:
    """Return how many ticks began before one of another runner had ended."""
    overlaps = 0
    open_ones: list[Tick] = []
    for tick in sorted(ticks, key=lambda tick: tick.started_at):
        open_ones = [one for one in open_ones if one.ended_at and one.ended_at > tick.started_at]
        overlaps += any(one.owner != tick.owner for one in open_ones)
        open_ones.append(tick)
    return overlaps
