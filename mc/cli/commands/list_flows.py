"""`houston list`: list the stored flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mc.cli.options import common_options
from mc.cli.output import format_counts, format_time_short, print_json, print_table, show_seconds
from mc.cli.parameter_types import COUNT, TEXT
from mc.cli.settings import Settings
from mc.durations import format_time
from mc.statuses import FlowStatus

if TYPE_CHECKING:
    from mc.store.flow_summary import FlowSummary

__all__ = ["command"]

_HEADINGS = ("KEY", "STATUS", "TASKS", "CREATED", "MODIFIED", "DURATION", "LABEL")
_DROPPABLE = ("MODIFIED", "CREATED", "DURATION", "LABEL", "TASKS")

_MOST_ROWS = 100  # that a person looks at


@click.command("list")
@click.option(
    "--status",
    type=click.Choice([status.value for status in FlowStatus], case_sensitive=False),
    metavar="STATUS",
    help=f"Only flows with this status: {', '.join(FlowStatus)}.",
)
@click.option("--label", type=TEXT, metavar="TEXT", help="Only flows with exactly this label.")
@click.option(
    "--limit",
    type=COUNT,
    metavar="N",
    help="At most N flows; 100 unless given, with --json all.",
)
@common_options
@click.pass_obj
def command(settings: Settings, status: str | None, label: str | None, limit: int | None) -> None:
    """List the stored flows, newest first.

    Times are UTC.
    """
    with settings.open_houston(only_reads=True) as houston:
        if settings.as_json:
            flows = houston.list(status=status, label=label, limit=limit)
            print_json([_to_dict(flow) for flow in flows])
            return
        limit = limit or _MOST_ROWS
        flows = houston.list(status=status, label=label, limit=limit + 1)
    shown = flows[:limit]
    if shown:
        print_table(_HEADINGS, [_to_row(flow) for flow in shown], _DROPPABLE)
    if len(flows) > limit:
        click.echo(f"There are more; these are the newest {limit}. Raise --limit to see them.", err=True)


def _to_dict(flow: FlowSummary) -> dict[str, Any]:
    return {
        "key": flow.key,
        "label": flow.label,
        "status": str(flow.status),
        "created_at": format_time(flow.created_at),
        "modified_at": format_time(flow.modified_at),
        "seconds": flow.seconds,
        "tasks": {status: count for status, count in flow.tasks.items() if count},
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
