"""The types of options and arguments: text, counts, statuses, times, durations and seconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import click

__all__ = ["COUNT", "MOMENT", "TEXT", "DurationType", "MomentType", "SecondsRange", "StatusType", "TextType"]


class TextType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Text that UTF-8 can hold; bytes that the terminal's encoding could not read are refused."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or fail as bad usage."""
        text = str(value)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                message = f"{text[:100]!r} holds what UTF-8 cannot; check the encoding of the terminal."
                self.fail(message, param, ctx)
        return text


class StatusType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A status, in capitals or not."""

    name = "status"

    def __init__(self, statuses: Iterable[str]) -> None:
        self._statuses = [str(status) for status in statuses]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the status, or fail as bad usage."""
        status = str(value).upper()
        if status not in self._statuses:
            from difflib import get_close_matches  # only a wrong name needs it

            near = get_close_matches(status, self._statuses, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            known = ", ".join(self._statuses)
            self.fail(f"{str(value)[:60]!r} is not a status.{hint} There are {known}.", param, ctx)
        return status


class MomentType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A time: ISO 8601 with a time zone, or how long ago it was, by whatever clock it is asked for with."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return the time, or how long ago it was, or fail as bad usage."""
        from mc.durations import read_moment
        from mc.errors import DurationError

        if isinstance(value, datetime | timedelta):
            return value
        try:
            return read_moment(_number_or_text(value))
        except DurationError as error:
            self.fail(error.message, param, ctx)


class DurationType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A duration as specs write it: `90`, `15m`, `30d`."""

    name = "duration"

    def __init__(self, *, may_be_zero: bool = True) -> None:
        self._may_be_zero = may_be_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration, or fail as bad usage."""
        from mc.durations import parse_duration
        from mc.errors import DurationError

        if isinstance(value, timedelta):
            return value
        try:
            seconds = parse_duration(_number_or_text(value))
        except DurationError as error:
            self.fail(error.message, param, ctx)
        if not seconds and not self._may_be_zero:
            self.fail(f"{value!r} is not longer than nothing; write one such as 5s.", param, ctx)
        return timedelta(seconds=seconds)


class SecondsRange(click.FloatRange):
    """A number of seconds; infinite ones, and what is no number at all, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail as bad usage."""
        from mc.durations import MAX_DURATION_SECONDS

        seconds = float(super().convert(value, param, ctx))
        if not abs(seconds) <= MAX_DURATION_SECONDS:  # NaN, which is neither more nor less, fails too
            self.fail(f"{value!r} is not a number of seconds of at most 100 years.", param, ctx)
        return seconds


def _number_or_text(text: str) -> float | str:
    return float(text) if text.replace(".", "", 1).isdecimal() else text


TEXT: Final = TextType()
MOMENT: Final = MomentType()
COUNT: Final = click.IntRange(1, 1_000_000_000)  # of what is told or done; every database can count so far
