"""`houston job build`, `run` and `ingest`: work directories of job modules, carried by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options, values_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, printable, to_json_text
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.jobs.work_dirs import TakenIn

__all__ = ["build", "ingest", "run"]

_LONGEST = 4_000  # characters of a message
_DIR = click.argument("path", type=click.Path(path_type=Path), metavar="DIR")


@click.command("build", short_help="Build the work directory of a job module.")
@_DIR
@click.option("--job", "key", type=TEXT, metavar="JOB", help="Of this stored job.")
@click.option(
    "--type", "job_type", type=TEXT, metavar="MODULE", help="Of this job module, for no stored job."
)
@values_option("--params", "With --type: a parameter; the value is JSON if it parses, else text. Repeatable.")
@click.option(
    "--executor",
    type=TEXT,
    metavar="NAME",
    help="With --type: whose config it is given; that of the default executor otherwise.",
)
@common_options
@click.pass_obj
def build(
    settings: Settings,
    path: Path,
    key: str | None,
    job_type: str | None,
    params: dict[str, Any],
    executor: str | None,
) -> None:
    """Build the work directory of a job module, to be carried to where it is run.

    It brings along all that it needs: there, python3 run.py runs it, without a database and without this
    package. DIR is made, or is empty.
    """
    if (key is None) == (job_type is None):
        raise click.UsageError("Name either a stored job, by --job, or a job module, by --type.")
    if key is not None and (params or executor is not None):
        raise click.UsageError("--params and --executor go with --type; a stored job has its own.")
    from mc.jobs.work_dirs import build_work_dir, work_of

    callables = settings.make_registry().callables
    if job_type is None:
        with settings.open_houston(only_reads=True) as houston:
            record = houston.jobs.get(str(key))
        work, name = work_of(record), record.job.executor
    else:
        from mc.flows.jobs.job_settings import JobSettings
        from mc.jobs.find_executor import make_executor

        options = settings.values.job_options()
        name = executor or options["executor"]
        make_executor(name, options["executors"])  # or there is none of that name
        its = JobSettings(executors=options["executors"]).of_modules(name)
        work = {"job_type": job_type, "params": params, "config": dict(its.config), "fake": its.fake}
    build_work_dir(path, work, callables, name)
    if settings.as_json:
        print_json({"path": str(path), "job": key, "job_type": work["job_type"]})
    else:
        print(f"{printable(str(path))}: built; `python3 run.py` in it, wherever it is, runs it")


@click.command("run", short_help="Run a work directory here.")
@_DIR
@common_options
@click.pass_obj
def run(settings: Settings, path: Path) -> ExitCode:
    """Run a work directory here, as python3 run.py in it does.

    Its logs are the files stdout and stderr in it, its end the mark COMPLETED or FAILED. One that FAILED may
    be run again.
    """
    from mc.jobs.work_dirs import run_work_dir

    status = run_work_dir(path)
    if settings.as_json:
        print_json({"path": str(path), "status": status})
    return ExitCode.DONE if status == "COMPLETED" else ExitCode.FLOW_FAILED


@click.command("ingest", short_help="Take in a work directory that was run.")
@_DIR
@common_options
@click.pass_obj
def ingest(settings: Settings, path: Path) -> ExitCode:
    """Take in a work directory that was run: parse it, and end the job that it was built for.

    The job is one of the executor manual, which waits for that. Its flow goes on with the next tick. What was
    built for no stored job is parsed, and its result printed. To take one in twice changes nothing.
    """
    from mc.jobs.work_dirs import read_work, take_in

    callables = settings.make_registry().callables
    if read_work(path).work.get("job_key") is None:
        taken = take_in(path, callables, None, None)
    else:
        with settings.open_houston(only_reads=True) as houston:
            taken = take_in(path, callables, houston.store, houston.jobs)
    _report(settings, path, taken)
    return ExitCode.DONE if taken.outcome.status == "COMPLETED" else ExitCode.FLOW_FAILED


def _report(settings: Settings, path: Path, taken: TakenIn) -> None:
    outcome = taken.outcome
    if settings.as_json:
        more = {"job": taken.job_key, "was_before": taken.was_before, "outcome": outcome.to_dict()}
        print_json({"path": str(path), "status": outcome.status, "result": outcome.result, **more})
        return
    error = outcome.error or {}
    what = f"  {error.get('type')}: {error.get('message')}" if outcome.error else ""
    if taken.job_key is None:
        print(f"{printable(str(path))}: {outcome.status}{printable(what, _LONGEST)}")
        if outcome.error is None:
            print(f"result: {printable(to_json_text(outcome.result), _LONGEST)}")
    elif taken.was_before:
        print(
            f"{printable(taken.job_key)}: was taken in before, and is {outcome.status}; nothing was changed"
        )
    else:
        then = "the next tick goes on with its flow"
        print(f"{printable(taken.job_key)}: {outcome.status}{printable(what, _LONGEST)}; {then}")
