"""The options by which commands choose stored flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mc.cli.parameter_types import MOMENT, TEXT, StatusType
from mc.statuses import FlowStatus

__all__ = ["FILTERS", "filter_options"]

FILTERS: Final = ("status", "label", "prefix", "since", "until", "time")  # as `FlowSelection` has them

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


def filter_options(command: Decorated) -> Decorated:
    """Give a command the filters of `FlowSelection`, under the names that they have there."""
    options = [
        click.option(
            "--status",
            type=StatusType(FlowStatus),
            metavar="STATUS",
            multiple=True,
            help=f"Only flows with this status: {', '.join(FlowStatus)}. Repeatable.",
        ),
        click.option("--label", type=TEXT, metavar="TEXT", help="Only flows with exactly this label."),
        click.option("--prefix", type=TEXT, metavar="TEXT", help="Only flows whose key begins with TEXT."),
        click.option(
            "--since",
            type=MOMENT,
            metavar="TIME",
            help="Only flows that were created at TIME or later: so long ago (1d, 90m), or ISO 8601 "
            "with a time zone.",
        ),
        click.option("--until", type=MOMENT, metavar="TIME", help="Only flows that were created before it."),
        click.option(
            "--time",
            type=click.Choice(["created", "finished"]),
            default="created",
            show_default=True,
            help="The time that --since and --until are about, and by which flows are sorted.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
