"""The graph of a flow put together anew, where tasks or edges go away."""

from __future__ import annotations

from collections.abc import Sequence

from mc.flows.state.flow_state import FlowState
from mc.flows.state.graph import add_graph
from mc.flows.state.task_node import Task

__all__ = ["rebuild"]


def rebuild(state: FlowState, tasks: Sequence[Task], edges: Sequence[tuple[str, str]]) -> None:
    """Give a flow other tasks and edges; all that is derived of them is made anew, and all tasks are unsaved.

    Args:
        state: of the flow, between two ticks and reconciled. One that is not wholly in memory is read whole.
        tasks: all that it has from now on, in order. Those that stay are the flow's own dicts.
        edges: all of them, those from ROOT included; without cycles.

    Raises:
        GraphError: a task or an edge does not fit; the flow cannot be used any more.
    """
    unsaved = state.unsaved
    are_saved, before = not unsaved.edges, _precursors(state)
    unsaved.edges = []
    state.tasks.set_root(state.tasks.root.task)
    add_graph(state, tasks, edges)
    unsaved.is_rebuilt = True
    if are_saved and before == _precursors(state):
        unsaved.edges = []
    else:
        unsaved.has_other_edges = True


def _precursors(state: FlowState) -> dict[str, list[str]]:
    return {key: [source.key for source in node.precursors] for key, node in state.tasks.nodes.items()}
