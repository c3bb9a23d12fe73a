"""`houston run`: store a flow and tick it to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.kept_process import KeptProcess
from mc.cli.options import (
    common_options,
    lease_option,
    max_seconds_option,
    outage_option,
    spec_options,
    threads_option,
)
from mc.cli.printing.output import format_counts, print_json, printable, stdout_for_json, to_json_text
from mc.cli.printing.progress import Progress, make_progress
from mc.cli.printing.stop_notice import StopNotice
from mc.cli.settings import Settings
from mc.cli.spec_source import spec_of
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task
    from mc.houston import Houston, Submission

__all__ = ["command"]

_MOST_JOBS = 50  # whose progress is looked at
_MOST_FANS = 100  # stored flows that are taken up; nobody looks at more
_LONGEST_VALUE = 2_000  # characters of the results, for people
_HOW_TO_GO_ON = "`houston tick` goes on with it, and so does the same run with `--key`."


@click.command("run")
@spec_options
@max_seconds_option("later ticks go on with the flow.")
@threads_option
@lease_option
@outage_option
@common_options
@click.pass_obj
def command(
    settings: Settings,
    spec: str,
    key: str | None,
    data: dict[str, Any],
    max_seconds: float | None,
    threads: int,
    lease_seconds: float,
    outage_seconds: float,
) -> int:
    """Store a flow and tick it to its end.

    SPEC is a JSON or YAML file, or - for stdin.
    A flow of the same key, made from the same spec and data, is not
    begun again: it goes on where it stood. Ctrl-C stops after the task that runs, a second one at once; what
    was done is saved.
    """
    from mc.cli.printing.log_output import some_failures  # of which the progress and the outcome tell

    progress = make_progress(silent=settings.as_json)
    with (
        stdout_for_json(settings.as_json),
        KeptProcess() as kept,
        settings.open_houston(
            with_handlers=True,
            observers=(kept, progress),
            lease_seconds=lease_seconds,
            outage_seconds=outage_seconds,
            threads=threads,
        ) as houston,
    ):
        with spec_of(spec) as value:
            submission = houston.submit_once(value, data, key=key)
        if progress.counts_fans:
            progress.expect_loops(value)
            progress.watch_jobs(lambda: houston.store.jobs.list_running(submission.key, _MOST_JOBS))
        _announce(settings, submission)
        houston.runner.on_stop_signal = StopNotice(houston.runner, progress.notify)
        try:
            with progress.following(submission.key), some_failures(0, count_rest=False):
                if progress.counts_fans and not submission.created:
                    _take_up(houston, submission.key, progress)
                flow = houston.runner.run_flow(submission.key, max_seconds=max_seconds)
        except KeyboardInterrupt:
            click.echo(f"Interrupted. Flow {printable(submission.key)} is saved; {_HOW_TO_GO_ON}", err=True)
            return ExitCode.INTERRUPTED
    if settings.as_json:
        print_json(_to_dict(flow))
    else:
        _print_outcome(flow)
    return _exit_code_of(flow)


def _announce(settings: Settings, submission: Submission) -> None:
    if settings.as_json:
        return
    key = printable(submission.key)
    print(f"flow {key}" if submission.created else f"flow {key} (stored before)")


def _take_up(houston: Houston, key: str, progress: Progress) -> None:
    """Let the sub-flows of a flow be followed from where they stand."""
    from mc.flows.controls.inside import living_inside
    from mc.flows.flow import Flow
    from mc.store.flow_selection import FlowSelection

    family = FlowSelection(status="RUNNING", family_of=key, sub_flows=True)
    below = (each.key for each in houston.store.select(family).read(_MOST_FANS) if each.key != key)
    flows = [houston.load(each) for each in (key, *below)]
    while flows:
        flow = flows.pop()
        progress.take_up(flow.key, flow.count_tasks())
        for task in flow.filter_tasks(_is_unfinished):
            inside = living_inside(flow.state, task)
            if inside is not None:
                flows.append(Flow.from_state(inside))


def _is_unfinished(task: Task) -> bool:
    return task["status"] not in FINISHED_TASK_STATUSES  # a task that is retried is PENDING


def _to_dict(flow: Flow) -> dict[str, Any]:
    return {
        "key": flow.key,
        "status": flow.status,
        "tasks": flow.count_tasks(),
        "results": flow.results,
        "errors": list(_find_errors(flow)),
    }


def _find_errors(flow: Flow) -> Iterator[dict[str, Any]]:
    if flow.status == "BLOCKED":
        yield {"task": None, "type": "FlowBlocked", "message": flow.blocked_reason}
    if flow.error:
        yield {"task": None, "type": flow.error.get("type"), "message": flow.error.get("message")}
    for task in flow.get_tasks_by_status("FAILED"):
        error = task.get("error") or {}
        yield {"task": task["key"], "type": error.get("type"), "message": error.get("message")}


def _print_outcome(flow: Flow) -> None:
    print(f"flow {printable(flow.key)} is {flow.status}; tasks: {format_counts(flow.count_tasks())}")
    if flow.results is not None:
        print(f"results: {printable(to_json_text(flow.results), _LONGEST_VALUE)}")
    if flow.status == "FAILED":
        from mc.runners.flow_failure import FlowFailure

        print(f"failure: {printable(flow.describe_failure() or 'no reason given', _LONGEST_VALUE)}")
        print(f"to see more: {printable(FlowFailure.of_failed(flow).command)}")
    elif flow.status == "BLOCKED":
        print(f"blocked: {printable(flow.blocked_reason or 'no reason given', _LONGEST_VALUE)}")
        print("It is saved, and no tick moves it any more.")
    elif flow.status not in FINISHED_FLOW_STATUSES:
        print(f"It is saved; {_HOW_TO_GO_ON}")


def _exit_code_of(flow: Flow) -> ExitCode:
    if flow.status == "COMPLETED":
        return ExitCode.DONE
    if flow.status == "BLOCKED" or flow.status in FINISHED_FLOW_STATUSES:
        return ExitCode.FLOW_FAILED
    return ExitCode.UNFINISHED
