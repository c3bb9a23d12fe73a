"""`houston cancel`: end a flow."""

from __future__ import annotations

import click

from mc.cli.control_command import control_options, report_control
from mc.cli.options import common_options
from mc.cli.output import stdout_for_json
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("cancel")
@control_options
@common_options
@click.pass_obj
def command(settings: Settings, key: str, reason: str | None, by: str) -> None:
    """End a flow, with what runs in it.

    Its stored sub-flows end too. The handlers of tasks that run or wait stop what they started; name their
    modules with --handlers, or the next tick does it, if its runner has them. Where a runner holds the
    flow, that one ends it after the task under way. A cancelled flow can go on after houston retry.
    """
    with (
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        report = houston.cancel(key, by=by, reason=reason)
    report_control(settings, report, "cancelled")
