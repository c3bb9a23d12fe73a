"""Checks of durations, timeouts, retries and times that the schema cannot make."""

from __future__ import annotations

from typing import Any, Final

from mc.context.interpolation import has_references
from mc.durations import parse_duration, parse_time
from mc.errors import DurationError
from mc.spec.findings import Findings

__all__ = ["check_duration", "check_retry", "check_time", "check_timeout"]

_FORMS: Final = 'seconds, "15m", "1h30m" or ISO 8601 "PT15M"'


def check_duration(value: Any, pointer: str, findings: Findings) -> float | None:
    """Check what stands for a duration.

    Returns:
        The seconds; None where there is no duration, or a wrong one, that here or by the schema was noted.
    """
    kind = type(value)
    # What is of another type, empty or negative, the schema has refused.
    if not ((kind is str and value) or (kind in (int, float) and value >= 0)):
        return None
    try:
        return parse_duration(value)
    except DurationError as error:
        findings.add(
            "MC130", pointer, error.message, found=value, expected=f"a duration from 0 to 100 years: {_FORMS}"
        )
    return None


def check_timeout(value: Any, pointer: str, what: str, findings: Findings) -> None:
    """Check a timeout: it must leave time.

    Args:
        value: as it stands in the spec.
        pointer: where.
        what: to which the timeout leaves no time if it is 0, such as "the task".
        findings: where problems go.
    """
    if check_duration(value, pointer, findings) == 0:
        message = f"A timeout of {value} leaves {what} no time; leave `timeout` out for no limit."
        findings.add("MC005", pointer, message, found=value, expected=f"a duration above 0: {_FORMS}")


def check_retry(retry: dict[str, Any], pointer: str, findings: Findings) -> None:
    """Check the durations of a `cfg.retry`, and that its `max_delay` leaves room for its `delay`."""
    delay = check_duration(retry.get("delay"), f"{pointer}/delay", findings)
    limit = check_duration(retry.get("max_delay"), f"{pointer}/max_delay", findings)
    if delay is not None and limit is not None and delay > limit:
        longest = retry["max_delay"]
        message = (
            f"The delay {retry['delay']} is longer than max_delay ({longest}), the longest that it may be."
        )
        findings.add(
            "MC005", f"{pointer}/delay", message, found=retry["delay"], expected=f"at most {longest}"
        )


def check_time(value: Any, pointer: str, findings: Findings) -> None:
    """Check what stands for a time, unless it is a reference."""
    if type(value) is str and not has_references(value):
        try:
            parse_time(value)
        except DurationError as error:
            expected = 'an ISO 8601 time with a time zone, such as "2026-01-02T03:04:05Z"'
            findings.add("MC131", pointer, error.message, found=value, expected=expected)
