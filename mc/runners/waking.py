"""Tasks that wait for a sub-flow or a job, made due when it ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from mc.context.json_values import dumps
from mc.flows.state.flow_state import FlowState
from mc.flows.state.lazy_nodes import StoredNodes
from mc.flows.state.task_node import Task, with_proxied
from mc.flows.state.under_way import Holder, find_under_way, make_due

__all__ = ["wake_tasks"]

_MOST_SOUGHT: Final = 100  # keys, by which the flows inside of tasks are chosen that are read


def wake_tasks(state: FlowState, keys: Collection[str], at: str) -> None:
    """Make each task due that waits for one of these, itself or at any depth inside it.

    Args:
        state: of the flow.
        keys: of stored sub-flows and of jobs.
        at: the present, ISO 8601.
    """
    found = dict(_follow_keys(state, keys))
    for holders in found.values():
        make_due(holders, at)
    keys = [key for key in keys if key not in found]
    if not keys:
        return
    names = ('"flow_key":', '"job_key":')
    sought = [dumps(key) for key in keys] if len(keys) <= _MOST_SOUGHT else [""]
    state.read_mentioning([f"{name}{key}" for key in sought for name in names])
    # A task is RUNNING with others waiting inside it, where its tick was cut short.
    for each in find_under_way(state):
        if each.status != "PENDING" and any(_waits_for(each.task, key) for key in keys):
            make_due(each.holders, at)


def _waits_for(task: Task, key: str) -> bool:
    """Tell whether a task waits for the stored sub-flow or the job with this key."""
    return (task.get("data") or {}).get("flow_key") == key or task.get("job_key") == key


def _follow_keys(
    state: FlowState, keys: Collection[str], holders: tuple[Holder, ...] = ()
) -> Iterator[tuple[str, tuple[Holder, ...]]]:
    """Yield keys of sub-flows and jobs with what has to be ticked for the task that waits to be ticked.

    A key begins with that of the flow around it and of the task that started what it names. So the task is
    found without a look at the others; those are left out that were not found in this way.

    Args:
        state: of a flow.
        keys: of sub-flows and jobs.
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
            if _waits_for(holder, key):
                yield key, here
            elif key.startswith(f"{holder.get('sub_flow')}/"):
                live = state.find_sub_flow(holder)
                if live is not None:
                    inside.setdefault(live.key, (live, here, []))[2].append(key)
    for live, here, below in inside.values():
        yield from _follow_keys(live, below, here)
