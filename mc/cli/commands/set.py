"""`houston set`: write data or params of a task, or data of a flow."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.control_command import control_options, report_control
from mc.cli.options import common_options, values_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import printable
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("set")
@control_options
@click.argument("task", type=TEXT, required=False)
@values_option("--data", "Lay an entry over the data; the value is JSON if it parses, else text. Repeatable.")
@values_option(
    "--params", "Lay an entry over the task's params, which count from its next attempt on. Repeatable."
)
@common_options
@click.pass_obj
def command(
    settings: Settings,
    key: str,
    task: str | None,
    data: dict[str, Any],
    params: dict[str, Any],
    reason: str | None,
    by: str,
) -> None:
    """Write data or params of a task, or data of a flow.

    It is the flow's data that are written where no TASK is named. A task inside of others is named by its
    path, outer/inner. What is COMPLETED stays as it was. Params of a task that failed count when it is
    retried, which then begins anew.
    """
    with settings.open_houston(only_reads=True) as houston:
        report = houston.set(key, task, by=by, reason=reason, data=data or None, params=params or None)
    names = ", ".join(printable(name) for name in (*data, *params))
    report_control(settings, report, f"set {names} of {'the flow' if task is None else printable(task)}")
