"""Tasks that wait for a sub-flow or a job, made due when it ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from mc.context.json_values import dumps
from mc.flows.state.flow_state import FlowState
from mc.flows.state.lazy_nodes import StoredNodes
from mc.flows.state.task_node import with_proxied
from mc.flows.state.under_way import Holder, find_under_way, make_due

__all__ = ["wake_job_tasks", "wake_tasks"]

_MOST_SOUGHT: Final = 100  # keys, by which the flows inside of tasks are chosen that are read


def wake_job_tasks(state: FlowState, job_keys: Collection[str], at: str) -> None:
    """Make each task due that waits for one of these jobs, itself or at any depth inside it.

    Args:
        state: of the flow.
        job_keys: keys of jobs.
        at: the present, ISO 8601.
    """
    few = len(job_keys) <= _MOST_SOUGHT
    state.read_mentioning([f'"job_key":{dumps(key)}' for key in job_keys] if few else ['"job_key":'])
    for each in find_under_way(state):
        if each.status != "PENDING" and each.task.get("job_key") in job_keys:
            make_due(each.holders, at)


def wake_tasks(state: FlowState, sub_flow_keys: Collection[str], at: str) -> None:
    """Make each task due that waits for one of these sub-flows, itself or at any depth inside it.

    Args:
        state: of the flow.
        sub_flow_keys: keys of stored sub-flows.
        at: the present, ISO 8601.
    """
    found = dict(_follow_keys(state, sub_flow_keys))
    for holders in found.values():
        make_due(holders, at)
    sub_flow_keys = [key for key in sub_flow_keys if key not in found]
    if not sub_flow_keys:
        return
    few = len(sub_flow_keys) <= _MOST_SOUGHT
    state.read_mentioning([f'"flow_key":{dumps(key)}' for key in sub_flow_keys] if few else ['"flow_key":'])
    # A task is RUNNING with others waiting inside it, where its tick was cut short.
    for each in find_under_way(state):
        if each.status != "PENDING" and (each.task.get("data") or {}).get("flow_key") in sub_flow_keys:
            make_due(each.holders, at)


def _follow_keys(
    state: FlowState, keys: Collection[str], holders: tuple[Holder, ...] = ()
) -> Iterator[tuple[str, tuple[Holder, ...]]]:
    """Yield keys of sub-flows with what has to be ticked for the task that waits for it to be ticked.

    A sub-flow's key begins with that of the flow around it and of the task that started it. So the task is
    found without a look at the others; those are left out that were not found in this way.

    Args:
        state: of a flow.
        keys: of sub-flows.
        holders: what has to be ticked for the flow to be ticked.
    """
    start = f"{state.key}/"
    places = {key: key.removeprefix(start).partition("/")[0] for key in keys if key.startswith(start)}
    nodes = state.tasks.nodes
    if isinstance(nodes, StoredNodes):
        nodes.fetch(places.values())
    inside: dict[str, tuple[FlowState, tuple[Holder, ...], list[str]]] = {}
    for key, place in places.items():
        node = nodes.get(place)
        if node is None or node.status not in ("RUNNING", "WAITING"):
            continue
        here: tuple[Holder, ...] = (*holders, (state.tasks, node))
        for holder in with_proxied(node.task):
            if holder is not node.task:
                here = (*here, holder)
            if (holder.get("data") or {}).get("flow_key") == key:
                yield key, here
            elif key.startswith(f"{holder.get('sub_flow')}/"):
                live = state.find_sub_flow(holder)
                if live is not None:
                    inside.setdefault(live.key, (live, here, []))[2].append(key)
    for live, here, below in inside.values():
        yield from _follow_keys(live, below, here)
