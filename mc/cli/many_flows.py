"""The parts that the commands share by which a person acts on many flows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from mc.cli.errors import describe_error
from mc.cli.exit_codes import ExitCode
from mc.cli.nearest_keys import suggest_keys
from mc.cli.options import sender_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import JsonArray, count_of, format_time_short, print_json, printable
from mc.cli.selection_options import FILTERS, filter_options
from mc.cli.settings import Settings

if TYPE_CHECKING:
    from mc.errors import McError
    from mc.houston import Houston
    from mc.runners.many_flows import FlowOutcome, ManyReport, Tell
    from mc.store.flow_selection import FlowSelection

__all__ = ["Action", "AskedFlows", "act_on_flows", "flows_options"]

_MOST_KEYS: Final = 20  # that are named
_MOST_SUGGESTIONS: Final = 20  # a look at all names takes a while


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFlows:
    """Which flows a person asks for, and how the person wants to be asked.

    Attributes:
        keys: those that are named.
        filters: what the others have in common, as `FlowSelection` takes it.
        yes: do it without a confirmation.
        dry_run: only tell what would be done.
        reason: why, for people.
        by: who asks.
    """

    keys: tuple[str, ...]
    filters: dict[str, Any]
    yes: bool
    dry_run: bool
    reason: str | None
    by: str

    @property
    def is_one(self) -> bool:
        """Whether one flow is named, of which is told as if there were no others."""
        return len(set(self.keys)) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is to be done to flows.

    Attributes:
        name: as a verb, `retry`.
        question: what to ask before it is done to flows that were chosen by filters.
        done: as a participle, `retried`.
        run: does it to the flows that are selected.
        describe: a line on the report of what became of one.
        any_status: it concerns flows of any status, where none is asked for.
        code_if_left: how the command ends where it is not done yet.
        can_be_repeated: filters do not choose again what it was done to.
    """

    name: str
    question: str
    done: str
    run: Callable[[FlowSelection, Tell], ManyReport]
    describe: Callable[[Any], str]
    any_status: bool = False
    code_if_left: ExitCode = ExitCode.DONE
    can_be_repeated: bool = True

    def exit_code_of(self, outcome: FlowOutcome) -> ExitCode:
        """Return how the command ends for a flow to which it could be done."""
        is_left = outcome.report is not None and not outcome.report.done
        return self.code_if_left if is_left else ExitCode.DONE


def flows_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments and options by which flows are chosen; it gets them as `asked`."""

    @wraps(function)
    def with_asked(
        *arguments: Any,
        keys: tuple[str, ...],
        yes: bool,
        dry_run: bool,
        reason: str | None,
        by: str,
        **options: Any,
    ) -> Any:
        filters = {name: options.pop(name) for name in FILTERS}
        asked = AskedFlows(keys=keys, filters=filters, yes=yes, dry_run=dry_run, reason=reason, by=by)
        return function(*arguments, asked=asked, **options)

    parameters = [
        click.argument("keys", type=TEXT, metavar="[FLOW]...", nargs=-1),
        filter_options,
        click.option("--yes", is_flag=True, help="Do it without asking, where flows are chosen by filters."),
        click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done to each."),
        click.option(
            "--reason", type=TEXT, metavar="TEXT", help="Why, for people; kept in the history of each flow."
        ),
        sender_option("Who asks"),
    ]
    decorated: Callable[..., Any] = with_asked
    for parameter in reversed(parameters):
        decorated = parameter(decorated)
    return decorated


def act_on_flows(
    settings: Settings, houston: Houston, stdout: TextIO, asked: AskedFlows, action: Action
) -> ExitCode:
    """Do something to the flows that are asked for, one after the other, and tell what became of each.

    Args:
        settings: of the command.
        houston: on the database.
        stdout: where to tell it.
        asked: which flows.
        action: what to do to them.

    Raises:
        McError: one flow is named, and it cannot be done to that; or flows cannot be chosen so.
        click.UsageError: nobody can be asked whether the flows are meant that were found.
        click.Abort: they are not.
    """
    from mc.runners.many_flows import ManyReport, settle
    from mc.store.flow_selection import FlowSelection

    wanted = FlowSelection(keys=asked.keys, **asked.filters)
    meant = settle(wanted, action.name, houston.store.clock.now(), any_status=action.any_status)
    if asked.is_one:
        return _act_on_one(settings, stdout, meant, action, dry_run=asked.dry_run)
    count = len(meant.named) or houston.count(meant)
    if not count:
        click.echo("No flow is meant; nothing was done.", err=True)
    elif not meant.named and not asked.yes and not asked.dry_run:
        _confirm(meant, action, count)
    if settings.as_json:
        with JsonArray(stdout) as array:
            account = _Account(settings, action, asked.dry_run, ManyReport(), array)
            account.follow(meant, count)
    else:
        account = _Account(settings, action, asked.dry_run, ManyReport())
        account.follow(meant, count)
    return account.exit_code


def _act_on_one(
    settings: Settings, stdout: TextIO, meant: FlowSelection, action: Action, *, dry_run: bool
) -> ExitCode:
    outcomes: list[FlowOutcome] = []
    action.run(meant, outcomes.append)
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    if settings.as_json:
        print_json(outcome.to_dict(), stream=stdout)
    else:
        print(action.describe(outcome.report))
    return ExitCode.DONE if dry_run else action.exit_code_of(outcome)


class _Account:
    """Tells what became of each of several flows and of all, and how the command ends."""

    def __init__(
        self,
        settings: Settings,
        action: Action,
        dry_run: bool,
        report: ManyReport,
        array: JsonArray | None = None,
    ) -> None:
        self.exit_code = ExitCode.DONE
        self._settings = settings
        self._action = action
        self._dry_run = dry_run
        self._array = array
        self._suggestions = _MOST_SUGGESTIONS
        self._told: set[str] = set()
        self._report = report

    def follow(self, meant: FlowSelection, count: int) -> None:
        """Do it to the flows that are meant, and tell of each; of all, unless that is for a program.

        Where it is interrupted, what was not reached is told in any case.
        """
        try:
            self._action.run(meant, self.tell)
        except BaseException:
            if not self._dry_run:
                self._tell_of_the_rest(meant.named, count)
            raise
        if count and self._array is None:
            self._sum_up(count)

    def tell(self, outcome: FlowOutcome) -> None:
        """Write an object, or a line, on one flow."""
        self._report.add(outcome)
        self._told.add(outcome.key)
        document = outcome.to_dict()
        if outcome.error is not None:
            failure = describe_error(self._suggest(outcome.error))
            self.exit_code = max(self.exit_code, failure.exit_code)
            document |= failure.document
            text = failure.text
        else:
            if not self._dry_run:
                self.exit_code = max(self.exit_code, self._action.exit_code_of(outcome))
            text = self._action.describe(outcome.report)
        if self._array is not None:
            self._array.add(document)
        elif outcome.error is not None:
            click.echo(text, err=True)
        else:
            print(text, flush=True)

    def _tell_of_the_rest(self, named: Sequence[str], count: int) -> None:
        """Write to stderr how many were not reached, and which if they were named."""
        self._sum_up(count, "not reached")
        rest = [printable(key) for key in named if key not in self._told]
        parts = [f"The first of these was under way; it may be {self._action.done} all the same."]
        if rest:
            more = f" and {len(rest) - _MOST_KEYS} more" if len(rest) > _MOST_KEYS else ""
            parts.insert(0, f"Not reached: {', '.join(rest[:_MOST_KEYS])}{more}.")
        elif self._action.can_be_repeated:
            parts.append("The same command goes on with the rest.")
        click.echo(" ".join(parts), err=True)

    def _sum_up(self, count: int, not_told_of: str = "changed meanwhile and were left as they are") -> None:
        """Write a line on all of them to stderr."""
        report = self._report
        parts = {
            self._action.done: report.done,
            f"would be {self._action.done}" if self._dry_run else "not yet": report.left,
            "refused": report.refused,
            not_told_of: count - report.flows,
        }
        counts = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
        click.echo(f"{count_of(count, 'flow')}: {counts}", err=True)

    def _suggest(self, error: McError) -> McError:
        if not self._suggestions:
            return error
        self._suggestions -= 1
        return suggest_keys(self._settings, error)


def _confirm(meant: FlowSelection, action: Action, count: int) -> None:
    which = f"{count_of(count, 'flow')} {_describe(meant)}"
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"{which}: nothing was done, because nobody can be asked here. Add --yes to {action.name} "
            f"them, or --dry-run to see which they are."
        )
    click.confirm(f"{which}: {action.question}?", abort=True, err=True)


def _describe(meant: FlowSelection) -> str:
    parts = []
    if meant.statuses:
        parts.append(f"with status {' or '.join(meant.statuses)}")
    if meant.label is not None:
        parts.append(f"with label {printable(meant.label)!r}")
    if meant.prefix is not None:
        parts.append(f"with keys that begin with {printable(meant.prefix)!r}")
    for word, time in (("since", meant.since), ("before", meant.until)):
        if time is not None:
            parts.append(f"{meant.time} {word} {format_time_short(time)} UTC")
    return ", ".join(parts)
