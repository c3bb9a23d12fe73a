"""Figures that tests measure, printed at the end of the run and written into docs/reliability.md.

A test asks for the fixture `figure` and hands it what it found:

    figure("Crash points", row="claim", column="sqlite", value=10)

Each section becomes a table. The page is written only where MC_WRITE_RELIABILITY=1, and only the
sections of which this run has figures are replaced.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["figure", "pytest_terminal_summary"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
_PROPERTY = "figure"

Tables = dict[str, dict[str, dict[str, str]]]  # section -> row -> column -> value


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return a function that takes down one figure."""

    def take_down(section: str, *, row: str, column: str, value: object) -> None:
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        record_property(_PROPERTY, [section, row, column, shown])

    return take_down


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures of the tests that passed, and write them where that is asked for."""
    tables: Tables = {}
    for report in terminalreporter.getreports("passed"):
        if report.when == "teardown":
            continue
        for name, value in report.user_properties:
            if name == _PROPERTY:
                section, row, column, shown = value
                tables.setdefault(section, {}).setdefault(row, {})[column] = shown
    if not tables:
        return
    terminalreporter.section("reliability")
    for section, rows in sorted(tables.items()):
        terminalreporter.write_line("\n".join([section, "", *format_table(rows), ""]))
    if os.environ.get("MC_WRITE_RELIABILITY") == "1":
        write_page(tables)
        terminalreporter.write_line(f"written to {PAGE.name}")


def format_table(rows: dict[str, dict[str, str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = [["", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
    return ["| " + " | ".join(line) + " |" for line in lines]


def write_page(tables: Tables) -> None:
    """Replace, between the markers of each section, what was measured before."""
    text = PAGE.read_text(encoding="utf-8")
    place = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    for section, rows in tables.items():
        begin, end = f"<!-- figures: {section} -->", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if not found:
            raise LookupError(f"docs/{PAGE.name} has no marker {begin!r}; add it where the figures belong.")
        _, _, after = rest.partition(end)
        body = "\n".join(["", "", *format_table(rows), "", f"Measured on {place}.", "", ""])
        text = f"{before}{begin}{body}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")
