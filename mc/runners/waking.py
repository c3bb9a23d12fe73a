"""Tasks that wait for a sub-flow, made due when it ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mc.flows.flow import Flow

__all__ = ["wake_tasks"]


def wake_tasks(flow: Flow, sub_flow_keys: Collection[str], at: str) -> None:
    """Make each task due that waits for one of these sub-flows, itself or at any depth inside it.

    Args:
        flow: as it was loaded: flows inside its tasks are flow dicts still.
        sub_flow_keys: keys of stored sub-flows.
        at: the present, ISO 8601.
    """
    for node in list(flow.state.tasks.running):
        # A task is RUNNING with others waiting inside it, where its tick was cut short.
        if _wake(node.task, sub_flow_keys, at):
            if node.status == "WAITING":
                node.task["next_tick_at"] = at
                flow.state.tasks.queues.push_due(node)
            flow.state.tasks.touch(node)


def _wake(task: dict[str, Any], sub_flow_keys: Collection[str], at: str) -> bool:
    """Tell whether a task waits for one of the sub-flows, and make due what does inside it."""
    if task.get("data", {}).get("flow_key") in sub_flow_keys:
        return True
    found = False
    proxied = task.get("proxied_task")
    if isinstance(proxied, dict):
        found = _wake(proxied, sub_flow_keys, at)
    flow_dict = task.get("flow_dict")
    if isinstance(flow_dict, dict):
        for inner in flow_dict["graph"]["tasks"].values():
            if inner.get("status") in ("RUNNING", "WAITING") and _wake(inner, sub_flow_keys, at):
                if inner["status"] == "WAITING":
                    inner["next_tick_at"] = at
                found = True
    return found
