"""`houston work`: take jobs that wait in queues, and run them on this host."""

from __future__ import annotations

import os
from signal import SIGINT
from typing import TYPE_CHECKING

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options, max_seconds_option, outage_option
from mc.cli.parameter_types import COUNT, SecondsRange
from mc.cli.printing.output import count_of, print_json, printable, stdout_for_json
from mc.cli.printing.stop_notice import write_to_stderr
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.jobs.job_worker import JobWorker
    from mc.store.job_record import JobRecord

__all__ = ["command"]

_SHOWN = 3  # jobs that are waited for


@click.command("work")
@click.option(
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Take jobs of this executor, of the kind queue; given again, the first goes first. All queues "
    "of the settings file unless given, or the one that is called queue.",
)
@click.option(
    "--slots",
    type=COUNT,
    metavar="N",
    help="Run up to N jobs at a time; as many as there are cores unless given.",
)
@click.option("--until-idle", is_flag=True, help="End when no job waits any more.")
@max_seconds_option("jobs that run are waited for.")
@click.option(
    "--lease-seconds",
    type=SecondsRange(min=0, min_open=True),
    metavar="S",
    default=60.0,
    show_default=True,
    help="How long a job is kept for this worker if it vanishes; then it is LOST, and tried again.",
)
@outage_option
@common_options
@click.pass_obj
def command(
    settings: Settings,
    queues: tuple[str, ...],
    slots: int | None,
    until_idle: bool,
    max_seconds: float | None,
    lease_seconds: float,
    outage_seconds: float,
) -> int:
    """Take jobs that wait in queues, and run them on this host.

    Any number of workers may do so, on any hosts that reach the database; each job is run by one of them.
    Ctrl-C and SIGTERM let it take no more and end with the jobs that run; a second one ends these, which are
    LOST then, and tried again as their tasks say. A worker needs the modules whose functions it calls, and
    the secrets that jobs name; it runs the commands of all jobs of its queues.
    """
    from mc.cli.printing.log_output import log_to_stderr
    from mc.runners.stop_signals import StopSignals

    log_to_stderr(debug=settings.debug)
    with (
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True, bears_broken=True) as houston,
    ):
        worker = houston.worker(
            *queues,
            slots=slots or os.cpu_count() or 1,
            lease_seconds=lease_seconds,
            outage_seconds=outage_seconds,
            on_change=_tell_nothing if settings.as_json else _tell,
        )
        with StopSignals(worker.stop, lambda number: _tell_stop(worker, number)) as signals:
            report = worker.run(max_seconds, until_idle=until_idle)
    if settings.as_json:
        print_json({"ended": report.ended})
    else:
        number = sum(report.ended.values())
        parts = [f"{count} {status}" for status, count in sorted(report.ended.items())]
        print("; ".join([count_of(number, "job"), *parts]))
    return ExitCode.INTERRUPTED if signals.received == SIGINT else ExitCode.DONE


def _tell(status: str, record: JobRecord) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC).strftime("%H:%M:%S")
    print(f"{now} {printable(record.job.key)} {status}", flush=True)


def _tell_nothing(_status: str, _record: JobRecord) -> None:
    return


def _tell_stop(worker: JobWorker, number: int) -> None:
    running = worker.running
    if not running:
        return
    names = [record.job.key for record in running[:_SHOWN]]
    more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
    again = "Another Ctrl-C" if number == SIGINT else "A second signal"
    write_to_stderr(
        printable(f"waiting for {', '.join(names)}{more} to end. {again} ends what runs, which is LOST then.")
    )
