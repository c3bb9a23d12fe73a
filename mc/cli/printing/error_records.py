"""Records of errors that flows and their history hold, as people are told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mc.cli.printing.output import printable
from mc.flows.calls.failed_task import failure_place
from mc.printable import printable_lines

__all__ = ["describe_error_record", "trace_lines"]


def describe_error_record(
    error: Mapping[str, Any], limit: int, cause: Mapping[str, Any] | None = None
) -> str:
    """Return type, message and place of an error, in one line.

    Args:
        error: the record.
        limit: characters of type and message that are shown.
        cause: that of the inner task that it came from, whose place is told.
    """
    place = failure_place(cause or error)
    text = printable(f"{error.get('type', 'TaskFailed')}: {error.get('message', '')}", limit)
    return f"{text} ({printable(place)})" if place else text


def trace_lines(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield all that is known of an error: its whole message, and the traceback where there is one."""
    text = error.get("traceback") or f"{error.get('type', 'TaskFailed')}: {error.get('message', '')}"
    yield from printable_lines(str(text)).splitlines()
