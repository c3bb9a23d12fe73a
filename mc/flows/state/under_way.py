"""Tasks under way at any depth inside a flow, and what has to be ticked for each of them to be ticked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mc.flows.state.task_node import Task, TaskNode
from mc.flows.state.task_states import TaskStates

if TYPE_CHECKING:
    from mc.flows.state.flow_state import FlowState

__all__ = ["FindFlow", "Holder", "UnderWay", "find_under_way", "make_due"]


class _HasState(Protocol):
    """A flow."""

    state: FlowState


FindFlow = Callable[[str], _HasState | None]
Holder = tuple[TaskStates, TaskNode] | Task  # a node of a flow, or the dict of a proxied task


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A task that is RUNNING or WAITING, or is PENDING until it is tried again or gets what it needs.

    Attributes:
        task: the task.
        status: that counts.
        path: keys of the tasks from the outermost to this one.
        holders: what has to be ticked for it to be ticked, the outermost first, itself at the end.
    """

    task: Task
    status: str
    path: tuple[str, ...]
    holders: tuple[Holder, ...]


def find_under_way(
    state: FlowState,
    find_flow: FindFlow | None = None,
    *,
    nodes: Iterable[TaskNode] | None = None,
    path: tuple[str, ...] = (),
    holders: tuple[Holder, ...] = (),
) -> Iterator[UnderWay]:
    """Yield the tasks under way in a flow, and inside of them, as far as they are in memory.

    Args:
        state: of the flow; see `FlowState.read_mentioning` for what is not in memory.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
        nodes: to begin with; None: all.
        path: keys of the tasks around the flow.
        holders: what has to be ticked for the flow to be ticked.
    """
    tasks, queues = state.tasks, state.tasks.queues
    if nodes is None:
        asking = {*tasks.running, *queues.awaiting}
        if tasks.is_limited:  # as long as it was not ticked since it was read
            asking.update(node for _, _, node in queues.ready if "resource_claim" in node.task)
        nodes = sorted(asking, key=lambda node: node.position)
    for node in nodes:
        here = UnderWay(
            task=node.task, status=node.status, path=(*path, node.key), holders=(*holders, (tasks, node))
        )
        yield from _in_task(here, state, find_flow)


def _in_task(here: UnderWay, state: FlowState, find_flow: FindFlow | None) -> Iterator[UnderWay]:
    yield here
    if here.status not in ("RUNNING", "WAITING"):
        return
    proxied = here.task.get("proxied_task")
    if isinstance(proxied, dict):
        inside = UnderWay(
            task=proxied,
            status=proxied.get("status", "PENDING"),
            path=_path_inside(here.path, proxied),
            holders=(*here.holders, proxied),
        )
        yield from _in_task(inside, state, find_flow)
    live = state.known_sub_flow(here.task)
    if live is None and find_flow is not None and isinstance(here.task.get("data"), dict):
        child = find_flow(str(here.task["data"].get("flow_key")))
        live = child.state if child is not None else None
    if live is not None:
        yield from find_under_way(live, find_flow, path=here.path, holders=here.holders)


def _path_inside(path: tuple[str, ...], proxied: Task) -> tuple[str, ...]:
    key = str(proxied.get("key"))
    return path if key == path[-1] else (*path, key)


def make_due(holders: Iterable[Holder], at: str) -> None:
    """Let the next tick call a task.

    Args:
        holders: see `UnderWay`.
        at: the present, ISO 8601.
    """
    for holder in holders:
        if isinstance(holder, dict):
            if holder.get("status") == "WAITING":
                holder["next_tick_at"] = at
            else:
                holder.pop("next_tick_at", None)
            continue
        tasks, node = holder
        tasks.touch(node)
        if node.status == "WAITING":
            node.task["next_tick_at"] = at
            tasks.queues.push_due(node)
        elif node.status == "PENDING":
            node.task.pop("next_tick_at", None)
            tasks.queues.end_wait(node)
            tasks.queues.push_ready(node)
