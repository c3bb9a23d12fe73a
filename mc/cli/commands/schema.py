"""`houston schema`: print the JSON Schema of flow specs."""

from __future__ import annotations

import click

from mc.cli.options import RenamedOption, common_options
from mc.cli.printing.output import print_json

__all__ = ["command"]


@click.command("schema")
@click.option(
    "--script",
    cls=RenamedOption,
    old_name="--outcomes",
    is_flag=True,
    help="Print that of the script that `simulate` reads instead.",
)
@common_options
def command(script: bool) -> None:
    """Print the JSON Schema of flow specs.

    It is draft 2020-12; editors use it to complete and check specs. `houston validate` checks more than
    a schema can.
    """
    if script:
        from mc.simulation.script import load_script_schema

        print_json(load_script_schema(), indent=2)
    else:
        from mc.spec.schema.flow_spec_schema import load_flow_spec_schema

        print_json(load_flow_spec_schema(), indent=2)
