"""The graph of a flow: the tasks and edges that are added to it, kept free of cycles.

They come all at once, or one by one while the flow runs. Each node has a rank that grows along every edge:
a pseudo-topological order in the sense of Bender, Fineman, Gilbert and Tarjan, "A New Approach to
Incremental Cycle Detection and Related Problems" (2015). An edge whose ends are already in order costs
nothing, another one a search among the successors of its end that are out of order. Lists of successors are
kept in the order of the spec, so that a flow behaves the same however it was put together.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heappop, heappush
from typing import Final

from mc.durations import format_time, parse_time
from mc.errors import CycleError, DurationError, GraphError
from mc.flows.state.flow_state import FlowState
from mc.flows.state.task_node import ROOT_RANK, Task, TaskNode
from mc.spec.task_graph import ROOT_TASK_KEY, find_cycle, start_rule_task_keys

__all__ = ["add_edge", "add_graph", "add_task", "has_edge"]

# Ranks are spaced out so that a task added between two others finds a place without moving any.
_RANK_GAP: Final = 1 << 24
_RANK_STEP: Final = 1 << 12


def add_graph(state: FlowState, tasks: Iterable[Task], edges: Iterable[tuple[str, str]]) -> None:
    """Take over many task dicts and edges at once.

    Raises:
        GraphError: a task or an edge does not fit; the flow cannot be used any more.
    """
    own = state.tasks
    new = [own.add(_normalise(task)) for task in tasks]
    nodes = own.nodes
    try:
        pairs = [(nodes[source], nodes[dest]) for source, dest in edges]
    except KeyError:
        pairs = [_edge_ends(state, source, dest) for source, dest in edges]
    for _, dest in pairs:
        if dest is own.root:
            raise _edge_into_root(dest.key)
    _connect_all([own.root, *new], pairs)
    for node in new:
        own.touch(node)
    state.unsaved.edges += [(source.key, dest.key) for source, dest in pairs]
    for node in new:
        own.count_unmet(node)


def add_task(state: FlowState, task: Task) -> None:
    """Add one task; see `Flow.add_task`.

    Args:
        state: of the flow.
        task: taken over; a missing key is generated.
    """
    own = state.tasks
    task["key"] = task.get("key") or _free_key(state)
    named_before, named_after = _named_keys(task, "precursors"), _named_keys(task, "successors")
    node = own.add(_normalise(task))
    moved: list[TaskNode] = []
    try:
        named = dict.fromkeys([*named_before, *start_rule_task_keys(task)])
        named.pop(ROOT_TASK_KEY, None)
        before = [_edge_ends(state, key, node.key)[0] for key in named] or [own.root]
        after = [_edge_ends(state, node.key, key)[1] for key in dict.fromkeys(named_after)]
        after.sort(key=lambda node: node.position)
        _place(node, before, after)
        for source in before:
            moved += _connect(source, node)
        for dest in after:
            moved += _connect(node, dest)
            _refuse_if_started(node, dest)
    except GraphError:
        _disconnect(node)
        own.remove_last(node)
        raise
    finally:
        for each in moved:
            if each is not node:
                own.touch(each)
    state.unsaved.edges += [(source.key, node.key) for source in before]
    state.unsaved.edges += [(node.key, dest.key) for dest in after]
    own.count_unmet(node)
    own.touch(node)
    for dest in after:
        own.count_edge(node, dest)
        own.touch(dest)
    own.hand_out([node])


def add_edge(state: FlowState, source_key: str, dest_key: str) -> None:
    """Let a task wait for another one; see `Flow.add_edge`."""
    source, dest = _edge_ends(state, source_key, dest_key)
    if has_edge(source, dest):
        return
    _refuse_if_started(source, dest)
    for moved in _connect(source, dest):
        state.tasks.touch(moved)
    state.unsaved.edges.append((source_key, dest_key))
    state.tasks.touch(dest)
    state.tasks.count_edge(source, dest)


def has_edge(source: TaskNode, dest: TaskNode) -> bool:
    """Tell whether there is an edge; looks at the shorter of the two lists."""
    if len(source.successors) <= len(dest.precursors):
        return dest in source.successors
    return source in dest.precursors


def _named_keys(task: Task, name: str) -> list[str]:
    """Return the task keys that a task names as its `precursors` or `successors`.

    Raises:
        GraphError: they are not a list of keys.
    """
    named = task.get(name) or []
    if not isinstance(named, (list, tuple)) or not all(isinstance(key, str) for key in named):
        raise GraphError(f"Task {task['key']!r}: {name} must be a list of task keys.", key=task["key"])
    return list(named)


def _normalise(task: Task) -> Task:
    """Give a task dict the entries that every task has; its edges live in the graph.

    Raises:
        GraphError: one of its times is none.
    """
    task.pop("precursors", None)
    task.pop("successors", None)
    if task.get("task_params") is None:
        task["task_params"] = {}
    if task.get("data") is None:
        task["data"] = {}
    task["status"] = str(task.get("status") or "PENDING")
    if "attempt" not in task:
        task["attempt"] = 0
    for name in ("cfg", "next_tick_at", "deadline_at"):
        if name in task and not task[name]:
            del task[name]
        elif name in task and name != "cfg":
            task[name] = _read_time(task, name)
    return task


def _read_time(task: Task, name: str) -> str:
    try:
        value = task[name]
        return format_time(value if isinstance(value, datetime) else parse_time(value))
    except DurationError as error:
        raise GraphError(f"Task {task.get('key')!r}: {name}: {error.message}", key=task.get("key")) from error


def _edge_ends(state: FlowState, source_key: str, dest_key: str) -> tuple[TaskNode, TaskNode]:
    if dest_key == ROOT_TASK_KEY:
        raise _edge_into_root(source_key)
    ends = []
    for key in (source_key, dest_key):
        node = state.tasks.nodes.get(key)
        if node is None:
            raise GraphError(
                f"The edge {source_key!r} -> {dest_key!r} names {key!r}, which is not a task of flow "
                f"{state.key!r}. Add that task first.",
                src_key=source_key,
                dest_key=dest_key,
            )
        ends.append(node)
    return ends[0], ends[1]


def _free_key(state: FlowState) -> str:
    number = len(state.tasks.nodes)
    while f"task_{number}" in state.tasks.nodes:
        number += 1
    return f"task_{number}"


def _refuse_if_started(source: TaskNode, dest: TaskNode) -> None:
    if dest.status != "PENDING" and source.status != "COMPLETED":
        _refuse_cycle(source, dest)  # the better reason, where it is one
        raise GraphError(
            f"Task {source.key!r} cannot precede {dest.key!r}, which is {dest.status} already.",
            src_key=source.key,
            dest_key=dest.key,
        )


def _edge_into_root(source_key: str) -> GraphError:
    return GraphError(
        f"The edge {source_key!r} -> ROOT leads into ROOT, which precedes all tasks.",
        src_key=source_key,
        dest_key=ROOT_TASK_KEY,
    )


def _connect_all(nodes: Sequence[TaskNode], edges: Iterable[tuple[TaskNode, TaskNode]]) -> None:
    """Add many edges among nodes that have none, and rank the nodes, in linear time (Kahn's algorithm).

    Raises:
        CycleError: the edges lead back to where they began; `.cycle` is the path.
    """
    for source, dest in edges:
        dest.precursors.append(source)
        _add_successor(source, dest)
    unmet = {node: len(node.precursors) for node in nodes}
    ready = [node for node in nodes if not node.precursors]
    for node in ready:
        next_rank = max(node.rank, 0) + _RANK_GAP
        for dest in node.successors:
            dest.rank = max(dest.rank, next_rank)
            unmet[dest] -= 1
            if not unmet[dest]:
                ready.append(dest)
    if len(ready) < len(nodes):
        pairs = [(source.key, dest.key) for dest in nodes for source in dest.precursors]
        raise _cycle_error(find_cycle([node.key for node in nodes], pairs) or [])


def _connect(source: TaskNode, dest: TaskNode) -> Iterable[TaskNode]:
    """Add one edge, and return the nodes whose ranks this changed.

    Raises:
        CycleError: `source` can be reached from `dest`; nothing was changed.
    """
    moved: Iterable[TaskNode] = ()
    if source.rank >= dest.rank:
        if source is not dest and all(before.rank == ROOT_RANK for before in source.precursors):
            # Only ROOT precedes it, so no way leads back to it.
            source.rank = dest.rank - _RANK_GAP
            moved = (source,)
        else:
            moved = _raise_ranks(source, dest)
    dest.precursors.append(source)
    _add_successor(source, dest)
    return moved


def _disconnect(node: TaskNode) -> None:
    """Take a node's edges away."""
    for source in node.precursors:
        source.successors.remove(node)
    for dest in node.successors:
        dest.precursors.remove(node)
    node.precursors, node.successors = [], []


def _place(node: TaskNode, before: Sequence[TaskNode], after: Sequence[TaskNode]) -> None:
    """Rank a node without edges between its future precursors and successors, if there is room."""
    low = max((source.rank for source in before), default=ROOT_RANK)
    if after:
        high = min(dest.rank for dest in after)
        if low == ROOT_RANK:
            node.rank = high - _RANK_GAP
        else:
            node.rank = low + (_RANK_STEP if high - low > _RANK_STEP else max((high - low) // 2, 1))
    else:
        node.rank = max(low, 0) + _RANK_GAP


def _add_successor(source: TaskNode, dest: TaskNode) -> None:
    successors = source.successors
    if successors and successors[-1].position > dest.position:
        insort(successors, dest, key=lambda node: node.position)
    else:
        successors.append(dest)


def _raise_ranks(source: TaskNode, dest: TaskNode) -> Iterable[TaskNode]:
    """Move `dest`, and what follows it, behind `source`; each node is moved once."""
    _refuse_cycle(source, dest)
    raised = {dest: source.rank + _RANK_GAP}
    # By the old ranks, which grow along every edge: a node's turn comes after that of all before it.
    waiting = [(dest.rank, dest.position, dest)]
    while waiting:
        _, _, node = heappop(waiting)
        rank = node.rank = raised[node]
        for follower in node.successors:
            if raised.get(follower, follower.rank) <= rank:
                if follower not in raised:
                    heappush(waiting, (follower.rank, follower.position, follower))
                raised[follower] = rank + _RANK_STEP
    return raised


def _refuse_cycle(source: TaskNode, dest: TaskNode) -> None:
    """Raise `CycleError` if `source` can be reached from `dest`."""
    if source is dest:
        raise _cycle_error([source.key, source.key])
    came_from: dict[TaskNode, TaskNode] = {dest: source}
    stack = [dest]
    while stack:
        node = stack.pop()
        for follower in node.successors:
            if follower is source:
                raise _cycle_error(_path_back(came_from, node, source))
            if follower not in came_from and follower.rank <= source.rank:
                came_from[follower] = node
                stack.append(follower)


def _path_back(came_from: dict[TaskNode, TaskNode], node: TaskNode, source: TaskNode) -> list[str]:
    path = [source, node]
    while path[-1] is not source:
        path.append(came_from[path[-1]])
    return [step.key for step in reversed(path)]


def _cycle_error(cycle: list[str]) -> CycleError:
    shown = " -> ".join(cycle)
    return CycleError(f"The edges form a cycle: {shown}. Remove one of these edges.", cycle=cycle)
