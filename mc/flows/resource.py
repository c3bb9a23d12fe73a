"""Named resources: what limits the tasks of all flows together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.durations import parse_duration
from mc.errors import DurationError, ResourceError
from mc.spec.names import MAX_RESOURCE_NAME, RESOURCE_NAME

__all__ = [
    "MAX_SLOTS",
    "Rate",
    "Resource",
    "check_resource_name",
    "make_resource",
    "read_needs",
    "request_id",
]

MAX_SLOTS: Final = 1_000_000
_MAX_ID: Final = 255  # characters
_PERIODS: Final = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3_600, "day": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many slots may be taken within a time; `10/min` lets ten go in any minute."""

    count: int
    seconds: float

    def __str__(self) -> str:
        for name in ("s", "min", "hour", "day"):
            if self.seconds == _PERIODS[name]:
                return f"{self.count}/{name}"
        return f"{self.count}/{self.seconds:g}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What a name in `cfg.resources` stands for; without slots and rate it was never set."""

    name: str
    slots: int | None = None  # how many may be held at a time
    rate: Rate | None = None

    @property
    def is_set(self) -> bool:
        """Whether anybody has said how much there is of it."""
        return self.slots is not None or self.rate is not None

    @property
    def most(self) -> int:
        """How many slots one task can have; 0 where the resource was never set."""
        limits = [self.slots] if self.slots is not None else []
        if self.rate is not None:
            limits.append(self.rate.count)
        return min(limits, default=0)


def read_needs(cfg: Any) -> dict[str, int]:
    """Return resource -> slots as a task's `cfg` asks for them; empty where it asks for none.

    Raises:
        ResourceError: `cfg.resources` is neither a list of names nor a mapping of names to numbers.
    """
    wanted = cfg.get("resources") if isinstance(cfg, Mapping) else None
    if not wanted:
        return {}
    if isinstance(wanted, Mapping):
        needs = dict(wanted)
    elif isinstance(wanted, list) and all(isinstance(name, str) for name in wanted):
        needs = dict.fromkeys(wanted, 1)
    else:
        raise ResourceError(
            f"cfg.resources is {wanted!r}; expected a list of names, or a mapping of names to slots."
        )
    for name, slots in needs.items():
        check_resource_name(name)
        if type(slots) is float and slots.is_integer():
            slots = needs[name] = int(slots)  # noqa: PLW2901 - JSON has one kind of number
        if type(slots) is not int or not 1 <= slots <= MAX_SLOTS:
            raise ResourceError(
                f"cfg.resources: {slots!r} slots of {name!r}; expected a number of 1 to {MAX_SLOTS}."
            )
    return needs


def check_resource_name(name: Any) -> None:
    """Raise `ResourceError` for what cannot be the name of a resource."""
    if not isinstance(name, str) or len(name) > MAX_RESOURCE_NAME or not RESOURCE_NAME.fullmatch(name):
        raise ResourceError(
            f"{str(name)[:MAX_RESOURCE_NAME]!r} cannot be the name of a resource: expected at most "
            f"{MAX_RESOURCE_NAME} letters (A to Z), digits, and _ . : - between them, such as 'api.eu'.",
            name=name,
        )


def make_resource(name: str, slots: int | None = None, rate: str | Rate | None = None) -> Resource:
    """Return what somebody says that there is of a resource.

    Args:
        name: of the resource.
        slots: how many may be held at a time; no limit unless given.
        rate: how many may be taken within a time, such as `10/min`, `5/s`, `100/hour` or `3/15m`; no limit
            unless given.

    Raises:
        ResourceError: one of them cannot be used, or neither slots nor rate are given.
    """
    check_resource_name(name)
    if slots is None and rate is None:
        raise ResourceError(f"Say how much there is of {name!r}: slots, a rate such as '10/min', or both.")
    if slots is not None and (type(slots) is not int or not 1 <= slots <= MAX_SLOTS):
        raise ResourceError(
            f"{name!r} cannot have {slots!r} slots; expected a whole number of 1 to {MAX_SLOTS}.", found=slots
        )
    return Resource(name=name, slots=slots, rate=_parse_rate(rate) if isinstance(rate, str) else rate)


def _parse_rate(text: str) -> Rate:
    count, _, period = (part.strip() for part in text.partition("/"))
    problem = ResourceError(
        f"{text[:100]!r} is not a rate. Write how many in which time, such as '10/min', '5/s', '100/hour' or "
        f"'3/15m'; at most {MAX_SLOTS}, in at least a millisecond.",
        found=text,
    )
    if not period or not count.isascii() or not count.isdigit() or not 1 <= len(count) <= 7:
        raise problem
    try:
        seconds = _PERIODS.get(period.removesuffix("s") if len(period) > 2 else period) or parse_duration(
            f"1{period}" if period.isalpha() else period
        )
    except DurationError as error:
        raise problem from error
    if not 1 <= int(count) <= MAX_SLOTS or seconds < 0.001:
        raise problem
    return Rate(count=int(count), seconds=float(seconds))


def request_id(*parts: object) -> str:
    """Return the id of an attempt's request; one that is too long to be stored ends in a digest."""
    text = "/".join(str(part) for part in parts)
    if len(text) <= _MAX_ID:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: _MAX_ID - 65]}#{digest[:64]}"
