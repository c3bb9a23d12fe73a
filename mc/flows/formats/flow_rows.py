"""A flow as rows: what a store writes when something changed, and how it makes a flow of them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, nsmallest
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.durations import format_time
from mc.flows.formats.flow_dict import FLOW_ATTRIBUTES, flush_sub_flows
from mc.flows.state.edges import ROOT_RANK
from mc.flows.state.lazy_nodes import StoredNodes, TaskSource
from mc.flows.state.task_node import TaskNode
from mc.flows.state.task_row import DOOMED, TaskRow
from mc.spec.task_graph import ROOT_TASK_KEY

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.observer import ChangeEvent, MigrationRecord

__all__ = [
    "TRY_AGAIN_SECONDS",
    "FlowChanges",
    "collect_changes",
    "fetch_ahead",
    "flow_from_frontier",
    "flow_from_rows",
    "mark_saved",
    "next_tick_at",
    "next_tick_time",
]

TRY_AGAIN_SECONDS: Final = 60  # until the next driver looks whether it has the handlers


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChanges:
    """What may have changed in a flow since it was loaded or saved last."""

    attributes: dict[str, Any]  # all of FLOW_ATTRIBUTES but `spec`
    task_rows: list[TaskRow]  # tasks that were touched or handed out, in order
    edges: list[tuple[str, str]]  # edges that are new
    journal: list[ChangeEvent]  # changes of status in order; `at` is empty for those made between ticks
    nodes: tuple[TaskNode, ...]  # what the rows were made from
    failures: int  # FAILED tasks that are not allowed to fail
    bytes: int  # of data that calls left in tasks
    is_rebuilt: bool = False  # `task_rows` are all tasks; others that are stored are gone
    has_other_edges: bool = False  # `edges` are all edges; others that are stored are gone
    migrations: tuple[MigrationRecord, ...] = ()  # to other specs, in order


def collect_changes(flow: Flow) -> FlowChanges:
    """Return what a save has to look at; nothing is forgotten until `mark_saved`.

    Raises:
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    flow.reconcile()
    if flow._sub_flows:
        flush_sub_flows(flow)
    for node in flow._nodes_with_sub_flows():
        flow._touch(node)
    nodes = tuple(sorted(flow._touched, key=_position))
    doomed = flow._doomed_nodes()
    return FlowChanges(
        attributes={
            name: flow._data if name == "data" else getattr(flow, name)
            for name in FLOW_ATTRIBUTES
            if name != "spec"
        },
        task_rows=[_to_row(node, doomed) for node in nodes],
        edges=list(flow._new_edges),
        journal=list(flow._journal or ()),
        nodes=nodes,
        failures=flow._failures,
        bytes=flow._bytes,
        is_rebuilt=flow._is_rebuilt,
        has_other_edges=flow._has_other_edges,
        migrations=tuple(flow._migrations),
    )


def mark_saved(flow: Flow, changes: FlowChanges) -> None:
    """Forget changes that a store has committed; from the first save on the flow keeps a journal."""
    for node in changes.nodes:
        node.touched = False
    flow._touched = [node for node in flow._touched if node.touched]
    del flow._new_edges[: len(changes.edges)]
    flow._is_rebuilt = flow._has_other_edges = False
    del flow._migrations[: len(changes.migrations)]
    if flow._journal is None:
        flow._journal = []
    del flow._journal[: len(changes.journal)]


def _position(place: TaskNode | TaskRow) -> int:
    return place.position


def _to_row(node: TaskNode, doomed: set[TaskNode]) -> TaskRow:
    return TaskRow(
        key=node.key,
        position=node.position,
        rank=node.rank,
        status=node.status,
        unmet=DOOMED if node in doomed else node.unmet,
        due_at=node.task.get("next_tick_at"),
        task=node.task,
    )


def flow_from_rows(
    cls: type[Flow],
    attributes: Mapping[str, Any],
    rows: Iterable[TaskRow],
    edges: Iterable[tuple[str, str]],
) -> Flow:
    """Make a flow from what a store read; its books are as they were when it was saved.

    Args:
        cls: `Flow`.
        attributes: as in `FlowChanges.attributes`, and `spec` where it is wanted.
        rows: all tasks in order; the flow takes their dicts over.
        edges: (precursor, successor), in the order in which they were written.
    """
    flow = _flow_with(cls, attributes)
    rows = list(rows)
    flow._build([row.task for row in rows], edges)
    for row in rows:
        # Those that are stored: a row that is written later must fit to those that are not.
        flow._nodes[row.key].rank = row.rank
    for node in flow._touched:
        node.touched = False
    flow._touched.clear()
    flow._new_edges.clear()
    flow._journal = []
    return flow


def flow_from_frontier(
    cls: type[Flow],
    attributes: Mapping[str, Any],
    rows: Iterable[TaskRow],
    counts: Mapping[str, int],
    failures: int | None,
    source: TaskSource,
) -> Flow:
    """Make a flow from the tasks with which a tick begins; others are read when they are needed.

    Args:
        cls: `Flow`.
        attributes: as in `FlowChanges.attributes`; `spec` is read when it is needed unless it is there.
        rows: the tasks that are RUNNING or WAITING, and those that are PENDING with `unmet` of 0 or less.
        counts: how many tasks have each status.
        failures: as in `FlowChanges`; None: not known.
        source: where the others are.
    """
    flow = _flow_with(cls, attributes)
    if "spec" not in attributes:
        flow._read_spec = source.read_spec
    root = TaskRow(
        key=ROOT_TASK_KEY,
        position=0,
        rank=ROOT_RANK,
        status="COMPLETED",
        unmet=0,
        due_at=None,
        task=flow._root.task,
    )
    nodes = flow._nodes = StoredNodes(source, sum(counts.values()), root)
    flow._root = nodes.root
    flow._counts.update(counts)
    for row in sorted(rows, key=_position):
        node = nodes.add(row)
        flow._is_limited = flow._is_limited or "resources" in row.task.get("cfg", ())
        if row.status != "PENDING":
            flow._running[node] = None
            flow._push_due(node)
        elif row.unmet == DOOMED:
            node.unmet = 1
            flow._doomed.append(node)
        else:
            flow._push_ready(node)
    if failures is None:
        failed = flow._nodes_with_status("FAILED") if counts.get("FAILED") else []
        failures = sum(not node.may_fail for node in failed)
    flow._failures = failures
    flow._journal = []
    return flow


def _flow_with(cls: type[Flow], attributes: Mapping[str, Any]) -> Flow:
    by_argument = ("key", "cfg", "data", "label", "status", "depth", "parent_key", "params", "result_paths")
    flow = cls(**{name: attributes[name] for name in by_argument if name in attributes})
    for name in FLOW_ATTRIBUTES:
        if name in attributes and name not in by_argument:
            setattr(flow, name, copy_json(attributes[name]))
    flow._bytes = attributes.get("bytes", 0)
    return flow


def fetch_ahead(flow: Flow, at: str) -> None:
    """Read at once what the next tick needs of a flow that is not wholly in memory.

    Args:
        flow: one that `flow_from_frontier` made; for another one nothing is to do.
        at: the present, ISO 8601.
    """
    nodes = flow._nodes
    if not isinstance(nodes, StoredNodes) or nodes.is_whole:
        return
    ready = flow._ready
    limit = flow.cfg.get("max_running_tasks")
    if limit is not None:
        ready = nsmallest(max(int(limit) - len(flow._running), 0), ready)
    due = [node for time, _, node in flow._due if time <= at]
    nodes.fetch_edges(out_of=[*flow._running, *(node for _, _, node in ready), *due])


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
    if flow.status == "BLOCKED" and flow.missing_handlers:
        later = datetime.fromisoformat(at) + timedelta(seconds=TRY_AGAIN_SECONDS)
        return format_time(later)
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
