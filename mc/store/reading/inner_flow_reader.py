"""Reads of the flows inside of tasks, as far as a tick needs them, or all of a flow at one moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, or_, select

from mc.context.json_values import loads
from mc.errors import StoreError
from mc.flows.state.flow_state import FlowState
from mc.store.database import Database
from mc.store.reading.flow_reader import INNER_GRAPHS, NO_PARTS, KeyedRows, LeasedReads, chunks, named
from mc.store.reading.sql_task_source import SqlTaskSource
from mc.store.rows.inner_flow_rows import inner_flow_key, make_inner_flow, make_partial_inner_flow
from mc.store.rows.task_parts import StoredParts, tasks_with_parts
from mc.store.schema.tables import inner_flow, inner_task
from mc.store.stored_state import StoredState

__all__ = ["InnerRows", "SnapshotOfSubFlows", "SqlSubFlowSource", "read_inner_flows"]


@dataclass(slots=True)
class InnerRows:
    """The rows of a flow inside of a task."""

    row: Mapping[str, Any]
    tasks: KeyedRows = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    parts: StoredParts = NO_PARTS
    is_whole: bool = True  # else only the tasks with which a tick begins


def read_inner_flows(
    connection: Connection,
    *,
    keys: Sequence[str] | None = None,
    root_keys: Sequence[str] = (),
    partial_from: int | None = None,
) -> dict[str, InnerRows]:
    """Return the rows of flows inside of tasks, by the keys of their rows.

    Args:
        connection: in a transaction.
        keys: of their rows; None: all of some flows that are not COMPLETED.
        root_keys: keys of these flows.
        partial_from: of those with so many tasks, or more, only the tasks are read with which a tick begins,
            and parts of tasks are left out; None: all is read.
    """
    found: dict[str, InnerRows] = {}
    query = _BY_KEY if keys is not None else _BY_ROOT
    for chunk in chunks(keys if keys is not None else root_keys):
        for row in connection.execute(query, {"keys": chunk}).mappings():
            size = sum(loads(row["task_counts"]).values())
            is_whole = partial_from is None or size < partial_from
            found[row["key"]] = InnerRows(dict(row), is_whole=is_whole)
    for chunk in chunks([key for key, rows in found.items() if rows.is_whole]):
        tasks, edges = INNER_GRAPHS.read_many(connection, chunk)
        for flow_key, key, task in tasks:
            found[flow_key].tasks.append((key, task))
        for flow_key, source, dest in edges:
            found[flow_key].edges.append((source, dest))
    if partial_from is None:
        with_parts = [key for key, rows in found.items() if tasks_with_parts(t.body for _, t in rows.tasks)]
        for key, parts in INNER_GRAPHS.read_parts(connection, with_parts).items():
            found[key].parts = parts
    in_part = [key for key, rows in found.items() if not rows.is_whole]
    for key, frontier in INNER_GRAPHS.read_frontiers(connection, in_part).items():
        found[key].tasks = frontier
    return found


class SqlSubFlowSource:
    """Where the flows inside of tasks of a claimed flow are that are not in memory; see `SubFlowSource`.

    Args:
        reads: of what belongs to the claimed flow.
        state: what is stored of that.
        partial_from: an inner flow of so many tasks, or more, is read as far as its ticks need it.
    """

    def __init__(self, reads: LeasedReads, state: StoredState, partial_from: int) -> None:
        self._reads = reads
        self._state = state
        self._partial_from = partial_from

    def read(
        self, wanted: Sequence[tuple[FlowState, str]], *, if_there: bool = False
    ) -> Sequence[FlowState | None]:
        """Return flows that live inside of tasks, or did so when these ended, in the order that is given."""
        root_key = self._reads.flow_key
        keys = [inner_flow_key(root_key, around.path, key) for around, key in wanted]
        found = self._reads.read(
            lambda connection: read_inner_flows(connection, keys=keys, partial_from=self._partial_from)
        )
        with self._reads.told():
            return [
                None if if_there and key not in found else self._make(key, _found(found, key, root_key))
                for key in keys
            ]

    def find_places(self, texts: Sequence[str], *, also_pending: bool) -> Collection[tuple[str, ...]]:
        """Return the paths of flows inside of tasks that have a task whose JSON text holds one of these."""
        statuses = ["RUNNING", "WAITING", *(["PENDING"] if also_pending else [])]
        query = (
            select(inner_flow.c.path)
            .join(inner_task, inner_task.c.flow_key == inner_flow.c.key)
            .where(
                inner_flow.c.root_key == self._reads.flow_key,
                inner_task.c.status.in_(statuses),
                or_(*(inner_task.c.body.contains(text, autoescape=True) for text in texts)),
            )
        )
        found = self._reads.read(lambda connection: set(connection.scalars(query)))
        return [tuple(loads(path)) for path in found]

    def _make(self, key: str, rows: InnerRows) -> FlowState:
        state, parts = _stored_state(rows), self._reads.parts_of(INNER_GRAPHS, key)
        if rows.is_whole:
            made = make_inner_flow(rows.row, rows.tasks, rows.edges, parts)
        else:
            state.num_edges = None
            state.source = SqlTaskSource(self._reads, INNER_GRAPHS, key, state)
            made = make_partial_inner_flow(rows.row, rows.tasks, parts, state.source)
        self._state.inner[made] = state
        return made


class SnapshotOfSubFlows:
    """The flows inside of tasks of a flow that nobody holds, as they stood when it was read.

    Those that are COMPLETED are read when they are asked for: they do not change any more.

    Args:
        database: the database.
        root_key: of the flow.
        rows: of the others.
        state: what is stored of the flow.
        read_result: returns a result that is kept in a file.
    """

    def __init__(
        self,
        database: Database,
        root_key: str,
        rows: Mapping[str, InnerRows],
        state: StoredState,
        read_result: Callable[[str], Any],
    ) -> None:
        self._database = database
        self._root_key = root_key
        self._rows = dict(rows)
        self._state = state
        self._read_result = read_result

    def read(
        self, wanted: Sequence[tuple[FlowState, str]], *, if_there: bool = False
    ) -> Sequence[FlowState | None]:
        """Return flows that live inside of tasks, or did so when these ended, in the order that is given."""
        keys = [inner_flow_key(self._root_key, around.path, key) for around, key in wanted]
        missing = [key for key in keys if key not in self._rows]
        if missing:
            self._rows |= self._database.read(lambda connection: read_inner_flows(connection, keys=missing))
        return [
            None
            if if_there and key not in self._rows
            else self._make(_found(self._rows, key, self._root_key))
            for key in keys
        ]

    def find_places(self, texts: Sequence[str], *, also_pending: bool) -> Collection[tuple[str, ...]]:
        """Return the paths of flows inside of tasks that have a task whose JSON text holds one of these."""
        return [
            tuple(loads(rows.row["path"]))
            for rows in self._rows.values()
            if any(text in task.body for _, task in rows.tasks for text in texts)
        ]

    def _make(self, rows: InnerRows) -> FlowState:
        parts = rows.parts.with_results(self._read_result)
        made = make_inner_flow(rows.row, rows.tasks, rows.edges, parts)
        self._state.inner[made] = _stored_state(rows)
        return made


def _found(rows: Mapping[str, InnerRows], key: str, root_key: str) -> InnerRows:
    try:
        return rows[key]
    except KeyError:
        raise StoreError(
            f"The rows of flow {root_key!r} cannot be read: a flow inside of one of its tasks is gone. They "
            f"were changed by something else than mc, or the database is damaged.",
            key=root_key,
        ) from None


def _stored_state(rows: InnerRows) -> StoredState:
    return StoredState(revision=1, num_edges=len(rows.edges), data=rows.row["data"], tasks=dict(rows.tasks))


_COLUMNS: Final = select(
    inner_flow.c.key,
    inner_flow.c.root_key,
    inner_flow.c.path,
    inner_flow.c.status,
    inner_flow.c.task_counts,
    inner_flow.c.data,
    inner_flow.c.body,
)
_BY_KEY: Final = _COLUMNS.where(named(inner_flow.c.key))
_BY_ROOT: Final = _COLUMNS.where(named(inner_flow.c.root_key), inner_flow.c.status != "COMPLETED")
