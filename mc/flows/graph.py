"""The edges between a flow's tasks, kept free of cycles while tasks are added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mc.errors import CycleError
from mc.spec.task_graph import find_cycle

__all__ = ["Graph"]

# Ranks are spaced out so that a task added between two others finds a place without moving any.
_RANK_GAP = 1 << 24
_RANK_STEP = 1 << 12


class Graph:
    """Successors and precursors of each task, and a rank that grows along every edge.

    The ranks are a pseudo-topological order in the sense of Bender, Fineman, Gilbert and Tarjan,
    "A New Approach to Incremental Cycle Detection and Related Problems" (2015): an edge whose
    ends are already in order costs nothing, another one a search among the successors of its end
    that are out of order.
    """

    __slots__ = ("precursors", "ranks", "successors")

    def __init__(self) -> None:
        self.precursors: dict[str, list[str]] = {}
        self.successors: dict[str, list[str]] = {}
        self.ranks: dict[str, int] = {}

    def add_node(self, key: str) -> None:
        """Add a task that has no edges yet."""
        self.precursors[key] = []
        self.successors[key] = []
        self.ranks[key] = 0

    def build(self, keys: Iterable[str], edges: Iterable[tuple[str, str]]) -> None:
        """Add many tasks and edges at once, in time linear in their number.

        Raises:
            CycleError: the edges lead back to where they began; `.cycle` is the path.
        """
        precursors, successors, ranks = self.precursors, self.successors, self.ranks
        for key in keys:
            precursors[key] = []
            successors[key] = []
        for source, dest in edges:
            precursors[dest].append(source)
            successors[source].append(dest)
        # Kahn's algorithm; the rank is the length of the longest way from a start.
        unmet = {key: len(before) for key, before in precursors.items()}
        ready = [key for key, count in unmet.items() if not count]
        for key in ready:
            ranks.setdefault(key, 0)
        for key in ready:
            next_rank = ranks[key] + _RANK_GAP
            for dest in successors[key]:
                if ranks.get(dest, 0) < next_rank:
                    ranks[dest] = next_rank
                unmet[dest] -= 1
                if not unmet[dest]:
                    ready.append(dest)
        if len(ready) < len(precursors):
            raise _cycle_error(find_cycle(precursors, self.edges()) or [])

    def has_edge(self, source: str, dest: str) -> bool:
        """Tell whether there is an edge; looks at the shorter of the two lists."""
        after = self.successors.get(source, ())
        before = self.precursors.get(dest, ())
        return dest in after if len(after) <= len(before) else source in before

    def edges(self) -> Iterable[tuple[str, str]]:
        """Return all edges (precursor, successor), by successor in the order of the tasks."""
        return ((source, dest) for dest, before in self.precursors.items() for source in before)

    def add_edge(self, source: str, dest: str) -> None:
        """Add one edge between tasks that are known.

        Raises:
            CycleError: `source` can be reached from `dest`; nothing was changed.
        """
        if source == dest:
            raise _cycle_error([source, source])
        if self.ranks[source] >= self.ranks[dest]:
            self._raise_ranks(source, dest)
        self.precursors[dest].append(source)
        self.successors[source].append(dest)

    def place(self, key: str, before: Sequence[str], after: Sequence[str]) -> None:
        """Give a task without edges a rank between its future precursors and successors, if there is room."""
        low = max((self.ranks[source] for source in before), default=0)
        if not after:
            self.ranks[key] = low + _RANK_GAP
            return
        room = min(self.ranks[dest] for dest in after) - low
        self.ranks[key] = low + (_RANK_STEP if room > _RANK_STEP else max(room // 2, 1))

    def remove_node(self, key: str) -> None:
        """Take back a task that was added last, with its edges."""
        for source in self.precursors.pop(key):
            self.successors[source].remove(key)
        for dest in self.successors.pop(key):
            self.precursors[dest].remove(key)
        del self.ranks[key]

    def _raise_ranks(self, source: str, dest: str) -> None:
        """Move `dest`, and what follows it, behind `source`."""
        ranks, successors = self.ranks, self.successors
        limit = ranks[source]
        came_from: dict[str, str] = {dest: source}
        stack = [dest]
        while stack:
            key = stack.pop()
            for follower in successors[key]:
                if follower == source:
                    raise _cycle_error(_path_back(came_from, key, source))
                if follower not in came_from and ranks[follower] <= limit:
                    came_from[follower] = key
                    stack.append(follower)
        ranks[dest] = limit + _RANK_GAP
        stack = [dest]
        while stack:
            key = stack.pop()
            for follower in successors[key]:
                if ranks[follower] <= ranks[key]:
                    ranks[follower] = ranks[key] + _RANK_GAP
                    stack.append(follower)


def _path_back(came_from: dict[str, str], key: str, source: str) -> list[str]:
    path = [source, key]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return path[::-1]


def _cycle_error(cycle: list[str]) -> CycleError:
    shown = " -> ".join(cycle)
    return CycleError(f"The edges form a cycle: {shown}. Remove one of these edges.", cycle=cycle)
