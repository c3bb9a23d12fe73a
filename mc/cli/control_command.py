"""The parts that the commands share by which a person acts on a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mc.cli.options import sender_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, printable
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.runners.immediate_control import ControlReport

__all__ = ["control_options", "describe_control", "report_control", "tasks_option"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


def control_options(command: Decorated) -> Decorated:
    """Give a command the argument `FLOW` and the options `--reason` and `--by`."""
    parameters = [
        click.argument("key", type=TEXT, metavar="FLOW"),
        click.option(
            "--reason", type=TEXT, metavar="TEXT", help="Why, for people; kept in the flow's history."
        ),
        sender_option("Who asks"),
    ]
    for parameter in reversed(parameters):
        command = parameter(command)
    return command


def tasks_option(text: str) -> Callable[[Decorated], Decorated]:
    """Return what gives a command the repeatable option `--task`."""
    return click.option("--task", "tasks", type=TEXT, metavar="TASK", multiple=True, help=text)


def report_control(settings: Settings, report: ControlReport, what: str) -> None:
    """Say what became of something that a person asked for.

    Args:
        settings: of the command.
        report: what became of it.
        what: what was done, as a past participle with its object: `cancelled`.
    """
    if settings.as_json:
        print_json(report.to_dict())
    else:
        print(describe_control(report, what))


def describe_control(report: ControlReport, what: str, *, dry_run: bool = False) -> str:
    """Return what became of something that a person asked for, in a line."""
    key = printable(report.key)
    if dry_run:
        return f"{key}: would be {what}; the flow is {report.status}"
    if report.done:
        return f"{key}: {what}; the flow is {report.status}"
    return f"{key}: noted, not done yet ({report.status}): {printable(str(report.why_not))}"
