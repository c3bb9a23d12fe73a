"""`houston delete`: remove flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.many_flows import Action, AskedFlows, act_on_flows, flows_options
from mc.cli.options import common_options
from mc.cli.printing.output import count_of, printable, stdout_for_json
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.store.saving.flow_deleter import Deletion

__all__ = ["command"]


@click.command("delete")
@click.option("--cancel", is_flag=True, help="Cancel first what is unfinished, and delete it then.")
@flows_options
@common_options
@click.pass_obj
def command(settings: Settings, /, asked: AskedFlows, cancel: bool) -> ExitCode:
    """Delete flows with their sub-flows and history.

    FLOWs are named, or chosen by filters; finished ones are then meant (with --cancel all) unless --status
    says otherwise.

    What is unfinished, or has an unfinished sub-flow, is refused without --cancel. Where a runner holds such
    a flow, that one cancels it after the task under way; delete it again then. The key of a flow that is
    deleted is not given out again. What is old is removed by houston db prune, in larger steps.
    """
    with (
        stdout_for_json(settings.as_json) as stdout,
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        action = Action(
            name="delete",
            question="delete them, with their sub-flows and history",
            done="deleted",
            run=lambda selection, tell: houston.delete_many(
                selection,
                cancel=cancel,
                by=asked.by,
                reason=asked.reason,
                dry_run=asked.dry_run,
                tell=tell,
            ),
            describe=lambda report: _describe(report, dry_run=asked.dry_run),
            any_status=cancel,
            code_if_left=ExitCode.UNFINISHED,
        )
        return act_on_flows(settings, houston, stdout, asked, action)


def _describe(report: Deletion, *, dry_run: bool) -> str:
    key = printable(report.key)
    if not report.deleted and not dry_run:
        return f"{key}: not deleted yet ({report.status}): {printable(str(report.why_not))}"
    sub_flows = f" and {count_of(len(report.sub_flows), 'sub-flow')}" if report.sub_flows else ""
    what = f"{report.status}, with {count_of(report.tasks, 'task')}{sub_flows}"
    return f"{key}: {'would be deleted' if dry_run else 'deleted'}; it {'is' if dry_run else 'was'} {what}"
