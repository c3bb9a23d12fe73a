"""`houston loop`: advance the flows that are due, again and again."""

from __future__ import annotations

from datetime import timedelta
from signal import SIGINT
from typing import Any

import click

from mc.cli.commands.tick import describe_report
from mc.cli.exit_codes import ExitCode
from mc.cli.kept_process import KeptProcess
from mc.cli.options import common_options, lease_option, max_seconds_option, outage_option, threads_option
from mc.cli.parameter_types import DurationType
from mc.cli.printing.output import print_json, stdout_for_json
from mc.cli.printing.stop_notice import StopNotice
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("loop")
@click.option(
    "--interval",
    type=DurationType(may_be_zero=False),
    metavar="DURATION",
    default="1s",
    show_default=True,
    help="Look at the database at least that often (5s, 1m), for flows that others submit.",
)
@max_seconds_option("what is left is for the next loop or tick.")
@threads_option
@lease_option
@outage_option
@common_options
@click.pass_obj
def command(
    settings: Settings,
    interval: timedelta,
    max_seconds: float | None,
    threads: int,
    lease_seconds: float,
    outage_seconds: float,
) -> Any:
    """Advance the flows that are due, again and again.

    Made for a service manager, or a second terminal. Any number of loops and ticks may run at once on one
    database; each flow is advanced by one of them. SIGTERM and Ctrl-C end it after the task that runs; what
    was done is saved, and the flows are free for others. A second Ctrl-C ends it at once.

    It ends with 0 whether flows failed or not; of each that is FAILED or BLOCKED, stderr tells at once task,
    error, and the command that tells more. Where the database goes away it waits, and goes on when it is
    back.
    """
    with (
        stdout_for_json(settings.as_json),
        KeptProcess() as kept,
        settings.open_houston(
            with_handlers=True,
            bears_broken=True,
            observers=(kept,),
            lease_seconds=lease_seconds,
            outage_seconds=outage_seconds,
            threads=threads,
        ) as houston,
    ):
        houston.runner.on_stop_signal = StopNotice(houston.runner)
        report = houston.runner.run(interval=interval.total_seconds(), max_seconds=max_seconds)
        stop_signal = houston.runner.stop_signal
    if settings.as_json:
        print_json(report.to_dict())
    else:
        print(describe_report(report))
    return ExitCode.INTERRUPTED if stop_signal == SIGINT else ExitCode.DONE
