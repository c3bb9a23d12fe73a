"""The parts that `houston approve` and `houston reject` share."""

from __future__ import annotations

import click

from mc.cli.options import common_options, sender_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, printable
from mc.cli.settings import Settings

__all__ = ["make_decision_command"]

_HELP = """Say {word} to what an approval task asks.

    TASK is the task's key; one inside other tasks may be named by its path, outer/inner. The task must be
    waiting (houston show lists what a flow waits for). A decision stands: the same one again changes nothing,
    another one is refused. Nothing is run: the next tick goes on with the flow.
"""


def make_decision_command(name: str, *, approves: bool) -> click.Command:
    """Return the command of that name, which says yes or no."""

    @click.command(name, help=_HELP.format(word="yes" if approves else "no"))
    @click.argument("key", type=TEXT, metavar="FLOW")
    @click.argument("task", type=TEXT)
    @click.option("--comment", type=TEXT, metavar="TEXT", help="Why, for people; kept with the decision.")
    @sender_option("Who decides")
    @common_options
    @click.pass_obj
    def command(settings: Settings, key: str, task: str, comment: str | None, by: str) -> None:
        with settings.open_houston(only_reads=True) as houston:
            decide = houston.approve if approves else houston.reject
            changed = decide(key, task, by=by, comment=comment)
        if settings.as_json:
            print_json({"key": key, "task": task, "approved": approves, "by": by, "decided": changed})
            return
        word = "approved" if approves else "rejected"
        before = "" if changed else " before; nothing was changed"
        print(f"{printable(task)} of {printable(key)} was {word} by {printable(by)}{before}")

    return command
