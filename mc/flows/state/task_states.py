"""The tasks of a flow: which of them run, wait or are finished, and what a change of one means for others.

All changes of a task's status go through `TaskStates.change`; each costs what it touches, never a walk over
the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final

from mc.errors import GraphError, StatusError
from mc.flows.state.lazy_nodes import StoredNodes, StoredRunning
from mc.flows.state.start_rules import NEVER, START, UNDECIDED, counted_status
from mc.flows.state.starting import TaskQueues, ask_rule, decide, may_start
from mc.flows.state.task_node import ROOT_RANK, Task, TaskNode, read_cfg
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.statuses import FINISHED_TASK_STATUSES, TASK_CHANGES, check_task_change, check_written_change

__all__ = ["ChangeListener", "TaskStates", "can_complete", "has_failed"]

_ACTIVE = ("RUNNING", "WAITING")
_NEVER_MET: Final = 2**31 - 1  # unmet precursors of a task that can never start, whatever ends
# entries of a task dict that another attempt must not find
_OF_ONE_ATTEMPT = (
    "deadline_at",
    "finished_at",
    "flow_dict",
    "handler_version",
    "initialised",
    "item_call",
    "kept",  # what was inside it when it ended, for a person's retry
    "proxied_task",
    "resource_claim",
    "skipped_for",
    "sub_flow",
    "waits_for",
)

ChangeListener = Callable[[TaskNode | None, str, str], None]  # the task or None for the flow, old, new


class TaskStates:
    """The tasks of a flow with their edges and statuses; others read, and change by the methods alone.

    Attributes:
        nodes: the tasks in the order of the spec, ROOT first.
        root: ROOT.
        counts: how many tasks have each status, ROOT left out.
        running: the RUNNING and WAITING tasks; who walks over them has all of them read.
        failures: how many tasks are FAILED that are not allowed to fail.
        queues: tasks that may start, and that are due at a time.
        doomed: tasks that were added after what they wait for had failed.
        is_limited: whether a task may need named resources.
        handed_out: tasks whose dicts were handed out since the last look for changes of status.
        under_way: tasks whose calls are awaited and will be settled.
        skipped: keys of tasks that were skipped since the last tick's report.
        on_change: who hears of changes of status.
        on_touch: called when there is something to save, and was nothing before.
        touched: tasks that the next save has to look at; each once, its `touched` is set.
    """

    nodes: dict[str, TaskNode]
    running: dict[TaskNode, None]
    doomed: list[TaskNode]
    handed_out: set[TaskNode]

    def __init__(self) -> None:
        self.is_limited = False
        self.under_way: set[TaskNode] = set()
        self.skipped: list[str] = []
        self.on_change: ChangeListener | None = None
        self.on_touch: Callable[[], None] | None = None
        self.set_root({"key": ROOT_TASK_KEY, "status": "COMPLETED", "data": {}})

    # --- changes of status -----------------------------------------------------------------

    def change(self, node: TaskNode, new: str) -> None:  # noqa: C901, PLR0912 - calls would cost more
        """Change a task's status: the only place where one changes.

        Whoever ends a task otherwise than COMPLETED lets `settle_dependents` follow, unless the flow ends.
        """
        old = node.status
        if new not in TASK_CHANGES[old]:
            check_task_change(node.key, old, new)
        node.status = node.task["status"] = new
        counts = self.counts
        counts[old] -= 1
        counts[new] += 1
        if not node.touched:
            self.touch(node)
        if self.on_change:
            self.on_change(node, old, new)
        if new == "RUNNING":
            self.running[node] = None
            return
        if new != "WAITING":
            self.running.pop(node, None)
        if new == "COMPLETED":
            for dest in node.successors:
                if dest.rule is not None:
                    if self._precursor_finished(dest, new) == NEVER:
                        self.skip(dest, dest.find_cause())
                elif dest.unmet and dest.status == "PENDING":
                    dest.unmet -= 1
                    if not dest.touched:
                        dest.touched = True
                        self.touched.append(dest)
                    if not dest.unmet:
                        self.queues.push_ready(dest)
        elif new == "FAILED":
            self.failures += not node.may_fail
        elif new == "PENDING":
            self._begin_anew(node, old)
        if old == "FAILED":
            self.failures -= not node.may_fail

    def change_from_outside(self, node: TaskNode, new: str) -> None:
        """Change a task's status, with all that follows for others.

        Raises:
            StatusError: the change is not allowed; nothing was changed.
        """
        old = node.status
        self.change(node, new)
        if old == "PENDING" or self.queues.order is not None:
            self.queues.is_stale = True
        if new == "WAITING":
            self.queues.push_due(node)
        elif new == "SKIPPED":
            self.skipped.append(node.key)
        if old == "FAILED" and new == "SKIPPED":
            self._recount_dependents(node)
        elif new in FINISHED_TASK_STATUSES and new != "COMPLETED":
            self.settle_dependents(node)

    def wake_due(self, at: str) -> None:
        """Let tasks whose time has come run, or start."""
        for node in self.queues.take_due(at):
            task = node.task
            if node.status == "WAITING":
                times = (task.get("next_tick_at"), task.get("deadline_at"))
                if any(time and time <= at for time in times):
                    task.pop("next_tick_at", None)
                    self.change(node, "RUNNING")
            elif may_start(node) and (task.get("next_tick_at") or "") <= at:
                task.pop("next_tick_at", None)
                self.touch(node)
                self.queues.push_ready(node)

    def skip(self, node: TaskNode, cause: dict[str, str] | None = None) -> None:
        """Make a task SKIPPED, and what that dooms in turn, however long the chain.

        Args:
            node: the task.
            cause: the task that failed or was cancelled because of which it cannot start; None: by choice.
        """
        stack = [(node, cause)]
        while stack:
            source, cause = stack.pop()
            if source.status != "PENDING":
                continue
            if cause is not None:
                source.task["skipped_for"] = dict(cause)
            self.change(source, "SKIPPED")
            self.skipped.append(source.key)
            stack += self._doomed_by(source)

    def take_skipped(self) -> list[str]:
        """Return the tasks that were skipped since the last tick's report, for this one."""
        taken, self.skipped = self.skipped, []
        return taken

    def skip_doomed(self) -> None:
        """Skip the tasks that were added when they could never start any more."""
        doomed, self.doomed = self.doomed, []
        for node in sorted(doomed, key=attrgetter("position")):
            if node.status != "PENDING":
                continue
            if decide(self.nodes, node)[0] == NEVER:
                self.skip(node, node.find_cause())
            else:
                self.count_unmet(node)  # what it waits for was retried

    def doomed_nodes(self) -> set[TaskNode]:
        """Return the PENDING tasks that can never start; a retry may have given some another way."""
        pending = (node for node in self.doomed if node.status == "PENDING")
        return {node for node in pending if decide(self.nodes, node)[0] == NEVER}

    def settle_dependents(self, node: TaskNode) -> None:
        """Tell the tasks that wait for one that finished without being COMPLETED; skip those it dooms."""
        for dest, cause in self._doomed_by(node):
            self.skip(dest, cause)

    def _doomed_by(self, source: TaskNode) -> Iterator[tuple[TaskNode, dict[str, str] | None]]:
        """Yield the tasks that can no longer start now that another one has finished, with what failed."""
        status = counted_status(source.status, source.task)
        for dest in source.successors:
            if self._precursor_finished(dest, status) == NEVER:
                yield dest, dest.find_cause(source)

    def _begin_anew(self, node: TaskNode, old: str) -> None:
        """Prepare a task for another attempt; what waits for it counts it as unfinished again."""
        task = node.task
        if old != "RUNNING":  # else its policy has set when it is tried again
            task.pop("next_tick_at", None)
        for name in _OF_ONE_ATTEMPT:
            task.pop(name, None)
        if "raw_task_params" in task:
            task["task_params"] = task.pop("raw_task_params")
        node.unmet = -1
        self.count_unmet(node)
        if old in FINISHED_TASK_STATUSES:
            self._recount_dependents(node)

    def _recount_dependents(self, node: TaskNode) -> None:
        """Let the tasks that wait for one that had finished take it for what it is now."""
        for dest in node.successors:
            if dest.status == "PENDING":
                self.count_unmet(dest)
                self.touch(dest)

    def _precursor_finished(self, node: TaskNode, status: str) -> str:
        """Ask the rule of a task one of whose precursors has just finished."""
        if node.status != "PENDING" or not node.unmet:
            return UNDECIDED
        unfinished = node.unmet - 1
        decision = ask_rule(self.nodes, node, status, unfinished)
        self.touch(node)
        if decision == START:
            node.unmet = 0
            self.queues.push_ready(node)
        else:
            node.unmet = max(unfinished, 1)
        return decision

    # --- what others wrote into task dicts -------------------------------------------------

    def hand_out(self, nodes: Iterable[TaskNode]) -> list[Task]:
        """Return the dicts of tasks to somebody who may change them."""
        nodes = list(nodes)
        self.handed_out.update(nodes)
        return [node.task for node in nodes]

    def reconcile(self) -> None:
        """Take up the statuses that were written into task dicts which were handed out.

        Raises:
            StatusError: a change is not allowed; the dict has its old status again.
        """
        if not self.handed_out:
            return
        handed_out, self.handed_out = self.handed_out, self.handed_out & self.under_way
        written: list[tuple[TaskNode, Any]] = []
        for node in handed_out - self.under_way:
            self.touch(node)
            status = node.task.get("status")
            if status != node.status:
                node.task["status"] = node.status
                written.append((node, status))
        problem: StatusError | None = None
        for node, status in sorted(written, key=lambda entry: entry[0].position):
            try:
                self._take_up_written(node, status)
            except StatusError as error:
                if problem is None:
                    problem = error
                else:
                    problem.add_note(error.message)
        if problem is not None:
            raise problem

    def note_kept_dicts(self) -> None:
        """Look for statuses of active tasks that were written into dicts handed out before the last look."""
        for node in self.known_running():
            if node.task.get("status") != node.status:
                self.handed_out.add(node)

    def _take_up_written(self, node: TaskNode, status: Any) -> None:
        if not isinstance(status, str):
            raise StatusError(f"Task {node.key!r}: {status!r} is not a status.", key=node.key)
        if status != node.status:  # else one that was taken up before it has led to the same
            check_written_change(node.key, node.status, status)
            self.change_from_outside(node, str(status))

    # --- tasks that come and go ------------------------------------------------------------

    def add(self, task: Task) -> TaskNode:
        """Take up a task that has no edges yet.

        Raises:
            GraphError: its key is taken, or it is malformed.
        """
        key, status = task.get("key"), task["status"]
        if not isinstance(key, str):
            raise GraphError(f"The task key {key!r} is not text; a key is a Python identifier.", key=key)
        if key in self.nodes:
            raise GraphError(f"There is a task {key!r} already; keys are unique in a flow.", key=key)
        if status not in TASK_CHANGES:
            check_task_change(key, "PENDING", status)
        rule = None
        if "cfg" in task:
            rule = read_cfg(key, task["cfg"])
            self.is_limited = self.is_limited or "resources" in task["cfg"]
        node = self.nodes[key] = TaskNode(key, task, status, len(self.nodes))
        node.rule = rule
        self.counts[status] += 1
        if status in _ACTIVE:
            self.running[node] = None
        elif status == "FAILED":
            self.failures += not node.may_fail
        return node

    def remove_last(self, node: TaskNode) -> None:
        """Forget the task that was added last and has no edges."""
        del self.nodes[node.key]
        self.counts[node.status] -= 1
        self.failures -= node.status == "FAILED" and not node.may_fail
        self.running.pop(node, None)

    def set_root(self, task: Task) -> None:
        """Have no task but ROOT, and nothing to say of others."""
        self.root = TaskNode(ROOT_TASK_KEY, task, "COMPLETED", 0)
        self.root.rank = ROOT_RANK
        self.root.touched = True  # no save looks at it
        self.nodes = {ROOT_TASK_KEY: self.root}
        self.touched: list[TaskNode] = []
        self.counts: dict[str, int] = dict.fromkeys(TASK_CHANGES, 0)
        self.running = {}
        self.failures = 0
        self.queues = TaskQueues()
        self.doomed = []
        self.handed_out = set()

    def read_later(self, nodes: StoredNodes, counts: Mapping[str, int], failures: int | None) -> None:
        """Have tasks that are read when they are needed; those with which a tick begins are entered.

        Args:
            nodes: where they are.
            counts: how many tasks have each status.
            failures: how many failures count; None: not known.
        """
        self.nodes, self.root = nodes, nodes.root
        self.root.touched = True
        self.counts.update(counts)
        self.running = StoredRunning(nodes, self.counts["WAITING"])
        if failures is None:
            failures = len(self.failed_nodes()) if counts.get("FAILED") else 0
        self.failures = failures

    def enter(self, node: TaskNode, is_doomed: bool) -> None:
        """Take up a task that a store had, as it was saved."""
        self.is_limited = self.is_limited or "resources" in node.task.get("cfg", ())
        if node.status != "PENDING":
            if isinstance(self.running, StoredRunning):
                self.running.take_up(node)
            else:
                self.running[node] = None
            self.queues.push_due(node)
        elif is_doomed:
            node.unmet = _NEVER_MET
            self.doomed.append(node)
        else:
            self.queues.push_ready(node)

    def go_on(self, tick: int, first: str | None, count: int | None, begun: int | None) -> None:
        """Take up the tick in which the flow was when it was stored, if it was in one.

        Args:
            tick: its number.
            first: key of the first task that it had still to call.
            count: how many tasks it had still to call; None: it was in none.
            begun: of how many of these the calls had begun.
        """
        nodes = [*self.known_running(), *(node for *_, node in self.queues.ready)]
        candidates = [node for node in nodes if node.task.pop("from_tick", 0) <= tick]
        if count is not None:
            self.queues.go_on(candidates, first, count, max(begun or 0, 0))

    def touch(self, node: TaskNode) -> None:
        """Remember that the next save has to look at a task."""
        if not node.touched:
            node.touched = True
            self.touched.append(node)
            if self.on_touch and len(self.touched) == 1:
                self.on_touch()

    def mark_saved(self, nodes: Iterable[TaskNode]) -> None:
        """Forget that a save had to look at tasks, which a store has now."""
        for node in nodes:
            node.touched = False
        self.touched = [node for node in self.touched if node.touched]

    def count_unmet(self, node: TaskNode) -> None:
        """Count a task's unfinished precursors anew and find out whether it may start."""
        if node.status != "PENDING":
            node.unmet = 0
            if node.status in _ACTIVE:
                self.queues.push_due(node)
            return
        was_queued = node.unmet == 0
        before = node.precursors
        if len(before) == 1 and before[0] is self.root:
            decision, unfinished = START, 0
        else:
            decision, unfinished = decide(self.nodes, node)
        if decision == START:
            node.unmet = 0
            if not was_queued:
                self.queues.push_ready(node)
            return
        node.unmet = max(unfinished, 1)
        if decision == NEVER:
            node.unmet = _NEVER_MET
            self.doomed.append(node)
        if was_queued:
            self.queues.is_stale = True

    def count_anew(self) -> None:
        """Do that for all tasks."""
        for node in self.nodes.values():
            unmet = node.unmet
            self.count_unmet(node)
            if node.unmet != unmet:
                self.touch(node)

    def count_edge(self, source: TaskNode, dest: TaskNode) -> None:
        """Count one more precursor, so that a join of n edges costs n steps and not n squared."""
        if dest.rule is None and dest.status == "PENDING":
            if source.status == "COMPLETED":
                return
            if dest.unmet > 0 and source.status not in FINISHED_TASK_STATUSES:
                dest.unmet += 1
                return
        self.count_unmet(dest)

    # --- questions -------------------------------------------------------------------------

    def known_running(self) -> Iterable[TaskNode]:
        """Return the RUNNING tasks, and those of the WAITING ones that are in memory."""
        return self.running.in_memory() if isinstance(self.running, StoredRunning) else self.running

    def nodes_with_status(self, status: str) -> list[TaskNode]:
        """Return the tasks that have a status, in order."""
        nodes = self.nodes
        if isinstance(nodes, StoredNodes):
            return nodes.with_status(status)
        return [node for node in nodes.values() if node.status == status and node is not self.root]

    def failed_nodes(self) -> list[TaskNode]:
        """Return the tasks that failed and were not allowed to, in order."""
        return [node for node in self.nodes_with_status("FAILED") if not node.may_fail]

    def unfinished_count(self) -> int:
        """Return how many tasks are not finished."""
        counts = self.counts
        return counts["PENDING"] + counts["RUNNING"] + counts["WAITING"]

    def list_edges(self) -> list[dict[str, str]]:
        """Return all edges, those from ROOT included, by successor in the order of the tasks."""
        return [
            {"src_key": source.key, "dest_key": dest.key}
            for dest in self.nodes.values()
            for source in dest.shown_precursors
        ]


def has_failed(cfg: Mapping[str, Any], failures: int, counts: Mapping[str, int]) -> bool:
    """Tell whether more tasks of a flow failed than may, or too few can be COMPLETED.

    Args:
        cfg: of the flow.
        failures: FAILED tasks that are not allowed to fail.
        counts: how many tasks have each status.
    """
    if not cfg:
        return failures > 0
    least, most = cfg.get("min_completed"), cfg.get("tolerated_failures")
    if most is None:
        most = 0 if least is None else failures
    return failures > most or (least is not None and can_complete(counts) < least)


def can_complete(counts: Mapping[str, int]) -> int:
    """Return how many tasks are COMPLETED, or may be yet."""
    return sum(counts.get(status, 0) for status in ("COMPLETED", "PENDING", "RUNNING", "WAITING"))
