"""`houston export`: write a flow as a flow dict."""

from __future__ import annotations

import click

from mc.cli.options import common_options
from mc.cli.output import print_json, to_json_text
from mc.cli.parameter_types import TEXT
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("export")
@click.argument("key", type=TEXT)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write to a file, which is there as a whole or not at all, instead of stdout.",
)
@common_options
@click.pass_obj
def command(settings: Settings, key: str, output: str | None) -> None:
    """Write a flow as a flow dict in JSON.

    `houston import` makes the same flow of it, in this database or in another one. The sub-flow of a `flow`
    task is a flow of its own and is exported by its own key.
    """
    with settings.open_houston(only_reads=True) as houston:
        flow_dict = houston.export(key)
    if output is None:
        print_json(flow_dict, indent=2)
        return
    from mc.cli.atomic_file import write_atomically

    write_atomically(output, to_json_text(flow_dict, indent=2) + "\n")
    if settings.as_json:
        print_json({"key": key, "file": output})
