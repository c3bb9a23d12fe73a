"""Figures that tests measure, printed at the end of the run and written into docs/reliability.md.

A test asks for the fixture `figure` and hands it what it found:

    figure("Crash points", row="claim", column="sqlite", value=10)

Each section becomes a table. A figure of which several tests have a part is added up: `add=True`. The page is
written only where MC_WRITE_RELIABILITY=1, and only the sections of which this run has figures are replaced.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import DATABASES

__all__ = ["figure", "pytest_terminal_summary"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_PROPERTY = "figure"

Tables = dict[str, dict[str, dict[str, Any]]]  # section -> row -> column -> value


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return a function that takes down one figure."""

    def take_down(section: str, *, row: str, column: str, value: object, add: bool = False) -> None:
        record_property(_PROPERTY, [section, row, column, value, add])

    return take_down


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures of trials that were whole and passed, and write them where that is asked for."""
    if terminalreporter.config.option.trials != "all":
        return
    tables = collect_tables(terminalreporter.getreports("passed"))
    if not tables:
        return
    terminalreporter.section("reliability")
    for section, rows in tables.items():
        terminalreporter.write_line("\n".join([section, "", *format_table(rows), ""]))
    if os.environ.get("MC_WRITE_RELIABILITY") == "1":
        write_page(tables)
        terminalreporter.write_line(f"written to {PAGE.name}")


def collect_tables(reports: Iterable[Any]) -> Tables:
    """Return the figures that tests took down, in an order that does not depend on which ended first.

    Rows stand in the order in which their test took them down, those of several tests by name.
    """
    tables: Tables = {}
    places: dict[tuple[str, str], int] = {}
    for report in reports:
        if report.when == "teardown":
            continue
        for place, (name, value) in enumerate(report.user_properties):
            if name == _PROPERTY:
                section, row, column, found, add = value
                cells = tables.setdefault(section, {}).setdefault(row, {})
                cells[column] = cells.get(column, 0) + found if add else found
                places.setdefault((section, row), place if column in DATABASES else 0)
    return {
        section: {row: rows[row] for row in sorted(rows, key=lambda row: (places[section, row], row))}
        for section, rows in sorted(tables.items())
    }


def format_table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    named = dict.fromkeys(column for cells in rows.values() for column in cells)
    columns = [name for name in DATABASES if name in named]
    columns += sorted(name for name in named if name not in DATABASES)
    lines = [["", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[row, *(_show(cells.get(column, "")) for column in columns)] for row, cells in rows.items()]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


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
