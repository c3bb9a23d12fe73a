"""Requests of a flow's tasks for named resources, granted or waiting, at any depth inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mc.flows.state.task_node import TaskNode
from mc.flows.state.under_way import FindFlow, UnderWay, find_under_way, make_due

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = [
    "ask_anew",
    "has_sub_flow",
    "request_ids",
    "request_ids_in_task",
    "retry_refused",
    "was_refused",
]


def request_ids(flow: Flow, find_flow: FindFlow | None = None) -> set[str]:
    """Return the ids under which unfinished tasks of a flow hold resources or wait for them."""
    return {str(each.task["resource_claim"].get("id")) for each in _find_requests(flow, find_flow)}


def request_ids_in_task(flow: Flow, key: str) -> set[str]:
    """Return the same for one task and what is inside it; empty where there is no such task."""
    node = flow.state.tasks.nodes.get(key)
    if node is None:
        return set()
    found = _find_requests(flow, nodes=[node])
    return {str(each.task["resource_claim"].get("id")) for each in found}


def retry_refused(flow: Flow, at: str, find_flow: FindFlow | None = None) -> bool:
    """Let each task that was refused what it needs ask again in the next tick; False if there is none.

    Args:
        flow: the outermost flow.
        at: the present, ISO 8601.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    found = [each for each in _find_requests(flow, find_flow) if was_refused(each.task)]
    for each in found:
        make_due(each.holders, at)
    return bool(found)


def ask_anew(flow: Flow, at: str, find_flow: FindFlow | None = None) -> None:
    """Let each task under way that needs resources be looked at in the next tick: it may hold none any more.

    Args:
        flow: one that goes on after others could have what it held, or a copy.
        at: the present, or earlier; ISO 8601.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    for each in _find_requests(flow, find_flow):
        make_due(each.holders, at)


def has_sub_flow(flow: Flow, key: str) -> bool:
    """Tell whether a task is under way and it, or one inside it, has a sub-flow with a record of its own."""
    node = flow.state.tasks.nodes.get(key)
    if node is None:
        return False
    flow.state.read_mentioning(['"flow_key":'])
    return any(_names_sub_flow(each) for each in find_under_way(flow.state, nodes=[node]))


def _names_sub_flow(each: UnderWay) -> bool:
    data = each.task.get("data")
    is_active = each.status in ("RUNNING", "WAITING")
    return is_active and isinstance(data, dict) and isinstance(data.get("flow_key"), str)


def was_refused(task: Mapping[str, Any]) -> bool:
    """Tell whether a task waits because it was refused what it needs."""
    noted = task.get("resource_claim")
    return isinstance(noted, dict) and "granted_at" not in noted


def _find_requests(
    flow: Flow, find_flow: FindFlow | None = None, nodes: Iterable[TaskNode] | None = None
) -> list[UnderWay]:
    flow.state.read_mentioning(['"resource_claim":'], also_pending=True)
    return [each for each in find_under_way(flow.state, find_flow, nodes=nodes) if _asks(each)]


def _asks(each: UnderWay) -> bool:
    noted = each.task.get("resource_claim")
    if not isinstance(noted, dict):
        return False
    return each.status in ("RUNNING", "WAITING") or (each.status == "PENDING" and "granted_at" not in noted)
