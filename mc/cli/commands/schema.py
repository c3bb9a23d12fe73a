"""`houston schema`: print the JSON Schema of flow specs."""

from __future__ import annotations

import click

from mc.cli.options import common_options
from mc.cli.output import print_json

__all__ = ["command"]


@click.command("schema")
@click.option("--outcomes", is_flag=True, help="Print that of the outcomes that `simulate` reads instead.")
@common_options
def command(outcomes: bool) -> None:
    """Print the JSON Schema of flow specs.

    It is draft 2020-12; editors use it to complete and check specs. `houston validate` checks more than
    a schema can.
    """
    if outcomes:
        from mc.simulation.script import load_outcomes_schema

        print_json(load_outcomes_schema(), indent=2)
    else:
        from mc.spec.schema.flow_spec_schema import load_flow_spec_schema

        print_json(load_flow_spec_schema(), indent=2)
