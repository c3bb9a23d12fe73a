"""Loads flows: whole, or as far as a tick needs them."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Final

from mc.context.gc_pause import gc_paused
from mc.errors import FlowNotFoundError, McError, StoreError
from mc.flows.flow import Flow
from mc.store.database import Database
from mc.store.lease import Lease
from mc.store.reading.flow_reader import FlowRows, flow_of, read_flows, read_frontier
from mc.store.reading.stored_tasks import partial_flow_of
from mc.store.rows.row_format import StoredState

__all__ = ["PARTIAL_FROM", "FlowLoader"]

# Tasks. A smaller flow is read whole, together with others, sooner than in parts.
PARTIAL_FROM: Final = 500


class FlowLoader:
    """The loads of one store.

    Args:
        database: to read from.
        states: what is stored of each flow that is in memory; the flows that are loaded are added.
        partial_from: a claimed flow of so many tasks, or more, is loaded in parts.
    """

    def __init__(
        self, database: Database, states: MutableMapping[Flow, StoredState], partial_from: int
    ) -> None:
        self._database = database
        self._states = states
        self._partial_from = partial_from

    def load_many(self, keys: Sequence[str]) -> dict[str, Flow | McError]:
        """Load flows whole; see `FlowStore.load_many`."""
        with gc_paused():
            rows = self._database.read(lambda connection: read_flows(connection, keys))
            return {key: self._load_whole(key, rows.get(key)) for key in keys}

    def load_claimed(self, claimed: Sequence[Lease]) -> dict[str, Flow | McError]:
        """Load flows for a driver; see `FlowStore.load_claimed`."""
        small = [lease.flow_key for lease in claimed if lease.num_tasks < self._partial_from]
        found = self.load_many(small) if small else {}
        for lease in claimed:
            if lease.num_tasks >= self._partial_from:
                found[lease.flow_key] = self._load_partly(lease)
        return found

    def _load_whole(self, key: str, rows: FlowRows | None) -> Flow | McError:
        if rows is None:
            return _not_found(key)
        try:
            flow, state = flow_of(rows)
        except StoreError as error:
            return error
        self._states[flow] = state
        return flow

    def _load_partly(self, lease: Lease) -> Flow | McError:
        key = lease.flow_key
        rows = self._database.read(lambda connection: read_frontier(connection, key))
        if rows is None:
            return _not_found(key)
        try:
            flow, state = partial_flow_of(rows, self._database, lease)
        except StoreError as error:
            return error
        self._states[flow] = state
        return flow


def _not_found(key: str) -> FlowNotFoundError:
    return FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
