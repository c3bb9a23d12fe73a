"""`houston plan`: show what a spec says of its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mc.cli.options import common_options, data_option
from mc.cli.printing.output import count_of, print_json, print_table, printable, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import spec_of

if TYPE_CHECKING:
    from mc.spec.planning.plan import FlowPlan, SubFlowPlan
    from mc.spec.planning.plan_findings import PlanFinding

__all__ = ["command"]

_NOTES = {  # of tasks that are more than one call
    "inside": "items in turn",
    "own flow": "any runner",
    "own flows": "items shared",
}
_MOST_NAMED = 20  # tasks of a path that are named to people


@click.command("plan")
@click.argument("spec")
@data_option
@common_options
@click.pass_obj
def command(settings: Settings, spec: str, data: dict[str, Any]) -> None:
    """Show the order, the critical path and the dead ends of a spec.

    SPEC is a JSON or YAML file, or - for stdin.
    Shown are the tasks by rank, the path that takes longest, how many
    tasks can be under way at the same time, tasks that can never start, conditions that are always true or
    false, and references to data that nobody writes. Nothing is run or stored, and no database is opened.
    """
    from mc.spec.planning.plan import plan_flow_spec

    with stdout_for_json(settings.as_json):
        registry = settings.make_registry()
        with spec_of(spec) as value:
            plan = plan_flow_spec(value, data, task_types=registry)
    if settings.as_json:
        print_json(plan.to_dict())
    else:
        _print_for_people(plan)


def _print_for_people(plan: FlowPlan) -> None:
    for at, flow in enumerate(plan.flows):
        if at:
            print(f"\nsub-flow of {printable('/'.join(flow.path))}")
        _print_flow(flow)
    if plan.inputs:
        print(f"\nneeds data: {printable(', '.join(plan.inputs))}")
    if plan.not_interrupted:
        names = printable(", ".join(plan.not_interrupted))
        print(f"\ntimeouts that interrupt no call, but fail it when it ends: {names}")
    for finding in plan.findings:
        print(f"\n{_describe(finding)}")
    print(f"\n{count_of(len(plan.findings), 'finding')}")


def _print_flow(flow: SubFlowPlan) -> None:
    from mc.durations import format_duration

    rows = [
        [
            str(task.rank),
            task.key,
            task.task_type,
            ", ".join(task.precursors[:3]) + (", ..." if len(task.precursors) > 3 else ""),
            format_duration(task.seconds) if task.seconds else "",
            "" if task.can_run else "never runs",
        ]
        for task in flow.tasks
    ]
    print_table(["rank", "task", "type", "after", "takes", ""], rows, droppable=["after", "type"])
    path = list(flow.critical_path)
    if len(path) > _MOST_NAMED:
        half = _MOST_NAMED // 2
        path = [*path[:half], f"... ({len(path) - _MOST_NAMED} more)", *path[-half:]]
    takes = f", {format_duration(flow.seconds)}" if flow.seconds else ""
    print(
        f"critical path  {printable(' -> '.join(path))} ({count_of(len(flow.critical_path), 'task')}{takes})"
    )
    limit = f"; {flow.max_running} with max_running_tasks" if flow.max_running < flow.width else ""
    print(f"width          {flow.width} at the same time{limit}")
    if flow.in_turn > 1:
        print(
            f"one runner     calls {flow.in_turn} of them in turn, side by side only where handlers are async"
        )
    for task in flow.tasks:
        if task.runs in _NOTES and (task.runs != "inside" or task.task_type == "spread"):
            print(f"{_NOTES[task.runs]:<15}{printable(task.key)}")
        if task.limits:
            limits = ", ".join(f"{name} {limit}" for name, limit in task.limits.items())
            print(f"{'limits':<15}{printable(f'{task.key}: {limits}')}")


def _describe(finding: PlanFinding) -> str:
    text = f"{finding.kind}: {printable(finding.message)}\n  at {printable(finding.pointer)}"
    if finding.given:
        text += f"\n  as long as nothing else is given: {printable(', '.join(finding.given))}"
    return text
