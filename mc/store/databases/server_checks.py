"""Checks of a database server: its settings for durability, its clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from mc.durations import format_duration, parse_time
from mc.store.finding import Finding, Severity

__all__ = ["judge_clock", "judge_settings"]

_LARGEST_SKEW: Final = 5.0  # seconds


def judge_settings(found: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]) -> Finding:
    """Return whether commits survive a loss of power.

    Args:
        found: the server's settings.
        wanted: by the same names, the values with which they do.
    """
    values = {name: str(value).lower() for name, value in found.items()}
    wrong = [f"{name} is {value}" for name, value in values.items() if value not in wanted[name]]
    return Finding(
        code="journal",
        severity=Severity.PROBLEM if wrong else Severity.OK,
        message=f"The server may forget commits when the power fails: {', '.join(wrong)}."
        if wrong
        else "The server is set to keep what was committed when the power fails.",
        advice="Change it in the server's configuration, unless you can do without those commits."
        if wrong
        else "",
        details=values,
    )


def judge_clock(database_now: str, now: datetime) -> Finding:
    """Return whether the clocks of the server and of this machine agree.

    Args:
        database_now: ISO 8601, by the server's clock.
        now: by this machine's.
    """
    skew = (parse_time(database_now) - now).total_seconds()
    wrong = abs(skew) > _LARGEST_SKEW
    ahead = "ahead of" if skew > 0 else "behind"
    return Finding(
        code="clock",
        severity=Severity.PROBLEM if wrong else Severity.OK,
        message=f"The server's clock is {format_duration(abs(skew))} {ahead} this machine's."
        if wrong
        else "The clocks of the server and of this machine agree.",
        advice="Let both be set by NTP: flows are due by the runners' clocks, leases end by the server's."
        if wrong
        else "",
        details={"seconds": round(skew, 3)},
    )
