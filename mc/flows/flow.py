"""A flow: attributes and a graph of tasks, with the books that a tick needs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappush
from typing import Any, ClassVar

from mc.context.json_values import copy_json
from mc.errors import GraphError, StatusError
from mc.flows.graph import Graph
from mc.flows.start_rules import NEVER, START, UNDECIDED, StartRule, start_rule_for
from mc.spec.task_graph import ROOT_TASK_KEY, assign_task_keys, list_edges, start_rule_task_keys
from mc.statuses import FINISHED_TASK_STATUSES, TASK_CHANGES, check_flow_change, check_task_change

__all__ = ["Flow", "Task", "TaskMap"]

Task = dict[str, Any]

_OUTSIDE_TASK_DICT = ("precursors", "successors")  # a task's edges live in the graph


class TaskMap(Mapping[str, Task]):
    """The tasks of a flow by key, in the order of the spec, ROOT first.

    The task dicts are the flow's own and may be changed; which ones were handed out is remembered,
    so that a save looks at those and at no others.
    """

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def __getitem__(self, key: str) -> Task:
        task = self._flow._tasks[key]
        self._flow._handed_out.add(key)
        return task

    def __contains__(self, key: object) -> bool:
        return key in self._flow._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._flow._tasks)

    def __len__(self) -> int:
        return len(self._flow._tasks)

    def __repr__(self) -> str:
        return f"TaskMap({', '.join(self)})"


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
        self.key = key or self.generate_key()
        self.cfg: dict[str, Any] = copy_json(cfg) if cfg else {}
        self._data: dict[str, Any] = copy_json(data) if data else {}
        self.label = label
        self.status = str(status)
        self.depth = depth
        self.parent_key = parent_key
        self.parent_task_key = parent_task_key
        self.params: dict[str, Any] | None = copy_json(params)
        self.result_paths: dict[str, Any] | None = copy_json(result_paths)
        self.results: dict[str, Any] | None = None  # set when the flow completes
        self.version = version
        self.description = description
        self.spec: dict[str, Any] | None = copy_json(spec)
        self.error: dict[str, Any] | None = None  # why the flow failed, where no task did
        self.blocked_reason: str | None = None
        self.started_at: str | None = None
        self.finished_at: str | None = None
        self.deadline_at: str | None = None  # by `cfg.timeout`, from the first tick on
        self.ticks = 0  # made so far, for `cfg.max_ticks`
        self._tasks: dict[str, Task] = {}
        self._statuses: dict[str, str] = {}  # by which each task is booked
        self._positions: dict[str, int] = {}  # place in the spec
        self._unmet: dict[str, int] = {}  # unfinished precursors; 0: may start
        self._rules: dict[str, StartRule] = {}  # of tasks whose rule is not the default
        self._counts: dict[str, int] = dict.fromkeys(TASK_CHANGES, 0)
        self._ready: list[tuple[int, int, str]] = []  # heap of (-priority, position, key)
        self._running: dict[str, None] = {}
        self._due: list[tuple[str, str]] = []  # heap of (next_tick_at, key), old entries included
        self._graph = Graph()
        self._failures = 0  # FAILED tasks that are not allowed to fail
        self._handed_out: set[str] = set()  # since the last look for changes of status
        self._touched: set[str] = set()  # since the last save
        self._new_edges: list[tuple[str, str]] = []  # since the last save
        self._data_handed_out = False
        self._doomed: list[str] = []  # added after what they wait for had failed
        self._just_skipped: list[str] = []  # since the last tick's report
        self._sub_flows: dict[int, tuple[Task, Flow]] = {}  # live flows inside tasks, by id of the dict
        self._on_change: Callable[[str | None, str, str], None] | None = None
        self.tasks: Mapping[str, Task] = TaskMap(self)
        self._book({"key": ROOT_TASK_KEY, "status": "COMPLETED", "data": {}}, "COMPLETED")
        self._graph.add_node(ROOT_TASK_KEY)
        self._counts["COMPLETED"] = 0  # ROOT is not counted

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
        spec: dict[str, Any] = copy_json(dict(flow_spec))
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
        keys = assign_task_keys(task_specs)
        tasks = [
            {"key": key, **copy_json(task_spec)} for key, task_spec in zip(keys, task_specs, strict=True)
        ]
        for key, task in zip(keys, tasks, strict=True):
            task["key"] = key
        flow._build(tasks, list_edges(keys, task_specs))
        return flow

    @classmethod
    def from_flow_dict(cls, flow_dict: Mapping[str, Any]) -> Flow:
        """Make a flow from what `to_flow_dict` gave; the dict is copied.

        Raises:
            FlowFormatError: the dict is malformed; `.pointer` names the place.
            GraphError: the graph is impossible.
        """
        from mc.flows.flow_format import flow_from_dict

        return flow_from_dict(cls, flow_dict)

    def to_flow_dict(self) -> dict[str, Any]:
        """Return the flow as JSON-safe data that shares nothing with it."""
        from mc.flows.flow_format import flow_to_dict

        return flow_to_dict(self)

    def _build(self, tasks: Iterable[Task], edges: Iterable[tuple[str, str]]) -> None:
        """Add many tasks and edges at once."""
        for task in tasks:
            self._book(_normalise_task(task), task.get("status", "PENDING"))
        known = self._tasks
        edges = list(edges)
        for source, dest in edges:
            self._check_edge(source, dest)
        keys = [key for key in known if key != ROOT_TASK_KEY]
        self._graph.build(keys, edges)
        self._touched.update(keys)
        self._new_edges += edges
        for key in keys:
            self._count_unmet(key)

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
        own = _normalise_task(copy_json(dict(task)))
        key = own.get("key")
        if not key:
            number = len(self._tasks)
            while f"task_{number}" in self._tasks:
                number += 1
            key = own["key"] = f"task_{number}"
        before = list(dict.fromkeys([*(task.get("precursors") or ()), *start_rule_task_keys(own)]))
        after = list(dict.fromkeys(task.get("successors") or ()))
        for source in before:
            self._check_edge(source, key, new=key)
        for dest in after:
            self._check_edge(key, dest, new=key)
            if self._statuses[dest] != "PENDING":
                raise GraphError(
                    f"Task {key!r} cannot precede {dest!r}, which is {self._statuses[dest]} already.",
                    src_key=key,
                    dest_key=dest,
                )
        if not before:
            before = [ROOT_TASK_KEY]
        self._book(own, own["status"])
        graph = self._graph
        graph.add_node(key)
        graph.place(key, before, after)
        edges = [(source, key) for source in before] + [(key, dest) for dest in after]
        try:
            for source, dest in edges:
                graph.add_edge(source, dest)
        except GraphError:
            self._unbook(key)
            raise
        self._new_edges += edges
        self._touched.add(key)
        self._count_unmet(key)
        for dest in after:
            self._count_unmet(dest)
        return own

    def add_edge(self, edge: Mapping[str, str]) -> None:
        """Let a task wait for another one: `{'src_key': ..., 'dest_key': ...}`.

        Raises:
            GraphError: an end is unknown, or the edge leads into ROOT.
            CycleError: the edge would close a cycle; nothing was added.
        """
        source, dest = edge.get("src_key"), edge.get("dest_key")
        if not isinstance(source, str) or not isinstance(dest, str):
            raise GraphError(f"An edge is {{'src_key': ..., 'dest_key': ...}}; found {dict(edge)!r}.")
        self._check_edge(source, dest)
        if self._graph.has_edge(source, dest):
            return
        self._graph.add_edge(source, dest)
        self._new_edges.append((source, dest))
        self._count_unmet(dest)

    def has_edge(self, src_key: str, dest_key: str) -> bool:
        """Tell whether `dest_key` waits for `src_key`."""
        return self._graph.has_edge(src_key, dest_key)

    def get_edges(self) -> list[dict[str, str]]:
        """Return all edges, those from ROOT included."""
        return [{"src_key": source, "dest_key": dest} for source, dest in self._graph.edges()]

    def get_precursors(self, task: Task | str) -> list[Task]:
        """Return the tasks that this one waits for; ROOT where it waits for none."""
        return self._hand_out(self._graph.precursors[_key_of(task)])

    def get_successors(self, task: Task | str) -> list[Task]:
        """Return the tasks that wait for this one."""
        return self._hand_out(self._graph.successors[_key_of(task)])

    def get_tail_tasks(self) -> list[Task]:
        """Return the tasks that no other waits for; ROOT in a flow without tasks."""
        return self._hand_out(key for key in self._tasks if not self._graph.successors[key])

    # --- questions -------------------------------------------------------------------------

    @property
    def data(self) -> dict[str, Any]:
        """The flow's data; the flow's own dict, which handlers may change."""
        self._data_handed_out = True
        return self._data

    @data.setter
    def data(self, value: dict[str, Any]) -> None:
        self._data = value
        self._data_handed_out = True

    def get_nearest_tickable_pending_tasks(self) -> list[Task]:
        """Return the PENDING tasks whose start rule holds, in order; those that wait for a retry left out."""
        self.reconcile()
        return self._hand_out(self._ready_keys())

    def get_running_tasks(self) -> list[Task]:
        """Return the RUNNING tasks, in order."""
        self.reconcile()
        running = (key for key in self._running if self._statuses[key] == "RUNNING")
        return self._hand_out(sorted(running, key=self._positions.__getitem__))

    def get_tickable_tasks(self) -> list[Task]:
        """Return what a tick may act upon: RUNNING and WAITING tasks and those that can start, in order."""
        self.reconcile()
        keys = [*self._running, *self._ready_keys()]
        return self._hand_out(sorted(keys, key=self._positions.__getitem__))

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
            key
            for key, task in self._tasks.items()
            if (include_root_task or key != ROOT_TASK_KEY) and all(test(task) for test in tests)
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
        return len(self._running) + len(self._ready_keys())

    # --- changes of status -----------------------------------------------------------------

    def change_status(self, new: str) -> None:
        """Change the flow's status.

        Raises:
            StatusError: the change is not allowed.
        """
        old = self.status
        check_flow_change(self.key, old, new)
        self.status = new
        if self._on_change:
            self._on_change(None, old, new)

    def change_task_status(self, key: str, new: str) -> None:
        """Change a task's status and keep the books: the only place where one changes.

        Raises:
            StatusError: the change is not allowed; nothing was changed.
        """
        old = self._statuses[key]
        if new not in TASK_CHANGES[old]:
            check_task_change(key, old, new)
        task = self._tasks[key]
        task["status"] = self._statuses[key] = new
        counts = self._counts
        counts[old] -= 1
        counts[new] += 1
        self._touched.add(key)
        if new == "RUNNING" or new == "WAITING":
            self._running[key] = None
        elif old == "RUNNING" or old == "WAITING":
            del self._running[key]
        if self._on_change:
            self._on_change(key, old, new)
        if new == "COMPLETED":
            # the hot case, written out: most successors have the default rule
            statuses, unmet, rules = self._statuses, self._unmet, self._rules
            for dest in self._graph.successors[key]:
                if dest in rules:
                    if self._precursor_finished(dest, new) == NEVER:
                        self._skip(dest)
                elif statuses[dest] == "PENDING" and unmet[dest]:
                    unmet[dest] -= 1
                    self._touched.add(dest)
                    if not unmet[dest]:
                        self._push_ready(dest)
        elif new in FINISHED_TASK_STATUSES:
            if new == "FAILED" and not self._may_fail(key):
                self._failures += 1
        elif new == "PENDING":
            self._reopen(key, old)

    def settle_dependents(self, key: str) -> None:
        """Tell the tasks that wait for a task which finished without being COMPLETED; skip those it dooms."""
        status = self._statuses[key]
        for dest in self._graph.successors[key]:
            if self._precursor_finished(dest, status) == NEVER:
                self._skip(dest)

    def skip_doomed(self) -> None:
        """Skip the tasks that were added when they could never start any more."""
        doomed, self._doomed = self._doomed, []
        for key in doomed:
            if self._statuses[key] == "PENDING" and self._unmet[key]:
                self._skip(key)

    def _skip(self, key: str) -> None:
        """Make a task SKIPPED, and what it dooms in turn; iterative, so that a long chain is no deep recursion."""
        stack = [key]
        while stack:
            source = stack.pop()
            if self._statuses[source] != "PENDING":
                continue
            self.change_task_status(source, "SKIPPED")
            self._just_skipped.append(source)
            for dest in self._graph.successors[source]:
                if self._precursor_finished(dest, "SKIPPED") == NEVER:
                    stack.append(dest)

    def reconcile(self) -> None:
        """Book the statuses that were written into task dicts which `tasks` handed out.

        Raises:
            StatusError: a change is not allowed; the dict has its old status again.
        """
        if not self._handed_out:
            return
        handed_out, self._handed_out = self._handed_out, set()
        self._touched |= handed_out
        for key in handed_out:
            old = self._statuses.get(key)
            task = self._tasks.get(key)
            if old is None or task is None or task.get("status") == old:
                continue
            new, task["status"] = task.get("status"), old
            if not isinstance(new, str):
                raise StatusError(f"Task {key!r}: {new!r} is not a status.", key=key)
            self.change_task_status(key, str(new))
            if new in FINISHED_TASK_STATUSES and new != "COMPLETED":
                self.settle_dependents(key)

    def describe_failure(self) -> str | None:
        """Return why the flow failed, in a sentence that names the tasks; None if nothing failed."""
        parts = []
        if self.error:
            parts.append(f"{self.error.get('type')}: {self.error.get('message')}")
        failed = [key for key, status in self._statuses.items() if status == "FAILED"]
        for key in failed[:5]:
            error = self._tasks[key].get("error") or {}
            parts.append(f"task {key!r}: {error.get('type', 'TaskFailed')}: {error.get('message', 'no reason given')}")
        if len(failed) > 5:
            parts.append(f"and {len(failed) - 5} more tasks failed")
        return "; ".join(parts) or None

    def check_invariants(self) -> None:
        """Compare the books with the tasks, for tests and debugging; walks the whole graph.

        Raises:
            AssertionError: the books are wrong.
        """
        from mc.flows.invariants import check_invariants

        check_invariants(self)

    # --- the books -------------------------------------------------------------------------

    def _book(self, task: Task, status: str) -> None:
        key = task["key"]
        if not isinstance(key, str) or key in self._tasks:
            raise GraphError(f"The task key {key!r} is taken or is not text; keys are unique.", key=key)
        status = str(status)
        if status not in TASK_CHANGES:
            check_task_change(key, "PENDING", status)
        self._tasks[key] = task
        self._statuses[key] = status
        self._positions[key] = len(self._positions)
        self._counts[status] += 1
        rule_name = (task.get("cfg") or {}).get("start_when")
        if rule_name is not None:
            try:
                rule = start_rule_for(task["cfg"])
            except (ValueError, KeyError, TypeError) as error:
                raise GraphError(f"Task {key!r}: cfg.start_when: {error}.", key=key) from error
            if rule:
                self._rules[key] = rule
        if status in ("RUNNING", "WAITING"):
            self._running[key] = None
            self.push_due(key)
        elif status == "FAILED" and not self._may_fail(key):
            self._failures += 1

    def _unbook(self, key: str) -> None:
        self._graph.remove_node(key)
        self._counts[self._statuses[key]] -= 1
        self._rules.pop(key, None)
        self._running.pop(key, None)
        for book in (self._tasks, self._statuses, self._positions):
            del book[key]  # type: ignore[attr-defined]

    def _check_edge(self, source: str, dest: str, new: str | None = None) -> None:
        if dest == ROOT_TASK_KEY:
            raise GraphError(
                f"The edge {source!r} -> ROOT leads into ROOT, which precedes all tasks.",
                src_key=source,
                dest_key=dest,
            )
        for end, other in ((source, dest), (dest, source)):
            if end not in self._tasks and end != new:
                raise GraphError(
                    f"The edge {source!r} -> {dest!r} names {end!r}, which is not a task of flow {self.key!r}. "
                    f"Add that task first.",
                    src_key=source,
                    dest_key=dest,
                    unknown=end,
                    other=other,
                )

    def _count_unmet(self, key: str) -> None:
        """Count a task's unfinished precursors anew and find out whether it may start."""
        before = self._graph.precursors[key]
        statuses = self._statuses
        finished = [source for source in before if statuses[source] in FINISHED_TASK_STATUSES]
        unfinished = len(before) - len(finished)
        if statuses[key] != "PENDING":
            self._unmet[key] = 0
            return
        was_ready = self._unmet.get(key) == 0
        rule = self._rules.get(key)
        if rule is None and unfinished == 0 and len(before) == 1 and before[0] == ROOT_TASK_KEY:
            decision = START  # the usual first task
        else:
            decision = self._fold(rule, finished, unfinished)
        if decision == START:
            unfinished = 0
        elif decision == NEVER or unfinished == 0:
            unfinished = max(unfinished, 1)
            self._doomed.append(key)
        self._unmet[key] = unfinished
        if was_ready and unfinished:
            self._ready = [entry for entry in self._ready if entry[2] != key]
        elif not unfinished and not was_ready:
            self._push_ready(key)

    def _fold(self, rule: StartRule | None, finished: list[str], unfinished: int) -> str:
        decision: str = UNDECIDED
        left = unfinished + len(finished)
        for source in finished:
            left -= 1
            status = self._statuses[source]
            if rule is not None:
                decision = rule(status, left, self._statuses.__getitem__)
            elif status != "COMPLETED":
                decision = NEVER
            elif not left:
                decision = START
            if decision in (START, NEVER):
                break
        return decision

    def _precursor_finished(self, key: str, status: str) -> str:
        """Ask the rule of a task one of whose precursors has just finished."""
        if self._statuses[key] != "PENDING" or not self._unmet[key]:
            return UNDECIDED
        unfinished = self._unmet[key] - 1
        rule = self._rules.get(key)
        if rule is not None:
            decision = rule(status, unfinished, self._statuses.__getitem__)
        elif status == "COMPLETED":
            decision = UNDECIDED if unfinished else START
        else:
            decision = NEVER
        self._touched.add(key)
        if decision == START:
            self._unmet[key] = 0
            self._push_ready(key)
        else:
            self._unmet[key] = max(unfinished, 1) if decision == NEVER else unfinished
        return decision

    def _push_ready(self, key: str) -> None:
        task = self._tasks[key]
        if "next_tick_at" in task and task["next_tick_at"]:
            heappush(self._due, (task["next_tick_at"], key))
            return
        cfg = task.get("cfg")
        priority = cfg.get("priority", 0) if cfg else 0
        heappush(self._ready, (-priority, self._positions[key], key))

    def push_due(self, key: str) -> None:
        """Note when a task that waits can be ticked next."""
        task = self._tasks[key]
        times = [task[name] for name in ("next_tick_at", "deadline_at") if task.get(name)]
        if times:
            heappush(self._due, (min(times), key))

    def _reopen(self, key: str, old: str) -> None:
        if old == "FAILED" and not self._may_fail(key):
            self._failures -= 1
        self._unmet[key] = 0
        self._push_ready(key)

    def _may_fail(self, key: str) -> bool:
        cfg = self._tasks[key].get("cfg")
        return bool(cfg and cfg.get("allow_failure"))

    def _ready_keys(self) -> list[str]:
        return [key for _, _, key in sorted(self._ready) if self._statuses[key] == "PENDING"]

    def _unfinished_count(self) -> int:
        counts = self._counts
        return counts["PENDING"] + counts["RUNNING"] + counts["WAITING"]

    def _sub_flow_keys(self) -> list[str]:
        """Return the tasks of the graph that have a live sub-flow, proxied ones included."""
        if not self._sub_flows:
            return []
        live = {id(task) for task, _ in self._sub_flows.values()}
        keys = []
        for key in self._running:
            task: Any = self._tasks[key]
            while isinstance(task, dict):
                if id(task) in live:
                    keys.append(key)
                    break
                task = task.get("proxied_task")
        return keys

    def _hand_out(self, keys: Iterable[str]) -> list[Task]:
        tasks = self.tasks
        return [tasks[key] for key in keys]

    def __repr__(self) -> str:
        return f"Flow(key={self.key!r}, label={self.label!r}, status={self.status!r}, tasks={len(self._tasks) - 1})"


def _key_of(task: Task | str) -> str:
    return task if isinstance(task, str) else str(task["key"])


def _normalise_task(task: Task) -> Task:
    for name in _OUTSIDE_TASK_DICT:
        task.pop(name, None)
    task.setdefault("task_params", {})
    task.setdefault("data", {})
    task["status"] = str(task.get("status") or "PENDING")
    return task
