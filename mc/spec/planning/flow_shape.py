"""The shape of a flow's graph: order, ranks, longest path, width."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter

from mc.spec.task_graph import ROOT_TASK_KEY

__all__ = ["edges_among", "find_longest_path", "find_ranks", "find_width"]

Edges = Sequence[tuple[str, str]]


def find_ranks(keys: Sequence[str], edges: Edges) -> dict[str, int]:
    """Return the rank of each task, in an order in which each task comes after its precursors.

    The rank is the number of tasks on the longest path from the start of the flow to the task; by rank,
    and within one by place in the spec.

    Args:
        keys: the tasks, in the order of the spec.
        edges: (precursor, successor), without a cycle; those from ROOT may be there.
    """
    precursors: dict[str, list[str]] = {key: [] for key in keys}
    for source, dest in edges:
        if source != ROOT_TASK_KEY:
            precursors[dest].append(source)
    ranks: dict[str, int] = {}
    for key in TopologicalSorter(precursors).static_order():
        ranks[key] = 1 + max((ranks[precursor] for precursor in precursors[key]), default=-1)
    places = {key: at for at, key in enumerate(keys)}
    return dict(sorted(ranks.items(), key=lambda item: (item[1], places[item[0]])))


def find_longest_path(
    order: Sequence[str], edges: Edges, seconds: Mapping[str, float]
) -> tuple[list[str], float]:
    """Return the path that takes longest, of those the one with most tasks, and what it takes.

    Args:
        order: the tasks, each after its precursors; edges from and to others are left out.
        edges: (precursor, successor).
        seconds: how long each task takes.
    """
    precursors: dict[str, list[str]] = {key: [] for key in order}
    for source, dest in edges:
        if source in precursors and dest in precursors:
            precursors[dest].append(source)
    best: dict[str, tuple[float, int]] = {}
    came_from: dict[str, str | None] = {}
    for key in order:
        before = max(precursors[key], key=best.__getitem__, default=None)
        took, count = best[before] if before is not None else (0.0, 0)
        best[key], came_from[key] = (took + seconds.get(key, 0.0), count + 1), before
    last = max(order, key=best.__getitem__, default=None)
    total = best[last][0] if last is not None else 0.0
    path: list[str] = []
    while last is not None:
        path.append(last)
        last = came_from[last]
    return path[::-1], total


def edges_among(chosen: Collection[str], order: Sequence[str], edges: Edges) -> list[tuple[str, str]]:
    """Return edges that put some tasks in the order in which all tasks are, others between them left out.

    Args:
        chosen: these tasks.
        order: all tasks, each after its precursors.
        edges: (precursor, successor); those from and to other tasks are left out.
    """
    after: dict[str, list[str]] = {key: [] for key in order}
    for source, dest in edges:
        if source in after and dest in after:
            after[source].append(dest)
    wanted = set(chosen)
    next_of: dict[str, dict[str, None]] = {}  # task -> the chosen ones that come next after it
    for key in reversed(order):
        found: dict[str, None] = {}
        for dest in after[key]:
            found |= {dest: None} if dest in wanted else next_of[dest]
        next_of[key] = found
    return [(key, dest) for key in order if key in wanted for dest in next_of[key]]


def find_width(keys: Collection[str], edges: Edges) -> int:
    """Return how many tasks can be under way at the same time, as far as edges say.

    That is the size of the largest set of tasks of which none precedes another. By Dilworth's theorem it is
    the smallest number of chains that cover all tasks, where a chain may leave out tasks between two of its
    own. Task by task, from the last to the first, a chain is led on to one that no chain has come to yet, or
    that another chain can do without.

    Args:
        keys: the tasks; quickest where each comes after its precursors.
        edges: (precursor, successor); those from and to other tasks are left out.
    """
    after: dict[str, list[str]] = {key: [] for key in keys}
    for source, dest in edges:
        if source in after and dest in after:
            after[source].append(dest)
    before_it: dict[str, str] = {}  # task -> the one before it in its chain
    after_it: dict[str, str] = {}
    in_vain: set[str] = set()  # what was reached by a search that failed never leads anywhere
    for key in reversed(after):
        reached: dict[str, str] = {}  # task -> the one that a chain may lead on to it from
        free = _reach_free(key, after, before_it, reached, in_vain)
        if free is None:
            in_vain.update(reached)
        while free is not None:
            one = reached[free]
            makes_way = after_it.get(one)
            before_it[free], after_it[one], free = one, free, makes_way
    return len(after) - len(before_it)


def _reach_free(
    key: str,
    after: Mapping[str, Sequence[str]],
    before_it: Mapping[str, str],
    reached: dict[str, str],
    in_vain: Collection[str],
) -> str | None:
    """Return a task that no chain has come to and that one can be led on to, if others make way for it."""
    waiting = deque([(key, key)])  # a task to lead on from, and one after it that is passed through
    while waiting:
        one, passed = waiting.popleft()
        for task in after[passed]:
            if task in reached or task in in_vain:
                continue
            reached[task] = one
            if task not in before_it:
                return task
            waiting.append((one, task))
            waiting.append((before_it[task], before_it[task]))
    return None
