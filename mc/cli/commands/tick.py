"""`houston tick`: advance the flows that are due."""

from __future__ import annotations

from signal import SIGINT
from typing import TYPE_CHECKING

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.kept_process import KeptProcess
from mc.cli.options import common_options, lease_option, max_seconds_option, threads_option
from mc.cli.parameter_types import COUNT
from mc.cli.printing.output import count_of, print_json, stdout_for_json
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.runners.flow_runner import RunnerReport

__all__ = ["command"]


@click.command("tick")
@click.option("--max-flows", type=COUNT, metavar="N", help="Advance at most N flows.")
@max_seconds_option("what is left is for the next tick.")
@click.option("-v", "--verbose", is_flag=True, help="Say so when there was nothing to do.")
@threads_option
@lease_option
@common_options
@click.pass_obj
def command(
    settings: Settings,
    max_flows: int | None,
    max_seconds: float | None,
    verbose: bool,
    threads: int,
    lease_seconds: float,
) -> int:
    """Advance the flows that are due, then end.

    Made for cron: prints nothing when there was nothing to do. Any number of ticks may run at once on one
    database; each flow is advanced by one of them. Ends with 1 if a flow failed in this tick; of the first 20
    that are FAILED or BLOCKED now, stderr tells task, error, and the command that tells more. So it does of a
    module of task types that cannot be imported; flows that need nothing of it go on. Ctrl-C and SIGTERM end
    it after the task that runs; what was done is saved.
    """
    from mc.cli.printing.log_output import MOST_FAILURES, some_failures
    from mc.cli.printing.stop_notice import StopNotice
    from mc.runners.stop_signals import StopSignals

    with (
        stdout_for_json(settings.as_json),
        KeptProcess() as kept,
        settings.open_houston(
            with_handlers=True,
            bears_broken=True,
            observers=(kept,),
            lease_seconds=lease_seconds,
            threads=threads,
        ) as houston,
        some_failures(MOST_FAILURES),
        StopSignals(houston.runner.stop, StopNotice(houston.runner)) as signals,
    ):
        report = houston.tick(max_flows=max_flows, max_seconds=max_seconds)
    if settings.as_json:
        print_json(report.to_dict())
    elif report.claimed or verbose:
        print(describe_report(report))
    if signals.received == SIGINT:
        return ExitCode.INTERRUPTED
    needs_a_person = report.failed or report.errors or settings.has_broken_handlers
    return ExitCode.FLOW_FAILED if needs_a_person else ExitCode.DONE


def describe_report(report: RunnerReport) -> str:
    """Return one line that tells people what a tick did."""
    if not report.claimed:
        return "Nothing to do."
    flows, calls = count_of(report.claimed, "flow"), count_of(report.tasks, "task call")
    parts = [f"{flows}, {calls} in {report.seconds:.2f} s"]
    numbers = {
        "completed": report.completed,
        "failed": report.failed,
        "cancelled": report.cancelled,
        "waiting": report.waiting,
        "lost": report.lost,
        "blocked": len(report.errors),
    }
    parts += [f"{number} {name}" for name, number in numbers.items() if number]
    return "; ".join(parts)
