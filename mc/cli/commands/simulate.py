"""`houston simulate`: run a spec on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import RenamedOption, common_options, data_option
from mc.cli.parameter_types import COUNT, DurationType
from mc.cli.printing.output import format_counts, print_json, print_table, printable, to_json_text
from mc.cli.settings import Settings
from mc.cli.spec_source import read_spec

if TYPE_CHECKING:
    from mc.simulation.simulation import Simulation
    from mc.simulation.timeline import TimelineEntry

__all__ = ["command"]

_LONGEST_VALUE = 2_000  # characters of the results, for people
_LONGEST_EVENT = 200


@click.command("simulate")
@click.argument("spec")
@click.option(
    "--script",
    "script_file",
    cls=RenamedOption,
    old_name="--outcomes",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=False),
    help="A JSON or YAML file: what tasks come to, and what signals and decisions come when.",
)
@click.option(
    "--until", type=DurationType(), metavar="DURATION", help="Stop at that time after the start, such as 30d."
)
@click.option(
    "--max-ticks",
    type=COUNT,
    metavar="N",
    default=20_000,
    show_default=True,
    help="Stop after N ticks, or 1,000 retries, as the flow may never end.",
)
@data_option
@common_options
@click.pass_obj
def command(
    settings: Settings,
    spec: str,
    script_file: str | None,
    until: timedelta | None,
    max_ticks: int,
    data: dict[str, Any],
) -> int:
    """Run a spec on a clock of its own, with scripted results.

    SPEC is a JSON or YAML file, or - for stdin.
    The engine is the real one, in memory; nothing of your code is
    imported or called, nothing is stored, and no time passes. A task comes to the result that the script has
    for it; without that, `call`, `print`, `log` and types that are not built in complete at once with the
    data of the spec. The simulation ends with the flow, or where only something from outside can move it.
    """
    from mc.flows.converters import ANY_TASK_TYPE
    from mc.simulation.script import read_script
    from mc.simulation.simulation import simulate_flow
    from mc.spec.reading.reading import read_spec_file
    from mc.spec.validation import validate_flow_spec

    flow_spec = read_spec(spec)
    if script_file is None:
        script = None
    else:
        validate_flow_spec(flow_spec, task_types=ANY_TASK_TYPE)  # the simulation checks the types
        script = read_script(read_spec_file(script_file), flow_spec)
    seconds = until.total_seconds() if until is not None else None
    simulation = simulate_flow(flow_spec, script, data, max_seconds=seconds, max_ticks=max_ticks)
    if settings.as_json:
        print_json(simulation.to_dict())
    else:
        _print_for_people(simulation)
    return _exit_code_of(simulation)


def _exit_code_of(simulation: Simulation) -> ExitCode:
    if simulation.flow.status == "COMPLETED":
        return ExitCode.DONE
    return ExitCode.FLOW_FAILED if str(simulation.ending) == "finished" else ExitCode.UNFINISHED


def _print_for_people(simulation: Simulation) -> None:
    rows = list(_shorten_timeline(simulation))
    print_table(["after", "task", "what"], rows)
    flow = simulation.flow
    took = _show_seconds((simulation.ended_at - simulation.started_at).total_seconds())
    print(f"{_describe_ending(simulation)} after {took}; tasks: {format_counts(flow.count_tasks())}")
    for wait in simulation.waits:
        until = f" until {_show_seconds(simulation.seconds_at(wait.until))}" if wait.until else ""
        print(f"waits: {printable(wait.task)} for {printable(wait.waits_for)}{until}")
    if flow.results is not None:
        print(f"results: {printable(to_json_text(flow.results), _LONGEST_VALUE)}")
    if flow.status == "FAILED":
        print(f"failure: {printable(flow.describe_failure() or 'no reason given', _LONGEST_VALUE)}")
        if simulation.stood_in:
            print("What tasks leave that are not run is said by --script.")
    if simulation.stood_in:
        counted = ", ".join(f"{name} ({count})" for name, count in simulation.stood_in.items())
        print(f"not run, completed with the data of the spec: {printable(counted)}")
    for name in simulation.unused:
        print(f"unused: {printable(name)}")


def _describe_ending(simulation: Simulation) -> str:
    status = simulation.flow.status
    return {
        "finished": f"the flow is {status}",
        "waiting": f"the flow is {status} and waits for what never comes,",
        "time": f"the flow is {status}, and the time is up",
        "endless": f"the flow is {status} and was stopped, as it may never end,",
    }[str(simulation.ending)]


def _shorten_timeline(simulation: Simulation) -> Iterator[list[str]]:
    """Yield the rows of the timeline; what starts and goes on at the same moment takes one row."""
    entries = [entry for entry in simulation.timeline if entry.task is not None or not entry.old_status]
    following: dict[tuple[str | None, str], list[TimelineEntry]] = {}
    for entry in entries:
        following.setdefault((entry.task, entry.at), []).append(entry)
    for entry in entries:
        same = following[entry.task, entry.at]
        if entry.event == "RUNNING" and same[-1] is not entry:
            continue
        yield [_show_seconds(simulation.seconds_at(entry.at)), entry.task or "", _describe(entry)]


def _describe(entry: TimelineEntry) -> str:
    attempt = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
    reason = ""
    if entry.error:
        reason = f": {entry.error.get('type')}: {entry.error.get('message')}"[:_LONGEST_EVENT]
    if entry.old_status is None:
        return f"{entry.event}{' was refused' if entry.error else ''}{reason}"
    if entry.event == "PENDING":
        return f"failed, to be tried again{attempt}{reason}"
    if entry.event == "RUNNING" and entry.old_status == "WAITING":
        return f"goes on{attempt}"
    return f"{entry.event}{attempt}{reason}"


def _show_seconds(seconds: float) -> str:
    from mc.durations import format_duration

    return f"+{format_duration(seconds)}"
