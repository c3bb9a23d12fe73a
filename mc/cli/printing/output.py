"""Output on stdout: one JSON document, or text that a terminal cannot be harmed by."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Self, TextIO

import click

from mc.durations import format_duration
from mc.printable import printable, printable_lines
from mc.statuses import TaskStatus

__all__ = [
    "LOCAL_TIMES",
    "STATUS_FILLS",
    "STATUS_STYLES",
    "JsonArray",
    "count_of",
    "format_counts",
    "format_time_short",
    "is_local",
    "is_terminal",
    "print_json",
    "print_table",
    "print_value",
    "printable",
    "show_seconds",
    "shown_value",
    "stdout_for_json",
    "to_json_text",
]

STATUS_STYLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PENDING": "dim",
        "RUNNING": "cyan",
        "WAITING": "blue",
        "PAUSED": "yellow",
        "BLOCKED": "bold yellow",
        "COMPLETED": "green",
        "FAILED": "bold red",
        "SKIPPED": "dim yellow",
        "CANCELLED": "magenta",
        "SUBMITTED": "blue",  # of jobs
        "LOST": "bold red",
    }
)

STATUS_FILLS: Final[Mapping[str, str]] = MappingProxyType(  # in drawings; light enough for black text
    {
        "PENDING": "#eeeeee",
        "RUNNING": "#b3e5fc",
        "WAITING": "#d1c4e9",
        "COMPLETED": "#c8e6c9",
        "FAILED": "#ffcdd2",
        "SKIPPED": "#fff9c4",
        "CANCELLED": "#e1bee7",
    }
)

LOCAL_TIMES: Final = "mc.cli.local_times"  # in the context of a command

_LONGEST_WORD: Final = 16  # characters; longer ones may be folded
_BETWEEN_COLUMNS: Final = 3


def to_json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON text that every encoding based on ASCII can hold where UTF-8 cannot hold it as it is."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value, allow_nan=False, indent=indent)
    return text


def print_json(value: Any, *, indent: int | None = None, stream: TextIO | None = None) -> None:
    """Print one JSON document on stdout, or a stream; one line of it unless `indent` is given."""
    stream = stream or sys.stdout
    print(_to_shown_json(value, stream, indent), file=stream)


class JsonArray:
    """Writes an array, item by item, on one line; it is closed whatever the block ends with.

    Args:
        stream: stdout unless given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._before = "["

    def add(self, value: Any) -> None:
        """Write one more item."""
        self._stream.write(self._before + _to_shown_json(value, self._stream))
        self._before = ", "

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None or self._before != "[":  # nothing is written where nothing was done
            self._stream.write("]\n" if self._before != "[" else "[]\n")
            self._stream.flush()


def _to_shown_json(value: Any, stream: TextIO, indent: int | None = None) -> str:
    text = to_json_text(value, indent=indent)
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False, indent=indent)
    return printable_lines(text)  # the escapes mean the same characters in JSON


@contextmanager
def stdout_for_json(enabled: bool) -> Iterator[TextIO]:
    """Send to stderr what tasks, and the processes that they start, write to stdout.

    Args:
        enabled: False leaves everything as it is.

    Returns:
        What leads to stdout meanwhile.
    """
    if not enabled:
        yield sys.stdout
        return
    stdout = sys.stdout
    stdout.flush()
    saved = _divert_descriptor(stdout)
    sys.stdout = sys.stderr
    try:
        if saved is None:
            yield stdout
        else:
            with open(saved, "w", encoding=stdout.encoding, errors=stdout.errors, closefd=False) as stream:
                yield stream
    finally:
        sys.stdout = stdout
        sys.stderr.flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _divert_descriptor(stdout: Any) -> int | None:
    """Point descriptor 1 to where 2 points, and return a copy of what it was; None in a captured process."""
    try:
        if stdout.fileno() != 1:
            return None
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return None
    saved = os.dup(1)
    os.dup2(2, 1)
    return saved


def is_terminal() -> bool:
    """Tell whether stdout is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_value(text: str) -> None:
    """Print a text that a program may read; see `shown_value`."""
    print(shown_value(text))


def shown_value(text: str) -> str:
    """Return a text that stdout gets, and a program may read: as it is, unless it is a terminal."""
    return printable(text) if sys.stdout.isatty() else text


def count_of(number: int, noun: str) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_counts(counts: Mapping[str, int]) -> str:
    """Return task counts for people, in the order of a task's life: `3 COMPLETED, 1 FAILED`."""
    return ", ".join(f"{counts[status]} {status}" for status in TaskStatus if counts.get(status)) or "none"


def format_time_short(text: Any) -> str:
    """Return a stored time (ISO 8601, UTC) to the second, for people; an empty text for None.

    With `--local` it is the time of this machine, which is said.
    """
    if text is None:
        return ""
    if is_local():
        time = datetime.fromisoformat(text) if isinstance(text, str) else text
        return f"{time.astimezone():%Y-%m-%d %H:%M:%S%z}"
    iso = text if isinstance(text, str) else text.isoformat()
    return f"{iso[:10]} {iso[11:19]}"


def is_local() -> bool:
    """Tell whether times are shown as this machine has them; see `local_option`."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(LOCAL_TIMES))


def show_seconds(seconds: float | None) -> str:
    """Return a duration for people; an empty text for None."""
    return "" if seconds is None else format_duration(seconds)


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], droppable: Sequence[str] = ()
) -> None:
    """Print rows below their headings: a table on a terminal, aligned columns elsewhere.

    Args:
        headings: of the columns, none twice; the first one is not folded on a terminal as long as it fits.
        rows: a text for each heading.
        droppable: headings of columns that a narrow terminal goes without, the first one first.
    """
    headings, droppable = [printable(each) for each in headings], [printable(each) for each in droppable]
    clean = [[printable(cell) for cell in row] for row in rows]
    if is_terminal():
        _print_rich_table(headings, clean, droppable)
        return
    widths = [max(len(row[at]) for row in [headings, *clean]) for at in range(len(headings))]
    for row in [headings, *clean]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _print_rich_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], droppable: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = {heading: [row[at] for row in rows] for at, heading in enumerate(headings)}
    for heading in droppable:
        if _least_width(columns) > console.width:
            del columns[heading]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for at, heading in enumerate(columns):
        whole = at == 0 and _least_width(columns) <= console.width
        table.add_column(Text(heading), overflow="fold", no_wrap=whole)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _least_width(columns: Mapping[str, Sequence[str]]) -> int:
    """Return how wide a table must be that folds no first cell, and no short word of the others."""
    first, *others = columns.items()
    widths = [max(map(len, [first[0], *first[1]]))]
    for heading, cells in others:
        words = [word for cell in (heading, *cells) for word in cell.split()]
        widths.append(min(max(map(len, words)), _LONGEST_WORD))
    return sum(widths) + _BETWEEN_COLUMNS * len(others)
