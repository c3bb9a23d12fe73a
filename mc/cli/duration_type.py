"""Options whose value is a duration."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

__all__ = ["DurationType"]


class DurationType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A duration as specs write it: `90`, `15m`, `30d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration, or fail as bad usage."""
        from mc.durations import parse_duration
        from mc.errors import DurationError

        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(seconds=parse_duration(float(value) if value.isdecimal() else value))
        except DurationError as error:
            self.fail(error.message, param, ctx)
