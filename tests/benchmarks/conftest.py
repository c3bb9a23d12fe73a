"""Collects what the benchmarks found and prints it as one table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest


@dataclass
class Row:
    what: str
    figure: str
    limit: str
    beside: str = ""
    exponent: str = ""


@dataclass
class Table:
    """The table that `make bench` prints."""

    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, figure: str, limit: str, *, beside: str = "", exponent: str = "") -> None:
        """Add a line: what was measured, the figure, its limit, the bare loop beside it, the growth."""
        self.rows.append(Row(what, figure, limit, beside, exponent))


_TABLE = Table()


@pytest.fixture
def table() -> Table:
    """Where a benchmark writes what it found."""
    return _TABLE


def growth_exponent(costs: dict[int, float]) -> float:
    """Return the exponent k of cost ~ size^k between the smallest and the largest size."""
    small, large = min(costs), max(costs)
    return math.log(costs[large] / costs[small]) / math.log(large / small)


@pytest.fixture
def exponent() -> object:
    """How costs grow with size, as an exponent."""
    return growth_exponent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _TABLE.rows:
        return
    terminalreporter.section("figures")
    header = Row("what", "figure", "limit", "bare loop", "growth")
    rows = [header, *_TABLE.rows]
    widths = [max(len(getattr(row, name)) for row in rows) for name in Row.__dataclass_fields__]
    for row in rows:
        cells = [getattr(row, name) for name in Row.__dataclass_fields__]
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        terminalreporter.write_line(line.rstrip())
