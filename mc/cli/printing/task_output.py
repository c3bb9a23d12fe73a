"""One task as `houston show --task` prints it: all that is known, with whole tracebacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from mc.cli.printing.error_records import trace_lines
from mc.cli.printing.job_notes import describe_job, print_last_lines
from mc.cli.printing.output import format_counts, format_time_short, print_json, printable, to_json_text
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.calls.item_task import as_item, flow_of_item
from mc.flows.calls.task_paths import find_task
from mc.flows.formats.flow_dict import task_to_dict

if TYPE_CHECKING:
    from mc.flows.calls.call_note import CallNote
    from mc.flows.flow import Flow, Task
    from mc.flows.state.flow_state import FlowState
    from mc.jobs.jobs import Jobs

__all__ = ["MOST_INSIDE", "print_task"]

MOST_INSIDE: Final = 20  # tasks inside of a task; of more it is told how many have which status
_VALUES: Final = {"task_params": "params", "data": "data", "cfg": "cfg"}
_LONGEST_VALUE: Final = 4_000  # characters


def print_task(flow: Flow, path: str, calls: Sequence[CallNote], jobs: Jobs, *, as_json: bool) -> None:
    """Print one task.

    Args:
        flow: that it is in.
        path: its key, or `outer/inner` for a task inside of others.
        calls: that are made of the flow's tasks.
        jobs: of the application.
        as_json: print the task dict.

    Raises:
        GraphError: there is no such task.
    """
    state, task = find_task(flow, path)
    if as_json:
        own = [call.to_dict() for call in calls if call.task == path]
        print_json({**task_to_dict(state, task), "calls": own}, indent=2)
        return
    item_flow, task = flow_of_item(task), as_item(task)
    for name, value in _describe(state, task, path, item_flow):
        print(f"{name:<9} {printable(value, _LONGEST_VALUE)}")
    for call in calls:
        if call.task == path:
            from mc.cli.printing.calls import describe_call

            print(f"{'call':<9} {printable(describe_call(call))}")
    found = jobs.list(flow_key=flow.key, task=path, limit=1)
    for record in found:
        note = describe_job(record) if not record.has_ended else ""
        words = f"{record.job.key}, {record.status} on {record.job.executor}{f': {note}' if note else ''}"
        print(f"{'job':<9} {printable(words)}")
    for attempt in task.get("attempts") or ():
        _print_error(f"attempt {attempt.get('attempt')}", attempt.get("error"))
    _print_error(f"attempt {task.get('attempt') or 1}", task.get("error"))
    for record in found:
        if task.get("status") == "FAILED" and record.status in ("FAILED", "LOST"):
            print_last_lines(jobs, record)


def _describe(state: FlowState, task: Task, path: str, item_flow: str | None) -> Iterator[tuple[str, str]]:
    yield "task", path
    if item_flow:
        yield "flow", item_flow
    yield "type", str(task.get("task_type", ""))
    yield "status", str(task.get("status"))
    if task.get("attempt"):
        yield "attempt", str(task["attempt"])
    for name in ("started_at", "finished_at", "next_tick_at"):
        if task.get(name):
            yield name.removesuffix("_at").replace("_", " "), format_time_short(task[name])
    for name, word in _VALUES.items():
        if task.get(name):
            yield word, to_json_text(task[name])
    inside = inner_tasks(state, task)
    if len(inside) > MOST_INSIDE:
        yield "inside", format_counts(Counter(str(each.get("status")) for _, each in inside.values()))
    elif inside:
        yield "inside", ", ".join(f"{key} {each.get('status')}" for key, (_, each) in inside.items())


def _print_error(title: str, error: dict[str, Any] | None) -> None:
    if error:
        print(f"\n{title}, {format_time_short(error.get('at'))}:")
        for line in trace_lines(error):
            print(f"  {line}")
