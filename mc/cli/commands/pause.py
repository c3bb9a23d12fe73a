"""`houston pause`: let no tick touch a flow."""

from __future__ import annotations

import click

from mc.cli.control_command import control_options, report_control
from mc.cli.options import common_options
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("pause")
@control_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, reason: str | None, by: str) -> None:
    """Let no tick touch a flow until it is resumed.

    Nor its stored sub-flows; houston resume lets them all go on. Where a runner holds the flow, it lets go of
    it after the task under way. Timeouts and waits go on: what is over time when the flow is resumed fails
    then, unless it is resumed with --extend.
    """
    with settings.open_houston(only_reads=True) as houston:
        report = houston.pause(key, by=by, reason=reason)
    report_control(settings, report, "paused")
