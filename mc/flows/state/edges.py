"""The edges between a flow's tasks, kept free of cycles while tasks are added.

Each node has a rank that grows along every edge: a pseudo-topological order in the sense of
Bender, Fineman, Gilbert and Tarjan, "A New Approach to Incremental Cycle Detection and Related
Problems" (2015). An edge whose ends are already in order costs nothing, another one a search among
the successors of its end that are out of order. Lists of successors are kept in the order of the
spec, so that a flow behaves the same however it was put together.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Final

from mc.errors import CycleError
from mc.flows.state.task_node import TaskNode
from mc.spec.task_graph import find_cycle

__all__ = [
    "ROOT_RANK",
    "connect",
    "connect_all",
    "disconnect",
    "has_edge",
    "place",
    "refuse_cycle",
    "shown_precursors",
]

# Below all others, so that there is always room between ROOT and the first tasks.
ROOT_RANK: Final = -(1 << 60)

# Ranks are spaced out so that a task added between two others finds a place without moving any.
_RANK_GAP: Final = 1 << 24
_RANK_STEP: Final = 1 << 12


def connect_all(nodes: Sequence[TaskNode], edges: Iterable[tuple[TaskNode, TaskNode]]) -> None:
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


def has_edge(source: TaskNode, dest: TaskNode) -> bool:
    """Tell whether there is an edge; looks at the shorter of the two lists."""
    if len(source.successors) <= len(dest.precursors):
        return dest in source.successors
    return source in dest.precursors


def shown_precursors(node: TaskNode) -> list[TaskNode]:
    """Return what a task waits for; ROOT only where it waits for nothing else."""
    before = node.precursors
    if len(before) > 1 and any(source.rank == ROOT_RANK for source in before):
        return [source for source in before if source.rank != ROOT_RANK]
    return before


def connect(source: TaskNode, dest: TaskNode) -> Iterable[TaskNode]:
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


def disconnect(node: TaskNode) -> None:
    """Take a node's edges away."""
    for source in node.precursors:
        source.successors.remove(node)
    for dest in node.successors:
        dest.precursors.remove(node)
    node.precursors, node.successors = [], []


def place(node: TaskNode, before: Sequence[TaskNode], after: Sequence[TaskNode]) -> None:
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
    refuse_cycle(source, dest)
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


def refuse_cycle(source: TaskNode, dest: TaskNode) -> None:
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
