"""`houston selftest`: try the disk and the database that flows will be kept on."""

from __future__ import annotations

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.findings import describe_finding
from mc.cli.options import SecondsRange, common_options
from mc.cli.output import print_json
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("selftest")
@click.option(
    "--seconds",
    type=SecondsRange(min=0, max=3600),
    metavar="S",
    default=10.0,
    show_default=True,
    help="How long drivers are killed.",
)
@common_options
@click.pass_obj
def command(settings: Settings, seconds: float) -> int:
    """Try the disk or the server that flows will be kept on.

    In a database of its own, a file beside the one of --db or a schema on the same server, it commits and
    flushes, lets processes compete for locks and flows, and kills drivers at random points to see that
    nothing is lost. Then it removes that database; the one of --db is neither read nor changed. Ends with 1
    if something must not be relied upon, with 3 if the place cannot be used at all, such as SQLite on a
    network file system.
    """
    from mc.runners.self_test.self_test import run_self_test
    from mc.store.finding import Severity

    findings = []
    for finding in run_self_test(settings.db_url, seconds=seconds):
        findings.append(finding)
        if not settings.as_json:
            print(describe_finding(finding), flush=True)
    passed = all(finding.severity != Severity.PROBLEM for finding in findings)
    if settings.as_json:
        print_json({"passed": passed, "findings": [finding.to_dict() for finding in findings]})
    return ExitCode.DONE if passed else ExitCode.NEEDS_A_PERSON
