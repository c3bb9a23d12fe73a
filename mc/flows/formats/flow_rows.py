"""A flow as rows: what a store writes when something changed, and how it makes a flow of them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.durations import format_time
from mc.flows.formats.flow_dict import FLOW_ATTRIBUTES, begin_inside
from mc.flows.state.flow_state import FlowState
from mc.flows.state.graph import add_graph
from mc.flows.state.lazy_nodes import StoredNodes, TaskSource
from mc.flows.state.task_node import ROOT_RANK, Task, TaskNode, with_proxied
from mc.flows.state.task_row import ASLEEP, DOOMED, TaskRow
from mc.spec.task_graph import ROOT_TASK_KEY

if TYPE_CHECKING:
    from mc.flows.observer import ChangeEvent, MigrationRecord

__all__ = [
    "TRY_AGAIN_SECONDS",
    "FlowChanges",
    "collect_changes",
    "fetch_ahead",
    "mark_saved",
    "next_tick_time",
    "state_from_frontier",
    "state_from_rows",
]

# entries of a WAITING task for whose sake it is read with those with which a tick begins
_AWAKE: Final = frozenset(
    {
        "deadline_at",
        "flow_dict",
        "from_tick",
        "next_tick_at",
        "proxied_task",
        "resource_claim",
        "sub_flow",
        "waits_for",
    }
)
TRY_AGAIN_SECONDS: Final = 60  # until the next runner looks whether it has the handlers
_SAVED: Final = tuple(name for name in FLOW_ATTRIBUTES if name not in ("spec", "data"))  # which may be unread
_read_saved: Final = attrgetter(*_SAVED)
_position: Final = attrgetter("position")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChanges:
    """What may have changed in a flow since it was loaded or saved last."""

    attributes: dict[str, Any]  # all of FLOW_ATTRIBUTES but `spec` and `data`
    task_rows: list[TaskRow]  # tasks that were touched or handed out, in order
    edges: list[tuple[str, str]]  # edges that are new
    journal: list[ChangeEvent]  # changes of status in order; `at` is empty for those made between ticks
    nodes: tuple[TaskNode, ...]  # what the rows were made from
    failures: int  # FAILED tasks that are not allowed to fail
    bytes: int  # of data that calls left in tasks
    is_rebuilt: bool = False  # `task_rows` are all tasks; others that are stored are gone
    has_other_edges: bool = False  # `edges` are all edges; others that are stored are gone
    migrations: tuple[MigrationRecord, ...] = ()  # to other specs, in order


def collect_changes(state: FlowState) -> FlowChanges:
    """Return what a save has to look at; nothing is forgotten until `mark_saved`.

    Raises:
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    tasks, unsaved = state.tasks, state.unsaved
    tasks.reconcile()
    first = state.note_tick()
    nodes = tuple(sorted(tasks.touched, key=_position))
    doomed = tasks.doomed_nodes()
    return FlowChanges(
        attributes=dict(zip(_SAVED, _read_saved(state), strict=True)),
        task_rows=[_to_row(node, doomed, state, first) for node in nodes],
        edges=list(unsaved.edges),
        journal=list(unsaved.journal or ()),
        nodes=nodes,
        failures=tasks.failures,
        bytes=state.data_bytes,
        is_rebuilt=unsaved.is_rebuilt,
        has_other_edges=unsaved.has_other_edges,
        migrations=tuple(unsaved.migrations),
    )


def mark_saved(state: FlowState, changes: FlowChanges) -> None:
    """Forget changes that a store has committed; from the first save on the flow keeps a journal."""
    state.mark_saved(
        changes.nodes,
        edges=len(changes.edges),
        migrations=len(changes.migrations),
        journal=len(changes.journal),
    )


def _to_row(node: TaskNode, doomed: set[TaskNode], state: FlowState, first: TaskNode | None) -> TaskRow:
    is_passed = first is not None and state.tasks.queues.is_passed(node, first)
    return TaskRow(
        key=node.key,
        position=node.position,
        rank=node.rank,
        status=node.status,
        unmet=ASLEEP if _is_asleep(node) else DOOMED if node in doomed else node.unmet,
        due_at=node.task.get("next_tick_at"),
        task=node.task,
        from_tick=state.ticks + 1 if is_passed else None,
    )


def _is_asleep(node: TaskNode) -> bool:
    """Tell whether only an event from outside, which names the task, concerns it."""
    return node.status == "WAITING" and _AWAKE.isdisjoint(node.task)


def state_from_rows(
    attributes: Mapping[str, Any], rows: Iterable[TaskRow], edges: Iterable[tuple[str, str]]
) -> FlowState:
    """Make the state of a flow from what a store read; it is as it was when it was saved.

    Args:
        attributes: as in `FlowChanges.attributes`, and `spec` where it is wanted; `data`, or what reads them.
        rows: all tasks in order; the flow takes their dicts over.
        edges: (precursor, successor), in the order in which they were written.
    """
    state = _state_with(attributes)
    rows = list(rows)
    add_graph(state, [row.task for row in rows], edges)
    for row in rows:
        # Those that are stored: a row that is written later must fit to those that are not.
        state.tasks.nodes[row.key].rank = row.rank
    state.tasks.go_on(state.ticks, state.next_call, state.calls_left, state.calls_begun)
    state.count_as_saved()
    _begin_inside(state)
    return state


def state_from_frontier(
    attributes: Mapping[str, Any],
    rows: Iterable[TaskRow],
    counts: Mapping[str, int],
    failures: int | None,
    source: TaskSource,
) -> FlowState:
    """Make the state of a flow from the tasks with which a tick begins; others are read when they are needed.

    Args:
        attributes: as in `FlowChanges.attributes`; `spec` is read when it is needed unless it is there;
            `data`, or what reads them.
        rows: the tasks that are RUNNING or WAITING, unless they are ASLEEP, and those that are PENDING with
            `unmet` of 0 or less.
        counts: how many tasks have each status.
        failures: as in `FlowChanges`; None: not known.
        source: where the others are.
    """
    state = _state_with(attributes)
    if "spec" not in attributes:
        state.spec = source.read_spec
    tasks = state.tasks
    root = TaskRow(
        key=ROOT_TASK_KEY,
        position=0,
        rank=ROOT_RANK,
        status="COMPLETED",
        unmet=0,
        due_at=None,
        task=tasks.root.task,
    )
    nodes = StoredNodes(source, sum(counts.values()), root)
    tasks.read_later(nodes, counts, failures)
    for row in sorted(rows, key=_position):
        tasks.enter(nodes.add(row), is_doomed=row.unmet == DOOMED)
    nodes.on_waiting = lambda node: tasks.enter(node, is_doomed=False)
    tasks.go_on(state.ticks, state.next_call, state.calls_left, state.calls_begun)
    state.count_as_saved()
    _begin_inside(state)
    return state


def _begin_inside(state: FlowState) -> None:
    queues = state.tasks.queues
    if state.tasks.running or any("flow_dict" in node.task for _, _, node in queues.ready):
        begin_inside(state, has_source=True)


def _state_with(attributes: Mapping[str, Any]) -> FlowState:
    by_argument = ("key", "cfg", "label", "status", "depth", "parent_key", "params", "result_paths")
    state = FlowState(**{name: attributes[name] for name in by_argument if name in attributes})
    for name in FLOW_ATTRIBUTES:
        if name in attributes and name not in by_argument and name != "data":
            setattr(state, name, copy_json(attributes[name]))
    state.data = attributes["data"]
    state.data_bytes = attributes.get("bytes", 0)
    return state


def fetch_ahead(state: FlowState, at: str) -> None:
    """Read at once what the next tick needs of a flow that is not wholly in memory.

    Args:
        state: of the flow; for one that is wholly in memory nothing is to do.
        at: the present, ISO 8601.
    """
    tasks = state.tasks
    nodes, running, queues = tasks.nodes, tasks.running, tasks.queues
    if running:
        state.read_sub_flows(_tasks_with_sub_flows(tasks.known_running(), at))
    if not isinstance(nodes, StoredNodes) or nodes.is_whole:
        return
    ready = queues.ready
    limit = state.cfg.get("max_running_tasks")
    if limit is not None:
        ready = nsmallest(max(int(limit) - len(running), 0), ready)
    due = [node for time, _, node in queues.due if time <= at]
    called = [node for node in tasks.known_running() if node.status == "RUNNING"]  # others wait
    nodes.fetch_edges(out_of=[*called, *queues.list_left(), *(node for _, _, node in ready), *due])


def _tasks_with_sub_flows(running: Iterable[TaskNode], at: str) -> Iterator[Task]:
    """Yield the task dicts that say which flow lives inside of them, of the tasks that are to be called."""
    for node in running:
        due = node.task.get("next_tick_at")
        if node.status == "RUNNING" or (due and due <= at):
            yield from with_proxied(node.task)


def next_tick_time(state: FlowState, at: str) -> str | None:
    """Return when the next tick can do something, as ISO 8601 text.

    Args:
        state: of the flow.
        at: the present.

    Returns:
        `at` if it can at once; None if the flow is not to be ticked, or only an event from outside
        can move it.
    """
    if state.status == "PENDING":
        return at
    if state.status == "BLOCKED" and state.missing_handlers:
        later = datetime.fromisoformat(at) + timedelta(seconds=TRY_AGAIN_SECONDS)
        return format_time(later)
    if state.status != "RUNNING":
        return None
    tasks = state.tasks
    if (tasks.failures or state.cfg) and state.is_failing:
        return at  # the tick in which the task failed was cut short; the next one ends the flow
    queues = tasks.queues
    if queues.order is not None:
        return at  # the next one goes on with it
    if queues.ready:
        limit = state.cfg.get("max_running_tasks") if state.cfg else None
        if limit is None or len(tasks.running) < limit:
            return at
    if tasks.counts["RUNNING"] or tasks.doomed or not tasks.unfinished_count():
        return at
    times = [time for time in (state.deadline_at, queues.next_due_time()) if time]
    return max(at, min(times)) if times else None
