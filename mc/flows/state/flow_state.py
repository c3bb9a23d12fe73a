"""The books of a flow: which tasks are ready, run, wait or are finished.

All changes of a status go through `change_task_status`; each costs what it touches, never a walk
over the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from heapq import heapify, heappush
from typing import TYPE_CHECKING, Any

from mc.errors import GraphError, StatusError
from mc.flows.observer import ChangeEvent
from mc.flows.state.edges import ROOT_RANK
from mc.flows.state.lazy_nodes import StoredNodes
from mc.flows.state.mailbox import Mailbox
from mc.flows.state.start_rules import NEVER, START, UNDECIDED, counted_status
from mc.flows.state.task_node import Task, TaskNode, read_cfg
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.statuses import (
    FINISHED_FLOW_STATUSES,
    FINISHED_TASK_STATUSES,
    TASK_CHANGES,
    check_flow_change,
    check_task_change,
    check_written_change,
)

if TYPE_CHECKING:
    from mc.flows.observer import MigrationRecord

__all__ = ["FlowBooks"]

_ACTIVE = ("RUNNING", "WAITING")
# entries of a task dict that another attempt must not find
_OF_ONE_ATTEMPT = (
    "deadline_at",
    "finished_at",
    "flow_dict",
    "handler_version",
    "initialised",
    "kept",  # what was inside it when it ended, for a person's retry
    "proxied_task",
    "resource_claim",
    "skipped_for",
    "waits_for",
)


class FlowBooks:
    """What `Flow` keeps of its tasks; see there."""

    key: str
    status: str
    _booked_status: str  # as `change_status` left it
    error: dict[str, Any] | None
    blocked_reason: str | None
    missing_handlers: list[dict[str, Any]] | None
    stopped_at: str | None

    def __init__(self) -> None:
        self._nodes: dict[str, TaskNode] = {}  # in the order of the spec, ROOT first
        self._counts: dict[str, int] = dict.fromkeys(TASK_CHANGES, 0)
        self._ready: list[tuple[int, int, TaskNode]] = []  # heap of (-priority, position, node)
        self._has_stale_ready = False  # whether `_ready` has entries that may not start any more
        self._running: dict[TaskNode, None] = {}  # RUNNING and WAITING ones
        self._due: list[tuple[str, int, TaskNode]] = []  # heap of (time, position, node), stale ones included
        self._is_limited = False  # whether a task may need named resources
        self._awaiting: dict[TaskNode, None] = {}  # ready but for resources that they were refused
        self._bytes = 0  # of data that calls left in tasks, as far as it was counted
        self._failures = 0  # FAILED tasks that are not allowed to fail
        self._handed_out: set[TaskNode] = set()  # since the last look for changes of status
        self._under_way: set[TaskNode] = set()  # their calls are awaited and will be settled
        self._touched: list[TaskNode] = []  # since the last save; each once, its `touched` is set
        self._new_edges: list[tuple[str, str]] = []  # since the last save
        self._is_rebuilt = False  # since the last save: tasks may be gone, and all stand in `_touched`
        self._has_other_edges = False  # since the last save: edges are gone, and all stand in `_new_edges`
        self._migrations: list[MigrationRecord] = []  # to other specs, since the last save
        self._doomed: list[TaskNode] = []  # added after what they wait for had failed
        self._mailbox: Mailbox | None = None  # made when a signal comes
        self._just_skipped: list[str] = []  # since the last tick's report
        self._outside_changes: list[tuple[TaskNode | None, str, str]] = []  # for the next tick's observers
        self._journal: list[ChangeEvent] | None = None  # since the last save, for a store to keep
        self._outside_listener = self._note_outside_change
        self._on_change: Callable[[TaskNode | None, str, str], None] | None = self._outside_listener
        self._root = TaskNode(
            ROOT_TASK_KEY, {"key": ROOT_TASK_KEY, "status": "COMPLETED", "data": {}}, "COMPLETED", 0
        )
        self._root.rank = ROOT_RANK
        self._nodes[ROOT_TASK_KEY] = self._root

    @property
    def mailbox(self) -> Mailbox:
        """The signals that no task has taken yet."""
        if self._mailbox is None:
            self._mailbox = Mailbox()
        return self._mailbox

    # --- changes of status -----------------------------------------------------------------

    def change_status(self, new: str) -> None:
        """Change the flow's status.

        Raises:
            StatusError: the change is not allowed.
        """
        old = self.status
        check_flow_change(self.key, old, new)
        self.status = self._booked_status = new
        if old in ("BLOCKED", "PAUSED"):
            self.blocked_reason = self.missing_handlers = self.stopped_at = None
        if old in FINISHED_FLOW_STATUSES:
            for node in self._nodes.values():
                unmet = node.unmet
                self._count_unmet(node)  # of what ended with the flow, those that wait for it were not told
                if node.unmet != unmet:
                    self._touch(node)
        if self._on_change:
            self._on_change(None, old, new)

    def book_status(self) -> None:
        """Take up a status that was assigned to the flow since the last tick.

        Raises:
            StatusError: the change is not allowed; the flow has its old status again.
        """
        new, self.status = self.status, self._booked_status
        self.change_status(new)

    def change_task_status(self, key: str, new: str) -> None:
        """Change a task's status and keep the books.

        Raises:
            StatusError: the change is not allowed; nothing was changed.
        """
        node = self._nodes[key]
        old = node.status
        self._change(node, new)
        if old == "PENDING":
            self._has_stale_ready = True
        if new == "WAITING":
            self._push_due(node)
        elif new == "SKIPPED":
            self._just_skipped.append(key)
        if old == "FAILED" and new == "SKIPPED":
            self._recount_dependents(node)
        elif new in FINISHED_TASK_STATUSES and new != "COMPLETED":
            self._settle_dependents(node)

    def _note_outside_change(self, node: TaskNode | None, old: str, new: str) -> None:
        self._outside_changes.append((node, old, new))
        if self._journal is not None:
            self._journal.append(self._describe_change(node, old, new, ""))

    def _describe_change(self, node: TaskNode | None, old: str, new: str, at: str) -> ChangeEvent:
        """Return what observers and the journal are told of a change that was just made."""
        if node is None:
            error = self.error if new in ("FAILED", "CANCELLED") else None
            if new == "BLOCKED" and self.blocked_reason:
                error = {"type": "FlowBlocked", "message": self.blocked_reason}
            return ChangeEvent(self.key, None, 0, old, new, at, error)
        task = node.task
        error = task.get("error") if new in ("FAILED", "PENDING") else None
        return ChangeEvent(self.key, node.key, task.get("attempt", 0), old, new, at, error)

    def _change(self, node: TaskNode, new: str) -> None:  # noqa: C901, PLR0912 - calls would cost more
        """Change a task's status: the only place where one changes."""
        old = node.status
        if new not in TASK_CHANGES[old]:
            check_task_change(node.key, old, new)
        node.status = node.task["status"] = new
        counts = self._counts
        counts[old] -= 1
        counts[new] += 1
        if not node.touched:
            self._touch(node)
        if self._on_change:
            self._on_change(node, old, new)
        if new == "RUNNING":
            self._running[node] = None
            return
        if new != "WAITING":
            self._running.pop(node, None)
        if new == "COMPLETED":
            for dest in node.successors:
                if dest.rule is not None:
                    if self._precursor_finished(dest, new) == NEVER:
                        self._skip(dest, dest.find_cause())
                elif dest.unmet and dest.status == "PENDING":
                    dest.unmet -= 1
                    if not dest.touched:
                        self._touch(dest)
                    if not dest.unmet:
                        self._push_ready(dest)
        elif new == "FAILED":
            self._failures += not node.may_fail
        elif new == "PENDING":
            self._begin_anew(node, old)
        if old == "FAILED":
            self._failures -= not node.may_fail

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
        self._count_unmet(node)
        if old in FINISHED_TASK_STATUSES:
            self._recount_dependents(node)

    def _recount_dependents(self, node: TaskNode) -> None:
        """Let the tasks that wait for one that had finished take it for what it is now."""
        for dest in node.successors:
            if dest.status == "PENDING":
                self._count_unmet(dest)
                self._touch(dest)

    def _settle_dependents(self, node: TaskNode) -> None:
        """Tell the tasks that wait for one that finished without being COMPLETED; skip those it dooms."""
        for dest, cause in self._doomed_by(node):
            self._skip(dest, cause)

    def _doomed_by(self, source: TaskNode) -> Iterator[tuple[TaskNode, dict[str, str] | None]]:
        """Yield the tasks that can no longer start now that another one has finished, with what failed."""
        status = counted_status(source.status, source.task)
        for dest in source.successors:
            if self._precursor_finished(dest, status) == NEVER:
                yield dest, dest.find_cause(source)

    def _skip_doomed(self) -> None:
        """Skip the tasks that were added when they could never start any more."""
        doomed, self._doomed = self._doomed, []
        for node in doomed:
            if node.status != "PENDING":
                continue
            if self._decide(node)[0] == NEVER:
                self._skip(node, node.find_cause())
            else:
                self._count_unmet(node)  # what it waits for was retried

    def _doomed_nodes(self) -> set[TaskNode]:
        """Return the PENDING tasks that can never start; a retry may have given some another way."""
        return {node for node in self._doomed if node.status == "PENDING" and self._decide(node)[0] == NEVER}

    def _skip(self, node: TaskNode, cause: dict[str, str] | None = None) -> None:
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
            self._change(source, "SKIPPED")
            self._just_skipped.append(source.key)
            stack += self._doomed_by(source)

    def reconcile(self) -> None:
        """Book the statuses that were written into task dicts which `tasks` handed out.

        Raises:
            StatusError: a change is not allowed; the dict has its old status again.
        """
        if not self._handed_out:
            return
        handed_out, self._handed_out = self._handed_out, self._handed_out & self._under_way
        written: list[tuple[TaskNode, Any]] = []
        for node in handed_out - self._under_way:
            self._touch(node)
            status = node.task.get("status")
            if status != node.status:
                node.task["status"] = node.status
                written.append((node, status))
        problem: StatusError | None = None
        for node, status in sorted(written, key=lambda entry: entry[0].position):
            try:
                self._book_written(node, status)
            except StatusError as error:
                if problem is None:
                    problem = error
                else:
                    problem.add_note(error.message)
        if problem is not None:
            raise problem

    def note_kept_dicts(self) -> None:
        """Look for statuses of active tasks that were written into dicts handed out before the last look."""
        for node in self._running:
            if node.task.get("status") != node.status:
                self._handed_out.add(node)

    def _book_written(self, node: TaskNode, status: Any) -> None:
        if not isinstance(status, str):
            raise StatusError(f"Task {node.key!r}: {status!r} is not a status.", key=node.key)
        if status != node.status:  # else one that was booked before it has led to the same
            check_written_change(node.key, node.status, status)
            self.change_task_status(node.key, str(status))

    # --- keeping the books -----------------------------------------------------------------

    def _book(self, task: Task) -> TaskNode:
        """Take up a task that has no edges yet."""
        key, status = task.get("key"), task["status"]
        if not isinstance(key, str):
            raise GraphError(f"The task key {key!r} is not text; a key is a Python identifier.", key=key)
        if key in self._nodes:
            raise GraphError(f"There is a task {key!r} already; keys are unique in a flow.", key=key)
        if status not in TASK_CHANGES:
            check_task_change(key, "PENDING", status)
        rule = None
        if "cfg" in task:
            rule = read_cfg(key, task["cfg"])
            self._is_limited = self._is_limited or "resources" in task["cfg"]
        node = self._nodes[key] = TaskNode(key, task, status, len(self._nodes))
        node.rule = rule
        self._counts[status] += 1
        if status in _ACTIVE:
            self._running[node] = None
        elif status == "FAILED":
            self._failures += not node.may_fail
        return node

    def _unbook(self, node: TaskNode) -> None:
        """Forget a task that was booked last and has no edges."""
        del self._nodes[node.key]
        self._counts[node.status] -= 1
        self._failures -= node.status == "FAILED" and not node.may_fail
        self._running.pop(node, None)

    def _count_unmet(self, node: TaskNode) -> None:
        """Count a task's unfinished precursors anew and find out whether it may start."""
        if node.status != "PENDING":
            node.unmet = 0
            if node.status in _ACTIVE:
                self._push_due(node)
            return
        was_queued = node.unmet == 0
        before = node.precursors
        if len(before) == 1 and before[0] is self._root:
            decision, unfinished = START, 0
        else:
            decision, unfinished = self._decide(node)
        if decision == START:
            node.unmet = 0
            if not was_queued:
                self._push_ready(node)
            return
        node.unmet = max(unfinished, 1)
        if decision == NEVER:
            self._doomed.append(node)
        if was_queued:
            self._has_stale_ready = True

    def _count_edge(self, source: TaskNode, dest: TaskNode) -> None:
        """Count one more precursor, so that a join of n edges costs n steps and not n squared."""
        if dest.rule is None and dest.status == "PENDING":
            if source.status == "COMPLETED":
                return
            if dest.unmet > 0 and source.status not in FINISHED_TASK_STATUSES:
                dest.unmet += 1
                return
        self._count_unmet(dest)

    def _decide(self, node: TaskNode, reopened: AbstractSet[TaskNode] = frozenset()) -> tuple[str, int]:
        """Return what a task's start rule says and how many precursors are unfinished.

        Args:
            node: the task.
            reopened: finished tasks that are taken for unfinished.
        """
        status_of = self._status_of
        if reopened:

            def status_of(key: str) -> str:
                found = self._nodes[key]
                return "PENDING" if found in reopened else found.status

        finished = [
            counted_status(source.status, source.task)
            for source in node.precursors
            if source.status in FINISHED_TASK_STATUSES and source not in reopened
        ]
        unfinished = len(node.precursors) - len(finished)
        decision: str = UNDECIDED
        left = len(node.precursors)
        for status in finished:
            left -= 1
            decision = self._ask(node, status, left, status_of)
            if decision != UNDECIDED:
                break
        return decision, unfinished

    def _ask(self, node: TaskNode, status: str, unfinished: int, status_of: Callable[[str], str]) -> str:
        if node.rule is not None:
            return node.rule.decide(status, unfinished, status_of)
        if status != "COMPLETED":
            return NEVER
        return UNDECIDED if unfinished else START

    def _precursor_finished(self, node: TaskNode, status: str) -> str:
        """Ask the rule of a task one of whose precursors has just finished."""
        if node.status != "PENDING" or not node.unmet:
            return UNDECIDED
        unfinished = node.unmet - 1
        decision = self._ask(node, status, unfinished, self._status_of)
        self._touch(node)
        if decision == START:
            node.unmet = 0
            self._push_ready(node)
        else:
            node.unmet = max(unfinished, 1)
        return decision

    def _touch(self, node: TaskNode) -> None:
        """Remember that the next save has to look at a task."""
        if not node.touched and node is not self._root:
            node.touched = True
            self._touched.append(node)

    def _status_of(self, key: str) -> str:
        try:
            return self._nodes[key].status
        except KeyError as error:
            raise GraphError(
                f"A start rule names the task {key!r}, which the flow does not have.", key=key
            ) from error

    def _drop_stale_ready(self) -> None:
        self._has_stale_ready = False
        self._ready = [entry for entry in self._ready if _may_start(entry[2])]
        if self._awaiting:
            self._awaiting = {node: None for node in self._awaiting if _may_start(node)}
        heapify(self._ready)

    def _push_ready(self, node: TaskNode) -> None:
        """Queue a task whose start rule holds; one that waits for its next attempt goes to the due ones."""
        task = node.task
        if "next_tick_at" in task:
            heappush(self._due, (task["next_tick_at"], node.position, node))
            if "resource_claim" in task:
                self._awaiting[node] = None
        elif "cfg" in task:
            heappush(self._ready, (-task["cfg"].get("priority", 0), node.position, node))
        else:
            heappush(self._ready, (0, node.position, node))

    def _push_due(self, node: TaskNode) -> None:
        """Note when a task that waits can be ticked next."""
        task = node.task
        times = [task[name] for name in ("next_tick_at", "deadline_at") if task.get(name)]
        if times:
            heappush(self._due, (min(times), node.position, node))

    def _ready_nodes(self) -> list[TaskNode]:
        self.reconcile()
        if self.status in FINISHED_FLOW_STATUSES:
            return []
        return [node for _, _, node in sorted(set(self._ready)) if _may_start(node)]

    def _nodes_with_status(self, status: str) -> list[TaskNode]:
        nodes = self._nodes
        if isinstance(nodes, StoredNodes):
            return nodes.with_status(status)
        return [node for node in nodes.values() if node.status == status and node is not self._root]

    def _unfinished_count(self) -> int:
        counts = self._counts
        return counts["PENDING"] + counts["RUNNING"] + counts["WAITING"]

    def _hand_out(self, nodes: Iterable[TaskNode]) -> list[Task]:
        nodes = list(nodes)
        self._handed_out.update(nodes)
        return [node.task for node in nodes]

    def _describe_failure(self, error: dict[str, Any] | None) -> str | None:
        parts = [f"{error.get('type')}: {error.get('message')}"] if error else []
        failed = [node for node in self._nodes_with_status("FAILED") if not node.may_fail]
        for node in failed[:5]:
            record = node.task.get("error") or {}
            kind, message = record.get("type", "TaskFailed"), record.get("message", "no reason given")
            parts.append(f"task {node.key!r}: {kind}: {message}")
        if len(failed) > 5:
            parts.append(f"and {len(failed) - 5} more tasks failed")
        return "; ".join(parts) or None


def _may_start(node: TaskNode) -> bool:
    return node.status == "PENDING" and not node.unmet
