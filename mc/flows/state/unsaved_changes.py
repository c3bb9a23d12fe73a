"""The changes of a flow that no store has yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mc.flows.state.task_node import TaskNode

if TYPE_CHECKING:
    from mc.flows.observer import ChangeEvent, MigrationRecord

__all__ = ["UnsavedChanges"]


class UnsavedChanges:
    """What has changed in a flow since it was loaded or saved last.

    Attributes:
        touched: tasks that the next save has to look at; each once, its `touched` is set.
        edges: (precursor, successor) of edges that are new.
        is_rebuilt: whether tasks may be gone; all that there are stand in `touched`.
        has_other_edges: whether edges are gone; all that there are stand in `edges`.
        migrations: moves to other specs.
        journal: changes of status, for a store to keep; None: the flow was never in one.
    """

    __slots__ = ("edges", "has_other_edges", "is_rebuilt", "journal", "migrations", "touched")

    def __init__(self) -> None:
        self.touched: list[TaskNode] = []
        self.edges: list[tuple[str, str]] = []
        self.is_rebuilt = False
        self.has_other_edges = False
        self.migrations: list[MigrationRecord] = []
        self.journal: list[ChangeEvent] | None = None

    def forget_graph(self) -> None:
        """Forget tasks and edges, of which there will be others."""
        self.touched, self.edges = [], []

    def begin(self) -> None:
        """Count the flow as saved, and keep a journal from now on."""
        self.mark_saved(tuple(self.touched), len(self.edges), len(self.migrations), 0)

    def mark_saved(self, nodes: Iterable[TaskNode], edges: int, migrations: int, journal: int) -> None:
        """Forget what a store has committed; from the first save on a journal is kept.

        Args:
            nodes: the tasks that it wrote.
            edges: how many of the first edges it has.
            migrations: likewise.
            journal: likewise.
        """
        for node in nodes:
            node.touched = False
        self.touched = [node for node in self.touched if node.touched]
        self.is_rebuilt = self.has_other_edges = False
        if self.journal is None:
            self.journal = []
        del self.edges[:edges], self.migrations[:migrations], self.journal[:journal]
