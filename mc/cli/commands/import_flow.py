"""`houston import`: store a flow that was exported."""

from __future__ import annotations

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, print_value
from mc.cli.settings import Settings
from mc.cli.spec_source import check_key, read_spec

__all__ = ["command"]


@click.command("import")
@click.argument("file")
@click.option(
    "--key", type=TEXT, metavar="NEW", callback=check_key, help="Key of the flow, in the place of its own."
)
@common_options
@click.pass_obj
def command(settings: Settings, file: str, key: str | None) -> None:
    """Store a flow that was exported.

    FILE is what `houston export` wrote, or - for stdin. The flow is stored as it was and goes on at the next
    tick if it is unfinished. A key that the database knows already is refused.
    """
    with settings.open_houston() as houston:
        imported = houston.import_(read_spec(file), key=key)
    if settings.as_json:
        print_json({"key": imported})
    else:
        print_value(imported)
