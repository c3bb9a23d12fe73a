"""`houston schema`: print the JSON Schema of flow specs."""

from __future__ import annotations

import click

from mc.cli.options import common_options
from mc.cli.output import print_json

__all__ = ["command"]


@click.command("schema")
@common_options
def command() -> None:
    """Print the JSON Schema of flow specs.

    It is draft 2020-12; editors use it to complete and check specs. `houston validate` checks more than
    a schema can.
    """
    from mc.spec.schema import load_flow_spec_schema

    print_json(load_flow_spec_schema(), indent=2)
