"""Validation: everything that is wrong with a flow spec."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container
from dataclasses import replace
from typing import Any, NamedTuple

from mc.errors import Problem, SpecError
from mc.spec.checks.graph import check_graph
from mc.spec.checks.placement import check_placement
from mc.spec.checks.references import check_references
from mc.spec.checks.tasks import check_flow_head, check_task
from mc.spec.findings import Findings
from mc.spec.nested_specs import NestedSpec, take_out_nested_specs
from mc.spec.reading.json_tree import make_plain
from mc.spec.schema.params_schema import check_flow_data
from mc.spec.schema.schema_check import part_checker

__all__ = ["Inspection", "check_flow_data", "find_problems", "inspect_flow_spec", "validate_flow_spec"]

# A nested spec, and the tasks of the flow that a proxied task will stand in.
_Waiting = deque[tuple[NestedSpec, Collection[str] | None]]


class Inspection(NamedTuple):
    """What there is to say against a flow spec."""

    problems: list[Problem]  # with any of them the spec is refused
    warnings: list[Problem]  # what may be wrong, or is probably not meant


def validate_flow_spec(spec: Any, *, task_types: Container[str] | None = None) -> None:
    """Check a flow spec.

    Args:
        spec: any value.
        task_types: as for `find_problems`.

    Raises:
        SpecError: the spec is wrong; `.problems` lists everything. No other error is raised,
            whatever the value.
    """
    problems = find_problems(spec, task_types=task_types)
    if problems:
        raise SpecError(problems=problems)


def find_problems(spec: Any, *, task_types: Container[str] | None = None) -> list[Problem]:
    """Return everything that is wrong with a flow spec; an empty list if nothing is.

    Args:
        spec: any value; it is not changed.
        task_types: as for `inspect_flow_spec`.
    """
    return inspect_flow_spec(spec, task_types=task_types).problems


def inspect_flow_spec(spec: Any, *, task_types: Container[str] | None = None) -> Inspection:
    """Return everything that is wrong with a flow spec, and what is probably not meant.

    Args:
        spec: any value; it is not changed.
        task_types: the names of the task types that can be run; None for the built-in ones. If it
            can be iterated, its names are suggested. If it has `why_not(name)`, that is asked about import
            paths, and about all types where its `has_broken_modules` is true: it returns a reason, or None if
            the type can be run; `find_doubt(name)` returns what stays unclear of one that can. If it has
            `examine_function(path)`, that is asked about functions to call: it returns what stays unclear,
            and raises `TaskHandlerError` for one that is refused. If it has `refuse(name, params)`, that is
            asked about commands and addresses, as `mc.spec.leave.Allowed` is.
    """
    plain, tree_problems = make_plain(spec)
    findings = Findings(task_types)
    # What was replaced to go on is not a problem of its own.
    replaced = {problem.pointer for problem in tree_problems}
    if plain is not None or not replaced:
        try:
            _check_flows(plain, findings)
        except RecursionError:
            message = "The spec is nested too deeply to be checked from where it is called."
            findings.add(
                "MC011", "", message, found=plain, expected="fewer lists and mappings inside each other"
            )
    found = [problem for problem in findings.problems if problem.pointer not in replaced]
    return Inspection([*tree_problems, *found], findings.warnings)


def _check_flows(spec: Any, findings: Findings) -> None:
    waiting: _Waiting = deque()
    _check_flow(spec, "", False, findings, waiting)
    while waiting:
        nested, keys = waiting.popleft()
        check_placement(nested, findings)
        if nested.is_flow:
            _check_flow(nested.value, nested.pointer, nested.is_template, findings, waiting, nested.holder)
        else:
            _check_task(
                nested.value, nested.pointer, nested.is_template, keys, findings, waiting, nested.holder
            )


def _check_flow(
    spec: Any,
    pointer: str,
    is_template: bool,
    findings: Findings,
    waiting: _Waiting,
    holder: str | None = None,
) -> None:
    tasks = spec.get("tasks") if type(spec) is dict else None
    head = {**spec, "tasks": []} if type(tasks) is list else spec
    checker = part_checker("template_flow" if is_template else "flow")
    findings.problems += checker.find_problems(head, pointer, findings.suggester)
    if type(spec) is not dict:
        return
    check_flow_head(spec, pointer, findings)
    tasks = tasks if type(tasks) is list else []
    keys = check_graph(tasks, pointer, findings)
    for at, task in enumerate(tasks):
        _check_task(task, f"{pointer}/tasks/{at}", is_template, keys, findings, waiting, holder)
    check_references(spec.get("results"), f"{pointer}/results", keys, findings, may_be_text=False)


def _check_task(
    task: Any,
    pointer: str,
    is_template: bool,
    keys: Collection[str] | None,
    findings: Findings,
    waiting: _Waiting,
    holder: str | None = None,
) -> None:
    since = len(findings.problems)
    nested: list[NestedSpec] = []
    if type(task) is dict:
        task, nested = take_out_nested_specs(task, pointer, is_template)
    checker = part_checker("template_task" if is_template else "task")
    findings.problems += checker.find_problems(task, pointer, findings.suggester)
    if type(task) is dict:
        check_task(task, pointer, keys, findings, since, holder)
        if nested:
            cfg = task.get("cfg")
            own = f"{pointer}/cfg/resources" if type(cfg) is dict and cfg.get("resources") else holder
            if own is not None:
                nested = [replace(spec, holder=own) for spec in nested]
    waiting.extend((spec, keys if spec.is_proxied else None) for spec in nested)
