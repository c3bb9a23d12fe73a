"""`houston show`: one flow and its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from mc.cli.options import common_options, local_option, task_status_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.error_records import describe_error_record
from mc.cli.printing.job_notes import print_last_lines, with_jobs
from mc.cli.printing.output import (
    format_counts,
    format_time_short,
    print_json,
    print_table,
    printable,
    show_seconds,
    to_json_text,
)
from mc.cli.settings import Settings
from mc.durations import seconds_between
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from datetime import datetime

    from mc.flows.calls.call_note import CallNote
    from mc.flows.flow import Flow, Task
    from mc.flows.state.flow_state import FlowState
    from mc.flows.state.under_way import UnderWay
    from mc.jobs.jobs import Jobs
    from mc.store.flow_summary import FlowSummary

__all__ = ["command"]

_LIVE_JOBS = ("PENDING", "SUBMITTED", "RUNNING")
_MOST_JOBS = 500  # of which the notes tell
_MOST_WAITS = 20
_LONGEST_VALUE = 500  # characters of an error message or of the results


@click.command("show")
@click.argument("key", type=TEXT)
@click.option(
    "--graph",
    type=click.Choice(["text", "mermaid", "dot"]),
    help="Draw the graph: as text, for Mermaid, or for Graphviz.",
)
@click.option(
    "--task", "path", type=TEXT, metavar="T", help="Show all of one task, outer/inner inside others."
)
@task_status_option("List only the tasks with this status; may be given several times.")
@local_option
@common_options
@click.pass_obj
def command(
    settings: Settings, key: str, graph: str | None, path: str | None, statuses: tuple[str, ...]
) -> None:
    """Show one flow and its tasks.

    Tasks inside of others are listed by path; where there are more than 20, how many have which status. Of a
    task that waits for a job it is told how far the job is, and of the first job that failed its last lines.
    Times are UTC unless --local asks for those of this machine. With --json, the flow dict is printed with
    durations, or the task dict.
    """
    if statuses and (path is not None or graph is not None or settings.as_json):
        raise click.UsageError(
            "--status chooses rows of the table of tasks; leave out --task, --graph, --json."
        )
    with settings.open_houston(only_reads=True) as houston:
        houston.store.read_result = _read_or_tell(houston.store.read_result)
        flow, summary = houston.load(key), houston.summary(key)
        if summary.calls:
            from mc.cli.printing.calls import lay_over

            lay_over(flow, summary.calls)
        if path is not None:
            from mc.cli.printing.task_output import print_task

            print_task(flow, path, summary.calls, houston.jobs, as_json=settings.as_json)
        elif graph is not None:
            _print_graph(flow, graph, as_json=settings.as_json)
        elif settings.as_json:
            print_json(_to_dict(flow, summary), indent=2)
        else:
            _print_for_people(flow, summary, statuses, houston.jobs, houston.store.clock.now())


def _read_or_tell(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a reader of large results that tells what cannot be read, instead of raising an error."""

    def read_or_tell(reference: str) -> Any:
        from mc.jobs.large_results import ResultUnreadableError

        try:
            return read(reference)
        except ResultUnreadableError as error:
            return {"unreadable": reference, "reason": error.message}

    return read_or_tell


def _print_graph(flow: Flow, name: str, *, as_json: bool) -> None:
    from mc.cli.printing.graph_drawing import GRAPH_FORMATS

    drawing = GRAPH_FORMATS[name](flow)
    if as_json:
        print_json({"key": flow.key, "format": name, "graph": drawing})
    else:
        print(drawing)


def _print_for_people(
    flow: Flow, summary: FlowSummary, statuses: Sequence[str], jobs: Jobs, now: datetime
) -> None:
    for name, value in _describe(flow, summary):
        print(f"{name:<9} {printable(value)}")
    rows = [row for task in flow.filter_tasks() for row in _to_rows(flow.state, task, task["key"], statuses)]
    if summary.calls and (not statuses or "RUNNING" in statuses):
        rows = _with_calls(rows, summary.calls, now)
    if flow.status not in FINISHED_FLOW_STATUSES:
        rows = with_jobs(rows, jobs.list(flow_key=flow.key, statuses=_LIVE_JOBS, limit=_MOST_JOBS))
    if rows:
        print()
        headings = ("TASK", "TYPE", "STATUS", "ATTEMPT", "DURATION", "NOTE")
        print_table(headings, rows)
    failed = {row[0] for row in rows if "FAILED" in row}
    if failed:
        _print_end_of_failed_job(flow.key, failed, jobs)


def _print_end_of_failed_job(flow_key: str, failed: Collection[str], jobs: Jobs) -> None:
    """Print the last lines of the job of the first task that failed, if it had one.

    Args:
        flow_key: of the flow.
        failed: paths of the tasks that are FAILED.
        jobs: of the application.
    """
    found = jobs.list(flow_key=flow_key, statuses=("FAILED", "LOST"), limit=_MOST_JOBS)
    newest = {record.job.task_path: record for record in reversed(found)}
    of_failed = [record for path, record in newest.items() if path in failed]
    if of_failed:
        first = min(of_failed, key=lambda record: record.finished_at or record.created_at)
        print_last_lines(jobs, first, of_whom=f" of {first.job.task_path}, attempt {first.job.attempt}")


def _with_calls(
    rows: list[tuple[str, ...]], calls: Sequence[CallNote], now: datetime
) -> list[tuple[str, ...]]:
    """Return the rows of tasks, those that are called with who does it, and since when."""
    from mc.cli.printing.calls import call_row

    for call in calls:
        places = [idx for idx, row in enumerate(rows) if row[0] == call.task]
        if places:
            rows[places[0]] = call_row(call, now)
        else:  # what it is inside of was not saved yet, or holds more than are listed
            around = [idx for idx, row in enumerate(rows) if call.task.startswith(f"{row[0]}/")]
            rows.insert(around[-1] + 1 if around else len(rows), call_row(call, now))
    return rows


def _to_dict(flow: Flow, summary: FlowSummary) -> dict[str, Any]:
    flow_dict = flow.to_flow_dict()
    flow_dict["calls"] = [call.to_dict() for call in summary.calls]
    flow_dict["seconds"] = seconds_between(flow.started_at, flow.finished_at)
    flow_dict["task_seconds"] = {task["key"]: _seconds_of(task) for task in flow.filter_tasks()}
    return flow_dict


def _seconds_of(task: Task) -> float | None:
    """Return how long the last attempt of a finished task took, one that waited included."""
    return seconds_between(task.get("started_at"), task.get("finished_at"))


def _describe(flow: Flow, summary: FlowSummary) -> Iterator[tuple[str, str]]:
    yield "flow", flow.key
    if flow.label:
        yield "label", flow.label
    if flow.description:
        yield "about", flow.description
    yield "status", flow.status
    yield "tasks", format_counts(flow.count_tasks())
    times = {
        "created": summary.created_at,
        "started": flow.started_at,
        "modified": summary.modified_at,
        "finished": flow.finished_at,
        "next tick": summary.next_tick_at,
    }
    for name, time in times.items():
        if time:
            yield name, format_time_short(time)
    seconds = seconds_between(flow.started_at, flow.finished_at)
    if seconds is not None:
        yield "took", show_seconds(seconds)
    yield from _describe_waits(flow)
    if flow.parent_key:
        yield "parent", flow.parent_key
    if flow.blocked_reason:
        yield "blocked", flow.blocked_reason
    failure = flow.describe_failure() if flow.status == "FAILED" else None
    if failure:
        yield "failure", _cut(failure)
    if flow.results is not None:
        yield "results", _cut(to_json_text(flow.results))


def _describe_waits(flow: Flow) -> Iterator[tuple[str, str]]:
    """Yield the signals and approvals that the flow waits for, and the signals that nobody took."""
    from mc.flows.signals.waits import find_waits

    waits = find_waits(flow) if flow.status not in FINISHED_FLOW_STATUSES else []
    for wait in waits[:_MOST_WAITS]:
        yield "waits for", _cut(describe_wait(wait))
    if len(waits) > _MOST_WAITS:
        yield "waits for", f"and {len(waits) - _MOST_WAITS} more"
    names = Counter(signal.name for signal in flow.mailbox if not signal.name.startswith("mc."))
    if names:
        shown = ", ".join(f"{count} {name}" for name, count in names.items())
        yield "signals", _cut(f"{shown}; no task has taken them")


def describe_wait(wait: UnderWay) -> str:
    """Return what a task waits for, in a phrase."""
    task, waits_for = wait.task, wait.task["waits_for"]
    until = f", until {format_time_short(waits_for['until'])}" if waits_for.get("until") else ""
    path = "/".join(wait.path)
    if str(waits_for.get("signal")).startswith("mc."):
        approvers = task["task_params"].get("approvers")
        who = f" by {' or '.join(map(str, approvers))}" if approvers else ""
        message = task["task_params"].get("message")
        asked = f": {message if isinstance(message, str) else to_json_text(message)}" if message else ""
        return f"approval of {path}{who}{until}{asked}"
    return f"signal {waits_for.get('signal')} in {path}{until}"


def _to_rows(state: FlowState, task: Task, path: str, statuses: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the row of a task, and those of the tasks inside of it; of many only those that are asked for."""
    from mc.cli.printing.task_output import MOST_INSIDE
    from mc.flows.calls.failed_task import inner_tasks

    if not statuses or task["status"] in statuses:
        yield _to_row(state, task, path)
    inside = inner_tasks(state, task)
    if len(inside) > MOST_INSIDE and not statuses:
        counts = format_counts(Counter(str(each["status"]) for _, each in inside.values()))
        yield f"{path}/...", "", "", "", "", f"{counts}; --status lists those with a status"
        return
    for key, (below, each) in inside.items():
        yield from _to_rows(below, each, f"{path}/{key}", statuses)


def _to_row(state: FlowState, task: Task, path: str) -> tuple[str, ...]:
    from mc.flows.calls.item_task import as_item

    shown = as_item(task)
    return (
        path,
        str(shown.get("task_type", "")),
        str(task["status"]),
        str(shown.get("attempt") or ""),
        show_seconds(_seconds_of(shown)),
        _note(state, task),
    )


def _note(state: FlowState, task: Task) -> str:
    from mc.flows.calls.failed_task import find_inner_failure
    from mc.flows.resources.requests import was_refused

    error: dict[str, Any] = task.get("error") or {}
    if error:
        return describe_error_record(error, _LONGEST_VALUE, find_inner_failure(state, task)[1])
    if task["status"] in ("WAITING", "PENDING") and was_refused(task):
        until = f", until {format_time_short(task['next_tick_at'])}" if task.get("next_tick_at") else ""
        return _cut(f"waits for {', '.join(task['resource_claim'].get('lacking') or [])}{until}")
    if task["status"] in ("WAITING", "PENDING") and task.get("next_tick_at"):
        return f"until {format_time_short(task['next_tick_at'])}"
    awaited = (task.get("data") or {}).get("flow_key") if task["status"] == "WAITING" else None
    if awaited:
        return _cut(f"waits for flow {awaited}")
    return _cut(_why_skipped(task)) if task["status"] == "SKIPPED" else ""


def _why_skipped(task: Task) -> str:
    from mc.flows.state.start_rules import failure_behind

    by, cause = task.get("skipped_by"), failure_behind(str(task["key"]), "SKIPPED", task)
    if isinstance(by, dict):
        return f"skipped by {by.get('by')}" + (f": {by['reason']}" if by.get("reason") else "")
    return f"skipped for {cause.get('task')}, which is {cause['status']}" if cause else ""


def _cut(text: str) -> str:
    return printable(text, _LONGEST_VALUE)
