"""`houston cancel`: end flows."""

from __future__ import annotations

import click

from mc.cli.control_command import describe_control
from mc.cli.exit_codes import ExitCode
from mc.cli.many_flows import Action, AskedFlows, act_on_flows, flows_options
from mc.cli.options import common_options
from mc.cli.printing.output import stdout_for_json
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("cancel")
@flows_options
@common_options
@click.pass_obj
def command(settings: Settings, /, asked: AskedFlows) -> ExitCode:
    """End flows, with what runs in them.

    FLOWs are named, or chosen by filters; unfinished ones are then meant unless --status says otherwise.

    Their stored sub-flows end too. The handlers of tasks that run or wait stop what they started; name their
    modules with --handlers, or the next tick does it, if its runner has them. Where a runner holds a flow,
    that one ends it after the task under way. A cancelled flow can go on after houston retry.
    """
    with (
        stdout_for_json(settings.as_json) as stdout,
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        action = Action(
            name="cancel",
            question="cancel them",
            done="cancelled",
            run=lambda selection, tell: houston.cancel_many(
                selection, by=asked.by, reason=asked.reason, dry_run=asked.dry_run, tell=tell
            ),
            describe=lambda report: describe_control(report, "cancelled", dry_run=asked.dry_run),
        )
        return act_on_flows(settings, houston, stdout, asked, action)
