"""Paths of tasks inside of tasks, as people name them, and the flows into which they lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mc.errors import ControlError
from mc.flows.calls.task_paths import find_outer_key
from mc.flows.flow import Flow
from mc.flows.formats.flow_dict import kept_sub_flow, state_from_dict
from mc.flows.state.flow_state import FlowState
from mc.flows.state.task_node import Task, TaskNode

__all__ = ["Inside", "find_inside", "kept_inside", "living_inside", "retried_inside"]


@dataclass(slots=True)
class Inside:
    """Tasks that are named, in the flow inside of one task.

    Attributes:
        node: the task.
        flow: what lives inside of it, or did so when it ended and is kept.
        tasks: keys or paths, as that flow knows them.
        has_ended: whether the task has.
    """

    node: TaskNode
    flow: Flow
    tasks: list[str]
    has_ended: bool


def find_inside(flow: Flow, paths: Iterable[str]) -> list[Inside]:
    """Return the flows inside of tasks into which paths lead.

    Args:
        flow: the flow.
        paths: those that are keys of its own tasks are left out.

    Raises:
        ControlError: there is no flow inside of such a task.
    """
    nodes = flow.state.tasks.nodes
    found: dict[str, Inside] = {}
    for path in paths:
        key = find_outer_key(path, nodes) if path not in nodes else None
        if key is None:
            continue
        node, rest = nodes[key], path[len(key) + 1 :]
        has_ended = node.status not in ("PENDING", "RUNNING", "WAITING")
        state = kept_inside(flow.state, node.task) if has_ended else living_inside(flow.state, node.task)
        proxied = state.name_inside[len(key) + 1 :] if state is not None else ""
        if state is None or rest == proxied:
            raise ControlError(_why_not(node, path), key=flow.key, task=path)
        if proxied:
            rest = rest.removeprefix(f"{proxied}/")
        found.setdefault(key, Inside(node, Flow.from_state(state), [], has_ended)).tasks.append(rest)
    return list(found.values())


def _why_not(node: TaskNode, path: str) -> str:
    """Return why nothing can be asked of a task inside of another one."""
    if node.status == "COMPLETED":
        return f"What is inside of task {node.key!r} stays as it was: that is COMPLETED already."
    return f"Task {path!r} runs in the place of {node.key!r}; name that one."


def living_inside(state: FlowState, task: Task) -> FlowState | None:
    """Return the flow that lives in a task or, at any depth, in the task that it proxies."""
    proxied = task.get("proxied_task")
    found = state.find_sub_flow(task)
    return living_inside(state, proxied) if found is None and isinstance(proxied, dict) else found


def kept_inside(state: FlowState, task: Mapping[str, Any]) -> FlowState | None:
    """Return the flow that was kept in a task when it ended or, at any depth, in the task that it proxied."""
    kept = task.get("kept")
    if not isinstance(kept, dict):
        return None
    sub_flow, proxied = kept_sub_flow(state, dict(task)), kept.get("proxied_task")
    return kept_inside(state, proxied) if sub_flow is None and isinstance(proxied, dict) else sub_flow


def retried_inside(state: FlowState, task: Mapping[str, Any]) -> FlowState | None:
    """Return the flow in which a retry of a task goes on, also where the task waited for it as another's."""
    kept: Any = task.get("kept")
    if not isinstance(kept, dict):
        return None
    if "flow_key" in kept:
        return state_from_dict(kept["flow_dict"]) if "flow_dict" in kept else None
    proxied = kept.get("proxied_task")
    inside = kept_sub_flow(state, dict(task))
    return retried_inside(state, proxied) if inside is None and isinstance(proxied, dict) else inside
