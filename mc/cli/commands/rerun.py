"""`houston rerun`: a new flow of the spec of another one."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.control_command import control_options
from mc.cli.options import common_options
from mc.cli.output import print_json, print_value, stdout_for_json
from mc.cli.parameter_types import TEXT
from mc.cli.settings import Settings
from mc.cli.spec_source import check_key, parse_data

__all__ = ["command"]


@click.command("rerun")
@control_options
@click.option(
    "--key", "new_key", type=TEXT, callback=check_key, help="Key of the new flow; generated unless given."
)
@click.option(
    "--data",
    type=TEXT,
    metavar="NAME=VALUE",
    multiple=True,
    callback=parse_data,
    help="Lay an entry over the data that FLOW began with; the value is JSON if it parses. Repeatable.",
)
@common_options
@click.pass_obj
def command(
    settings: Settings,
    key: str,
    new_key: str | None,
    data: dict[str, Any],
    reason: str | None,
    by: str,
) -> None:
    """Store a new flow of the spec of another one.

    It begins with the data that FLOW began with; its key is printed. FLOW stays as it is. The history of both
    tells of it. Nothing is run: later ticks advance the new flow.
    """
    with (
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        made = houston.rerun(key, data or None, by=by, reason=reason, new_key=new_key)
    if settings.as_json:
        print_json({"key": made, "of": key})
    else:
        print_value(made)
