"""`houston tick`: advance the flows that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.output import print_json, stdout_for_json
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.runners.flow_runner import RunnerReport

__all__ = ["command"]


@click.command("tick")
@click.option("--max-flows", type=click.IntRange(min=1), metavar="N", help="Advance at most N flows.")
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Stop after S seconds, between two tasks; what is left is for the next tick.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say so when there was nothing to do.")
@common_options
@click.pass_obj
def command(settings: Settings, max_flows: int | None, max_seconds: float | None, verbose: bool) -> int:
    """Advance the flows that are due, then end.

    Made for cron: prints nothing when there was nothing to do. Any number of ticks may run at once on one
    database; each flow is advanced by one of them. Ends with 1 if a flow failed in this tick.
    """
    with stdout_for_json(settings.as_json), settings.open_houston(with_handlers=True) as houston:
        report = houston.tick(max_flows=max_flows, max_seconds=max_seconds)
    if settings.as_json:
        print_json(report.to_dict())
    elif report.claimed or verbose:
        print(describe_report(report))
    return ExitCode.FLOW_FAILED if report.failed else ExitCode.DONE
