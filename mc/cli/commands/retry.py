"""`houston retry`: try again what failed."""

from __future__ import annotations

import click

from mc.cli.control_command import control_options, report_control, tasks_option
from mc.cli.options import common_options
from mc.cli.output import printable
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("retry")
@tasks_option("Only this task, which is FAILED, CANCELLED or SKIPPED; repeatable.")
@control_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, tasks: tuple[str, ...], reason: str | None, by: str) -> None:
    """Try again what failed or was cancelled in a flow.

    Completed work that does not depend on the failure is never repeated: what a failed task had done inside
    of it (inline_flow, flow, spread, loop) is kept, and the retry goes on in there. Tasks that were skipped
    because of the failure start too when their turn comes. What ended, or runs, because of how the retried
    tasks had ended (clean-up, reports) is decided anew: it waits for them again, and runs again under a new
    attempt where its start rule holds then. Nothing is run: the next tick goes on with the flow.
    """
    with settings.open_houston(only_reads=True) as houston:
        report = houston.retry(key, tasks, by=by, reason=reason)
    report_control(settings, report, "retried " + ", ".join(map(printable, tasks)) if tasks else "retried")
