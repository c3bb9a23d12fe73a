"""Loads of flows: whole, or as far as a runner needs them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection

from mc.context.gc_pause import MANY_TASKS, gc_paused
from mc.errors import FlowNotFoundError, McError, StoreError
from mc.flows.flow import Flow
from mc.store.database import Database
from mc.store.lease import Lease
from mc.store.reading.flow_reader import (
    FlowRows,
    LeasedReads,
    claimed_flow_of,
    flow_of,
    read_flows,
    read_frontier,
)
from mc.store.reading.inner_flow_reader import (
    InnerRows,
    SnapshotOfSubFlows,
    SqlSubFlowSource,
    read_inner_flows,
)
from mc.store.reading.sql_task_source import partial_flow_of
from mc.store.stored_state import StoredState

__all__ = ["FlowLoader"]


class FlowLoader:
    """Loads the flows of one store.

    Args:
        database: to read from.
        states: what is stored of each flow that is in memory.
        partial_from: a claimed flow of so many tasks, or more, is read as far as its ticks need it.
        read_result: returns a result that is kept in a file.
    """

    def __init__(
        self,
        database: Database,
        states: MutableMapping[Flow, StoredState],
        partial_from: int,
        read_result: Callable[[str], Any],
    ) -> None:
        self._database = database
        self._read_result = read_result
        self._states = states
        self._partial_from = partial_from

    def load(self, key: str) -> Flow:
        """Return a flow as it stands at one moment, with what is inside of its tasks."""

        def read(connection: Connection) -> tuple[FlowRows | None, dict[str, InnerRows]]:
            return read_flows(connection, [key]).get(key), read_inner_flows(connection, root_keys=[key])

        with gc_paused():
            rows, inside = self._database.read(read)
            if rows is not None:
                rows.parts = rows.parts.with_results(self._read_result)
            flow = self._take_up(key, rows, flow_of)
        if isinstance(flow, McError):
            raise flow
        state = self._states[flow]
        flow.state.sub_flow_source = SnapshotOfSubFlows(self._database, key, inside, state, self._read_result)
        return flow

    def load_claimed(self, claimed: Sequence[Lease]) -> dict[str, Flow | McError]:
        """Return claimed flows by key; see `FlowStore.load_claimed`."""
        small = {each.flow_key: each for each in claimed if each.num_tasks < self._partial_from}
        found: dict[str, Flow | McError] = {}
        if small:
            many = sum(lease.num_tasks for lease in small.values()) >= MANY_TASKS
            with gc_paused() if many else nullcontext():
                rows = self._database.read(
                    lambda connection: read_flows(connection, list(small), whole=False)
                )
                for key, lease in small.items():
                    found[key] = self._load_small(rows.get(key), self._reads_under(lease))
        for lease in claimed:
            if lease.num_tasks >= self._partial_from:
                found[lease.flow_key] = self._load_partly(self._reads_under(lease))
        return found

    def _reads_under(self, lease: Lease) -> LeasedReads:
        return LeasedReads(self._database, lease, self._read_result)

    def _load_small(self, rows: FlowRows | None, reads: LeasedReads) -> Flow | McError:
        flow = self._take_up(reads.flow_key, rows, lambda found: claimed_flow_of(found, reads))
        if rows is not None and _names_flow_inside(rows):
            self._let_read_inside(flow, reads)
        return flow

    def _load_partly(self, reads: LeasedReads) -> Flow | McError:
        key = reads.flow_key
        rows = self._database.read(lambda connection: read_frontier(connection, key))
        flow = self._take_up(key, rows, lambda found: partial_flow_of(found, reads))
        self._let_read_inside(flow, reads)
        return flow

    def _let_read_inside(self, flow: Flow | McError, reads: LeasedReads) -> None:
        """Let what is inside of tasks of a claimed flow be read when it is needed."""
        if isinstance(flow, Flow):
            state = self._states[flow]
            flow.state.sub_flow_source = SqlSubFlowSource(reads, state, self._partial_from)

    def _take_up(
        self, key: str, rows: FlowRows | None, make: Callable[[FlowRows], tuple[Flow, StoredState]]
    ) -> Flow | McError:
        if rows is None:
            return FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
        try:
            flow, state = make(rows)
        except StoreError as error:
            return error
        self._states[flow] = state
        return flow


def _names_flow_inside(rows: FlowRows) -> bool:
    """Tell whether a task says that a flow is inside of it."""
    return any('"sub_flow":' in task.body for _, task in rows.tasks)
