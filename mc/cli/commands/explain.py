"""`houston explain`: why a flow does not move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import COUNT, TEXT
from mc.cli.printing.output import count_of, format_time_short, print_json, printable
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.explanation.explanation import Explanation, Reason
    from mc.houston import Houston

__all__ = ["command"]

_LONGEST: Final = 2_000  # characters of a line


@click.command("explain")
@click.argument("key", type=TEXT)
@click.option(
    "--tasks",
    "max_tasks",
    type=click.IntRange(0, COUNT.max),
    default=20,
    show_default=True,
    metavar="N",
    help="Tell of at most N unfinished tasks.",
)
@click.option(
    "--task", "path", type=TEXT, metavar="T", help="Only tell of this task, outer/inner inside others."
)
@common_options
@click.pass_obj
def command(settings: Settings, key: str, max_tasks: int, path: str | None) -> None:
    """Tell why a flow does not move, and what would move it.

    First comes what holds up the flow itself, then what each task waits for: other tasks, a time, a signal,
    an approval, another attempt, or a sub-flow, which is explained in turn. Each answer says what would move
    it, and where a command would, which. Nothing is changed. Times are UTC.
    """
    with settings.open_houston(only_reads=True) as houston:
        if path is None:
            explanation = houston.explain(key, max_tasks=max_tasks)
        else:
            explanation = _explain_task(houston, key, path)
    if settings.as_json:
        print_json(explanation.to_dict())
    else:
        for line in _describe(explanation):
            print(printable(line, _LONGEST))


def _explain_task(houston: Houston, key: str, path: str) -> Explanation:
    """Return the explanation of a flow without what is about other tasks.

    Raises:
        GraphError: there is no such task.
    """
    from mc.flows.calls.task_paths import find_task

    find_task(houston.load(key), path)
    found = houston.explain(key, max_tasks=int(COUNT.max or 0))
    own = [each for each in found.reasons if each.task is None or f"{each.task}/".startswith(f"{path}/")]
    return replace(found, reasons=tuple(own), tasks_not_shown=0)


def _describe(explanation: Explanation, indent: str = "") -> Iterator[str]:
    within = f", inside {explanation.parent_key}" if explanation.parent_key and not indent else ""
    yield f"{indent}{explanation.flow_key} is {explanation.status}{within}"
    for reason in explanation.reasons:
        yield from _describe_reason(reason, f"{indent}  ")
    if explanation.tasks_not_shown:
        yield f"{indent}  and {count_of(explanation.tasks_not_shown, 'more unfinished task')}"
    if explanation.fails_at is not None:
        fails_at = format_time_short(explanation.fails_at.isoformat())
        yield f"{indent}  By its cfg.timeout the flow fails at {fails_at}."


def _describe_reason(reason: Reason, indent: str) -> Iterator[str]:
    task = f"{reason.task}: " if reason.task is not None else ""
    times = [
        f"{word} {format_time_short(time.isoformat())}"
        for word, time in (("since", reason.since), ("until", reason.until))
        if time is not None
    ]
    when = f" ({', '.join(times)})" if times else ""
    yield f"{indent}{task}{reason.text}{when}"
    yield f"{indent}    moved by: {reason.moves}"
    for words in reason.commands:
        yield f"{indent}    $ {words}"
    if reason.sub_flow is not None:
        yield from _describe(reason.sub_flow, f"{indent}    ")
