"""`houston doctor`: find out what is wrong with a store."""

from __future__ import annotations

from datetime import timedelta

import click

from mc.cli.duration_type import DurationType
from mc.cli.exit_codes import ExitCode
from mc.cli.findings import describe_finding
from mc.cli.options import common_options
from mc.cli.output import print_json
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("doctor")
@click.option(
    "--late-after",
    type=DurationType(),
    metavar="AGE",
    default="10m",
    show_default=True,
    help="How long a flow may be due before it is called late.",
)
@common_options
@click.pass_obj
def command(settings: Settings, late_after: timedelta) -> int:
    """Tell what is wrong with the store, what it means and what to do.

    Looks at the tables' version, the disk and the journal, late and blocked flows, expired leases, gaps
    between ticks and ticks that never ended. Nothing is changed. Ends with 1 if something needs a person,
    with 3 if the store cannot be reached or used.
    """
    from mc.store.finding import Severity
    from mc.store.upkeep.health import examine

    findings = examine(settings.db_url, late_after=late_after, busy_seconds=settings.busy_seconds)
    healthy = all(finding.severity != Severity.PROBLEM for finding in findings)
    if settings.as_json:
        print_json({"healthy": healthy, "findings": [finding.to_dict() for finding in findings]})
    else:
        for finding in findings:
            print(describe_finding(finding))
    return ExitCode.DONE if healthy else ExitCode.NEEDS_A_PERSON
