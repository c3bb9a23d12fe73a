"""`houston resume`: let a flow go on."""

from __future__ import annotations

import click

from mc.cli.controls import control_options, report_control
from mc.cli.options import common_options
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("resume")
@control_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, reason: str | None, by: str) -> None:
    """Let a flow go on that is PAUSED or BLOCKED.

    Its stored sub-flows that are PAUSED go on too. Nothing is run: the next tick goes on with the flow.
    """
    with settings.open_houston(only_reads=True) as houston:
        report = houston.resume(key, by=by, reason=reason)
    report_control(settings, report, "resumed")
