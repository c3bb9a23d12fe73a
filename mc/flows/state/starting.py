"""The start of tasks: the decision whether one may, and the queues of those that do or wait for a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush, nsmallest
from itertools import chain
from operator import attrgetter, length_hint

from mc.errors import GraphError
from mc.flows.state.start_rules import NEVER, START, UNDECIDED, counted_status
from mc.flows.state.task_node import Task, TaskNode
from mc.statuses import FINISHED_TASK_STATUSES

__all__ = ["ReadyEntry", "TaskQueues", "ask_rule", "decide", "may_start"]

ReadyEntry = tuple[int, int, TaskNode]  # -priority, position, node: in the order in which they start

_position = attrgetter("position")


class TaskQueues:
    """Which tasks may start, and which are to be looked at when.

    Attributes:
        ready: heap of the tasks whose start rule holds.
        due: heap of (time, position, node): when tasks that wait can be ticked next; stale entries included.
        awaiting: tasks that are ready but for resources that they were refused.
        order: tasks that the tick under way calls, in order; None: no tick is under way.
        turns: over them, as far as the tick has come.
        done: the task whose turn ended last.
        awaited: tasks that had their turn, and whose calls have not ended.
        is_stale: whether `ready`, or `order`, has tasks that may not start any more.
    """

    __slots__ = ("awaited", "awaiting", "done", "due", "is_stale", "order", "ready", "turns")

    def __init__(self) -> None:
        self.ready: list[ReadyEntry] = []
        self.due: list[tuple[str, int, TaskNode]] = []
        self.awaiting: dict[TaskNode, None] = {}
        self.order: list[TaskNode] | None = None
        self.turns: Iterator[TaskNode] = iter(())
        self.done: TaskNode | None = None
        self.awaited: dict[TaskNode, None] = {}
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

    def end_tick(self) -> None:
        """Note that no tick is under way, unless one has still tasks to call."""
        if not self.count_left():
            self.order = None

    def list_left(self) -> list[TaskNode]:
        """Return the tasks that the tick under way has still to call, in order."""
        if self.order is None:
            return []
        return [node for node in (*self.awaited, *self.order[self._next() :]) if self._is_callable(node)]

    def take_left(self) -> list[TaskNode]:
        """Return these tasks, and let the tick be over."""
        left = self.list_left()
        self.order, self.awaited = None, {}
        return left

    def split_left(self) -> tuple[list[TaskNode], list[ReadyEntry]]:
        """Return these tasks, those that run and those that start, and let the tick be over."""
        left = self.take_left()
        running = [node for node in left if node.status == "RUNNING"]
        return running, [self.entry_of(node) for node in left if node.status == "PENDING"]

    def split_begun(self) -> tuple[list[TaskNode], list[ReadyEntry]]:
        """Return those of them whose calls had begun, likewise; the tick is not over."""
        return [*self.awaited], []

    def count_left(self) -> int | None:
        """Return how many tasks the tick under way has still to call; None: none is under way."""
        if self.order is None:
            return None
        if self.is_stale:
            return len(self.list_left())
        return len(self.awaited) + len(self.order) - self._next()

    def next_left(self) -> TaskNode | None:
        """Return the first task that the tick under way has still to call."""
        if self.order is None:
            return None
        left = chain(self.awaited, map(self.order.__getitem__, range(self._next(), len(self.order))))
        return next((node for node in left if self._is_callable(node)), None)

    def is_passed(self, node: TaskNode, first: TaskNode) -> bool:
        """Tell whether the tick under way does not call a task that might be taken for one that is left.

        Args:
            node: the task.
            first: the first one that is left.
        """
        if self.order is None or node.position <= first.position or node in self.awaited:
            return False
        at = bisect_left(self.order, node.position, self._next(), key=_position)
        return self._is_callable(node) and self.order[at : at + 1] != [node]

    def go_on(self, candidates: Iterable[TaskNode], first: str | None, count: int, begun: int) -> None:
        """Go on with a tick that was interrupted: what is left of it is ready no more.

        Args:
            candidates: tasks that it may have called already, or not; `is_passed` holds for none.
            first: key of the first that is left.
            count: how many are.
            begun: the calls of how many of them, the first ones, had begun beside others.
        """
        nodes = [node for node in candidates if node.status == "RUNNING" or not _was_refused(node.task)]
        begin = next((node.position for node in nodes if node.key == first), 0)
        nodes = [node for node in nodes if node.position >= begin] if count else []
        left = {node: None for node in nodes if node.status == "RUNNING"}
        # Of those that are ready it had chosen the first ones.
        startable = {self.entry_of(node) for node in nodes if node.status == "PENDING"}
        left |= {node: None for *_, node in nsmallest(count - len(left), startable)}
        order = sorted(left, key=_position)
        self.awaited, self.order, self.done = dict.fromkeys(order[:begun]), order[begun:], None
        self.turns = iter(self.order)
        self.ready = [entry for entry in self.ready if entry[2] not in left]
        heapify(self.ready)

    def _next(self) -> int:
        """Return the place in `order` of the first task whose turn has not come, or whose call goes on."""
        if self.order is None:
            return 0
        at = len(self.order) - length_hint(self.turns)
        return at - 1 if at and self.order[at - 1] is not self.done else at

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
        self.is_stale = self.order is not None
        self.ready = [entry for entry in self.ready if may_start(entry[2])]
        if self.awaiting:
            self.awaiting = {node: None for node in self.awaiting if may_start(node)}
        heapify(self.ready)

    def startable(self) -> Sequence[TaskNode]:
        """Return the ready tasks in the order in which they start, each once."""
        left = (self.entry_of(node) for node in self.list_left())
        return [node for _, _, node in sorted({*self.ready, *left}) if may_start(node)]

    @staticmethod
    def _is_callable(node: TaskNode) -> bool:
        return node.status == "RUNNING" or (may_start(node) and "next_tick_at" not in node.task)


def may_start(node: TaskNode) -> bool:
    """Tell whether a task is PENDING and waits for no other one."""
    return node.status == "PENDING" and not node.unmet


def _was_refused(task: Task) -> bool:
    """Tell whether a task that is ready waits for resources."""
    claim = task.get("resource_claim")
    return claim is not None and "granted_at" not in claim


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
