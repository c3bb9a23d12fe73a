"""A flow: attributes and a graph of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Any, ClassVar

from mc.context.json_values import copy_json
from mc.errors import GraphError
from mc.flows.state.flow_state import FlowState, make_flow_key, refuse_non_mapping
from mc.flows.state.graph import add_edge, add_graph, add_task, has_edge
from mc.flows.state.mailbox import Mailbox
from mc.flows.state.task_node import Task, TaskNode
from mc.flows.state.task_states import TaskStates
from mc.spec.task_graph import ROOT_TASK_KEY, assign_task_keys, list_edges

__all__ = ["Flow", "Task", "TaskMap"]


class TaskMap(Mapping[str, Task]):
    """The tasks of a flow by key, in the order of the spec.

    ROOT is found by its key, but is not counted or listed among them. The task dicts are the flow's own and
    may be changed; which ones were handed out is remembered, so that a save looks at those and at no others.
    """

    __slots__ = ("_states",)

    def __init__(self, states: TaskStates) -> None:
        self._states = states

    def __getitem__(self, key: str) -> Task:
        node = self._states.nodes[key]
        self._states.handed_out.add(node)
        return node.task

    def __contains__(self, key: object) -> bool:
        return key in self._states.nodes

    def __iter__(self) -> Iterator[str]:
        return islice(self._states.nodes, 1, None)  # without ROOT

    def __len__(self) -> int:
        return len(self._states.nodes) - 1

    def __repr__(self) -> str:
        return f"TaskMap({', '.join(self)})"


def _of_state(name: str) -> Any:
    """Return a property that stands for an attribute of the flow's state."""

    def write(flow: Flow, value: Any) -> None:
        setattr(flow.state, name, value)

    return property(attrgetter(f"state.{name}"), write)


class Flow:
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

    Attributes:
        tasks: the tasks by key.
        state: what the flow holds, for the parts of the engine.
    """

    ROOT_TASK_KEY: ClassVar[str] = ROOT_TASK_KEY
    readable_attributes: ClassVar[frozenset[str]] = frozenset(
        {"key", "label", "cfg", "data", "status", "depth", "parent_key", "tasks"}
    )

    key: str = _of_state("key")
    cfg: dict[str, Any] = _of_state("cfg")
    label: str | None = _of_state("label")
    status: str = _of_state("status")
    depth: int = _of_state("depth")
    parent_key: str | None = _of_state("parent_key")
    parent_task_key: str | None = _of_state("parent_task_key")
    params: dict[str, Any] | None = _of_state("params")
    result_paths: dict[str, Any] | None = _of_state("result_paths")
    results: dict[str, Any] | None = _of_state("results")  # set when the flow completes
    version: Any = _of_state("version")
    description: str | None = _of_state("description")
    spec: dict[str, Any] | None = _of_state("spec")
    error: dict[str, Any] | None = _of_state("error")  # why the flow failed, where no task did
    blocked_reason: str | None = _of_state("blocked_reason")
    missing_handlers: list[dict[str, Any]] | None = _of_state("missing_handlers")  # for which it is BLOCKED
    stopped_at: str | None = _of_state("stopped_at")  # since when it is PAUSED or BLOCKED, if that is known
    started_at: str | None = _of_state("started_at")
    finished_at: str | None = _of_state("finished_at")
    deadline_at: str | None = _of_state("deadline_at")  # by `cfg.timeout`, from the first tick on
    ticks: int = _of_state("ticks")  # made so far, for `cfg.max_ticks`

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
        self.state = FlowState(
            key,
            cfg=cfg,
            data=data,
            label=label,
            status=status,
            depth=depth,
            parent_key=parent_key,
            params=params,
            result_paths=result_paths,
            version=version,
            description=description,
            spec=spec,
            parent_task_key=parent_task_key,
        )
        self.tasks: Mapping[str, Task] = TaskMap(self.state.tasks)

    # --- making one ------------------------------------------------------------------------

    @staticmethod
    def generate_key() -> str:
        """Return a new unique key, `flow:<uuid4>`."""
        return make_flow_key()

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
        spec: dict[str, Any] = copy_json(dict(refuse_non_mapping(flow_spec, "spec")))
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
        add_graph(flow.state, tasks, edges)
        return flow

    @classmethod
    def from_flow_dict(cls, flow_dict: Mapping[str, Any]) -> Flow:
        """Make a flow from what `to_flow_dict` gave; the dict is copied.

        Raises:
            FlowFormatError: the dict is malformed; `.pointer` names the place.
            GraphError: the graph is impossible.
        """
        from mc.flows.formats.flow_dict import state_from_dict

        return cls.from_state(state_from_dict(flow_dict))

    @classmethod
    def from_state(cls, state: FlowState) -> Flow:
        """Make the flow that holds a state."""
        flow = cls(state.key)
        flow.state, flow.tasks = state, TaskMap(state.tasks)
        return flow

    def to_flow_dict(self) -> dict[str, Any]:
        """Return the flow as JSON-safe data that shares nothing with it."""
        from mc.flows.formats.flow_dict import state_to_dict

        return state_to_dict(self.state)

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
        own: Task = copy_json(dict(refuse_non_mapping(task, "task")))
        add_task(self.state, own)
        return own

    def add_edge(self, edge: Mapping[str, str]) -> None:
        """Let a task wait for another one: `{'src_key': ..., 'dest_key': ...}`.

        Raises:
            GraphError: an end is unknown, the edge leads into ROOT, or its end has started already.
            CycleError: the edge would close a cycle; nothing was added.
        """
        ends = refuse_non_mapping(edge, "edge")
        source_key, dest_key = ends.get("src_key"), ends.get("dest_key")
        if not isinstance(source_key, str) or not isinstance(dest_key, str):
            raise GraphError(f"An edge is {{'src_key': ..., 'dest_key': ...}}; found {dict(edge)!r:.100}.")
        add_edge(self.state, source_key, dest_key)

    def has_edge(self, src_key: str, dest_key: str) -> bool:
        """Tell whether `dest_key` waits for `src_key`."""
        nodes = self.state.tasks.nodes
        source, dest = nodes.get(src_key), nodes.get(dest_key)
        return source is not None and dest is not None and has_edge(source, dest)

    def get_edges(self) -> list[dict[str, str]]:
        """Return all edges, those from ROOT included, by successor in the order of the tasks."""
        return self.state.tasks.list_edges()

    def get_precursors(self, task: Task | str) -> list[Task]:
        """Return the tasks that this one waits for; ROOT where it waits for none."""
        return self.state.tasks.hand_out(self._node_of(task).shown_precursors)

    def get_successors(self, task: Task | str) -> list[Task]:
        """Return the tasks that wait for this one."""
        tasks, node = self.state.tasks, self._node_of(task)
        after = node.successors
        if node is tasks.root:
            after = [dest for dest in after if node in dest.shown_precursors]
        return tasks.hand_out(after)

    def get_tail_tasks(self) -> list[Task]:
        """Return the tasks that no other waits for; ROOT in a flow without tasks."""
        tasks = self.state.tasks
        return tasks.hand_out(node for node in tasks.nodes.values() if not node.successors)

    # --- questions -------------------------------------------------------------------------

    @property
    def data(self) -> dict[str, Any]:
        """The flow's data; the flow's own dict, which handlers may change."""
        self.state.data_handed_out, self.state.are_data_saved = True, False
        data: dict[str, Any] = self.state.data
        return data

    @data.setter
    def data(self, value: dict[str, Any]) -> None:
        self.state.data = refuse_non_mapping(value, "data")
        self.state.data_handed_out, self.state.are_data_saved = True, False

    @property
    def mailbox(self) -> Mailbox:
        """The signals that no task has taken yet."""
        return self.state.open_mailbox()

    def get_nearest_tickable_pending_tasks(self) -> list[Task]:
        """Return the PENDING tasks whose start rule holds, in order; those that wait for a retry left out."""
        return self.state.tasks.hand_out(self.state.ready_nodes())

    def get_running_tasks(self) -> list[Task]:
        """Return the RUNNING tasks, in order."""
        tasks = self.state.tasks
        tasks.reconcile()
        return tasks.hand_out(_in_order(node for node in tasks.running if node.status == "RUNNING"))

    def get_tickable_tasks(self) -> list[Task]:
        """Return what a tick may act upon: RUNNING and WAITING tasks and those that can start, in order."""
        tasks, ready = self.state.tasks, self.state.ready_nodes()
        return tasks.hand_out(_in_order([*tasks.running, *ready]))

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
        states = self.state.tasks
        return states.hand_out(
            node
            for node in states.nodes.values()
            if (include_root_task or node is not states.root) and all(test(node.task) for test in tests)
        )

    def has_incomplete_tasks(self) -> bool:
        """Tell whether any task is unfinished."""
        self.reconcile()
        return self.state.tasks.unfinished_count() > 0

    def count_tasks(self) -> dict[str, int]:
        """Return how many tasks have each status; statuses that no task has are left out."""
        self.reconcile()
        return {status: count for status, count in self.state.tasks.counts.items() if count}

    @property
    def num_tickable_tasks(self) -> int:
        """How many tasks run, wait or could start now."""
        return self.state.count_tickable()

    def describe_failure(self) -> str | None:
        """Return why the flow failed, in a sentence that names the tasks; None if nothing failed."""
        parts = [f"{self.error.get('type')}: {self.error.get('message')}"] if self.error else []
        failed = self.state.tasks.failed_nodes()
        for node in failed[:5]:
            record = node.task.get("error") or {}
            kind, message = record.get("type", "TaskFailed"), record.get("message", "no reason given")
            parts.append(f"task {node.key!r}: {kind}: {message}")
        if len(failed) > 5:
            parts.append(f"and {len(failed) - 5} more tasks failed")
        return "; ".join(parts) or None

    def check_invariants(self) -> None:
        """Compare the state with the tasks, for tests and debugging; walks the whole graph.

        Raises:
            AssertionError: they differ.
        """
        from mc.flows.state.invariants import check_invariants

        check_invariants(self.state)

    # --- changes of status -----------------------------------------------------------------

    def change_status(self, new: str) -> None:
        """Change the flow's status.

        Raises:
            StatusError: the change is not allowed.
        """
        self.state.change_status(new)

    def change_task_status(self, key: str, new: str) -> None:
        """Change a task's status, with all that follows for others.

        Raises:
            StatusError: the change is not allowed; nothing was changed.
        """
        tasks = self.state.tasks
        tasks.change_from_outside(tasks.nodes[key], new)

    def reconcile(self) -> None:
        """Take up the statuses that were written into task dicts which `tasks` handed out.

        Raises:
            StatusError: a change is not allowed; the dict has its old status again.
        """
        self.state.tasks.reconcile()

    def find_sub_flow(self, task: Task) -> Flow | None:
        """Return the flow that lives inside a task, or inside what it proxies."""
        state = self.state.find_sub_flow(task)
        return Flow.from_state(state) if state is not None else None

    def _node_of(self, task: Task | str) -> TaskNode:
        key = task if isinstance(task, str) else task["key"]
        node = self.state.tasks.nodes.get(key)
        if node is None:
            raise GraphError(f"Flow {self.key!r} has no task {key!r}.", key=key)
        return node

    def __repr__(self) -> str:
        count = len(self.tasks)
        return f"Flow(key={self.key!r}, label={self.label!r}, status={self.status!r}, tasks={count})"


def _in_order(nodes: Iterable[TaskNode]) -> list[TaskNode]:
    return sorted(nodes, key=lambda node: node.position)
