"""Reads of flows and of lists of flows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table, bindparam, exists, select

from mc.context.json_values import loads
from mc.errors import McError, StoreError
from mc.flows.flow import Flow
from mc.flows.state.mailbox import Signal
from mc.flows.state.task_row import ASLEEP
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.database import Database
from mc.store.lease import Lease, StoredRequest, Wake
from mc.store.leases.held_leases import is_held_by
from mc.store.leases.refusals import lease_lost
from mc.store.rows.flow_and_task_rows import make_flow
from mc.store.rows.request_rows import list_requests
from mc.store.rows.signal_rows import list_signals
from mc.store.rows.task_parts import StoredParts, tasks_with_parts
from mc.store.rows.wakes import list_wakes
from mc.store.schema import tables
from mc.store.stored_state import StoredState, TaskColumns

__all__ = [
    "INNER_GRAPHS",
    "NO_PARTS",
    "OUTER_GRAPHS",
    "FlowRows",
    "GraphReader",
    "KeyedRows",
    "LeasedReads",
    "chunks",
    "claimed_flow_of",
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

T = TypeVar("T")
KeyedRows = list[tuple[str, TaskColumns]]


def _parts_among(texts: Mapping[tuple[str, str], str]) -> StoredParts:
    return StoredParts(lambda task_key, digest: texts[task_key, digest], later=False)


NO_PARTS: Final = _parts_among({})


@dataclass(slots=True)
class FlowRows:
    """All rows of a flow, or those that are read at first."""

    row: dict[str, Any]
    parts: StoredParts = NO_PARTS
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
        part: the table of the parts of tasks.
    """

    def __init__(self, task: Table, edge: Table, part: Table) -> None:
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
        self._active: Final = of_many.where(task.c.status.in_(("RUNNING", "WAITING")), task.c.unmet > ASLEEP)
        self._startable: Final = of_many.where(task.c.status == "PENDING", task.c.unmet <= 0)
        self._by_key: Final = of_one_flow.where(named(task.c.key))
        self._by_status: Final = of_one_flow.where(task.c.status == bindparam("status"))
        self._all_edges: Final = pairs
        self._edges_from: Final = pairs.where(named(edge.c.src_key))
        self._edges_into: Final = pairs.where(named(edge.c.dest_key))
        self._parts: Final = select(part.c.flow_key, part.c.task_key, part.c.digest, part.c.text).where(
            named(part.c.flow_key)
        )
        self._part: Final = select(part.c.text).where(
            part.c.flow_key == bindparam("flow"),
            part.c.task_key == bindparam("task"),
            part.c.digest == bindparam("part"),
        )

    def read_many(
        self, connection: Connection, keys: Sequence[str]
    ) -> tuple[Iterable[tuple[str, str, TaskColumns]], Iterable[tuple[str, str, str]]]:
        """Return the tasks of flows, and their edges, each after the key of its flow and in order."""
        tasks = connection.execute(self._tasks_of_many, {"keys": keys}).all()
        edges = connection.execute(self._edges_of_many, {"keys": keys}).all()
        return ((row[0], row[1], TaskColumns._make(row[2:])) for row in tasks), map(tuple, edges)

    def read_parts(self, connection: Connection, keys: Sequence[str]) -> dict[str, StoredParts]:
        """Return the parts of the tasks of flows, by the keys of the flows."""
        texts: dict[str, dict[tuple[str, str], str]] = {key: {} for key in keys}
        for chunk in chunks(keys):
            for flow_key, task_key, digest, text in connection.execute(self._parts, {"keys": chunk}):
                texts[flow_key][task_key, digest] = text
        return {key: _parts_among(found) for key, found in texts.items()}

    def read_part(self, connection: Connection, flow_key: str, task_key: str, digest: str) -> str | None:
        """Return the text of a part of a task; None if it is not stored."""
        key = {"flow": flow_key, "task": task_key, "part": digest}
        text: str | None = connection.scalar(self._part, key)
        return text

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


class LeasedReads:
    """Reads of what belongs to a claimed flow.

    What is read belongs to what was read before: nobody but the holder of the lease changes the flow.

    Args:
        database: the database.
        lease: the claim on the flow.
        read_result: returns a result that is kept in a file.
    """

    def __init__(self, database: Database, lease: Lease, read_result: Callable[[str], Any]) -> None:
        self.on_problem: Callable[[McError], object] | None = None  # told before an error is raised
        self.flow_key = lease.flow_key
        self._database = database
        self._lease = lease
        self._read_result = read_result

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

    def read_unchanging(self, find: Callable[[Connection], str | None]) -> str:
        """Return a text that stays as it is for as long as it is stored, whoever holds the lease.

        Raises:
            LeaseLostError: it is gone, and another runner has taken the flow over.
            StoreError: it is gone, or the database cannot be read.
        """

        def read(connection: Connection) -> str:
            text = find(connection)
            if text is None:
                if not is_held_by(connection, self._lease):
                    raise lease_lost(self._lease)
                raise StoreError(
                    f"The rows of flow {self.flow_key!r} cannot be read: a text that they name is gone. They "
                    f"were changed by something else than mc, or the database is damaged.",
                    key=self.flow_key,
                )
            return text

        with self.told():
            return self._database.read(read)

    def parts_of(self, graphs: GraphReader, key: str) -> StoredParts:
        """Return where the parts of tasks are that are read when somebody asks for them.

        Args:
            graphs: where the rows of the tasks' flow are.
            key: of its rows.
        """

        def read(task_key: str, digest: str) -> str:
            return self.read_unchanging(lambda c: graphs.read_part(c, key, task_key, digest))

        return StoredParts(read, later=True, read_result=self._read_result)

    def read_spec(self, digest: str) -> dict[str, Any]:
        """Return a spec that was named by its digest."""
        spec: dict[str, Any] = loads(self.read_unchanging(lambda c: read_spec_text(c, digest)))
        return spec

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell of an error before it is raised."""
        try:
            yield
        except McError as error:
            if self.on_problem is not None:
                self.on_problem(error)
            raise


OUTER_GRAPHS: Final = GraphReader(tables.task, tables.edge, tables.task_part)
INNER_GRAPHS: Final = GraphReader(tables.inner_task, tables.inner_edge, tables.inner_task_part)


def read_flows(connection: Connection, keys: Sequence[str], *, whole: bool = True) -> dict[str, FlowRows]:
    """Return the rows of flows by key; those that are not stored are left out.

    Args:
        connection: in a transaction.
        keys: of the flows.
        whole: with their specs, and with the parts of tasks that are kept apart.
    """
    found: dict[str, FlowRows] = {}
    for chunk in chunks(keys):
        here = _read_chunk(connection, chunk)
        if whole:
            _add_specs(connection, here)
            _add_parts(connection, here)
        found.update(here)
    return found


def _read_chunk(connection: Connection, keys: Sequence[str]) -> dict[str, FlowRows]:
    found_flows = connection.execute(_FLOWS, {"keys": keys}).mappings()
    here = {row["key"]: FlowRows(dict(row)) for row in found_flows}
    tasks, edges = OUTER_GRAPHS.read_many(connection, keys)
    for flow_key, key, task in tasks:
        here[flow_key].tasks.append((key, task))
    for flow_key, source, dest in edges:
        here[flow_key].edges.append((source, dest))
    _add_what_was_sent(connection, here)
    return here


def _add_specs(connection: Connection, here: Mapping[str, FlowRows]) -> None:
    digests = list({rows.row["spec_digest"] for rows in here.values()} - {None})
    if digests:
        texts = {row.digest: row.text for row in connection.execute(_SPECS, {"digests": digests})}
        for rows in here.values():
            rows.spec_text = texts.get(rows.row["spec_digest"])


def _add_parts(connection: Connection, here: Mapping[str, FlowRows]) -> None:
    with_parts = [key for key, rows in here.items() if tasks_with_parts(task.body for _, task in rows.tasks)]
    for key, parts in OUTER_GRAPHS.read_parts(connection, with_parts).items():
        here[key].parts = parts


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
    flow = make_flow(rows.row, rows.spec_text, rows.tasks, rows.edges, rows.parts)
    put_signals(flow, rows)
    state = state_of(rows)
    state.num_edges = len(rows.edges)
    if holds_spec(rows):
        state.own_spec = flow.spec
    return flow, state


def claimed_flow_of(rows: FlowRows, reads: LeasedReads) -> tuple[Flow, StoredState]:
    """Return a claimed flow that rows hold, its spec left out, and what a save compares it with.

    Raises:
        StoreError: the rows cannot be read.
    """
    rows.parts = reads.parts_of(OUTER_GRAPHS, rows.row["key"])
    flow, state = flow_of(rows)
    state.reads = reads
    digest = rows.row["spec_digest"]
    if digest is not None and state.own_spec is None:
        flow.state.spec = lambda: reads.read_spec(digest)
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
