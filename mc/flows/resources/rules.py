"""Rules by which a request fits into what is left of a resource, and when it will."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mc.flows.resource import Rate, Resource

__all__ = ["PATIENCE", "Availability", "Situation", "judge"]

PATIENCE: Final = timedelta(seconds=60)  # so long slots are kept for a flow that was woken to take them


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How a resource stands for one request."""

    held: int = 0  # slots that other attempts hold
    ahead: int = 0  # slots for which others wait that come first
    kept_until: datetime | None = None  # when the first of those is passed over, if it was woken
    taken: Sequence[tuple[datetime, int]] = ()  # what was taken of the rate lately, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a request fits."""

    fits: bool
    at: datetime | None = None  # when it may; None: when somebody gives something back
    is_hopeless: bool = False  # not as the resource is set now


def judge(
    resource: Resource, amount: int, situation: Situation, now: datetime, *, begun: bool
) -> Availability:
    """Decide on one resource of a request.

    Args:
        resource: as it is set.
        amount: how many slots are asked for.
        situation: what others have and wait for.
        now: the present.
        begun: the attempt ran already, so that nothing is taken of the rate.
    """
    if amount > resource.most:
        return Availability(fits=False, is_hopeless=True)
    at: datetime | None = None
    if resource.slots is not None and situation.held + situation.ahead + amount > resource.slots:
        if situation.held + amount > resource.slots or situation.kept_until is None:
            return Availability(fits=False)
        at = situation.kept_until
    if resource.rate is not None and not begun:
        turn = _turn(resource.rate, situation.ahead + amount, situation.taken, now)
        if turn > now:
            at = turn if at is None else max(at, turn)
    return Availability(fits=at is None, at=at)


def _turn(rate: Rate, amount: int, taken: Sequence[tuple[datetime, int]], now: datetime) -> datetime:
    """Return the earliest time at which the last of `amount` slots may be taken.

    No more than `rate.count` are taken in any period: each slot has to wait until a period has passed since
    the one that is `rate.count` before it was taken.
    """
    period = timedelta(seconds=rate.seconds)
    units = [at for at, count in taken if at + period > now for _ in range(count)]
    place = len(units) + amount - 1
    periods = 0
    while place >= len(units):
        place -= rate.count
        periods += 1
    if place < 0:
        return now + (periods - 1) * period
    return max(units[place] + periods * period, now)
