"""`houston results`: what a flow, or each item of a task, has come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options, task_status_option
from mc.cli.parameter_types import COUNT, TEXT
from mc.cli.printing.csv_output import columns_of, flatten, print_csv, to_cell
from mc.cli.printing.output import count_of, print_json, print_table, printable, show_seconds
from mc.cli.settings import Settings
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.store.flow_results import FlowResults, ItemResult

__all__ = ["command"]

_MOST_ROWS: Final = 100  # that a person looks at
_LONGEST_CELL: Final = 60  # characters
_ORDER: Final = ("task", "key", "status", "item", "params", "data", "error", "attempt", "seconds")


@click.command("results")
@click.argument("key", type=TEXT, metavar="FLOW")
@click.option(
    "--task",
    "path",
    type=TEXT,
    metavar="T",
    help="One row for each item of this task, outer/inner inside others.",
)
@task_status_option("Only items with this status; repeatable. With --task.")
@click.option("--limit", type=COUNT, metavar="N", help="At most N items; for people 100 unless given.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a column for each nested value.")
@click.option(
    "--raw", is_flag=True, help="In CSV, put no ' before texts that a spreadsheet would take for formulas."
)
@common_options
@click.pass_obj
def command(
    settings: Settings,
    key: str,
    path: str | None,
    statuses: tuple[str, ...],
    limit: int | None,
    as_csv: bool,
    raw: bool,
) -> ExitCode:
    """Show what a flow, or each item of a task, has come to.

    Without --task, these are the results that the flow's spec declares, which are there when it is COMPLETED.
    With --task, which names a spread or another task with tasks inside, each item is a row: what it was given
    (item, params), how it stands, and what it left (data), or its error. That is told while it runs, too.
    """
    if as_csv and settings.as_json:
        raise click.UsageError("--csv and --json are two forms; choose one.")
    if raw and not as_csv:
        raise click.UsageError("--raw is about CSV; add --csv.")
    if path is None and (statuses or limit is not None):
        raise click.UsageError("--status and --limit choose items; name a task with --task.")
    with settings.open_houston(only_reads=True) as houston:
        found = houston.results(key, path)
    if path is None:
        return _print_results(found, as_json=settings.as_json, as_csv=as_csv, raw=raw)
    items = [item for item in found.items if not statuses or item.status in statuses]
    if settings.as_json:
        print_json(
            {
                "key": key,
                "task": path,
                "status": found.status,
                "items": [item.to_dict() for item in items[:limit]],
            }
        )
    elif as_csv:
        rows = [_to_row(item) for item in items[:limit]]
        print_csv(columns_of(rows, _ORDER), rows, raw=raw)
    else:
        _print_items(found, items, limit or _MOST_ROWS)
    return ExitCode.DONE


def _print_results(found: FlowResults, *, as_json: bool, as_csv: bool, raw: bool) -> ExitCode:
    results = found.results or {}
    rows = [{"name": name, "value": value} for name, value in flatten(results, "").items() if results]
    if as_json:
        print_json({"key": found.key, "status": found.status, "results": found.results})
    elif as_csv:
        print_csv(["name", "value"], rows, raw=raw)
    elif rows:
        print_table(["NAME", "VALUE"], [(row["name"], to_cell(row["value"])) for row in rows])
    if not rows and not as_json:
        done = found.status == "COMPLETED"
        why = "its spec declares no results" if done else "results are there when it is COMPLETED"
        click.echo(f"flow {printable(found.key)} is {found.status}; {why}.", err=True)
    if found.status in FINISHED_FLOW_STATUSES or found.status == "BLOCKED":
        return ExitCode.DONE if found.status == "COMPLETED" else ExitCode.FLOW_FAILED
    return ExitCode.UNFINISHED


def _print_items(found: FlowResults, items: Sequence[ItemResult], limit: int) -> None:
    rows = [_to_row(item) for item in items[:limit]]
    columns = columns_of(rows, _ORDER)
    if rows:
        for row, item in zip(rows, items, strict=False):
            row["seconds"] = show_seconds(item.seconds)
        cells = [[printable(to_cell(row.get(column)), _LONGEST_CELL) for column in columns] for row in rows]
        given = [column for column in columns if column.startswith(("item", "params"))]
        headings = {column: _heading_of(column) for column in columns}
        droppable = [headings[column] for column in ("seconds", "attempt", *reversed(given))]
        print_table(list(headings.values()), cells, droppable)
    else:
        where = f"{printable(str(found.task))} of flow {printable(found.key)} is {found.status}"
        click.echo(f"{where}; there are no such items in it.", err=True)
    if len(items) > limit:
        click.echo(f"These are {limit} of {count_of(len(items), 'item')}; raise --limit.", err=True)


def _heading_of(column: str) -> str:
    """Return the heading of a column for people; names inside of what an item has stay as they are."""
    name, dot, inside = column.partition(".")
    return "DURATION" if column == "seconds" else f"{name.upper()}{dot}{inside}"


def _to_row(item: ItemResult) -> dict[str, Any]:
    """Return an item by column."""
    error = item.error or {}
    return {
        "task": item.task,
        "key": item.key,
        "status": item.status,
        **(flatten(item.item, "item") if item.item is not None else {}),
        **(flatten(item.params, "params") if item.params else {}),
        **(flatten(item.data, "data") if item.data else {}),
        "error": f"{error['type']}: {error['message']}" if error else None,
        "attempt": item.attempt or None,
        "seconds": item.seconds,
    }
