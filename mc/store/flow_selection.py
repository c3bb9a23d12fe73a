"""Selections of stored flows: those that are named, or all that have something in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from mc.durations import format_time, parse_moment
from mc.errors import DurationError, SelectionError
from mc.statuses import FINISHED_FLOW_STATUSES, FLOW_CHANGES

__all__ = ["FlowSelection", "Moment"]

Moment = datetime | timedelta | float | str
TIMES: Final = ("created", "finished")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSelection:
    """Which stored flows are meant: those whose keys are given, or those for which all else holds.

    Attributes:
        keys: these flows, and nothing else may be asked of them.
        status: one flow status or several; a flow whose first call lasts counts as RUNNING.
        label: exactly this label.
        prefix: what the key begins with.
        since: not before that time: ISO 8601, an aware datetime, or how long ago it was: `"1d"`, seconds.
        until: before that time, likewise.
        time: the time that these two are about, and by which flows are sorted: `created` or `finished`.
        family_of: this flow and its stored sub-flows, at any depth.
        sub_flows: stored sub-flows of other flows too.
        as_of: leave out flows that were created later, or changed later but for what runs; see `pin`.

    Raises:
        SelectionError: keys and something else are given, the prefix is empty, a status is none, or it is one
            of unfinished flows and the time `finished`.
    """

    keys: Iterable[str] = ()
    status: str | Iterable[str] | None = None
    label: str | None = None
    prefix: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    time: str = "created"
    family_of: str | None = None
    sub_flows: bool = False
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(dict.fromkeys(_texts(self.keys))))
        object.__setattr__(self, "status", tuple(dict.fromkeys(_texts(self.status))))
        for status in self.statuses:
            if status not in FLOW_CHANGES:
                known = ", ".join(FLOW_CHANGES)
                raise SelectionError(f"{status!r} is not a flow status; use one of {known}.", found=status)
        if self.time not in TIMES:
            known = " and ".join(TIMES)
            raise SelectionError(f"Flows have no time {self.time!r}; there are {known}.", found=self.time)
        if self.prefix == "":
            raise SelectionError("An empty prefix chooses nothing; give what the keys begin with.")
        unfinished = [status for status in self.statuses if status not in FINISHED_FLOW_STATUSES]
        if self.time == "finished" and unfinished:
            raise SelectionError(
                f"Flows that are {' or '.join(unfinished)} have not finished: none is found by that time. "
                f"Ask for {', '.join(sorted(FINISHED_FLOW_STATUSES))}, or for the time `created`.",
                found=self.time,
            )
        if self.keys and (self.has_filters or self.time != TIMES[0]):
            raise SelectionError(
                "Flows are chosen by their keys, or by what they have in common, but not by both at once."
            )

    @property
    def named(self) -> tuple[str, ...]:
        """The keys of the flows that are named, each once."""
        return cast("tuple[str, ...]", self.keys)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses of which flows may have one; any if it is empty."""
        return cast("tuple[str, ...]", self.status)

    @property
    def has_filters(self) -> bool:
        """Whether something is asked that not all flows fulfil."""
        asked = (self.label, self.prefix, self.since, self.until, self.family_of)
        return bool(self.statuses) or any(value is not None for value in asked)

    def resolve(self, now: datetime) -> FlowSelection:
        """Return the selection with the times that are meant at a moment.

        Raises:
            SelectionError: `since` is still to come, or comes after `until`, or one of them is no time.
        """
        since, until = (_moment(name, getattr(self, name), now) for name in ("since", "until"))
        if since is not None and since > now:
            raise SelectionError(
                f"`since` is {format_time(since)}, which is still to come: it is {format_time(now)} now. "
                f"Name a time that has passed."
            )
        if since is not None and until is not None and since > until:
            raise SelectionError(
                f"`since` is {format_time(since)}, which comes after `until`, {format_time(until)}; no flow "
                f"lies between. Exchange them."
            )
        return replace(self, since=since, until=until)

    def pin(self, now: datetime) -> FlowSelection:
        """Return the selection as of a moment, so that what is counted first is what is acted upon later.

        Raises:
            SelectionError: as `resolve` does.
        """
        return self if self.as_of is not None else replace(self.resolve(now), as_of=now)


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(value)] if isinstance(value, str) else [str(each) for each in value]


def _moment(name: str, value: Moment | None, now: datetime) -> datetime | None:
    try:
        return None if value is None else parse_moment(value, now)
    except DurationError as error:
        raise SelectionError(f"`{name}`: {error.message}") from error
