"""The tasks and edges that are added to a flow, all at once or one by one while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from mc.errors import GraphError
from mc.flows.state.edges import connect, connect_all, disconnect, has_edge, place, refuse_cycle
from mc.flows.state.flow_state import FlowState
from mc.flows.state.new_task import named_keys, normalise_task
from mc.flows.state.task_node import Task, TaskNode
from mc.spec.task_graph import ROOT_TASK_KEY, start_rule_task_keys

__all__ = ["add_edge", "add_graph", "add_task"]


def add_graph(state: FlowState, tasks: Iterable[Task], edges: Iterable[tuple[str, str]]) -> None:
    """Take over many task dicts and edges at once.

    Raises:
        GraphError: a task or an edge does not fit; the flow cannot be used any more.
    """
    own = state.tasks
    new = [own.add(normalise_task(task)) for task in tasks]
    nodes = own.nodes
    try:
        pairs = [(nodes[source], nodes[dest]) for source, dest in edges]
    except KeyError:
        pairs = [_edge_ends(state, source, dest) for source, dest in edges]
    for _, dest in pairs:
        if dest is own.root:
            raise _edge_into_root(dest.key)
    connect_all([own.root, *new], pairs)
    for node in new:
        own.touch(node)
    state.unsaved.edges += [(source.key, dest.key) for source, dest in pairs]
    for node in new:
        own.count_unmet(node)


def add_task(state: FlowState, task: Task) -> None:
    """Add one task; see `Flow.add_task`.

    Args:
        state: of the flow.
        task: taken over; a missing key is generated.
    """
    own = state.tasks
    task["key"] = task.get("key") or _free_key(state)
    named_before, named_after = named_keys(task, "precursors"), named_keys(task, "successors")
    node = own.add(normalise_task(task))
    moved: list[TaskNode] = []
    try:
        named = dict.fromkeys([*named_before, *start_rule_task_keys(task)])
        named.pop(ROOT_TASK_KEY, None)
        before = [_edge_ends(state, key, node.key)[0] for key in named] or [own.root]
        after = [_edge_ends(state, node.key, key)[1] for key in dict.fromkeys(named_after)]
        after.sort(key=lambda node: node.position)
        place(node, before, after)
        for source in before:
            moved += connect(source, node)
        for dest in after:
            moved += connect(node, dest)
            _refuse_if_started(node, dest)
    except GraphError:
        disconnect(node)
        own.remove_last(node)
        raise
    finally:
        for each in moved:
            if each is not node:
                own.touch(each)
    state.unsaved.edges += [(source.key, node.key) for source in before]
    state.unsaved.edges += [(node.key, dest.key) for dest in after]
    own.count_unmet(node)
    own.touch(node)
    for dest in after:
        own.count_edge(node, dest)
        own.touch(dest)
    own.hand_out([node])


def add_edge(state: FlowState, source_key: str, dest_key: str) -> None:
    """Let a task wait for another one; see `Flow.add_edge`."""
    source, dest = _edge_ends(state, source_key, dest_key)
    if has_edge(source, dest):
        return
    _refuse_if_started(source, dest)
    for moved in connect(source, dest):
        state.tasks.touch(moved)
    state.unsaved.edges.append((source_key, dest_key))
    state.tasks.touch(dest)
    state.tasks.count_edge(source, dest)


def _edge_ends(state: FlowState, source_key: str, dest_key: str) -> tuple[TaskNode, TaskNode]:
    if dest_key == ROOT_TASK_KEY:
        raise _edge_into_root(source_key)
    ends = []
    for key in (source_key, dest_key):
        node = state.tasks.nodes.get(key)
        if node is None:
            raise GraphError(
                f"The edge {source_key!r} -> {dest_key!r} names {key!r}, which is not a task of flow "
                f"{state.key!r}. Add that task first.",
                src_key=source_key,
                dest_key=dest_key,
            )
        ends.append(node)
    return ends[0], ends[1]


def _free_key(state: FlowState) -> str:
    number = len(state.tasks.nodes)
    while f"task_{number}" in state.tasks.nodes:
        number += 1
    return f"task_{number}"


def _refuse_if_started(source: TaskNode, dest: TaskNode) -> None:
    if dest.status != "PENDING" and source.status != "COMPLETED":
        refuse_cycle(source, dest)  # the better reason, where it is one
        raise GraphError(
            f"Task {source.key!r} cannot precede {dest.key!r}, which is {dest.status} already.",
            src_key=source.key,
            dest_key=dest.key,
        )


def _edge_into_root(source_key: str) -> GraphError:
    return GraphError(
        f"The edge {source_key!r} -> ROOT leads into ROOT, which precedes all tasks.",
        src_key=source_key,
        dest_key=ROOT_TASK_KEY,
    )
