"""Reads of flows and of lists of flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, exists, select

from mc.context.json_values import loads
from mc.flows.flow import Flow
from mc.flows.state.mailbox import Signal
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.lease import StoredRequest, Wake
from mc.store.rows.flow_and_task_rows import make_flow
from mc.store.rows.request_rows import list_requests
from mc.store.rows.signal_rows import list_signals
from mc.store.rows.wakes import list_wakes
from mc.store.schema import tables
from mc.store.stored_state import StoredState, TaskColumns

__all__ = [
    "INNER_GRAPHS",
    "OUTER_GRAPHS",
    "FlowRows",
    "GraphReader",
    "KeyedRows",
    "chunks",
    "flow_of",
    "holds_spec",
    "named",
    "put_signals",
    "read_flows",
    "read_frontier",
    "read_spec_text",
    "state_of",
]


_CHUNK: Final = 500  # keys in one statement; databases limit the number of parameters

KeyedRows = list[tuple[str, TaskColumns]]


@dataclass(slots=True)
class FlowRows:
    """All rows of a flow."""

    row: dict[str, Any]
    spec_text: str | None = None
    tasks: list[tuple[str, TaskColumns]] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    wakes: tuple[Wake, ...] = ()
    signals: list[Signal] = field(default_factory=list)  # not taken yet
    requests: dict[str, StoredRequest] = field(default_factory=dict)


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of keys into pieces that one statement can name."""
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]


def named(column: Any, name: str = "keys") -> Any:
    """Return the condition that a column is among the values of a parameter."""
    return column.in_(bindparam(name, expanding=True))


class GraphReader:
    """Reads the tasks and edges of flows.

    Args:
        task: the table of the tasks.
        edge: the table of the edges.
    """

    def __init__(self, task: Table, edge: Table) -> None:
        names = ("key", "position", "rank", "status", "unmet", "due_at", "body")
        columns = [task.c[name] for name in names]
        of_many = select(task.c.flow_key, *columns).where(named(task.c.flow_key))
        of_one_flow = select(*columns).where(task.c.flow_key == bindparam("flow"))
        pairs = select(edge.c.position, edge.c.src_key, edge.c.dest_key).where(
            edge.c.flow_key == bindparam("flow")
        )
        self._tasks_of_many: Final = of_many.order_by(task.c.flow_key, task.c.position)
        self._edges_of_many: Final = (
            select(edge.c.flow_key, edge.c.src_key, edge.c.dest_key)
            .where(named(edge.c.flow_key))
            .order_by(edge.c.flow_key, edge.c.position)
        )
        self._active: Final = of_many.where(task.c.status.in_(("RUNNING", "WAITING")))
        self._startable: Final = of_many.where(task.c.status == "PENDING", task.c.unmet <= 0)
        self._by_key: Final = of_one_flow.where(named(task.c.key))
        self._by_status: Final = of_one_flow.where(task.c.status == bindparam("status"))
        self._all_edges: Final = pairs
        self._edges_from: Final = pairs.where(named(edge.c.src_key))
        self._edges_into: Final = pairs.where(named(edge.c.dest_key))

    def read_many(
        self, connection: Connection, keys: Sequence[str]
    ) -> tuple[Iterable[tuple[str, str, TaskColumns]], Iterable[tuple[str, str, str]]]:
        """Return the tasks of flows, and their edges, each after the key of its flow and in order."""
        tasks = connection.execute(self._tasks_of_many, {"keys": keys}).all()
        edges = connection.execute(self._edges_of_many, {"keys": keys}).all()
        return ((row[0], row[1], TaskColumns._make(row[2:])) for row in tasks), map(tuple, edges)

    def read_frontiers(self, connection: Connection, keys: Sequence[str]) -> dict[str, KeyedRows]:
        """Return the tasks of flows with which a tick begins, by the keys of the flows."""
        found: dict[str, KeyedRows] = {key: [] for key in keys}
        for chunk in chunks(keys):
            for query in (self._active, self._startable):
                for row in connection.execute(query, {"keys": chunk}):
                    found[row[0]].append((row[1], TaskColumns._make(row[2:])))
        return found

    def read_tasks(self, connection: Connection, flow_key: str, keys: Sequence[str]) -> KeyedRows:
        """Return tasks of a flow by key; those that are not stored are left out."""
        found: KeyedRows = []
        for chunk in chunks(keys):
            found += _task_rows(connection.execute(self._by_key, {"flow": flow_key, "keys": chunk}))
        return found

    def read_tasks_with_status(self, connection: Connection, flow_key: str, status: str) -> KeyedRows:
        """Return the tasks of a flow that have a status."""
        return _task_rows(connection.execute(self._by_status, {"flow": flow_key, "status": status}))

    def read_all(self, connection: Connection, flow_key: str) -> tuple[KeyedRows, list[tuple[str, str]]]:
        """Return all tasks and all edges of a flow."""
        found = connection.execute(self._tasks_of_many, {"keys": [flow_key]})
        return _task_rows(row[1:] for row in found), self.read_edges(connection, flow_key)

    def read_edges(
        self,
        connection: Connection,
        flow_key: str,
        *,
        sources: Sequence[str] | None = None,
        dests: Sequence[str] = (),
    ) -> list[tuple[str, str]]:
        """Return the edges of a flow that lead out of or into some tasks, all where none are named.

        They come in the order in which they were added.
        """
        found: list[tuple[int, str, str]] = []
        if sources is None and not dests:
            found += _edges(connection.execute(self._all_edges, {"flow": flow_key}))
        for chunk in chunks(sources or ()):
            found += _edges(connection.execute(self._edges_from, {"flow": flow_key, "keys": chunk}))
        for chunk in chunks(dests):
            found += _edges(connection.execute(self._edges_into, {"flow": flow_key, "keys": chunk}))
        found.sort()
        return [(source, dest) for _, source, dest in found]


def _task_rows(result: Iterable[Any]) -> KeyedRows:
    return [(row[0], TaskColumns._make(row[1:])) for row in result]


def _edges(result: Iterable[Any]) -> Iterator[tuple[int, str, str]]:
    return (tuple(row) for row in result)


OUTER_GRAPHS: Final = GraphReader(tables.task, tables.edge)
INNER_GRAPHS: Final = GraphReader(tables.inner_task, tables.inner_edge)


def read_flows(connection: Connection, keys: Sequence[str]) -> dict[str, FlowRows]:
    """Return the rows of flows by key; those that are not stored are left out."""
    found: dict[str, FlowRows] = {}
    for chunk in chunks(keys):
        _read_chunk(connection, chunk, found)
    return found


def _read_chunk(connection: Connection, keys: Sequence[str], found: dict[str, FlowRows]) -> None:
    found_flows = connection.execute(_FLOWS, {"keys": keys}).mappings()
    here = {row["key"]: FlowRows(dict(row)) for row in found_flows}
    tasks, edges = OUTER_GRAPHS.read_many(connection, keys)
    for flow_key, key, task in tasks:
        here[flow_key].tasks.append((key, task))
    for flow_key, source, dest in edges:
        here[flow_key].edges.append((source, dest))
    _add_what_was_sent(connection, here)
    digests = list({rows.row["spec_digest"] for rows in here.values()} - {None})
    if digests:
        texts = {row.digest: row.text for row in connection.execute(_SPECS, {"digests": digests})}
        for rows in here.values():
            rows.spec_text = texts.get(rows.row["spec_digest"])
    found.update(here)


def read_frontier(connection: Connection, key: str) -> FlowRows | None:
    """Return the row of a flow and those of the tasks with which a tick begins; None if it is not stored."""
    row = connection.execute(_FLOWS, {"keys": [key]}).mappings().one_or_none()
    if row is None:
        return None
    rows = FlowRows(dict(row), tasks=OUTER_GRAPHS.read_frontiers(connection, [key])[key])
    _add_what_was_sent(connection, {key: rows})
    return rows


def _add_what_was_sent(connection: Connection, found: Mapping[str, FlowRows]) -> None:
    """Read what is noted for flows, their signals and requests; most flows have none of them.

    Whose wakes are read, of that flow the rest is read too, and after them: a save takes the wakes away.
    """
    keys = [key for key, rows in found.items() if rows.row["is_woken"]]
    for key, wakes in list_wakes(connection, keys).items() if keys else ():
        found[key].wakes = tuple(wakes)
    with_signals = [key for key, rows in found.items() if rows.row["is_woken"] or rows.row["has_signals"]]
    for key, signals in list_signals(connection, with_signals).items() if with_signals else ():
        found[key].signals = signals
    with_requests = [key for key, rows in found.items() if rows.row["is_woken"] or rows.row["has_requests"]]
    for key, requests in list_requests(connection, with_requests).items() if with_requests else ():
        found[key].requests = requests


def read_spec_text(connection: Connection, digest: str) -> str | None:
    """Return the text of a spec; None if it is not stored."""
    found = connection.execute(_SPECS, {"digests": [digest]}).one_or_none()
    return found.text if found is not None else None


def flow_of(rows: FlowRows) -> tuple[Flow, StoredState]:
    """Return the flow that rows hold, and what a save compares it with.

    Raises:
        StoreError: the rows cannot be read.
    """
    flow = make_flow(rows.row, rows.spec_text, rows.tasks, rows.edges)
    put_signals(flow, rows)
    state = state_of(rows)
    state.num_edges = len(rows.edges)
    if rows.spec_text is not None and holds_spec(rows):
        state.own_spec = flow.spec
    return flow, state


def put_signals(flow: Flow, rows: FlowRows) -> None:
    """Give a flow that was made from rows the signals that no task has taken."""
    for signal in rows.signals:
        flow.mailbox.put(signal, is_stored=True)


def state_of(rows: FlowRows) -> StoredState:
    """Return what a save compares a flow with, the number of its edges and its spec left out."""
    row = rows.row
    return StoredState(
        revision=row["revision"],
        status=row["status"],
        label=row["label"],
        finished=row["status"] in FINISHED_FLOW_STATUSES,
        waiter_key=row["waiter_key"],
        num_edges=None,
        data=row["data"],
        tasks=dict(rows.tasks),
        wakes=rows.wakes,
        requests=rows.requests,
    )


def holds_spec(rows: FlowRows) -> bool:
    """Tell whether a flow's row holds a spec that is written in another order than the shared one."""
    return '"spec":' in rows.row["body"] and "spec" in loads(rows.row["body"])


_FLOW = tables.flow.c
_WAKE, _SIGNAL, _CLAIM = tables.wake.c, tables.signal.c, tables.resource_request.c
_FLOWS: Final = select(
    _FLOW.key,
    _FLOW.label,
    _FLOW.status,
    _FLOW.blocked_reason,
    _FLOW.parent_key,
    _FLOW.parent_task_key,
    _FLOW.finished_at,
    _FLOW.waiter_key,
    _FLOW.revision,
    _FLOW.spec_digest,
    _FLOW.data,
    _FLOW.body,
    _FLOW.task_counts,
    exists().where(_WAKE.flow_key == _FLOW.key).label("is_woken"),
    exists().where(_SIGNAL.flow_key == _FLOW.key, _SIGNAL.taken_at.is_(None)).label("has_signals"),
    exists().where(_CLAIM.flow_key == _FLOW.key).label("has_requests"),
).where(named(_FLOW.key))
_SPECS: Final = select(tables.spec.c.digest, tables.spec.c.text).where(named(tables.spec.c.digest, "digests"))
