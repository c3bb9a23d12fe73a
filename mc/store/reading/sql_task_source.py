"""The tasks of a claimed flow that are read when a tick needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection

from mc.context.json_values import loads
from mc.errors import McError
from mc.flows.flow import Flow
from mc.flows.state.task_row import TaskRow
from mc.store.database import Database
from mc.store.lease import Lease
from mc.store.leases.held_leases import is_held_by
from mc.store.leases.refusals import lease_lost
from mc.store.reading.flow_reader import (
    OUTER_GRAPHS,
    FlowRows,
    GraphReader,
    KeyedRows,
    holds_spec,
    put_signals,
    read_spec_text,
    state_of,
)
from mc.store.rows.flow_and_task_rows import decode_tasks, explained, make_partial_flow
from mc.store.stored_state import StoredState

__all__ = ["LeasedReads", "SqlTaskSource", "partial_flow_of"]

T = TypeVar("T")


class LeasedReads:
    """Reads of what belongs to a claimed flow.

    What is read belongs to what was read before: nobody but the holder of the lease changes the flow.

    Args:
        database: the database.
        lease: the claim on the flow.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self.on_problem: Callable[[McError], object] | None = None  # told before an error is raised
        self.flow_key = lease.flow_key
        self._database = database
        self._lease = lease

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds.

        Raises:
            LeaseLostError: another runner has taken the flow over, and may have changed what was found.
            StoreError: the database cannot be read.
        """

        def read(connection: Connection) -> T:
            found = work(connection)
            # Asked last: who holds the lease now held it while the rows were read.
            if not is_held_by(connection, self._lease):
                raise lease_lost(self._lease)
            return found

        with self.told():
            return self._database.read(read)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell of an error before it is raised."""
        try:
            yield
        except McError as error:
            if self.on_problem is not None:
                self.on_problem(error)
            raise


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
        text = self._reads.read(lambda c: read_spec_text(c, digest)) if digest is not None else None
        return loads(text) if text is not None else None

    def count_edges(self) -> int:
        """Return how many edges are stored."""
        return len(self._reads.read(lambda c: self._graphs.read_edges(c, self._key)))

    def _take_up(self, rows: KeyedRows) -> Iterable[TaskRow]:
        known = self._state.tasks
        with self._reads.told(), explained(self._reads.flow_key):
            tasks = list(decode_tasks(rows))
        for key, stored in rows:
            known.setdefault(key, stored)
        return tasks


def partial_flow_of(rows: FlowRows, reads: LeasedReads) -> tuple[Flow, StoredState]:
    """Return a claimed flow of whose tasks rows hold the frontier, and what a save compares it with.

    Raises:
        StoreError: the rows cannot be read.
    """
    state = state_of(rows)
    state.source = SqlTaskSource(reads, OUTER_GRAPHS, rows.row["key"], state, rows.row["spec_digest"])
    flow = make_partial_flow(rows.row, rows.tasks, state.source)
    put_signals(flow, rows)
    if holds_spec(rows):
        state.own_spec = flow.spec
    return flow, state
