"""`houston skip`: do without tasks."""

from __future__ import annotations

import click

from mc.cli.control_command import control_options, report_control
from mc.cli.options import common_options
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import printable, stdout_for_json
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("skip")
@control_options
@click.argument("tasks", type=TEXT, metavar="TASK...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(settings: Settings, key: str, tasks: tuple[str, ...], reason: str | None, by: str) -> None:
    """Do without tasks of a flow.

    The flow is unfinished or FAILED; what runs in the tasks is stopped. A task inside of others is named by
    its path, outer/inner.

    What waits for a skipped task starts if its start_when allows it, as after a condition that was false. A
    FAILED flow goes on with houston retry.
    """
    with (
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        report = houston.skip(key, tasks, by=by, reason=reason)
    report_control(settings, report, "skipped " + ", ".join(map(printable, tasks)))
