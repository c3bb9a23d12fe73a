"""The graph of a flow that is read from a store while it is needed: at first its frontier only.

A tick touches the tasks that run, and those that wait for them. So the nodes of the others are made
when somebody asks for them, and so are the edges.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Sequence, ValuesView
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from mc.flows.state.task_node import ROOT_RANK, TaskNode, read_cfg

if TYPE_CHECKING:
    from mc.flows.state.task_row import TaskRow

__all__ = ["StoredNode", "StoredNodes", "StoredRunning", "TaskSource"]

# What a question to the store costs, in rows that could be read in the same time.
_QUESTION: Final = 20
# Part of the cost of reading the whole flow that may be spent on questions before it is read whole.
_SHARE: Final = 0.25


class TaskSource(Protocol):
    """Where the tasks of a flow are that are not in memory.

    Each method raises what the store raises, and `LeaseLostError` where another runner may have changed
    the flow meanwhile.

    Attributes:
        lock: held while something is read and taken up, because handlers may run in threads.
    """

    lock: AbstractContextManager[object]

    def read_tasks(self, keys: Sequence[str]) -> Iterable[TaskRow]:
        """Return these tasks, those left out that there are not."""

    def read_tasks_with_status(self, status: str) -> Iterable[TaskRow]:
        """Return the tasks that have a status."""

    def read_edges(
        self, *, sources: Sequence[str] = (), dests: Sequence[str] = ()
    ) -> Iterable[tuple[str, str]]:
        """Return the edges that lead out of or into these tasks, in the order in which they were added."""

    def read_all(self) -> tuple[Iterable[TaskRow], Iterable[tuple[str, str]]]:
        """Return all tasks and all edges, as they stand at one moment."""

    def read_spec(self) -> dict[str, Any] | None:
        """Return the spec that the flow was made from."""


class StoredNode(TaskNode):
    """A node whose edges are read when they are asked for first."""

    __slots__ = ("_after", "_before", "_nodes")

    def __init__(self, row: TaskRow, nodes: StoredNodes) -> None:
        super().__init__(row.key, row.task, row.status, row.position)
        self.rank = row.rank
        self.unmet = max(row.unmet, 0)
        self._nodes = nodes
        self._before: list[TaskNode] | None = None
        self._after: list[TaskNode] | None = None

    @property
    def precursors(self) -> list[TaskNode]:
        """Nodes that it waits for."""
        if self._before is None:
            self._nodes.fetch_edges(into=[self])
        return self._before  # type: ignore[return-value]

    @precursors.setter
    def precursors(self, nodes: list[TaskNode]) -> None:
        self._before = nodes

    @property
    def successors(self) -> list[TaskNode]:
        """Nodes that wait for it."""
        if self._after is None:
            self._nodes.fetch_edges(out_of=[self])
        return self._after  # type: ignore[return-value]

    @successors.setter
    def successors(self, nodes: list[TaskNode]) -> None:
        self._after = nodes


class StoredNodes(dict[str, TaskNode]):
    """The nodes of a flow by key; what is missing is read when it is asked for.

    Whoever walks over them gets all of them, in the order of the spec. When the questions so far have
    cost a quarter of what it takes to read the whole flow, it is read: a flow that runs to its end in one
    go costs little more than if it had been read at first.

    Args:
        source: where the others are.
        num_tasks: how many tasks the flow has.
        root: ROOT as a row.

    Attributes:
        on_waiting: takes up a WAITING task that is read after those with which a tick begins.
    """

    def __init__(self, source: TaskSource, num_tasks: int, root: TaskRow) -> None:
        super().__init__()
        self.on_waiting: Callable[[StoredNode], None] | None = None
        self.source = source
        self.is_whole = False
        self._size = num_tasks + 1
        self._left = int(num_tasks * _SHARE)  # what may be spent until the flow is read whole, in rows
        self._lock = source.lock
        self.root = self.add(root)

    # --- as a mapping ----------------------------------------------------------------------

    def __missing__(self, key: str) -> TaskNode:
        if not self.is_whole and isinstance(key, str):
            self.fetch([key])
        found = super().get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None

    def get(self, key: Any, default: Any = None) -> Any:
        """Return a node, or the default where there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def __len__(self) -> int:
        return self._size

    def __setitem__(self, key: str, node: TaskNode) -> None:
        self._size += 1  # only new tasks come this way
        super().__setitem__(key, node)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._size -= 1

    def __iter__(self) -> Iterator[str]:
        self.fetch_all()
        return super().__iter__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # dict names its own
        """Return all keys."""
        self.fetch_all()
        return super().keys()

    def values(self) -> ValuesView[TaskNode]:  # type: ignore[override]  # dict names its own
        """Return all nodes."""
        self.fetch_all()
        return super().values()

    def items(self) -> ItemsView[str, TaskNode]:  # type: ignore[override]  # dict names its own
        """Return all keys and nodes."""
        self.fetch_all()
        return super().items()

    # --- what is in memory -----------------------------------------------------------------

    def add(self, row: TaskRow) -> StoredNode:
        """Take up a task that was read."""
        node = StoredNode(row, self)
        if row.rank > ROOT_RANK and "cfg" in row.task:
            node.rule = read_cfg(row.key, row.task["cfg"])
        super().__setitem__(row.key, node)
        if row.status == "WAITING" and self.on_waiting is not None:
            self.on_waiting(node)
        return node

    def in_memory(self) -> list[TaskNode]:
        """Return the nodes that were read, ROOT among them."""
        return list(super().values())

    def fetch(self, keys: Iterable[str]) -> None:
        """Read tasks, as far as they are not in memory and there are such."""
        with self._lock:
            missing = [key for key in dict.fromkeys(keys) if not super(StoredNodes, self).__contains__(key)]
            if missing and self._may_spend(len(missing)):
                for row in self.source.read_tasks(missing):
                    self.add(row)

    def fetch_edges(self, *, out_of: Iterable[TaskNode] = (), into: Iterable[TaskNode] = ()) -> None:
        """Read the edges of nodes, as far as they are not known, and the tasks at their other ends."""
        with self._lock:
            sources = {node.key: node for node in _stored(out_of) if node._after is None}
            dests = {node.key: node for node in _stored(into) if node._before is None}
            if not (sources or dests) or not self._may_spend(len(sources) + len(dests)):
                return
            after: list[tuple[str, str]] = []
            before: list[tuple[str, str]] = []
            if sources:
                after = list(self.source.read_edges(sources=list(sources)))
            if dests:
                before = list(self.source.read_edges(dests=list(dests)))
            self.fetch([*(dest for _, dest in after), *(source for source, _ in before)])
            if not self.is_whole:
                self._link(after, before, list(sources.values()), list(dests.values()))

    def with_status(self, status: str) -> list[TaskNode]:
        """Return the nodes that have a status, in order; ROOT is not among them."""
        with self._lock:
            if not self.is_whole:
                for row in self.source.read_tasks_with_status(status):
                    if not super().__contains__(row.key):
                        self.add(row)
            found = [node for node in super().values() if node.status == status and node is not self.root]
            return sorted(found, key=_position)

    def fetch_all(self) -> None:
        """Read what is not in memory."""
        with self._lock:
            if self.is_whole:
                return
            rows, pairs = self.source.read_all()
            for row in rows:
                if not super().__contains__(row.key):
                    self.add(row)
            nodes = self.in_memory()
            unlinked = list(_stored(nodes))
            sources = [node for node in unlinked if node._after is None]
            dests = [node for node in unlinked if node._before is None]
            pairs = list(pairs)
            after, before = {node.key for node in sources}, {node.key for node in dests}
            self._link(
                [pair for pair in pairs if pair[0] in after],
                [pair for pair in pairs if pair[1] in before],
                sources,
                dests,
            )
            in_order = {node.key: node for node in sorted(nodes, key=_position)}
            super().clear()
            super().update(in_order)
            self.is_whole = True

    def _link(
        self,
        after: Iterable[tuple[str, str]],
        before: Iterable[tuple[str, str]],
        sources: list[StoredNode],
        dests: list[StoredNode],
    ) -> None:
        """Give nodes their edges; a list that is known already may have edges that are not stored yet."""
        find = super().__getitem__
        followers: dict[str, list[TaskNode]] = {node.key: [] for node in sources}
        leaders: dict[str, list[TaskNode]] = {node.key: [] for node in dests}
        for source, dest in after:
            followers[source].append(find(dest))
        for source, dest in before:
            leaders[dest].append(find(source))
        for node in sources:
            followers[node.key].sort(key=_position)
            node._after = followers[node.key]
        for node in dests:
            node._before = leaders[node.key]

    def _may_spend(self, rows: int) -> bool:
        """Tell whether a question is worth its while; if not, the whole flow is in memory now."""
        self._left -= _QUESTION + rows
        if self._left < 0:
            self.fetch_all()
        return not self.is_whole


class StoredRunning(dict[TaskNode, None]):
    """The RUNNING and WAITING tasks of a flow that is read while it is needed.

    Those that are asleep are counted, and read when somebody walks over all of them.

    Args:
        nodes: of the flow.
        asleep: how many are WAITING, of which none was taken up yet.
    """

    def __init__(self, nodes: StoredNodes, asleep: int) -> None:
        super().__init__()
        self._nodes = nodes
        self._asleep = asleep

    def take_up(self, node: TaskNode) -> None:
        """Take up a task that a store had."""
        self._asleep -= node.status == "WAITING"
        self[node] = None

    def in_memory(self) -> list[TaskNode]:
        """Return those that were read."""
        return list(super().__iter__())

    def __len__(self) -> int:
        return super().__len__() + self._asleep

    def __iter__(self) -> Iterator[TaskNode]:
        if self._asleep:
            self._nodes.with_status("WAITING")
            self._asleep = 0
        return super().__iter__()


def _stored(nodes: Iterable[TaskNode]) -> Iterator[StoredNode]:
    return (node for node in nodes if type(node) is StoredNode)


def _position(node: TaskNode) -> int:
    return node.position
