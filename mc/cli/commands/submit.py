"""`houston submit`: store a flow for later ticks."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.options import common_options, spec_options
from mc.cli.printing.output import print_json, print_value, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import spec_of

__all__ = ["command"]


@click.command("submit")
@spec_options
@common_options
@click.pass_obj
def command(settings: Settings, spec: str, key: str | None, data: dict[str, Any]) -> None:
    """Store a flow for later ticks and print its key.

    SPEC is a JSON or YAML file, or - for stdin.
    Nothing is run. Submitting the same key with the same spec and data
    again changes nothing and is no error, so a caller that was interrupted may repeat it; the same key with
    another spec or other data is refused.
    """
    with (
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True) as houston,
        spec_of(spec) as value,
    ):
        submission = houston.submit_once(value, data, key=key)
    if settings.as_json:
        print_json({"key": submission.key, "created": submission.created})
    else:
        print_value(submission.key)
