"""`houston reject`: say no to what a task asks."""

from __future__ import annotations

import click

from mc.cli.decisions import decision_options, report_decision
from mc.cli.options import common_options
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("reject")
@decision_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, task: str, comment: str | None, by: str) -> None:
    """Say no to what an approval task asks.

    TASK is the task's key; one inside other tasks may be named by its path, outer/inner. The task must be
    waiting (houston show lists what a flow waits for). A decision stands: the same one again changes nothing,
    another one is refused. Nothing is run: the next tick goes on with the flow.
    """
    with settings.open_houston(only_reads=True) as houston:
        changed = houston.reject(key, task, by=by, comment=comment)
    report_decision(settings, key, task, by, approved=False, changed=changed)
