"""What must always hold of a flow's books."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mc.flows.state.start_rules import NEVER, START, UNDECIDED
from mc.flows.state.task_node import TaskNode
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["check_invariants"]


def check_invariants(flow: Flow) -> None:
    """Compare a flow's books with its tasks; walks the whole graph.

    Raises:
        AssertionError: the books are wrong; the message says which.
    """
    flow.reconcile()
    nodes = [node for node in flow._nodes.values() if node is not flow._root]
    for node in nodes:
        if node.task["key"] != node.key or node.task["status"] != node.status:
            raise AssertionError(f"task {node.key!r} is booked as {node.status}, its dict says {node.task!r}")
    counts = Counter(node.status for node in nodes)
    if dict(counts) != flow.count_tasks():
        raise AssertionError(f"counted {dict(counts)}, booked {flow.count_tasks()}")
    active = {node for node in nodes if node.status in ("RUNNING", "WAITING")}
    if active != set(flow._running):
        raise AssertionError(f"running are {active}, booked {list(flow._running)}")
    failures = sum(node.status == "FAILED" and not node.may_fail for node in nodes)
    if failures != flow._failures:
        raise AssertionError(f"{failures} failures count, booked {flow._failures}")
    strangers = [node.key for node in flow._awaiting if flow._nodes.get(node.key) is not node]
    if strangers:
        raise AssertionError(f"{strangers} wait for resources and are no tasks of the flow")
    listed = {*flow._awaiting, *(node for _, _, node in [*flow._ready, *flow._due])}
    for node in nodes:
        if node.status == "PENDING":
            _check_pending(flow, node, listed)
        for source in node.precursors:
            if source.rank >= node.rank:
                raise AssertionError(f"the edge {source.key} -> {node.key} runs against the ranks")
            if node not in source.successors:
                raise AssertionError(f"the edge {source.key} -> {node.key} is known at one end only")
        positions = [dest.position for dest in node.successors]
        if positions != sorted(positions):
            raise AssertionError(f"the successors of {node.key} are not in the order of the spec")


def _check_pending(flow: Flow, node: TaskNode, listed: set[TaskNode]) -> None:
    if flow.status in FINISHED_FLOW_STATUSES or (flow._failures and flow.cfg.get("fail_fast", True)):
        return  # what waits for tasks that failed or were cancelled with the flow is not told
    statuses = [source.status for source in node.precursors]
    unfinished = sum(status not in FINISHED_TASK_STATUSES for status in statuses)
    decision, _ = flow._decide(node) if node.precursors != [flow._root] else (START, 0)
    if (node.unmet == 0) != (decision == START):
        raise AssertionError(f"task {node.key!r}: {node.unmet} unmet, precursors are {statuses}")
    if decision == NEVER and node not in flow._doomed:
        raise AssertionError(
            f"task {node.key!r} can never start and is not SKIPPED, precursors are {statuses}"
        )
    if decision == UNDECIDED and node.unmet != unfinished:
        raise AssertionError(f"task {node.key!r}: {node.unmet} unmet, but {unfinished} unfinished")
    if decision == START and node not in listed:
        raise AssertionError(f"task {node.key!r} may start but is in no queue")
