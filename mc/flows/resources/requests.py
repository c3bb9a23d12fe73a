"""Requests of a flow's tasks for named resources, granted or waiting, at any depth inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mc.flows.state.task_node import Task, TaskNode

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.state.flow_state import FlowState
    from mc.flows.state.task_states import TaskStates

__all__ = [
    "ask_anew",
    "has_sub_flow",
    "request_ids",
    "request_ids_in_task",
    "retry_refused",
    "was_refused",
]

FindFlow = Callable[[str], "Flow | None"]
# What has to be ticked for a task to be ticked, the outermost first: nodes of flows, dicts of proxied tasks.
_Holders = tuple["tuple[TaskStates, TaskNode] | Task", ...]


def request_ids(flow: Flow, find_flow: FindFlow | None = None) -> set[str]:
    """Return the ids under which unfinished tasks of a flow hold resources or wait for them."""
    return {str(task["resource_claim"].get("id")) for task, _ in _in_flow(flow.state, (), find_flow)}


def request_ids_in_task(flow: Flow, key: str) -> set[str]:
    """Return the same for one task and what is inside it; empty where there is no such task."""
    node = flow.state.tasks.nodes.get(key)
    if node is None:
        return set()
    return {str(task["resource_claim"].get("id")) for task, _ in _in_node(flow.state, node, (), None)}


def retry_refused(flow: Flow, at: str, find_flow: FindFlow | None = None) -> bool:
    """Let each task that was refused what it needs ask again in the next tick; False if there is none.

    Args:
        flow: the outermost flow.
        at: the present, ISO 8601.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    found = [holders for task, holders in _in_flow(flow.state, (), find_flow) if was_refused(task)]
    for holders in found:
        for holder in holders:
            _make_due(holder, at)
    return bool(found)


def ask_anew(flow: Flow, at: str, find_flow: FindFlow | None = None) -> None:
    """Let each task under way that needs resources be looked at in the next tick: it may hold none any more.

    Args:
        flow: one that goes on after others could have what it held, or a copy.
        at: the present, or earlier; ISO 8601.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    for _, holders in list(_in_flow(flow.state, (), find_flow)):
        for holder in holders:
            _make_due(holder, at)


def has_sub_flow(flow: Flow, key: str) -> bool:
    """Tell whether a task is under way and it, or one inside it, has a sub-flow with a record of its own."""
    node = flow.state.tasks.nodes.get(key)
    return node is not None and _has_sub_flow(flow.state, node.task)


def _has_sub_flow(state: FlowState, task: Task) -> bool:
    if task.get("status") not in ("RUNNING", "WAITING"):
        return False
    data, proxied, live = task.get("data"), task.get("proxied_task"), state.find_sub_flow(task)
    return (
        (isinstance(data, dict) and isinstance(data.get("flow_key"), str))
        or (isinstance(proxied, dict) and _has_sub_flow(state, proxied))
        or (live is not None and any(_has_sub_flow(live, node.task) for node in live.tasks.running))
    )


def was_refused(task: Mapping[str, Any]) -> bool:
    """Tell whether a task waits because it was refused what it needs."""
    noted = task.get("resource_claim")
    return isinstance(noted, dict) and "granted_at" not in noted


def _in_flow(
    state: FlowState, holders: _Holders, find_flow: FindFlow | None
) -> Iterator[tuple[Task, _Holders]]:
    tasks, queues = state.tasks, state.tasks.queues
    asking = {*tasks.running, *queues.awaiting}
    if tasks.is_limited:  # as long as it was not ticked since it was read
        asking.update(node for _, _, node in queues.ready if "resource_claim" in node.task)
    for node in sorted(asking, key=lambda node: node.position):
        yield from _in_node(state, node, holders, find_flow)


def _in_node(
    state: FlowState, node: TaskNode, holders: _Holders, find_flow: FindFlow | None
) -> Iterator[tuple[Task, _Holders]]:
    yield from _in_task(node.task, node.status, state, (*holders, (state.tasks, node)), find_flow)


def _in_task(
    task: Task, status: str, state: FlowState, holders: _Holders, find_flow: FindFlow | None
) -> Iterator[tuple[Task, _Holders]]:
    noted = task.get("resource_claim")
    is_active = status in ("RUNNING", "WAITING")
    if isinstance(noted, dict) and (is_active or (status == "PENDING" and "granted_at" not in noted)):
        yield task, holders
    if not is_active:
        return
    proxied = task.get("proxied_task")
    if isinstance(proxied, dict):
        inner_status = proxied.get("status", "PENDING")
        yield from _in_task(proxied, inner_status, state, (*holders, proxied), find_flow)
    live = state.find_sub_flow(task)
    if live is not None:
        yield from _in_flow(live, holders, find_flow)
    elif find_flow is not None and isinstance(task.get("data"), dict):
        child = find_flow(str(task["data"].get("flow_key")))
        if child is not None:
            yield from _in_flow(child.state, holders, find_flow)


def _make_due(holder: tuple[TaskStates, TaskNode] | Task, at: str) -> None:
    if isinstance(holder, dict):
        if holder.get("status") == "WAITING":
            holder["next_tick_at"] = at
        else:
            holder.pop("next_tick_at", None)
        return
    tasks, node = holder
    tasks.touch(node)
    if node.status == "WAITING":
        node.task["next_tick_at"] = at
        tasks.queues.push_due(node)
    elif node.status == "PENDING":
        node.task.pop("next_tick_at", None)
        tasks.queues.end_wait(node)
        tasks.queues.push_ready(node)
