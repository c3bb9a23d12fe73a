"""`houston migrate`: move a flow to a new spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options, sender_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import count_of, print_json, printable, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import spec_of

if TYPE_CHECKING:
    from mc.flows.migration.plan import MigrationPlan

__all__ = ["command"]

_MAX_SHOWN: Final = 20  # tasks in one line
_DIGEST_LENGTH: Final = 12  # characters of a digest that people are shown


@click.command("migrate")
@click.argument("key", type=TEXT, metavar="FLOW")
@click.argument("spec", metavar="NEW_SPEC")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done, and what forbids it.")
@click.option("--reason", type=TEXT, metavar="TEXT", help="Why, for people; kept in the history.")
@sender_option("Who asks for it")
@common_options
@click.pass_obj
def command(settings: Settings, key: str, spec: str, dry_run: bool, reason: str | None, by: str) -> ExitCode:
    """Move a flow to a new spec.

    NEW_SPEC is a JSON or YAML file, or - for stdin.
    What is finished stays, so the new spec must not change or leave
    out a task that is COMPLETED or SKIPPED, nor one that is RUNNING or WAITING. All that forbids it is told
    at once, and then nothing is changed. The flow keeps its status and its data. Nothing is run: the next
    tick goes on with the flow.
    """
    with (
        spec_of(spec) as new_spec,
        stdout_for_json(settings.as_json),
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        plan = houston.migrate(key, new_spec, dry_run=dry_run, by=by, reason=reason)
    if settings.as_json:
        print_json(plan.to_dict())
    else:
        _print_for_people(plan)
    return ExitCode.BAD_INPUT if plan.obstacles else ExitCode.DONE


def _print_for_people(plan: MigrationPlan) -> None:
    key = printable(plan.flow_key)
    if plan.is_same:
        print(f"{key} has this spec already; nothing was changed")
    elif plan.obstacles:
        print(f"{key} cannot be moved to the new spec")
    else:
        done = "was moved" if plan.is_applied else "can be moved"
        print(f"{key} {done} from spec {_shorten(plan.old_digest)} to {_shorten(plan.new_digest)}")
    for name, entries in _lines(plan):
        if entries:
            print(f"  {name:<8} {_join(entries)}")
    for obstacle in plan.obstacles:
        print(f"  forbids  {printable(str(obstacle))}")
    if plan.obstacles:
        print(f"{count_of(len(plan.obstacles), 'reason')}; nothing was changed")
    elif not plan.is_same and not plan.is_applied:
        print("nothing was changed: this was a dry run")


def _lines(plan: MigrationPlan) -> list[tuple[str, Sequence[str]]]:
    changed = [
        f"{change.key} ({', '.join(change.parts)}{'' if change.takes_effect else ': no effect'})"
        for change in plan.changed
    ]
    kept = [f"data.{name} stays as the flow has it" for name in plan.kept_data]
    return [
        ("stays", [] if plan.is_same else plan.stays),
        ("added", plan.added),
        ("removed", plan.removed),
        ("changed", changed),
        ("flow", [*plan.attributes, *(f"data.{name} is added" for name in plan.added_data), *kept]),
    ]


def _join(entries: Sequence[str]) -> str:
    shown = ", ".join(entries[:_MAX_SHOWN])
    more = f", and {len(entries) - _MAX_SHOWN} more" if len(entries) > _MAX_SHOWN else ""
    return printable(shown + more)


def _shorten(digest: str | None) -> str:
    return digest[:_DIGEST_LENGTH] if digest else "none"
