"""`houston history`: what happened to one flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mc.cli.options import common_options, local_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.error_records import describe_error_record
from mc.cli.printing.output import (
    format_time_short,
    print_json,
    print_table,
    printable,
    show_seconds,
    to_json_text,
)
from mc.cli.settings import Settings
from mc.durations import format_time, seconds_between
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.houston import Houston
    from mc.store.event import Event

__all__ = ["command"]

_LONGEST_NOTE: Final = 300  # characters
_ENDS: Final = FINISHED_TASK_STATUSES | {"PENDING"}  # another attempt follows


@click.command("history")
@click.argument("key", type=TEXT)
@click.option(
    "--task",
    "task_key",
    type=TEXT,
    metavar="T",
    help="Only what happened to this task, outer/inner inside others.",
)
@local_option
@common_options
@click.pass_obj
def command(settings: Settings, key: str, task_key: str | None) -> None:
    """Show what happened to one flow, in order.

    Each change of a status is told with the attempt of the task, the runner that made it (BY), and the error
    where there is one. Times are UTC unless --local asks for those of this machine. With --json, an array of
    events is printed, with all that is known.
    """
    with settings.open_houston(only_reads=True) as houston:
        events = houston.history(key)
        if task_key is not None:
            events = _only_task(houston, key, task_key, events)
    if settings.as_json:
        print_json([{**event.to_dict(), "seconds": seconds} for event, seconds in _with_seconds(events)])
    else:
        headings = ("TIME", "TASK", "ATTEMPT", "WHAT", "DURATION", "BY", "NOTE")
        print_table(headings, [_to_row(*each) for each in _with_seconds(events)])


def _with_seconds(events: Sequence[Event]) -> Iterator[tuple[Event, float | None]]:
    """Yield events, those that end an attempt, or the flow, with how long it took."""
    begun: dict[tuple[str | None, int], str] = {}
    for event in events:
        place, at = (event.task_key, event.attempt), format_time(event.at)
        seconds = None
        if event.new_status == "RUNNING":
            begun.setdefault(place, at)
        elif event.new_status in _ENDS and event.old_status in ("RUNNING", "WAITING"):
            seconds = seconds_between(begun.pop(place, None), at)
        yield event, seconds


def _only_task(houston: Houston, key: str, task_key: str, events: Sequence[Event]) -> Sequence[Event]:
    """Return the events of one task; none happened yet to a task that has not begun.

    Raises:
        GraphError: the flow has no such task.
    """
    found = [
        event
        for event in events
        if event.task_key == task_key or task_key in (event.detail or {}).get("tasks", ())
    ]
    if not found:
        from mc.flows.calls.task_paths import find_task

        find_task(houston.load(key), task_key)
    return found


def _to_row(event: Event, seconds: float | None) -> tuple[str, ...]:
    return (
        format_time_short(event.at),
        event.task_key or "(flow)",
        str(event.attempt or ""),
        _describe(event),
        show_seconds(seconds),
        event.owner or "",
        _note(event),
    )


def _describe(event: Event) -> str:
    kind = str(event.kind).replace("_", " ")
    if event.new_status is None:
        return kind
    change = f"{event.old_status} -> {event.new_status}" if event.old_status else event.new_status
    return change if kind in ("changed", "inside", "lost") else f"{kind}: {change}"


def _note(event: Event) -> str:
    if event.error is not None:
        return describe_error_record(event.error, _LONGEST_NOTE)
    return printable(_describe_detail(event), _LONGEST_NOTE)


def _describe_detail(event: Event) -> str:
    detail = event.detail
    if detail is None:
        return ""
    if "control" in detail:
        return _control_note(detail)
    if "new_digest" in detail:
        return _describe_migration(detail)
    if "reason" in detail:
        return str(detail["reason"])
    if "signal" in detail:
        sender = f" from {detail['by']}" if detail.get("by") and event.kind == "signal_sent" else ""
        return f"{detail['signal']}{sender}"
    if "approved" in detail:
        word = "approved" if detail["approved"] else "rejected"
        comment = f": {detail['comment']}" if detail.get("comment") else ""
        return f"{detail.get('task')} {word} by {detail.get('by')}{comment}"
    if "pid" in detail:
        runner = f"{detail['runner']} on {detail['host']} (process {detail['pid']})"
        return f"called since {format_time_short(detail['since'])} by {runner}; its outcome is not known"
    if "job_key" in detail:
        return f"of job {detail['job_key']}, which had done the same"
    if "from" in detail:
        return f"from {detail['from']}, whose lease had run out"
    return to_json_text(detail)


def _control_note(detail: Mapping[str, Any]) -> str:
    about = [*detail.get("tasks", ())]
    about += [f"{name} {to_json_text(detail[name])}" for name in ("data", "params") if name in detail]
    about += [
        f"{name.replace('_', ' ')} {detail[name]}" for name in ("new_flow", "of_flow") if name in detail
    ]
    what = " ".join([str(detail["control"]), ", ".join(about)]).strip()
    because = detail.get("why") or detail.get("reason")
    return f"{what}, by {detail.get('by')}{f': {because}' if because else ''}"


def _describe_migration(detail: dict[str, Any]) -> str:
    words = ("added", "removed", "changed")
    tasks = [f"{len(detail[word])} {word}" for word in words if detail.get(word)]
    sender = f"by {detail['by']}" if detail.get("by") else ""
    why = ": ".join(filter(None, [sender, detail.get("reason")]))
    return "; ".join(filter(None, [why, ", ".join(tasks)]))
