"""The invariants of a flow's state: what must always hold of what is derived of its tasks."""

from __future__ import annotations

from collections import Counter

from mc.flows.state.flow_state import FlowState
from mc.flows.state.start_rules import NEVER, START, UNDECIDED
from mc.flows.state.starting import decide
from mc.flows.state.task_node import TaskNode
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES

__all__ = ["check_invariants"]


def check_invariants(state: FlowState) -> None:
    """Compare a flow's state with its tasks; walks the whole graph.

    Raises:
        AssertionError: they differ; the message says where.
    """
    tasks = state.tasks
    tasks.reconcile()
    nodes = [node for node in tasks.nodes.values() if node is not tasks.root]
    for node in nodes:
        if node.task["key"] != node.key or node.task["status"] != node.status:
            raise AssertionError(f"task {node.key!r} is known as {node.status}, its dict says {node.task!r}")
    counts = Counter(node.status for node in nodes)
    if counts != Counter(tasks.counts):
        raise AssertionError(f"there are {dict(counts)}, counted {tasks.counts}")
    active = {node for node in nodes if node.status in ("RUNNING", "WAITING")}
    if active != set(tasks.running):
        raise AssertionError(f"running are {active}, known {list(tasks.running)}")
    failures = sum(node.status == "FAILED" and not node.may_fail for node in nodes)
    if failures != tasks.failures:
        raise AssertionError(f"there are {failures} failures, counted {tasks.failures}")
    queues = tasks.queues
    strangers = [node.key for node in queues.awaiting if tasks.nodes.get(node.key) is not node]
    if strangers:
        raise AssertionError(f"{strangers} wait for resources and are no tasks of the flow")
    listed = {*queues.awaiting, *queues.list_left(), *(node for _, _, node in [*queues.ready, *queues.due])}
    for node in nodes:
        if node.status == "PENDING":
            _check_pending(state, node, listed)
        for source in node.precursors:
            if source.rank >= node.rank:
                raise AssertionError(f"the edge {source.key} -> {node.key} runs against the ranks")
            if node not in source.successors:
                raise AssertionError(f"the edge {source.key} -> {node.key} is known at one end only")
        positions = [dest.position for dest in node.successors]
        if positions != sorted(positions):
            raise AssertionError(f"the successors of {node.key} are not in the order of the spec")


def _check_pending(state: FlowState, node: TaskNode, listed: set[TaskNode]) -> None:
    tasks = state.tasks
    if state.status in FINISHED_FLOW_STATUSES or state.is_failing:
        return  # what waits for tasks that failed or were cancelled with the flow is not told
    statuses = [source.status for source in node.precursors]
    unfinished = sum(status not in FINISHED_TASK_STATUSES for status in statuses)
    decision, _ = decide(tasks.nodes, node) if node.precursors != [tasks.root] else (START, 0)
    if (node.unmet == 0) != (decision == START):
        raise AssertionError(f"task {node.key!r}: {node.unmet} unmet, precursors are {statuses}")
    if decision == NEVER and node not in tasks.doomed:
        raise AssertionError(
            f"task {node.key!r} can never start and is not SKIPPED, precursors are {statuses}"
        )
    if decision == UNDECIDED and node.unmet != unfinished:
        raise AssertionError(f"task {node.key!r}: {node.unmet} unmet, but {unfinished} unfinished")
    if decision == START and node not in listed:
        raise AssertionError(f"task {node.key!r} may start but is in no queue")
