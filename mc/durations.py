"""Durations and times as a spec writes them, and as the store and people read them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mc.errors import DurationError

__all__ = [
    "MAX_DURATION_SECONDS",
    "Timestamper",
    "format_duration",
    "format_time",
    "parse_duration",
    "parse_moment",
    "parse_time",
    "read_moment",
    "seconds_between",
    "to_time_text",
]

MAX_DURATION_SECONDS: Final = 100 * 366 * 86_400.0  # longer ones are slips of the pen, or overflow a date

_FORMS: Final = 'seconds (90), "500ms", "15m", "1h30m", "1.5h", "2d", "1w" or ISO 8601 "PT15M", "P1DT2H"'
_TIME_FORM: Final = 'ISO 8601 with a time zone, such as "2026-01-02T03:04:05Z"'
_UNIT_SECONDS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"([0-9]+(?:[.][0-9]+)?)"
# Patterns are compiled when they are first used: most commands do without.
_SHORT: Final = "".join(f"(?:{_NUMBER}{unit})?" for unit in _UNIT_SECONDS)
_ISO: Final = f"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
_ISO_CALENDAR: Final = r"P(?=.*[0-9][YM])[^T]*[YM].*"
_TIME: Final = r"[0-9]{4}[0-9W-]*T[0-9:.,]+(?:Z|[+-][0-9:]+)?"
_DATE: Final = r"[0-9]{4}-|[0-9]{8}T"
_MAX_TEXT: Final = 100


def parse_duration(value: Any) -> float:
    """Return a duration in seconds.

    Args:
        value: a number of seconds, units from the longest to the shortest (`w d h m s ms`, each at
            most once), or an ISO 8601 duration of weeks, days, hours, minutes and seconds.

    Raises:
        DurationError: it is none of these, negative, not finite, or longer than 100 years.
    """
    if isinstance(value, str):
        seconds = _parse_text(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _to_float(value)
    else:
        raise DurationError(f"{_shown(value)} is not a duration. Write {_FORMS}.")
    if not 0 <= seconds <= MAX_DURATION_SECONDS:  # NaN compares false
        raise DurationError(
            f"{_shown(value)} is not a usable duration: it must lie between 0 and 100 years. Write {_FORMS}."
        )
    return seconds


def parse_time(text: Any) -> datetime:
    """Return a time as an aware UTC datetime.

    Raises:
        DurationError: the text is not an ISO 8601 time, or names no time zone.
    """
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise DurationError(f"{_shown(text)} is not a time. Write {_TIME_FORM}.")
    if not re.fullmatch(_TIME, text):
        raise DurationError(f"{_shown(text)} is not a date and a time. Write {_TIME_FORM}.")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise DurationError(f"{_shown(text)} is not a time ({error}). Write {_TIME_FORM}.") from error
    if time.tzinfo is None:
        raise DurationError(
            f'{_shown(text)} names no time zone. Add one: "{text}Z" for UTC, '
            f'or an offset such as "{text}+02:00".'
        )
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise DurationError(f"{_shown(text)} lies outside the years 1 to 9999 in UTC.") from error


def parse_moment(value: Any, now: datetime) -> datetime:
    """Return a time that is given as one, or by how long ago it is, as an aware UTC datetime.

    Args:
        value: an aware datetime or ISO 8601; or a timedelta, or whatever `parse_duration` reads.
        now: the present.

    Raises:
        DurationError: it is neither.
    """
    moment = read_moment(value)
    try:
        return moment if isinstance(moment, datetime) else now - moment
    except OverflowError as error:
        raise DurationError(f"{_shown(value)} ago was before the year 1.") from error


def read_moment(value: Any) -> datetime | timedelta:
    """Return the time, or how long ago it is, that `parse_moment` takes; `DurationError` if it is neither."""
    if isinstance(value, datetime):
        return parse_time(format_time(value))
    if isinstance(value, str) and re.match(_DATE, value):
        return parse_time(value)
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    try:
        return timedelta(seconds=parse_duration(seconds))
    except DurationError as error:
        raise DurationError(
            f"{_shown(value)} is neither how long ago something was, nor a time. Write {_FORMS}; or "
            f"{_TIME_FORM}."
        ) from error


def format_time(time: datetime) -> str:
    """Return a time as ISO 8601 in UTC, always with microseconds, so that text order is time order.

    Raises:
        DurationError: the datetime is naive.
    """
    if time.tzinfo is UTC:
        return time.isoformat(timespec="microseconds")
    if time.tzinfo is None or time.utcoffset() is None:
        raise DurationError(f"The datetime {time.isoformat()} names no time zone; give it one, such as UTC.")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def to_time_text(time: Any) -> str:
    """Return a time, given as a datetime or as text, like `format_time`; `DurationError` if it is none."""
    return format_time(time if isinstance(time, datetime) else parse_time(time))


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds between two stored times, at least 0; None where one is missing."""
    if not isinstance(start, str) or not isinstance(end, str):
        return None
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(passed.total_seconds(), 0.0)


def format_duration(seconds: float) -> str:
    """Return a duration for people: `250ms`, `1.5s`, `1h30m`, `2d3h`.

    `parse_duration` understands what it returns for zero or more. It is exact to a millisecond below a
    minute, to a second above.
    """
    if not math.isfinite(seconds):
        return str(seconds)
    sign = "-" if seconds < 0 else ""
    millis = round(abs(seconds) * 1000)
    if millis == 0:
        return "0s"
    if millis < 1000:
        return f"{sign}{millis}ms"
    if millis < 60_000:
        return f"{sign}{millis / 1000:g}s"
    rest = round(abs(seconds))
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNIT_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def _parse_text(text: str) -> float:
    if len(text) <= _MAX_TEXT:
        short = re.fullmatch(_SHORT, text)
        if short and text:
            return _add_up(short.groups(), _UNIT_SECONDS.values())
        iso = re.fullmatch(_ISO, text)
        if iso and len(text) > 1:
            return _add_up(iso.groups(), _UNIT_SECONDS.values())
        if re.fullmatch(_ISO_CALENDAR, text):
            raise DurationError(
                f"{_shown(text)} counts years or months, which have no fixed length. Write days or weeks."
            )
    raise DurationError(f"{_shown(text)} is not a duration. Write {_FORMS}.")


def _add_up(counts: tuple[str | None, ...], units: Any) -> float:
    return math.fsum(float(count) * unit for count, unit in zip(counts, units, strict=False) if count)


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int that no float can hold is too long in any case
        return math.inf


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:40]!r}... ({len(value)} characters)"
    if isinstance(value, int) and value.bit_length() > 200:
        return "A number of more than 60 digits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"A value of type {type(value).__name__}"


class Timestamper:
    """Formats times as `format_time` does, but quickly: a tick writes one, and that would be a fifth of it.

    The text of the current second is remembered.
    """

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest = (-1.0, "")  # a second and its text; one object, so that threads may share this

    def format(self, timestamp: float) -> str:
        """Return seconds since 1970 as ISO 8601 text in UTC, with microseconds."""
        second, prefix = self._latest
        past = timestamp - second
        if not 0.0 <= past < 0.999999:  # above, it might be rounded up to the next second
            return self._format_anew(timestamp)
        # a float is good for a quarter of a microsecond in this century
        return f"{prefix}{str(int(past * 1e6 + 1_000_000.5))[1:]}+00:00"

    def _format_anew(self, timestamp: float) -> str:
        text = format_time(datetime.fromtimestamp(timestamp, UTC))
        second = float(timestamp // 1)
        self._latest = (second, format_time(datetime.fromtimestamp(second, UTC))[:20])  # up to the point
        return text
