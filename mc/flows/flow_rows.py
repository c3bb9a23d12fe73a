"""A flow as rows: what a store writes when something changed, and how it makes a flow of them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop
from typing import TYPE_CHECKING, Any

from mc.context.json_values import copy_json
from mc.durations import format_time
from mc.flows.flow_format import FLOW_ATTRIBUTES, flush_sub_flows
from mc.flows.task_node import Task, TaskNode

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.observer import ChangeEvent

__all__ = [
    "FlowChanges",
    "TaskRow",
    "collect_changes",
    "flow_from_rows",
    "mark_saved",
    "next_tick_at",
    "next_tick_time",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as a row; all but `task` are columns that a tick or a query needs."""

    key: str
    position: int  # place in the order of the spec, from 1
    rank: int  # grows along every edge
    status: str
    unmet: int  # unfinished precursors; 0: may start
    due_at: str | None  # next_tick_at of a task that waits, ISO 8601 UTC
    task: Task  # the whole dict, the flow's own: serialise it at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChanges:
    """What may have changed in a flow since it was loaded or saved last."""

    attributes: dict[str, Any]  # all of FLOW_ATTRIBUTES but `spec`
    task_rows: list[TaskRow]  # tasks that were touched or handed out, in order
    edges: list[tuple[str, str]]  # edges that are new
    journal: list[ChangeEvent]  # changes of status in order; `at` is empty for those made between ticks
    nodes: tuple[TaskNode, ...]  # what the rows were made from


def collect_changes(flow: Flow) -> FlowChanges:
    """Return what a save has to look at; nothing is forgotten until `mark_saved`.

    Raises:
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    flow.reconcile()
    flush_sub_flows(flow)
    for node in flow._nodes_with_sub_flows():
        flow._touch(node)
    nodes = tuple(sorted(flow._touched, key=_position))
    return FlowChanges(
        attributes={
            name: flow._data if name == "data" else getattr(flow, name)
            for name in FLOW_ATTRIBUTES
            if name != "spec"
        },
        task_rows=[_to_row(node) for node in nodes],
        edges=list(flow._new_edges),
        journal=list(flow._journal or ()),
        nodes=nodes,
    )


def mark_saved(flow: Flow, changes: FlowChanges) -> None:
    """Forget changes that a store has committed; from the first save on the flow keeps a journal."""
    for node in changes.nodes:
        node.touched = False
    flow._touched = [node for node in flow._touched if node.touched]
    del flow._new_edges[: len(changes.edges)]
    if flow._journal is None:
        flow._journal = []
    del flow._journal[: len(changes.journal)]


def _position(node: TaskNode) -> int:
    return node.position


def _to_row(node: TaskNode) -> TaskRow:
    return TaskRow(
        key=node.key,
        position=node.position,
        rank=node.rank,
        status=node.status,
        unmet=node.unmet,
        due_at=node.task.get("next_tick_at"),
        task=node.task,
    )


def flow_from_rows(
    cls: type[Flow],
    attributes: Mapping[str, Any],
    tasks: Iterable[Task],
    edges: Iterable[tuple[str, str]],
) -> Flow:
    """Make a flow from what a store read; its books are as they were when it was saved.

    Args:
        cls: `Flow`.
        attributes: as in `FlowChanges.attributes`, and `spec` where it is wanted.
        tasks: the task dicts in order; the flow takes them over.
        edges: (precursor, successor), in the order in which they were written.
    """
    by_argument = ("key", "cfg", "data", "label", "status", "depth", "parent_key", "params", "result_paths")
    flow = cls(**{name: attributes[name] for name in by_argument if name in attributes})
    for name in FLOW_ATTRIBUTES:
        if name in attributes and name not in by_argument:
            setattr(flow, name, copy_json(attributes[name]))
    flow._build(tasks, edges)
    for node in flow._touched:
        node.touched = False
    flow._touched.clear()
    flow._new_edges.clear()
    flow._journal = []
    return flow


def next_tick_at(flow: Flow, now: datetime) -> datetime | None:
    """Return when the next tick can do something.

    Returns:
        `now` if it can at once; None if the flow is not to be ticked, or only an event from outside
        can move it.
    """
    at = next_tick_time(flow, format_time(now))
    return datetime.fromisoformat(at) if at else None


def next_tick_time(flow: Flow, at: str) -> str | None:
    """Return the same as ISO 8601 text, `at` being the present."""
    if flow.status == "PENDING":
        return at
    if flow.status != "RUNNING":
        return None
    if flow._failures and flow.cfg.get("fail_fast", True):
        return at  # the tick in which the task failed was cut short; the next one ends the flow
    if flow._ready:
        limit = flow.cfg.get("max_running_tasks")
        if limit is None or len(flow._running) < limit:
            return at
    if flow._counts["RUNNING"] or flow._doomed or not flow._unfinished_count():
        return at
    times = [flow.deadline_at] if flow.deadline_at else []
    while flow._due:
        time, _, node = flow._due[0]
        current = (node.task.get("next_tick_at"), node.task.get("deadline_at"))
        if time in current and (node.status == "WAITING" or (node.status == "PENDING" and not node.unmet)):
            times.append(time)
            break
        heappop(flow._due)
    return max(at, min(times)) if times else None
