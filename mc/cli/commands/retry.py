"""`houston retry`: try again what failed."""

from __future__ import annotations

import sys

import click

from mc.cli.control_command import describe_control, tasks_option
from mc.cli.exit_codes import ExitCode
from mc.cli.many_flows import Action, AskedFlows, act_on_flows, flows_options
from mc.cli.options import common_options
from mc.cli.printing.output import printable
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("retry")
@tasks_option("Only this task, which is FAILED, CANCELLED or SKIPPED, outer/inner inside others; repeatable.")
@flows_options
@common_options
@click.pass_obj
def command(settings: Settings, /, asked: AskedFlows, tasks: tuple[str, ...]) -> ExitCode:
    """Try again what failed or was cancelled in flows.

    FLOWs are named, or chosen by filters; FAILED ones are then meant unless --status says otherwise.

    Completed work that does not depend on the failure is never repeated: what a failed task had done inside
    of it (inline_flow, flow, spread, loop) is kept, and the retry goes on in there. Tasks that were skipped
    because of the failure start too when their turn comes. What ended, or runs, because of how the retried
    tasks had ended (clean-up, reports) is decided anew: it waits for them again, and runs again under a new
    attempt where its start rule holds then. Nothing is run: the next tick goes on with the flow.
    """
    what = "retried " + ", ".join(map(printable, tasks)) if tasks else "retried"
    with settings.open_houston(only_reads=True) as houston:
        action = Action(
            name="retry",
            question="retry them",
            done="retried",
            run=lambda selection, tell: houston.retry_many(
                selection, tasks, by=asked.by, reason=asked.reason, dry_run=asked.dry_run, tell=tell
            ),
            describe=lambda report: describe_control(report, what, dry_run=asked.dry_run),
        )
        return act_on_flows(settings, houston, sys.stdout, asked, action)
