"""The start of tasks: the decision whether one may, and the queues of those that do or wait for a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush

from mc.errors import GraphError
from mc.flows.state.start_rules import NEVER, START, UNDECIDED, counted_status
from mc.flows.state.task_node import TaskNode
from mc.statuses import FINISHED_TASK_STATUSES

__all__ = ["ReadyEntry", "TaskQueues", "ask_rule", "decide", "may_start"]

ReadyEntry = tuple[int, int, TaskNode]  # -priority, position, node: in the order in which they start


class TaskQueues:
    """Which tasks may start, and which are to be looked at when.

    Attributes:
        ready: heap of the tasks whose start rule holds.
        due: heap of (time, position, node): when tasks that wait can be ticked next; stale entries included.
        awaiting: tasks that are ready but for resources that they were refused.
        left: tasks that the tick under way has still to call, in order, where it calls more than one.
        is_stale: whether `ready` has entries that may not start any more.
    """

    __slots__ = ("awaiting", "due", "is_stale", "left", "ready")

    def __init__(self) -> None:
        self.ready: list[ReadyEntry] = []
        self.due: list[tuple[str, int, TaskNode]] = []
        self.awaiting: dict[TaskNode, None] = {}
        self.left: dict[TaskNode, None] = {}
        self.is_stale = False

    def push_ready(self, node: TaskNode) -> None:
        """Queue a task whose start rule holds; one that waits for its next attempt goes to the due ones."""
        task = node.task
        if "next_tick_at" in task:
            heappush(self.due, (task["next_tick_at"], node.position, node))
            if "resource_claim" in task:
                self.awaiting[node] = None
        elif "cfg" in task:
            heappush(self.ready, self.entry_of(node))
        else:
            heappush(self.ready, (0, node.position, node))

    @staticmethod
    def entry_of(node: TaskNode) -> ReadyEntry:
        """Return the place of a task among those that are ready."""
        cfg = node.task.get("cfg")
        return (-cfg.get("priority", 0) if cfg else 0, node.position, node)

    def push_due(self, node: TaskNode) -> None:
        """Note when a task that waits can be ticked next."""
        task = node.task
        times = [task[name] for name in ("next_tick_at", "deadline_at") if task.get(name)]
        if times:
            heappush(self.due, (min(times), node.position, node))

    def take_ready(self) -> list[ReadyEntry]:
        """Return the ready tasks as a heap; what becomes ready from now on starts in the next tick."""
        taken, self.ready = self.ready, []
        return taken

    def take_left(self) -> Collection[TaskNode]:
        """Return the tasks that an interrupted tick did not come to, and may be called still."""
        taken, self.left = self.left, {}
        return [node for node in taken if node.status == "RUNNING" or self._is_startable(node)]

    def choose(self, heap: list[ReadyEntry], room: int) -> list[ReadyEntry]:
        """Return as many ready tasks of `take_ready` as there is room for, and take back the others."""
        chosen: list[ReadyEntry] = []
        while heap and len(chosen) < room:
            entry = heappop(heap)
            if entry[2].status == "PENDING":
                chosen.append(entry)
        newly_ready, self.ready = self.ready, heap
        for entry in newly_ready:
            heappush(heap, entry)
        return chosen

    def take_due(self, at: str) -> Iterator[TaskNode]:
        """Yield what is due, and forget when it was; some of it may wait no more, or for another time."""
        while self.due and self.due[0][0] <= at:
            yield heappop(self.due)[2]

    def await_resources(self, node: TaskNode) -> None:
        """Note that a task was refused what it needs; it is queued no more."""
        self.awaiting[node] = None

    def end_wait(self, node: TaskNode) -> None:
        """Note that a task waits for resources no more, if it did."""
        self.awaiting.pop(node, None)

    def take_awaiting(self) -> Collection[TaskNode]:
        """Return the tasks that wait for resources; they do no more."""
        taken, self.awaiting = self.awaiting, {}
        return taken

    def next_due_time(self) -> str | None:
        """Return when the first task is due."""
        while self.due:
            time, _, node = self.due[0]
            current = (node.task.get("next_tick_at"), node.task.get("deadline_at"))
            if time in current and (node.status == "WAITING" or may_start(node)):
                return time
            heappop(self.due)
        return None

    def drop_stale(self) -> None:
        """Take out the tasks that may not start any more."""
        self.is_stale = False
        self.ready = [entry for entry in self.ready if may_start(entry[2])]
        if self.awaiting:
            self.awaiting = {node: None for node in self.awaiting if may_start(node)}
        heapify(self.ready)

    def startable(self) -> Sequence[TaskNode]:
        """Return the ready tasks in the order in which they start, each once."""
        left = (self.entry_of(node) for node in self.left)
        return [node for _, _, node in sorted({*self.ready, *left}) if may_start(node)]

    @staticmethod
    def _is_startable(node: TaskNode) -> bool:
        return may_start(node) and "next_tick_at" not in node.task


def may_start(node: TaskNode) -> bool:
    """Tell whether a task is PENDING and waits for no other one."""
    return node.status == "PENDING" and not node.unmet


def decide(
    nodes: Mapping[str, TaskNode], node: TaskNode, reopened: AbstractSet[TaskNode] = frozenset()
) -> tuple[str, int]:
    """Return what a task's start rule says and how many precursors are unfinished.

    Args:
        nodes: all tasks of the flow.
        node: the task.
        reopened: finished tasks that are taken for unfinished.
    """
    finished = [
        counted_status(source.status, source.task)
        for source in node.precursors
        if source.status in FINISHED_TASK_STATUSES and source not in reopened
    ]
    decision: str = UNDECIDED
    left = len(node.precursors)
    for status in finished:
        left -= 1
        decision = ask_rule(nodes, node, status, left, reopened)
        if decision != UNDECIDED:
            break
    return decision, len(node.precursors) - len(finished)


def ask_rule(
    nodes: Mapping[str, TaskNode],
    node: TaskNode,
    status: str,
    unfinished: int,
    reopened: AbstractSet[TaskNode] = frozenset(),
) -> str:
    """Return what a task's start rule says of a precursor that finished.

    Args:
        nodes: all tasks of the flow.
        node: the task.
        status: of the precursor, as it counts.
        unfinished: how many precursors are unfinished still.
        reopened: see `decide`.
    """
    if node.rule is not None:
        return node.rule.decide(status, unfinished, _status_reader(nodes, reopened))
    if status != "COMPLETED":
        return NEVER
    return UNDECIDED if unfinished else START


def _status_reader(nodes: Mapping[str, TaskNode], reopened: AbstractSet[TaskNode]) -> Callable[[str], str]:
    def status_of(key: str) -> str:
        try:
            found = nodes[key]
        except KeyError as error:
            raise GraphError(
                f"A start rule names the task {key!r}, which the flow does not have.", key=key
            ) from error
        return "PENDING" if found in reopened else found.status

    return status_of
