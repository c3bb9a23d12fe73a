"""The shape of a flow's graph: order, ranks, longest path, width."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter

from mc.spec.task_graph import ROOT_TASK_KEY

__all__ = ["find_longest_path", "find_ranks", "find_width"]

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


def find_width(keys: Collection[str], edges: Edges) -> int:
    """Return how many tasks can be under way at the same time, as far as edges say.

    That is the size of the largest set of tasks of which none precedes another. By Dilworth's theorem it is
    the smallest number of chains that cover all tasks, and that is the number of tasks less the largest
    flow in a network where each task is left and entered once, and passed through as often as one
    likes (so that edges need not be closed transitively first).

    Args:
        keys: the tasks.
        edges: (precursor, successor); those from and to other tasks are left out.
    """
    numbers = {key: number for number, key in enumerate(keys)}
    network = _Network(2 * len(numbers) + 2)
    source, sink = 2 * len(numbers), 2 * len(numbers) + 1
    for number in range(len(numbers)):
        network.add(source, 2 * number, 1)  # leaves the task
        network.add(2 * number + 1, sink, 1)  # enters it
        network.add(2 * number + 1, 2 * number, len(numbers))  # passes through it
    for before, after in edges:
        if before in numbers and after in numbers:
            network.add(2 * numbers[before], 2 * numbers[after] + 1, len(numbers))
    return len(numbers) - network.push_all(source, sink)


class _Network:
    """A flow network for Dinic's algorithm, without recursion."""

    __slots__ = ("_arcs", "_capacity", "_heads")

    def __init__(self, nodes: int) -> None:
        self._arcs: list[list[int]] = [[] for _ in range(nodes)]
        self._heads: list[int] = []  # of arc n; its reverse is n ^ 1
        self._capacity: list[int] = []

    def add(self, tail: int, head: int, capacity: int) -> None:
        for node, end, room in ((tail, head, capacity), (head, tail, 0)):
            self._arcs[node].append(len(self._heads))
            self._heads.append(end)
            self._capacity.append(room)

    def push_all(self, source: int, sink: int) -> int:
        """Return the largest flow."""
        total = 0
        while (levels := self._find_levels(source, sink)) is not None:
            places = [0] * len(self._arcs)
            while self._push_one(source, sink, levels, places):
                total += 1
        return total

    def _find_levels(self, source: int, sink: int) -> list[int] | None:
        levels = [-1] * len(self._arcs)
        levels[source] = 0
        waiting = deque([source])
        while waiting:
            node = waiting.popleft()
            for arc in self._arcs[node]:
                head = self._heads[arc]
                if self._capacity[arc] and levels[head] < 0:
                    levels[head] = levels[node] + 1
                    waiting.append(head)
        return levels if levels[sink] >= 0 else None

    def _push_one(self, source: int, sink: int, levels: list[int], places: list[int]) -> bool:
        """Push one unit along a shortest path; every arc from the source holds one."""
        path: list[int] = []
        node = source
        while node != sink:
            arcs = self._arcs[node]
            while places[node] < len(arcs):
                arc = arcs[places[node]]
                if self._capacity[arc] and levels[self._heads[arc]] == levels[node] + 1:
                    break
                places[node] += 1
            else:
                if not path:
                    return False
                node = self._heads[path.pop() ^ 1]
                places[node] += 1
                continue
            path.append(arc)
            node = self._heads[arc]
        for arc in path:
            self._capacity[arc] -= 1
            self._capacity[arc ^ 1] += 1
        return True
