"""`houston job-ended`: what a job starts at its end, so that its flow need not wait for the next tick."""

from __future__ import annotations

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("job-ended")
@common_options
@click.pass_obj
def command(settings: Settings) -> int:
    """Take in the outcomes of jobs and advance the flows that are due.

    Where another process does this already, that one does it once more, and this one ends.
    """
    with settings.open_houston(with_handlers=True, bears_broken=True) as houston:
        jobs = houston.runner.settings.jobs
        for _ in jobs.turns_alone() if jobs is not None else ():
            houston.tick()
    return ExitCode.DONE
