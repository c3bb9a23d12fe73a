"""The stored sub-flows and the jobs for which tasks of a flow wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mc.errors import FlowFormatError
from mc.flows.flow import Flow
from mc.flows.formats.flow_dict import task_to_dict

__all__ = ["find_awaited", "find_awaited_jobs", "refuse_awaited_flows"]


def refuse_awaited_flows(flow: Flow) -> None:
    """Refuse to store, as a new flow, one that waits for a stored sub-flow.

    When a sub-flow ends, it tells the flow that started it, and no other. A copy would wait for ever.

    Args:
        flow: the new flow.

    Raises:
        FlowFormatError: a task waits for a sub-flow; `.pointer` leads to the task.
    """
    for node in flow.state.tasks.running:
        for awaited in find_awaited(task_to_dict(flow.state, node.task)):
            raise FlowFormatError(
                f"Flow {flow.key!r} cannot be stored anew: its task {node.key!r} waits for the sub-flow "
                f"{awaited!r}, which would not tell it of its end. Let the sub-flow end, tick the flow "
                f"that it belongs to, and export that again; or copy the whole database.",
                pointer=f"/graph/tasks/{node.key}",
            )


def find_awaited(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of stored sub-flows for which a task waits, at any depth inside it."""
    data = task.get("data")
    if task.get("status") == "WAITING" and not task.get("next_tick_at") and isinstance(data, dict):
        if isinstance(data.get("flow_key"), str):
            yield data["flow_key"]
    proxied, flow_dict = task.get("proxied_task"), task.get("flow_dict")
    if isinstance(proxied, dict):
        yield from find_awaited(proxied)
    if isinstance(flow_dict, dict):
        for inner in flow_dict["graph"]["tasks"].values():
            yield from find_awaited(inner)


def find_awaited_jobs(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of jobs for which a task waits, at any depth inside it."""
    if task.get("status") == "WAITING" and isinstance(task.get("job_key"), str):
        yield task["job_key"]
    proxied, flow_dict = task.get("proxied_task"), task.get("flow_dict")
    if isinstance(proxied, dict):
        yield from find_awaited_jobs(proxied)
    if isinstance(flow_dict, dict):
        for inner in flow_dict["graph"]["tasks"].values():
            yield from find_awaited_jobs(inner)
