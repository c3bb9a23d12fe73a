"""Tasks that wait for a sub-flow, made due when it ended."""

from __future__ import annotations

from collections.abc import Collection

from mc.flows.state.flow_state import FlowState
from mc.flows.state.task_node import Task

__all__ = ["wake_tasks"]


def wake_tasks(state: FlowState, sub_flow_keys: Collection[str], at: str) -> bool:
    """Make each task due that waits for one of these sub-flows, itself or at any depth inside it.

    Args:
        state: of the flow.
        sub_flow_keys: keys of stored sub-flows.
        at: the present, ISO 8601.

    Returns:
        Whether there is one.
    """
    found = False
    running = list(state.tasks.running)
    state.read_sub_flows(node.task for node in running)
    for node in running:
        # A task is RUNNING with others waiting inside it, where its tick was cut short.
        if _wake(state, node.task, sub_flow_keys, at):
            if node.status == "WAITING":
                node.task["next_tick_at"] = at
                state.tasks.queues.push_due(node)
            state.tasks.touch(node)
            found = True
    return found


def _wake(state: FlowState, task: Task, sub_flow_keys: Collection[str], at: str) -> bool:
    """Tell whether a task waits for one of the sub-flows, and make due what does inside it."""
    if task.get("data", {}).get("flow_key") in sub_flow_keys:
        return True
    proxied, live = task.get("proxied_task"), state.find_sub_flow(task)
    found = isinstance(proxied, dict) and _wake(state, proxied, sub_flow_keys, at)
    return (live is not None and wake_tasks(live, sub_flow_keys, at)) or found
