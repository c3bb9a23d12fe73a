"""`houston list`: list the stored flows."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from mc.cli.options import common_options, local_option
from mc.cli.parameter_types import COUNT, TEXT
from mc.cli.printing.output import (
    JsonArray,
    format_counts,
    format_time_short,
    print_table,
    printable,
    show_seconds,
)
from mc.cli.selection_options import filter_options
from mc.cli.settings import Settings
from mc.durations import format_time

if TYPE_CHECKING:
    from mc.store.flow_summary import FlowSummary

__all__ = ["command"]

_HEADINGS = ("KEY", "STATUS", "TASKS", "CREATED", "MODIFIED", "DURATION", "LABEL")
_DROPPABLE = ("MODIFIED", "CREATED", "DURATION", "LABEL", "TASKS")

_MOST_ROWS = 100  # that a person looks at


@click.command("list")
@filter_options
@click.option("--all", "sub_flows", is_flag=True, help="List the stored sub-flows of other flows too.")
@click.option(
    "--limit",
    type=COUNT,
    metavar="N",
    help="At most N flows; 100 unless given, with --json all.",
)
@click.option(
    "--after", type=TEXT, metavar="FLOW", help="Only flows that come after FLOW: the last of a list before."
)
@local_option
@common_options
@click.pass_obj
def command(settings: Settings, /, limit: int | None, after: str | None, **filters: Any) -> None:
    """List the stored flows, newest first.

    Sub-flows that are stored by themselves are left out. Times are UTC unless --local asks for those
    of this machine.
    """
    from mc.store.flow_selection import FlowSelection

    with settings.open_houston(only_reads=True) as houston:
        selected = houston.store.select(FlowSelection(**filters))
        if settings.as_json:
            with JsonArray() as array:
                for flow in selected.read(limit, after=after):
                    array.add(_to_dict(flow))
            return
        limit = limit or _MOST_ROWS
        flows = list(selected.read(limit + 1, after=after))
    shown = flows[:limit]
    if shown:
        print_table(_HEADINGS, [_to_row(flow) for flow in shown], _DROPPABLE)
    if len(flows) > limit:
        last = shlex.quote(printable(shown[-1].key))
        click.echo(f"There are more than {limit}. Raise --limit, or go on with --after {last}.", err=True)


def _to_dict(flow: FlowSummary) -> dict[str, Any]:
    return {
        "key": flow.key,
        "label": flow.label,
        "status": str(flow.status),
        "created_at": format_time(flow.created_at),
        "modified_at": format_time(flow.modified_at),
        "finished_at": format_time(flow.finished_at) if flow.finished_at else None,
        "seconds": flow.seconds,
        "tasks": {status: count for status, count in flow.tasks.items() if count},
        "calls": [call.to_dict() for call in flow.calls],
    }


def _to_row(flow: FlowSummary) -> tuple[str, ...]:
    return (
        flow.key,
        flow.status,
        format_counts(flow.tasks),
        format_time_short(flow.created_at),
        format_time_short(flow.modified_at),
        show_seconds(flow.seconds),
        flow.label or "",
    )
