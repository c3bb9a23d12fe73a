"""`houston doctor`: find out what is wrong with a store, or try the place where one will be kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.parameter_types import DurationType, SecondsRange
from mc.cli.printing.output import print_json, printable
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.store.finding import Finding

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
@click.option(
    "--try", "tries", is_flag=True, help="Try the disk or the server itself, by killing runners on it."
)
@click.option(
    "--seconds",
    type=SecondsRange(min=0, max=3600),
    metavar="S",
    default=10.0,
    show_default=True,
    help="With --try: how long runners are killed.",
)
@common_options
@click.pass_obj
def command(settings: Settings, late_after: timedelta, tries: bool, seconds: float) -> int:
    """Tell what is wrong with the store, what it means and what to do.

    Looks at the tables' version, the disk and the journal, late and blocked flows, expired leases, gaps
    between ticks, ticks that never ended, jobs that were LOST or wait for long, the data folder, executors
    that cannot be reached, and services of systemd that would end jobs. Nothing is changed. Ends with 1 if
    something needs a person, with 3 if the store cannot be reached or used.

    With --try (or as houston selftest) it tries the disk or the server that flows will be kept on. In a
    database of its own, a file beside the one of --db or a schema on the same server, it commits and
    flushes, lets processes compete for locks and flows, and kills runners at random points to see that
    nothing is lost. Then it removes that database; the one of --db is neither read nor changed. Ends with 3
    if the place cannot be used at all, such as SQLite on a network file system.
    """
    from mc.store.finding import Severity

    found: Iterable[Finding]
    if tries:
        from mc.runners.self_test.self_test import run_self_test

        found = run_self_test(settings.db_url, seconds=seconds)
    else:
        found = _examine(settings, late_after)
    findings = []
    for finding in found:
        findings.append(finding)
        if not settings.as_json:
            print(_describe(finding), flush=True)
    good = all(finding.severity != Severity.PROBLEM for finding in findings)
    if settings.as_json:
        told = [finding.to_dict() for finding in findings]
        print_json({"passed" if tries else "healthy": good, "findings": told})
    return ExitCode.DONE if good else ExitCode.NEEDS_A_PERSON


def _examine(settings: Settings, late_after: timedelta) -> list[Finding]:
    """Return what is found of the store and of the data folder, worst first."""
    from mc.jobs.data_folder import check_data_folder, list_job_ids
    from mc.jobs.executor_checks import check_executors
    from mc.jobs.find_executor import executor_kinds
    from mc.jobs.large_results import check_place
    from mc.jobs.systemd_units import check_units
    from mc.settings.of_jobs import default_data_folder, read_place
    from mc.store.finding import Severity
    from mc.store.upkeep.health import examine

    data_folder = Path(settings.values.get("data").value or default_data_folder(settings.db_url)).absolute()
    executors = settings.values.get("executors").value or {}
    results_place = read_place(settings.values.get("large_results").value or "database")
    found = [
        *examine(
            settings.db_url,
            late_after=late_after,
            busy_seconds=settings.busy_seconds,
            executors={*executor_kinds(), *executors},
            folder_ids=list_job_ids(data_folder),
        ),
        *check_data_folder(data_folder),
        *check_executors({settings.values.get("executor").value, *executors}, executors),
        *(check_place(results_place) if results_place is not None else ()),
        *check_units(),
    ]
    order = (Severity.PROBLEM, Severity.NOTE, Severity.OK)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _describe(finding: Finding) -> str:
    text = f"{finding.severity:<8} {finding.code}: {printable(finding.message)}"
    return f"{text}\n{'':<8} -> {printable(finding.advice)}" if finding.advice else text
