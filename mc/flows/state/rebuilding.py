"""Puts the graph of a flow together anew, where tasks or edges go away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mc.flows.state.edges import ROOT_RANK
from mc.flows.state.task_node import Task, TaskNode
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.statuses import TASK_CHANGES

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["rebuild"]


def rebuild(flow: Flow, tasks: Sequence[Task], edges: Sequence[tuple[str, str]]) -> None:
    """Give a flow other tasks and edges; its books are made anew, and the next save looks at all tasks.

    Args:
        flow: between two ticks, its books up to date. One that is not wholly in memory is read whole.
        tasks: all that it has from now on, in order. Those that stay are the flow's own dicts.
        edges: all of them, those from ROOT included; without cycles.

    Raises:
        GraphError: a task or an edge does not fit; the flow cannot be used any more.
    """
    are_saved, before = not flow._new_edges, _precursors(flow)
    root = TaskNode(ROOT_TASK_KEY, flow._root.task, "COMPLETED", 0)
    root.rank = ROOT_RANK
    flow._root, flow._nodes = root, {ROOT_TASK_KEY: root}
    flow._counts = dict.fromkeys(TASK_CHANGES, 0)
    flow._failures = 0
    flow._running, flow._awaiting = {}, {}
    flow._ready, flow._due, flow._doomed, flow._touched, flow._new_edges = [], [], [], [], []
    flow._has_stale_ready = False
    flow._handed_out = set()
    flow._build(tasks, edges)
    flow._is_rebuilt = True
    if are_saved and before == _precursors(flow):
        flow._new_edges = []
    else:
        flow._has_other_edges = True


def _precursors(flow: Flow) -> dict[str, list[str]]:
    return {key: [source.key for source in node.precursors] for key, node in flow._nodes.items()}
