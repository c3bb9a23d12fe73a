"""Outputs of a spec's tasks: what they leave in their `data`, as far as the spec tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from mc.spec.task_types import canonical_task_type

__all__ = ["OUTPUTS", "list_cases", "names_in_data", "names_in_output", "params_of", "task_type_of"]

# What each built-in type leaves; a switch leaves what the chosen task leaves.
OUTPUTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "approval": frozenset({"approved", "by", "at", "comment"}),
        "call": frozenset({"result"}),
        "flow": frozenset({"flow_key", "flow_data", "results"}),
        "http": frozenset({"headers", "json", "status", "text"}),
        "inline_flow": frozenset({"flow_data", "results"}),
        "job": frozenset({"job_key", "result"}),
        "log": frozenset(),
        "loop": frozenset({"iterations", "last"}),
        "noop": frozenset(),
        "print": frozenset(),
        "shell": frozenset({"exit_code", "result", "stderr", "stdout"}),
        "spread": frozenset({"results"}),
        "switch": frozenset(),
        "wait": frozenset({"due_at"}),
        "wait_for_signal": frozenset({"signal"}),
        "wire": frozenset(),
    }
)


def task_type_of(task: Mapping[str, Any]) -> str:
    """Return the type of a task by the name that the format uses today."""
    return canonical_task_type(str(task.get("task_type")))


def params_of(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a task; an empty mapping where it has none."""
    return task.get("task_params") or {}


def list_cases(task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (steps below the task, task spec) of the tasks that a `switch` may choose."""
    params = params_of(task)
    for at, case in enumerate(params.get("cases") or ()):
        yield f"task_params/cases/{at}/task", case["task"]
    if params.get("default_case"):
        yield "task_params/default_case/task", params["default_case"]["task"]


def names_in_data(task: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the keys that a task's `data` may have, those that wirings write left out.

    Args:
        task: a sound task spec.

    Returns:
        None where that is not known, because the type is a custom one.
    """
    name = task_type_of(task)
    if name not in OUTPUTS:
        return None
    names = {*(task.get("data") or {}), *OUTPUTS[name]}
    if name == "spread" and params_of(task).get("container_task_type") in ("flow", "mc.tasks.flow"):
        names.add("flow_key")
    if name == "switch":
        for _, chosen in list_cases(task):
            more = names_in_data(chosen)
            if more is None:
                return None
            names |= more
    return frozenset(names)


def names_in_output(task: Mapping[str, Any], output: str) -> frozenset[str] | None:
    """Return the keys of an output that holds what a sub-flow declares as its `results`.

    Returns:
        None for other outputs, and where the sub-flow is not known.
    """
    name, spec = task_type_of(task), params_of(task).get("flow_spec")
    if not isinstance(spec, Mapping):
        return None
    if name in ("flow", "inline_flow") and output == "results":
        return frozenset(spec.get("results") or {})
    if name == "loop" and output == "last" and spec.get("results") is not None:
        return frozenset(spec["results"])
    return None
