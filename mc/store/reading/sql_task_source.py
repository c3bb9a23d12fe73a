"""The tasks of a claimed flow that are read when a tick needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any

from mc.flows.flow import Flow
from mc.flows.state.task_row import TaskRow
from mc.store.reading.flow_reader import (
    OUTER_GRAPHS,
    FlowRows,
    GraphReader,
    KeyedRows,
    LeasedReads,
    holds_spec,
    put_signals,
    state_of,
)
from mc.store.rows.flow_and_task_rows import decode_tasks, explained, make_partial_flow
from mc.store.stored_state import StoredState

__all__ = ["SqlTaskSource", "partial_flow_of"]


class SqlTaskSource:
    """Where the tasks of a claimed flow, or of one inside of its tasks, are that are not in memory.

    See `TaskSource`.

    Args:
        reads: of what belongs to the claimed flow.
        graphs: where the flow's rows are.
        key: of its rows.
        state: what is stored of it; the rows that are read are added.
        spec_digest: of the flow's spec.
    """

    def __init__(
        self,
        reads: LeasedReads,
        graphs: GraphReader,
        key: str,
        state: StoredState,
        spec_digest: str | None = None,
    ) -> None:
        self.lock: AbstractContextManager[object] = RLock()
        self._reads = reads
        self._graphs = graphs
        self._key = key
        self._state = state
        self._spec_digest = spec_digest

    def read_tasks(self, keys: Sequence[str]) -> Iterable[TaskRow]:
        """Return these tasks, those left out that there are not."""
        return self._take_up(self._reads.read(lambda c: self._graphs.read_tasks(c, self._key, keys)))

    def read_tasks_with_status(self, status: str) -> Iterable[TaskRow]:
        """Return the tasks that have a status."""
        found = self._reads.read(lambda c: self._graphs.read_tasks_with_status(c, self._key, status))
        return self._take_up(found)

    def read_edges(
        self, *, sources: Sequence[str] = (), dests: Sequence[str] = ()
    ) -> Iterable[tuple[str, str]]:
        """Return the edges that lead out of or into these tasks, in the order in which they were added."""
        return self._reads.read(lambda c: self._graphs.read_edges(c, self._key, sources=sources, dests=dests))

    def read_all(self) -> tuple[Iterable[TaskRow], Iterable[tuple[str, str]]]:
        """Return all tasks and all edges, as they stand at one moment."""
        tasks, edges = self._reads.read(lambda c: self._graphs.read_all(c, self._key))
        self._state.num_edges = len(edges)
        return self._take_up(tasks), edges

    def read_spec(self) -> dict[str, Any] | None:
        """Return the spec that the flow was made from."""
        digest = self._spec_digest
        return self._reads.read_spec(digest) if digest is not None else None

    def count_edges(self) -> int:
        """Return how many edges are stored."""
        return len(self._reads.read(lambda c: self._graphs.read_edges(c, self._key)))

    def _take_up(self, rows: KeyedRows) -> Iterable[TaskRow]:
        known = self._state.tasks
        with self._reads.told(), explained(self._reads.flow_key):
            tasks = list(decode_tasks(rows, self._reads.parts_of(self._graphs, self._key)))
        for key, stored in rows:
            known.setdefault(key, stored)
        return tasks


def partial_flow_of(rows: FlowRows, reads: LeasedReads) -> tuple[Flow, StoredState]:
    """Return a claimed flow of whose tasks rows hold the frontier, and what a save compares it with.

    Raises:
        StoreError: the rows cannot be read.
    """
    state = state_of(rows)
    state.reads = reads
    state.source = SqlTaskSource(reads, OUTER_GRAPHS, rows.row["key"], state, rows.row["spec_digest"])
    parts = reads.parts_of(OUTER_GRAPHS, rows.row["key"])
    flow = make_partial_flow(rows.row, rows.tasks, parts, state.source)
    put_signals(flow, rows)
    if holds_spec(rows):
        state.own_spec = flow.spec
    return flow, state
