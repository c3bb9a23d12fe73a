"""What must always hold of a flow's books."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mc.spec.task_graph import ROOT_TASK_KEY
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["check_invariants"]


def check_invariants(flow: Flow) -> None:
    """Compare a flow's books with its tasks; walks the whole graph.

    Raises:
        AssertionError: the books are wrong; the message says which.
    """
    flow.reconcile()
    tasks = {key: task for key, task in flow._tasks.items() if key != ROOT_TASK_KEY}
    for key, task in tasks.items():
        if task["key"] != key or task["status"] != flow._statuses[key]:
            raise AssertionError(f"task {key!r} is booked as {flow._statuses[key]}, its dict says {task!r}")
    counts = Counter(task["status"] for task in tasks.values())
    if dict(counts) != flow.count_tasks():
        raise AssertionError(f"counted {dict(counts)}, booked {flow.count_tasks()}")
    active = {key for key, task in tasks.items() if task["status"] in ("RUNNING", "WAITING")}
    if active != set(flow._running):
        raise AssertionError(f"running are {sorted(active)}, booked {sorted(flow._running)}")
    failures = sum(task["status"] == "FAILED" and not flow._may_fail(key) for key, task in tasks.items())
    if failures != flow._failures:
        raise AssertionError(f"{failures} failures count, booked {flow._failures}")
    _check_ready(flow, tasks)
    for source, dest in flow._graph.edges():
        if flow._graph.ranks[source] >= flow._graph.ranks[dest]:
            raise AssertionError(f"the edge {source} -> {dest} runs against the ranks")


def _check_ready(flow: Flow, tasks: dict[str, dict[str, object]]) -> None:
    listed = set(flow._ready_keys()) | {key for _, key in flow._due}
    for key, task in tasks.items():
        if task["status"] != "PENDING":
            continue
        before = flow._graph.precursors[key]
        statuses = [flow._statuses[source] for source in before]
        unfinished = sum(status not in FINISHED_TASK_STATUSES for status in statuses)
        met = flow._unmet[key] == 0
        if key not in flow._rules and met != all(status == "COMPLETED" for status in statuses):
            raise AssertionError(f"task {key!r}: {flow._unmet[key]} unmet, precursors are {statuses}")
        if not met and flow._unmet[key] > max(unfinished, 1):
            raise AssertionError(f"task {key!r}: {flow._unmet[key]} unmet, but {unfinished} unfinished")
        if met and key not in listed:
            raise AssertionError(f"task {key!r} may start but is in no queue")
