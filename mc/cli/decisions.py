"""What `houston approve` and `houston reject` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mc.cli.options import sender_option
from mc.cli.output import print_json, printable
from mc.cli.settings import Settings
from mc.cli.text_type import TEXT

__all__ = ["decision_options", "report_decision"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


def decision_options(command: Decorated) -> Decorated:
    """Give a command the arguments `FLOW` and `TASK` and the options `--comment` and `--by`."""
    parameters = [
        click.argument("key", type=TEXT, metavar="FLOW"),
        click.argument("task", type=TEXT),
        click.option("--comment", type=TEXT, metavar="TEXT", help="Why, for people; kept with the decision."),
        sender_option("Who decides"),
    ]
    for parameter in reversed(parameters):
        command = parameter(command)
    return command


def report_decision(
    settings: Settings, key: str, task: str, by: str, *, approved: bool, changed: bool
) -> None:
    """Say what became of a decision."""
    if settings.as_json:
        print_json({"key": key, "task": task, "approved": approved, "by": by, "decided": changed})
        return
    word = "approved" if approved else "rejected"
    before = "" if changed else " before; nothing was changed"
    print(f"{printable(task)} of {printable(key)} was {word} by {printable(by)}{before}")
