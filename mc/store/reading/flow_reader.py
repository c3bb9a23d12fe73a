"""Reads of flows and of lists of flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, exists, select

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
    "FlowRows",
    "chunks",
    "flow_of",
    "holds_spec",
    "put_signals",
    "read_edges_of",
    "read_flow_tasks",
    "read_flows",
    "read_frontier",
    "read_spec_text",
    "read_tasks_by_key",
    "read_tasks_by_status",
    "state_of",
]

_CHUNK: Final = 500  # keys in one statement; databases limit the number of parameters


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


def read_flows(connection: Connection, keys: Sequence[str]) -> dict[str, FlowRows]:
    """Return the rows of flows by key; those that are not stored are left out."""
    found: dict[str, FlowRows] = {}
    for chunk in chunks(keys):
        _read_chunk(connection, chunk, found)
    return found


def _read_chunk(connection: Connection, keys: Sequence[str], found: dict[str, FlowRows]) -> None:
    named = {"keys": keys}
    here = {row["key"]: FlowRows(dict(row)) for row in connection.execute(_FLOWS, named).mappings()}
    for row in connection.execute(_TASKS, named).all():
        here[row[0]].tasks.append((row[1], TaskColumns._make(row[2:])))
    for flow_key, source, dest in connection.execute(_EDGES, named).all():
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
    tasks = _task_rows(connection.execute(_ACTIVE, {"flow": key}))
    tasks += _task_rows(connection.execute(_STARTABLE, {"flow": key}))
    rows = FlowRows(dict(row), tasks=tasks)
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


def read_tasks_by_key(
    connection: Connection, flow_key: str, keys: Sequence[str]
) -> list[tuple[str, TaskColumns]]:
    """Return tasks of a flow by key; those that are not stored are left out."""
    found: list[tuple[str, TaskColumns]] = []
    for chunk in chunks(keys):
        found += _task_rows(connection.execute(_TASKS_BY_KEY, {"flow": flow_key, "keys": chunk}))
    return found


def read_tasks_by_status(connection: Connection, flow_key: str, status: str) -> list[tuple[str, TaskColumns]]:
    """Return the tasks of a flow that have a status."""
    return _task_rows(connection.execute(_TASKS_BY_STATUS, {"flow": flow_key, "status": status}))


def read_flow_tasks(
    connection: Connection, flow_key: str
) -> tuple[list[tuple[str, TaskColumns]], list[tuple[str, str]]]:
    """Return all tasks and all edges of a flow."""
    rows = FlowRows({})
    for row in connection.execute(_TASKS, {"keys": [flow_key]}):
        rows.tasks.append((row[1], TaskColumns._make(row[2:])))
    return rows.tasks, read_edges_of(connection, flow_key)


def read_edges_of(
    connection: Connection, flow_key: str, *, sources: Sequence[str] | None = None, dests: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Return the edges of a flow that lead out of or into some tasks, all where none are named.

    They come in the order in which they were added.
    """
    found: list[tuple[int, str, str]] = []
    if sources is None and not dests:
        found += [_edge(row) for row in connection.execute(_ALL_EDGES, {"flow": flow_key})]
    for chunk in chunks(sources or ()):
        found += [_edge(row) for row in connection.execute(_EDGES_FROM, {"flow": flow_key, "keys": chunk})]
    for chunk in chunks(dests):
        found += [_edge(row) for row in connection.execute(_EDGES_INTO, {"flow": flow_key, "keys": chunk})]
    found.sort()
    return [(source, dest) for _, source, dest in found]


def read_spec_text(connection: Connection, digest: str) -> str | None:
    """Return the text of a spec; None if it is not stored."""
    found = connection.execute(_SPECS, {"digests": [digest]}).one_or_none()
    return found.text if found is not None else None


def _task_rows(result: Iterable[Any]) -> list[tuple[str, TaskColumns]]:
    return [(row[0], TaskColumns._make(row[1:])) for row in result]


def _edge(row: Any) -> tuple[int, str, str]:
    return tuple(row)


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


def _named(column: Any, name: str = "keys") -> Any:
    return column.in_(bindparam(name, expanding=True))


_FLOW, _TASK, _EDGE = tables.flow.c, tables.task.c, tables.edge.c
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
).where(_named(_FLOW.key))
_TASKS: Final = (
    select(
        _TASK.flow_key,
        _TASK.key,
        _TASK.position,
        _TASK.rank,
        _TASK.status,
        _TASK.unmet,
        _TASK.due_at,
        _TASK.body,
    )
    .where(_named(_TASK.flow_key))
    .order_by(_TASK.flow_key, _TASK.position)
)
_EDGES: Final = (
    select(_EDGE.flow_key, _EDGE.src_key, _EDGE.dest_key)
    .where(_named(_EDGE.flow_key))
    .order_by(_EDGE.flow_key, _EDGE.position)
)
_OF_ONE_FLOW: Final = select(
    _TASK.key,
    _TASK.position,
    _TASK.rank,
    _TASK.status,
    _TASK.unmet,
    _TASK.due_at,
    _TASK.body,
).where(_TASK.flow_key == bindparam("flow"))
_ACTIVE: Final = _OF_ONE_FLOW.where(_TASK.status.in_(("RUNNING", "WAITING")))
_STARTABLE: Final = _OF_ONE_FLOW.where(_TASK.status == "PENDING", _TASK.unmet <= 0)
_TASKS_BY_KEY: Final = _OF_ONE_FLOW.where(_named(_TASK.key))
_TASKS_BY_STATUS: Final = _OF_ONE_FLOW.where(_TASK.status == bindparam("status"))
_ALL_EDGES: Final = select(_EDGE.position, _EDGE.src_key, _EDGE.dest_key).where(
    _EDGE.flow_key == bindparam("flow")
)
_EDGES_FROM: Final = _ALL_EDGES.where(_named(_EDGE.src_key))
_EDGES_INTO: Final = _ALL_EDGES.where(_named(_EDGE.dest_key))
_SPECS: Final = select(tables.spec.c.digest, tables.spec.c.text).where(
    _named(tables.spec.c.digest, "digests")
)
