"""A flow: attributes and a graph of tasks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

from mc.context.json_values import copy_json, json_type_name
from mc.errors import FlowFormatError, GraphError, McError, StatusError
from mc.flows.state.edges import connect, connect_all, disconnect, has_edge, place, refuse_cycle
from mc.flows.state.flow_state import FlowBooks
from mc.flows.state.new_task import named_keys, normalise_task
from mc.flows.state.task_node import Task, TaskNode
from mc.spec.task_graph import ROOT_TASK_KEY, assign_task_keys, list_edges, start_rule_task_keys
from mc.statuses import FLOW_CHANGES

__all__ = ["Flow", "Task", "TaskMap"]


class TaskMap(Mapping[str, Task]):
    """The tasks of a flow by key, in the order of the spec.

    ROOT is found by its key, but is not counted or listed among them. The task dicts are the flow's own and
    may be changed; which ones were handed out is remembered, so that a save looks at those and at no others.
    """

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def __getitem__(self, key: str) -> Task:
        node = self._flow._nodes[key]
        self._flow._handed_out.add(node)
        return node.task

    def __contains__(self, key: object) -> bool:
        return key in self._flow._nodes

    def __iter__(self) -> Iterator[str]:
        return islice(self._flow._nodes, 1, None)  # without ROOT

    def __len__(self) -> int:
        return len(self._flow._nodes) - 1

    def __repr__(self) -> str:
        return f"TaskMap({', '.join(self)})"


class Flow(FlowBooks):
    """A running flow.

    Lenient: it takes any task dict and checks only what would break the graph. The strict checks
    of a spec are made by `FlowEngine.flow_spec_to_flow`.

    Args:
        key: unique id; `flow:<uuid4>` unless given.
        cfg: how the flow runs (`fail_fast`, `max_running_tasks`, `timeout`, `priority`, `max_ticks`).
        data: initial data, copied.
        label: for people.
        status: one of `mc.statuses.FlowStatus`.
        depth: 0, or how many flows this one is inside of.
        parent_key: key of the flow that this one belongs to.
        params: JSON Schema that `data` keeps to.
        result_paths: name -> path, evaluated into `results` when the flow completes.
        version: for people.
        description: for people.
        spec: the spec that the flow was made from.
        parent_task_key: the task of the parent flow that waits for this one.
    """

    ROOT_TASK_KEY: ClassVar[str] = ROOT_TASK_KEY
    readable_attributes: ClassVar[frozenset[str]] = frozenset(
        {"key", "label", "cfg", "data", "status", "depth", "parent_key", "tasks"}
    )

    def __init__(
        self,
        key: str | None = None,
        cfg: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        label: str | None = None,
        status: str = "PENDING",
        depth: int = 0,
        parent_key: str | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        result_paths: Mapping[str, Any] | None = None,
        version: Any = None,
        description: str | None = None,
        spec: Mapping[str, Any] | None = None,
        parent_task_key: str | None = None,
    ) -> None:
        super().__init__()
        given: Any = key
        if given is not None and not (isinstance(given, str) and given):
            raise McError(
                f"A flow cannot have the key {key!r}; give a text that is not empty, or none for one that is "
                f"made up."
            )
        self.key = key if key is not None else self.generate_key()
        self.cfg: dict[str, Any] = copy_json(_mapping(cfg, "cfg")) if cfg is not None else {}
        self._data: dict[str, Any] = copy_json(_mapping(data, "data")) if data is not None else {}
        self.label = label
        self.status = str(status)
        if self.status not in FLOW_CHANGES:
            raise StatusError(
                f"Flow {self.key!r}: {self.status!r} is not a status. Use one of {', '.join(FLOW_CHANGES)}.",
                key=self.key,
            )
        self._booked_status = self.status
        self.depth = depth
        self.parent_key = parent_key
        self.parent_task_key = parent_task_key
        self.params: dict[str, Any] | None = copy_json(params)
        self.result_paths: dict[str, Any] | None = copy_json(result_paths)
        self.results: dict[str, Any] | None = None  # set when the flow completes
        self.version = version
        self.description = description
        self._spec: dict[str, Any] | None = copy_json(spec)
        self._read_spec: Callable[[], dict[str, Any] | None] | None = (
            None  # where it is read when it is needed
        )
        self.error: dict[str, Any] | None = None  # why the flow failed, where no task did
        self.blocked_reason: str | None = None
        self.missing_handlers: list[dict[str, Any]] | None = None  # for which it is BLOCKED
        self.stopped_at: str | None = None  # since when it is PAUSED or BLOCKED, as far as that is known
        self.started_at: str | None = None
        self.finished_at: str | None = None
        self.deadline_at: str | None = None  # by `cfg.timeout`, from the first tick on
        self.ticks = 0  # made so far, for `cfg.max_ticks`
        self._data_handed_out = False
        self._sub_flows: dict[int, tuple[Task, Flow]] = {}  # live flows inside tasks, by id of the dict
        self.tasks: Mapping[str, Task] = TaskMap(self)

    # --- making one ------------------------------------------------------------------------

    @staticmethod
    def generate_key() -> str:
        """Return a new unique key, `flow:<uuid4>`."""
        return f"flow:{uuid.uuid4()}"

    @classmethod
    def from_flow_spec(cls, flow_spec: Mapping[str, Any], **overrides: Any) -> Flow:
        """Make a flow from a spec, which is copied.

        Args:
            flow_spec: see the spec reference; only what would break the graph is checked here.
            **overrides: arguments of `Flow` that replace what the spec says.

        Raises:
            GraphError: duplicate keys, or an edge whose end is unknown.
            CycleError: the edges form a cycle.
        """
        spec: dict[str, Any] = copy_json(dict(_mapping(flow_spec, "spec")))
        spec.pop("$schema", None)  # for editors
        given = {
            "key": spec.get("key"),
            "cfg": spec.get("cfg"),
            "data": spec.get("data"),
            "label": spec.get("label"),
            "params": spec.get("params"),
            "result_paths": spec.get("results"),
            "version": spec.get("version"),
            "description": spec.get("description"),
        }
        flow = cls(**{**given, **overrides})
        flow.spec = spec
        task_specs = spec.get("tasks") or []
        try:
            keys = assign_task_keys(task_specs)
            edges = list_edges(keys, task_specs)
        except (AttributeError, KeyError, TypeError) as error:
            raise GraphError(f"Flow {flow.key!r}: its list of tasks is malformed: {error}.") from error
        tasks = [
            {**copy_json(task_spec), "key": key} for key, task_spec in zip(keys, task_specs, strict=True)
        ]
        flow._build(tasks, edges)
        return flow

    @classmethod
    def from_flow_dict(cls, flow_dict: Mapping[str, Any]) -> Flow:
        """Make a flow from what `to_flow_dict` gave; the dict is copied.

        Raises:
            FlowFormatError: the dict is malformed; `.pointer` names the place.
            GraphError: the graph is impossible.
        """
        from mc.flows.formats.flow_dict import flow_from_dict

        return flow_from_dict(cls, flow_dict)

    def to_flow_dict(self) -> dict[str, Any]:
        """Return the flow as JSON-safe data that shares nothing with it."""
        from mc.flows.formats.flow_dict import flow_to_dict

        return flow_to_dict(self)

    def _build(self, tasks: Iterable[Task], edges: Iterable[tuple[str, str]]) -> None:
        """Take over many task dicts and edges at once."""
        new = [self._book(normalise_task(task)) for task in tasks]
        nodes = self._nodes
        try:
            pairs = [(nodes[source], nodes[dest]) for source, dest in edges]
        except KeyError:
            pairs = [self._edge_ends(source, dest) for source, dest in edges]
        for _, dest in pairs:
            if dest is self._root:
                raise _edge_into_root(dest.key)
        connect_all([self._root, *new], pairs)
        for node in new:
            self._touch(node)
        self._new_edges += [(source.key, dest.key) for source, dest in pairs]
        for node in new:
            self._count_unmet(node)

    # --- graph -----------------------------------------------------------------------------

    def add_task(self, task: Mapping[str, Any]) -> Task:
        """Add a task, also while the flow runs, and return the flow's own dict of it.

        Args:
            task: a task spec, copied; a missing key is generated. `precursors` and `successors`
                name tasks that are there already; without `precursors` it follows ROOT.

        Raises:
            GraphError: the key is taken, an edge's end is unknown, or a successor has started.
            CycleError: its edges would form a cycle. In each case nothing was added.
        """
        own: Task = copy_json(dict(_mapping(task, "task")))
        own["key"] = own.get("key") or self._free_key()
        named_before, named_after = named_keys(own, "precursors"), named_keys(own, "successors")
        node = self._book(normalise_task(own))
        moved: list[TaskNode] = []
        try:
            named = dict.fromkeys([*named_before, *start_rule_task_keys(own)])
            named.pop(ROOT_TASK_KEY, None)
            before = [self._edge_ends(key, node.key)[0] for key in named] or [self._root]
            after = _in_order(self._edge_ends(node.key, key)[1] for key in dict.fromkeys(named_after))
            place(node, before, after)
            for source in before:
                moved += connect(source, node)
            for dest in after:
                moved += connect(node, dest)
                _refuse_if_started(node, dest)
        except GraphError:
            disconnect(node)
            self._unbook(node)
            raise
        finally:
            for each in moved:
                if each is not node:
                    self._touch(each)
        self._new_edges += [(source.key, node.key) for source in before]
        self._new_edges += [(node.key, dest.key) for dest in after]
        self._count_unmet(node)
        self._touch(node)
        for dest in after:
            self._count_edge(node, dest)
            self._touch(dest)
        self._handed_out.add(node)
        return own

    def add_edge(self, edge: Mapping[str, str]) -> None:
        """Let a task wait for another one: `{'src_key': ..., 'dest_key': ...}`.

        Raises:
            GraphError: an end is unknown, the edge leads into ROOT, or its end has started already.
            CycleError: the edge would close a cycle; nothing was added.
        """
        ends = _mapping(edge, "edge")
        source_key, dest_key = ends.get("src_key"), ends.get("dest_key")
        if not isinstance(source_key, str) or not isinstance(dest_key, str):
            raise GraphError(f"An edge is {{'src_key': ..., 'dest_key': ...}}; found {dict(edge)!r:.100}.")
        source, dest = self._edge_ends(source_key, dest_key)
        if has_edge(source, dest):
            return
        _refuse_if_started(source, dest)
        for moved in connect(source, dest):
            self._touch(moved)
        self._new_edges.append((source_key, dest_key))
        self._touch(dest)
        self._count_edge(source, dest)

    def has_edge(self, src_key: str, dest_key: str) -> bool:
        """Tell whether `dest_key` waits for `src_key`."""
        source, dest = self._nodes.get(src_key), self._nodes.get(dest_key)
        return source is not None and dest is not None and has_edge(source, dest)

    def get_edges(self) -> list[dict[str, str]]:
        """Return all edges, those from ROOT included, by successor in the order of the tasks."""
        return [
            {"src_key": source.key, "dest_key": dest.key}
            for dest in self._nodes.values()
            for source in self._shown_precursors(dest)
        ]

    def _shown_precursors(self, node: TaskNode) -> list[TaskNode]:
        """Return what a task waits for; ROOT only where it waits for nothing else."""
        before = node.precursors
        if len(before) > 1 and self._root in before:
            return [source for source in before if source is not self._root]
        return before

    def get_precursors(self, task: Task | str) -> list[Task]:
        """Return the tasks that this one waits for; ROOT where it waits for none."""
        return self._hand_out(self._shown_precursors(self._node_of(task)))

    def get_successors(self, task: Task | str) -> list[Task]:
        """Return the tasks that wait for this one."""
        node = self._node_of(task)
        after = node.successors
        if node is self._root:
            after = [dest for dest in after if self._root in self._shown_precursors(dest)]
        return self._hand_out(after)

    def get_tail_tasks(self) -> list[Task]:
        """Return the tasks that no other waits for; ROOT in a flow without tasks."""
        return self._hand_out(node for node in self._nodes.values() if not node.successors)

    # --- questions -------------------------------------------------------------------------

    @property
    def data(self) -> dict[str, Any]:
        """The flow's data; the flow's own dict, which handlers may change."""
        self._data_handed_out = True
        return self._data

    @data.setter
    def data(self, value: dict[str, Any]) -> None:
        self._data = _mapping(value, "data")
        self._data_handed_out = True

    @property
    def spec(self) -> dict[str, Any] | None:
        """The spec that the flow was made from."""
        if self._read_spec is not None:
            self._spec, self._read_spec = self._read_spec(), None
        return self._spec

    @spec.setter
    def spec(self, value: dict[str, Any] | None) -> None:
        self._spec, self._read_spec = value, None

    def get_nearest_tickable_pending_tasks(self) -> list[Task]:
        """Return the PENDING tasks whose start rule holds, in order; those that wait for a retry left out."""
        return self._hand_out(self._ready_nodes())

    def get_running_tasks(self) -> list[Task]:
        """Return the RUNNING tasks, in order."""
        self.reconcile()
        return self._hand_out(_in_order(node for node in self._running if node.status == "RUNNING"))

    def get_tickable_tasks(self) -> list[Task]:
        """Return what a tick may act upon: RUNNING and WAITING tasks and those that can start, in order."""
        ready = self._ready_nodes()
        return self._hand_out(_in_order([*self._running, *ready]))

    def get_tasks_by_status(self, status: str) -> list[Task]:
        """Return the tasks that have this status, in order; ROOT is not among them."""
        return self.filter_tasks({"status": str(status)})

    def filter_tasks(
        self,
        filters: Mapping[str, Any] | Iterable[Callable[[Task], bool]] | Callable[[Task], bool] | None = None,
        include_root_task: bool = False,
    ) -> list[Task]:
        """Return the tasks that pass all filters, in order.

        Args:
            filters: a mapping of task attribute -> value, one predicate, or several.
            include_root_task: whether ROOT may be among them.
        """
        tests: list[Callable[[Task], bool]]
        if filters is None:
            tests = []
        elif isinstance(filters, Mapping):
            wanted = dict(filters)
            tests = [lambda task: all(task.get(name) == value for name, value in wanted.items())]
        elif callable(filters):
            tests = [filters]
        else:
            tests = list(filters)
        return self._hand_out(
            node
            for node in self._nodes.values()
            if (include_root_task or node is not self._root) and all(test(node.task) for test in tests)
        )

    def has_incomplete_tasks(self) -> bool:
        """Tell whether any task is unfinished."""
        self.reconcile()
        return self._unfinished_count() > 0

    def count_tasks(self) -> dict[str, int]:
        """Return how many tasks have each status; statuses that no task has are left out."""
        self.reconcile()
        return {status: count for status, count in self._counts.items() if count}

    @property
    def num_tickable_tasks(self) -> int:
        """How many tasks run, wait or could start now."""
        return len(self._ready_nodes()) + len(self._running)

    def describe_failure(self) -> str | None:
        """Return why the flow failed, in a sentence that names the tasks; None if nothing failed."""
        return self._describe_failure(self.error)

    def check_invariants(self) -> None:
        """Compare the books with the tasks, for tests and debugging; walks the whole graph.

        Raises:
            AssertionError: the books are wrong.
        """
        from mc.flows.state.invariants import check_invariants

        check_invariants(self)

    # --- inside ----------------------------------------------------------------------------

    def _node_of(self, task: Task | str) -> TaskNode:
        key = task if isinstance(task, str) else task["key"]
        node = self._nodes.get(key)
        if node is None:
            raise GraphError(f"Flow {self.key!r} has no task {key!r}.", key=key)
        return node

    def _edge_ends(self, source_key: str, dest_key: str) -> tuple[TaskNode, TaskNode]:
        if dest_key == ROOT_TASK_KEY:
            raise _edge_into_root(source_key)
        ends = []
        for key in (source_key, dest_key):
            node = self._nodes.get(key)
            if node is None:
                raise GraphError(
                    f"The edge {source_key!r} -> {dest_key!r} names {key!r}, which is not a task of flow "
                    f"{self.key!r}. Add that task first.",
                    src_key=source_key,
                    dest_key=dest_key,
                )
            ends.append(node)
        return ends[0], ends[1]

    def _free_key(self) -> str:
        number = len(self._nodes)
        while f"task_{number}" in self._nodes:
            number += 1
        return f"task_{number}"

    def _nodes_with_sub_flows(self) -> list[TaskNode]:
        """Return the tasks of the graph that have a live sub-flow, in a proxied task too."""
        live = {id(task) for task, _ in self._sub_flows.values()}
        nodes = []
        for node in self._running if live else ():
            task: Any = node.task
            while isinstance(task, dict):
                if id(task) in live:
                    nodes.append(node)
                    break
                task = task.get("proxied_task")
        return nodes

    def __repr__(self) -> str:
        count = len(self._nodes) - 1
        return f"Flow(key={self.key!r}, label={self.label!r}, status={self.status!r}, tasks={count})"


def _mapping(value: Any, name: str) -> Any:
    """Return a mapping, or raise `FlowFormatError` telling what was given instead."""
    if not isinstance(value, Mapping):
        raise FlowFormatError(
            f"A flow's {name} must be a mapping; found {json_type_name(value)}.", pointer=f"/{name}"
        )
    return value


def _in_order(nodes: Iterable[TaskNode]) -> list[TaskNode]:
    return sorted(nodes, key=lambda node: node.position)


def _refuse_if_started(source: TaskNode, dest: TaskNode) -> None:
    if dest.status != "PENDING" and source.status != "COMPLETED":
        refuse_cycle(source, dest)  # the better reason, where it is one
        raise GraphError(
            f"Task {source.key!r} cannot precede {dest.key!r}, which is {dest.status} already.",
            src_key=source.key,
            dest_key=dest.key,
        )


def _edge_into_root(source_key: str) -> GraphError:
    return GraphError(
        f"The edge {source_key!r} -> ROOT leads into ROOT, which precedes all tasks.",
        src_key=source_key,
        dest_key=ROOT_TASK_KEY,
    )
