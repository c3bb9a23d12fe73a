"""`houston logs`: what jobs wrote to stdout and stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import COUNT, TEXT
from mc.cli.printing.job_logs import LogPrinter, read_logs
from mc.cli.printing.job_notes import describe_job
from mc.cli.printing.output import count_of, print_json, printable
from mc.cli.settings import Settings
from mc.errors import JobError
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.houston import Houston
    from mc.store.job_record import JobRecord

__all__ = ["command"]

_MOST_TASKS: Final = 20  # of which the logs are shown together
_MOST_READ: Final = 500  # jobs, of a flow with many
_PAUSE: Final = 0.5  # seconds between two looks


@click.command("logs")
@click.argument("key", type=TEXT, metavar="FLOW")
@click.argument("path", type=TEXT, metavar="[TASK]", required=False)
@click.option(
    "--attempt", type=COUNT, metavar="N", help="Of this attempt of the task; the newest unless given."
)
@click.option("--stdout", "stdout_alone", is_flag=True, help="Only what was written to stdout.")
@click.option("--stderr", "stderr_alone", is_flag=True, help="Only what was written to stderr.")
@click.option("--follow", "-f", "follows", is_flag=True, help="Go on as the job writes, until it has ended.")
@common_options
@click.pass_obj
def command(
    settings: Settings,
    key: str,
    path: str | None,
    attempt: int | None,
    stdout_alone: bool,
    stderr_alone: bool,
    follows: bool,
) -> None:
    """Show what the jobs of a flow wrote.

    It can be seen while they run, too. TASK is a task that has a job, outer/inner inside others. Without it
    the logs of the newest job of each task are shown, that of the task that began last at the end. With a
    task and --stdout or --stderr nothing else is printed than what the job wrote. --follow without a task
    ends with the flow.
    """
    if follows and settings.as_json:
        raise click.UsageError("--follow has no end that a JSON document could have; leave out one of them.")
    alone = stdout_alone != stderr_alone
    streams = [name for name, wanted in (("stdout", stdout_alone), ("stderr", stderr_alone)) if wanted]
    with settings.open_houston(only_reads=True) as houston:
        printer = LogPrinter(
            houston.jobs, streams or ["stdout", "stderr"], has_headings=not (alone and path is not None)
        )
        if follows:
            _follow(houston, printer, key, path, attempt)
            return
        records = _find(houston, key, path, attempt)
        if settings.as_json:
            print_json([read_logs(houston.jobs, record, printer.streams) for record in records], indent=2)
        elif len(records) == 1:
            printer.print(records[0])
            if not printer.has_printed:
                _tell(f"job {records[0].job.key} ({records[0].status}) has written nothing.")
        else:
            _print_all(printer, records)


def _find(houston: Houston, key: str, path: str | None, attempt: int | None) -> list[JobRecord]:
    """Return the jobs whose logs are shown."""
    found = houston.jobs.newest(key, path, attempt=attempt, limit=_MOST_READ)
    if len(found) > _MOST_TASKS:
        left = count_of(len(found) - _MOST_TASKS, "more task")
        _tell(f"{left} of flow {key} have logs, such as {found[0].job.task_path}; name one to see them.")
    return [*found[-_MOST_TASKS:]]


def _print_all(printer: LogPrinter, records: list[JobRecord]) -> None:
    for record in records:
        try:
            printer.print(record)
        except JobError as error:  # the others may be here
            _tell(error.message)


def _follow(houston: Houston, printer: LogPrinter, key: str, path: str | None, attempt: int | None) -> None:
    """Print logs as they grow, until the job has ended, or the flow where no task was named."""
    waited: set[str] = set()
    seen: dict[str, JobRecord] = {}
    while True:
        is_over = path is not None or houston.summary(key).status in FINISHED_FLOW_STATUSES
        found = houston.jobs.newest(key, path, attempt=attempt, limit=_MOST_READ)[-_MOST_TASKS:]
        seen |= {record.id: record for record in found}
        is_over &= all(printer.has_ended(record) for record in found)
        for record in seen.values():
            if printer.can_begin(record):
                printer.print(record)
            elif record.id not in waited:
                waited.add(record.id)
                _tell(f"job {record.job.key} {_why_not_yet(record)}.")
        if is_over:
            return
        houston.store.clock.sleep(_PAUSE)


def _why_not_yet(record: JobRecord) -> str:
    """Return why a job has no logs here by now."""
    executor = record.job.executor
    if record.status == "SUBMITTED":
        return describe_job(record)
    if record.status == "PENDING":
        return f"waits for its start on {executor}"
    return f"runs on {executor}, and has no logs here yet"


def _tell(text: str) -> None:
    click.echo(f"houston: {printable(text)}", err=True)
