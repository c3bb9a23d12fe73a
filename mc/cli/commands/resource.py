"""`houston resource`: how much there is of named resources, and who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import count_of, format_time_short, print_json, print_table, printable
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.store.resource_store import ResourceShare, ResourceStatus

__all__ = ["command"]


@click.group("resource")
@common_options
def command() -> None:
    """Say how much there is of named resources, and see who has it.

    Tasks name what they need in cfg.resources and start when all of it is granted at once.
    """


@command.command("set", short_help="Say how much there is of a resource.")
@click.argument("name", type=TEXT)
@click.option("--slots", type=int, metavar="N", help="How many slots tasks may hold at a time.")
@click.option(
    "--rate", type=TEXT, metavar="N/TIME", help="How many may be taken within a time: 10/min, 3/15m."
)
@common_options
@click.pass_obj
def set_resource(settings: Settings, name: str, slots: int | None, rate: str | None) -> None:
    """Say how much there is of a resource, from now on; what is not given is not limited.

    No task is stopped where more slots are held than there are now. Tasks that wait and can have what they
    need become due.
    """
    with settings.open_houston() as houston:
        resource = houston.resources.set(name, slots=slots, rate=rate)
    text = str(resource.rate) if resource.rate is not None else None
    if settings.as_json:
        print_json({"name": resource.name, "slots": resource.slots, "rate": text})
    else:
        limits = [count_of(resource.slots, "slot")] if resource.slots is not None else []
        print(f"{printable(resource.name)}: {', '.join([*limits, *([text] if text else [])])}")


@command.command("list", short_help="List the resources.")
@common_options
@click.pass_obj
def list_resources(settings: Settings) -> None:
    """List the resources with what is held of them and how many tasks wait.

    A resource for which tasks wait, and which nobody has set, is listed as not set.
    """
    with settings.open_houston(only_reads=True) as houston:
        found = houston.resources.list()
    if settings.as_json:
        print_json([_to_dict(status) for status in found])
        return
    rows = [
        (status.name, _slots(status), status.rate or "", str(status.held), str(status.waiting))
        for status in found
    ]
    print_table(("NAME", "SLOTS", "RATE", "HELD", "WAITING"), rows)


@command.command("show", short_help="Show who has a resource and who waits for it.")
@click.argument("name", type=TEXT)
@common_options
@click.pass_obj
def show_resource(settings: Settings, name: str) -> None:
    """Show the tasks that hold a resource, and those that wait for it, those first whose turn comes first."""
    with settings.open_houston(only_reads=True) as houston:
        status = houston.resources.get(name)
    if settings.as_json:
        print_json(status.to_dict())
        return
    rate = f", {status.rate}" if status.rate else ""
    waiting = count_of(status.waiting, "task")
    print(f"{printable(status.name)}: slots {_slots(status)}{rate}; {status.held} held, {waiting} waiting")
    if status.shares:
        print_table(("FLOW", "TASK", "SLOTS", "STATE"), [_to_row(share) for share in status.shares])


@command.command("delete", short_help="Remove a resource that no task has or waits for.")
@click.argument("name", type=TEXT)
@common_options
@click.pass_obj
def delete_resource(settings: Settings, name: str) -> None:
    """Remove a resource; refused while tasks hold it or wait for it."""
    with settings.open_houston(only_reads=True) as houston:
        houston.resources.delete(name)
    if settings.as_json:
        print_json({"name": name, "deleted": True})
    else:
        print(f"deleted {printable(name)}")


def _to_dict(status: ResourceStatus) -> dict[str, object]:
    return {name: value for name, value in status.to_dict().items() if name != "shares"}


def _slots(status: ResourceStatus) -> str:
    if not status.is_set:
        return "not set"
    return str(status.slots) if status.slots is not None else "no limit"


def _to_row(share: ResourceShare) -> tuple[str, ...]:
    if share.granted_at is not None:
        state = f"held since {format_time_short(share.granted_at)}"
    else:
        until = f", asks again at {format_time_short(share.due_at)}" if share.due_at else ""
        state = f"waits since {format_time_short(share.since)}{until}"
    return printable(share.flow_key), printable(share.task_key), str(share.slots), state
