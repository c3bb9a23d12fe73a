"""`houston db`: the tables of the database, and what is kept in them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import COUNT, DurationType
from mc.cli.printing.output import count_of, format_time_short, print_json, print_table
from mc.cli.settings import Settings
from mc.store.databases.kinds import KINDS

if TYPE_CHECKING:
    from mc.houston import Houston
    from mc.store.database import Database
    from mc.store.upkeep.pruning import PruneReport

__all__ = ["command"]

_logger = logging.getLogger(__name__)


@click.group("db")
@common_options
def command() -> None:
    """Look after the database: its tables and what is kept in them.

    The tables are made and brought to a newer version by any command that uses the store; the commands
    below do it when you want it, or tell how.
    """


@command.command("init", short_help="Make the tables, or bring them up to date.")
@common_options
@click.pass_obj
def init(settings: Settings) -> None:
    """Make the database's tables, or bring them up to date.

    A file for SQLite is made; a server's database must be there. Several processes may do so at once.
    """
    from mc.clock import SystemClock
    from mc.store.database import Database

    _bring_up_to_date(
        settings,
        Database(
            settings.db_url,
            SystemClock(),
            settings.busy_seconds,
            upgrades=False,
            file_mode=settings.file_mode,
        ),
    )


@command.command("upgrade", short_help="Bring the tables of an existing database up to date.")
@common_options
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the tables of an existing database up to date.

    Upgrades are numbered and go forward only. One that was interrupted is done again as a whole. Older
    versions of mc refuse the newer tables and change nothing, so end the runners of the older version first.
    """
    _bring_up_to_date(settings, _open_existing(settings))


@command.command("status", short_help="Show which upgrades were applied.")
@common_options
@click.pass_obj
def status(settings: Settings) -> None:
    """Show which upgrades were applied; nothing is changed.

    Ends with 3 if the tables are newer than this version of mc.
    """
    from mc.store.schema.upgrade import NEWEST_VERSION, read_version
    from mc.store.upkeep.upgrade_list import list_upgrades

    database = _open_existing(settings)
    try:
        version = database.read(read_version)
        upgrades = list_upgrades(database)
    finally:
        database.close()
    if settings.as_json:
        found = [upgrade.to_dict() for upgrade in upgrades]
        print_json({"version": version, "newest": NEWEST_VERSION, "upgrades": found, "migrations": found})
        return
    rows = [(str(m.number), m.name or "", format_time_short(m.applied_at) or "not yet") for m in upgrades]
    print_table(("NUMBER", "NAME", "APPLIED"), rows)


@command.command("restored", short_help="Tell the database that it was restored from a backup.")
@common_options
@click.pass_obj
def restored(settings: Settings) -> None:
    """Tell the database that it was restored from a backup.

    All leases end, and whoever opened the database before is refused at its next claim or save and ends
    with 3, so that nothing which was begun before counts afterwards. Tables are brought up to date, too.
    """
    from mc.clock import SystemClock
    from mc.durations import format_time
    from mc.store.schema.epochs import begin_epoch

    database = _open_existing(settings)
    try:
        database.upgrade()
        now = format_time(SystemClock().now())
        ended = database.write(lambda connection: begin_epoch(connection, now))
    finally:
        database.close()
    if settings.as_json:
        print_json({"leases": ended})
    else:
        print(f"A new epoch began; {count_of(ended, 'lease')} ended. Start the runners anew.")


@command.command("sql", short_help="Print the statements of the upgrades.")
@click.option(
    "--dialect",
    type=click.Choice(list(KINDS)),
    help="Kind of database; that of the database's URL unless given.",
)
@click.option(
    "--after",
    type=click.IntRange(0, COUNT.max),
    metavar="N",
    default=0,
    help="Only upgrades after number N.",
)
@common_options
@click.pass_obj
def sql(settings: Settings, dialect: str | None, after: int) -> None:
    """Print the statements that make the tables or bring them up to date.

    For databases in which only an administrator may change tables. No database is opened.
    """
    from mc.clock import SystemClock
    from mc.store.database import Database
    from mc.store.upkeep.upgrade_list import upgrade_statements

    clock = SystemClock()
    kind = dialect or Database(settings.db_url, clock).dialect.name
    statements = list(upgrade_statements(kind, clock.now(), after))
    if settings.as_json:
        print_json({"dialect": kind, "statements": statements})
        return
    for statement in statements:
        print(statement)


@command.command("prune", short_help="Remove what was finished long ago.")
@click.option(
    "--older-than",
    type=DurationType(),
    metavar="AGE",
    required=True,
    help="How long ago a flow was finished, or a tick made: 30d, 12h.",
)
@click.option("--keep-failed", is_flag=True, help="Leave flows that FAILED, or with a sub-flow that did.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@common_options
@click.pass_obj
def prune(settings: Settings, older_than: timedelta, keep_failed: bool, dry_run: bool) -> None:
    """Remove flows that were finished long ago, and the account of old ticks.

    Flows go with all that belongs to them, sub-flows with the flow that started them, and jobs that have
    ended with their folders, as far as these are on this host. A large result in a place that hosts share
    goes with the next prune after its last flow has gone, if it is older than a day. It is done in batches
    while others work, and may be interrupted and repeated. A key that was used is not free again.
    """
    _open_existing(settings).close()  # SQLite would make a file that is not there
    with settings.open_houston() as houston:
        results = None if dry_run else _remove_unused_results(houston)
        report = houston.store.upkeep.prune(older_than, keep_failed=keep_failed, dry_run=dry_run)
        jobs = None if dry_run else houston.jobs.remove_left()
    if settings.as_json:
        print_json({**report.to_dict(), "jobs": jobs, "large_results": results})
    else:
        print(describe_pruning(report, jobs or 0, results or 0))


def _remove_unused_results(houston: Houston) -> int:
    """Remove the files of large results to which nothing refers.

    It is done before flows are removed, as a task may be about to take over a result of one of these.
    """
    from mc.errors import JobError

    try:
        return houston.jobs.remove_unused_results()
    except JobError as error:
        _logger.warning("%s", error.message, extra={"action": "large_results_not_removed"})
        return 0


def describe_pruning(report: PruneReport, jobs: int, results: int = 0) -> str:
    """Return one line that tells people what was removed, with those numbers of jobs and large results."""
    verb = "Would remove" if report.dry_run else "Removed"
    parts = [f"{count_of(report.flows, 'flow')} with {count_of(report.tasks, 'task')}"]
    if report.specs:
        parts.append(count_of(report.specs, "spec"))
    if jobs:
        parts.append(f"{count_of(jobs, 'job')} with their files")
    if results:
        parts.append(count_of(results, "large result"))
    parts.append(f"the account of {count_of(report.ticks, 'tick')}")
    text = f"{verb} {', '.join(parts)}."
    if report.passed_over:
        text += (
            f" Passed over {count_of(report.passed_over, 'flow')}: held, or with a sub-flow that must stay."
        )
    return text


def _open_existing(settings: Settings) -> Database:
    from mc.clock import SystemClock
    from mc.store.upkeep.health import open_existing

    return open_existing(settings.db_url, SystemClock(), settings.busy_seconds)


def _bring_up_to_date(settings: Settings, database: Database) -> None:
    from mc.store.schema.upgrade import NEWEST_VERSION

    try:
        applied = database.upgrade()
    finally:
        database.close()
    if settings.as_json:
        print_json({"version": NEWEST_VERSION, "applied": applied})
    elif applied:
        numbers = ", ".join(str(number) for number in applied)
        print(f"Applied {count_of(len(applied), 'upgrade')} ({numbers}); version {NEWEST_VERSION} now.")
    else:
        print(f"The tables are up to date, version {NEWEST_VERSION}.")
