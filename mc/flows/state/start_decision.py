"""The decision whether a task may start, by what its precursors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from mc.errors import GraphError
from mc.flows.state.start_rules import NEVER, START, UNDECIDED, counted_status
from mc.flows.state.task_node import TaskNode
from mc.statuses import FINISHED_TASK_STATUSES

__all__ = ["ask_rule", "decide"]


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
