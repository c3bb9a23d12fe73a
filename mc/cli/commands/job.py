"""`houston job`: the jobs of flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mc.cli.commands.work_dir import build, ingest, run
from mc.cli.control_command import report_control
from mc.cli.options import common_options, local_option, sender_option
from mc.cli.parameter_types import COUNT, TEXT, StatusType
from mc.cli.printing.job_notes import describe_job, print_last_lines
from mc.cli.printing.output import format_time_short, print_json, print_table, printable, show_seconds
from mc.cli.printing.whole_job import describe_whole_job
from mc.cli.settings import Settings
from mc.statuses import JobStatus

if TYPE_CHECKING:
    from mc.store.job_record import JobRecord

__all__ = ["command"]

_LONGEST: Final = 4_000  # characters of a value
_KEY = click.argument("key", type=TEXT, metavar="JOB")
_REASON = click.option("--reason", type=TEXT, metavar="TEXT", help="Why, for people.")


@click.group("job")
@common_options
def command() -> None:
    """See the jobs of flows, stop them or try them again.

    A job is one attempt of a task that is done elsewhere. Its key is that of the attempt: FLOW/TASK/ATTEMPT.
    Those of job modules can be built, run and taken in by hand too.
    """


for each in (build, run, ingest):
    command.add_command(each)


@command.command("list", short_help="List jobs, newest first.")
@click.option("--flow", "flow_key", type=TEXT, metavar="KEY", help="Only jobs of this flow.")
@click.option(
    "--status",
    "statuses",
    type=StatusType(JobStatus),
    metavar="STATUS",
    multiple=True,
    help="Only jobs with this status; repeatable.",
)
@click.option("--executor", type=TEXT, metavar="NAME", help="Only jobs of this executor.")
@click.option(
    "--limit", type=COUNT, metavar="N", default=100, show_default=True, help="At most N jobs, the newest."
)
@local_option
@common_options
@click.pass_obj
def list_jobs(
    settings: Settings, flow_key: str | None, statuses: tuple[str, ...], executor: str | None, limit: int
) -> None:
    """List jobs, newest first: where each runs, since when, and how far it is.

    Times are UTC unless --local asks for those of this machine.
    """
    with settings.open_houston(only_reads=True) as houston:
        if flow_key is not None:
            houston.summary(flow_key)  # or there is no such flow
        found = houston.jobs.list(flow_key=flow_key, statuses=statuses, executor=executor, limit=limit)
        now = houston.store.clock.now()
    if settings.as_json:
        print_json([_to_dict(record) for record in found])
        return
    rows = []
    for record in found:
        begun, ended = record.started_at or record.submitted_at, record.finished_at
        seconds = max(((ended or now) - begun).total_seconds(), 0.0) if begun is not None else None
        created, lasts = format_time_short(record.created_at), show_seconds(seconds)
        where = f"{record.job.executor}@{record.place}" if record.place else record.job.executor
        rows.append((record.job.key, record.status, where, created, lasts, describe_job(record)))
    print_table(("JOB", "STATUS", "EXECUTOR", "CREATED", "DURATION", "NOTE"), rows, ("CREATED", "EXECUTOR"))


@command.command("show", short_help="Show all of a job.")
@_KEY
@local_option
@common_options
@click.pass_obj
def show(settings: Settings, key: str) -> None:
    """Show all of a job: what it does, its folder, how far it is or how it ended, and its last lines.

    Its whole logs are shown by houston logs. Times are UTC unless --local asks for those of this machine.
    """
    with settings.open_houston(only_reads=True) as houston:
        record = houston.jobs.get(key)
        if settings.as_json:
            folder = str(houston.jobs.folder(key).path)
            outcome = record.outcome.to_dict() if record.outcome is not None else None
            more = {"work": dict(record.job.work), "folder": folder, "outcome": outcome}
            print_json({**_to_dict(record), **more}, indent=2)
            return
        for name, value in describe_whole_job(record, houston.jobs.folder(key).path):
            print(f"{name:<9} {printable(value, _LONGEST)}")
        print_last_lines(houston.jobs, record)


@command.command("cancel", short_help="Stop a job.")
@_KEY
@_REASON
@common_options
@click.pass_obj
def cancel(settings: Settings, key: str, reason: str | None) -> None:
    """Stop a job, with all that it started.

    Its task fails, and is tried again where its cfg.retry says so; houston cancel ends the whole flow. A job
    that waits for its start is CANCELLED at once. One that runs is asked to end by the next tick on its host,
    and forced when it does not.
    """
    with settings.open_houston(only_reads=True) as houston:
        record = houston.jobs.cancel(key, reason or "A person asked for it.")
    if settings.as_json:
        print_json(_to_dict(record))
    elif record.has_ended:
        print(f"{printable(key)}: {record.status}")
    else:
        print(f"{printable(key)}: {record.status}; the next tick asks it to end")


@command.command("retry", short_help="Try the task of a job again.")
@_KEY
@_REASON
@sender_option("Who asks")
@common_options
@click.pass_obj
def retry(settings: Settings, key: str, reason: str | None, by: str) -> None:
    """Try the task of a job again, as houston retry FLOW --task TASK does; it gets a new job.

    The task is FAILED, CANCELLED or SKIPPED. Nothing is run: the next tick goes on with the flow.
    """
    with settings.open_houston(only_reads=True) as houston:
        job = houston.jobs.get(key).job
        report = houston.retry(job.flow_key, [job.task_path], by=by, reason=reason)
    report_control(settings, report, f"retried {printable(job.task_path)}")


def _to_dict(record: JobRecord) -> dict[str, Any]:
    return {name: value for name, value in record.to_dict().items() if name != "outcome"}
