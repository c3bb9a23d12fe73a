"""`houston resume`: let a flow go on."""

from __future__ import annotations

import click

from mc.cli.control_command import control_options, report_control
from mc.cli.options import common_options
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("resume")
@click.option(
    "--extend", is_flag=True, help="Move its timeouts by the time for which it was PAUSED or BLOCKED."
)
@control_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, reason: str | None, by: str, extend: bool) -> None:
    """Let a flow go on that is PAUSED or BLOCKED.

    Its stored sub-flows that are PAUSED go on too. Nothing is run: the next tick goes on with the flow.
    Timeouts went on meanwhile: a flow that was stopped for longer than its timeout fails at that tick. With
    --extend, the timeouts of the flow, of its tasks under way and of waits for signals are moved by as much
    as it was stopped; what waits for a time is due when it was.
    """
    with settings.open_houston(only_reads=True) as houston:
        report = houston.resume(key, by=by, reason=reason, extend=extend)
    report_control(settings, report, "resumed")
