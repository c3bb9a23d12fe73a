"""What `nightly_report.json` calls: join extracts, load them, draw a chart, write a report."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ["draw_chart", "load", "transform", "write_report"]

_WIDTH, _HEIGHT, _MARGIN = 640, 240, 30


def transform(folder: str, rates: Mapping[str, float], task_ctx: Any = None) -> dict[str, Any]:
    """Join orders and customers, turn amounts into euros, and write `joined.csv`."""
    customers = {row["id"]: row["country"] for row in _read(folder, "customers.csv")}
    orders = _read(folder, "orders.csv")
    with Path(folder, "joined.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "day", "country", "euros"])
        for at, order in enumerate(orders, 1):
            euros = round(float(order["amount"]) * rates[order["currency"]], 2)
            writer.writerow([order["id"], order["day"], customers[order["customer"]], f"{euros:.2f}"])
            if task_ctx is not None and at % 500 == 0:
                task_ctx.progress(at / len(orders), f"{at} of {len(orders)}")
    return {"orders": len(orders), "customers": len(customers)}


def load(folder: str) -> dict[str, Any]:
    """Load `joined.csv` into `report.sqlite3`; to do it again changes nothing."""
    rows = [(row["id"], row["day"], row["country"], row["euros"]) for row in _read(folder, "joined.csv")]
    with closing(sqlite3.connect(Path(folder, "report.sqlite3"))) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (id INTEGER PRIMARY KEY, day INTEGER, country TEXT, euros REAL)"
        )
        database.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)", rows)
        (turnover,) = database.execute("SELECT round(sum(euros), 2) FROM orders").fetchone()
    return {"rows": len(rows), "turnover": turnover}


def draw_chart(folder: str) -> str:
    """Draw the turnover of each day as bars in `chart.svg`, and return its path."""
    days = _query(folder, "SELECT day, sum(euros) FROM orders GROUP BY day ORDER BY day")
    highest = max(euros for _, euros in days)
    step = (_WIDTH - 2 * _MARGIN) / len(days)
    shapes = []
    for at, (day, euros) in enumerate(days):
        height = (_HEIGHT - 2 * _MARGIN) * euros / highest
        left, top = _MARGIN + at * step, _HEIGHT - _MARGIN - height
        bar = f'x="{left:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" height="{height:.1f}"'
        below = f'x="{left + step * 0.4:.1f}" y="{_HEIGHT - _MARGIN + 14}"'
        shapes.append(
            f'<rect {bar} fill="#4472c4"><title>day {day}: {euros:.2f} EUR</title></rect>'
            f'<text {below} text-anchor="middle">{day}</text>'
        )
    path = Path(folder, "chart.svg")
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><text x="{_MARGIN}" y="18">Turnover by day, EUR (highest {highest:.2f})</text>'
        f"{''.join(shapes)}</svg>\n",
        encoding="utf-8",
    )
    return str(path)


def write_report(folder: str, attempts: int) -> str:
    """Write `report.md`, and return its path."""
    countries = _query(
        folder, "SELECT country, count(*), round(sum(euros), 2) FROM orders GROUP BY country ORDER BY 3 DESC"
    )
    lines = [
        "# Nightly report",
        "",
        "![Turnover by day](chart.svg)",
        "",
        "| country | orders | turnover, EUR |",
        "| --- | ---: | ---: |",
        *(f"| {country} | {number} | {euros:.2f} |" for country, number, euros in countries),
        "",
        f"Exchange rates came at attempt {attempts}.",
    ]
    path = Path(folder, "report.md")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _read(folder: str, name: str) -> list[dict[str, str]]:
    with Path(folder, name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _query(folder: str, text: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(Path(folder, "report.sqlite3"))) as database:
        return database.execute(text).fetchall()
