"""Flows inside of tasks as rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from mc.context.json_values import dumps, encode_json, loads
from mc.flows.formats.flow_rows import FlowChanges, state_from_frontier, state_from_rows
from mc.flows.state.flow_state import FlowState
from mc.flows.state.lazy_nodes import TaskSource
from mc.store.rows.flow_and_task_rows import FAILURES, data_of, decode_tasks, explained, read_failures
from mc.store.rows.task_parts import StoredParts
from mc.store.stored_state import TaskColumns

__all__ = [
    "INNER_COLUMNS",
    "encode_inner_flow",
    "inner_flow_key",
    "make_inner_flow",
    "make_partial_inner_flow",
    "place_of",
]

# columns of the row of an inner flow that each save writes
INNER_COLUMNS: Final = ("status", "task_counts", "body")


def inner_flow_key(root_key: str, path: Sequence[str], key: str) -> str:
    """Return the key of the row of a flow inside of a task.

    Args:
        root_key: of the outermost flow.
        path: keys of the tasks that the flow around it is inside of.
        key: of the flow.
    """
    return _digest([root_key, *path, key])


def place_of(path: Sequence[str]) -> str:
    """Return what tells flows apart that are inside of different tasks."""
    return _digest(list(path))


def _digest(parts: list[str]) -> str:
    return sha256(dumps(parts).encode()).hexdigest()


def encode_inner_flow(state: FlowState, changes: FlowChanges) -> dict[str, str]:
    """Return the columns of the row that a save writes, `data` left out.

    Raises:
        NotJsonError: JSON cannot hold an attribute; the message names flow and place.
    """
    body = {name: value for name, value in changes.attributes.items() if name != "status"}
    body[FAILURES] = changes.failures
    body["bytes"] = changes.bytes
    counts = {status: count for status, count in state.tasks.counts.items() if count}
    return {
        "status": state.status,
        "task_counts": dumps(counts),
        "body": encode_json(body, f"flow {state.key!r}"),
    }


def make_inner_flow(
    row: Mapping[str, Any],
    tasks: Iterable[tuple[str, TaskColumns]],
    edges: Iterable[tuple[str, str]],
    parts: StoredParts,
) -> FlowState:
    """Make a flow of its rows.

    Raises:
        StoreError: the rows hold something else than was written; the message names the outermost flow.
    """
    with explained(row["root_key"]):
        return state_from_rows(_attributes_of(row), decode_tasks(tasks, parts), edges)


def make_partial_inner_flow(
    row: Mapping[str, Any], tasks: Iterable[tuple[str, TaskColumns]], parts: StoredParts, source: TaskSource
) -> FlowState:
    """Make a flow of its row and of those of the tasks with which a tick begins.

    Raises:
        StoreError: the rows hold something else than was written; the message names the outermost flow.
    """
    with explained(row["root_key"]):
        counts, failures = loads(row["task_counts"]), read_failures(loads(row["body"]))
        return state_from_frontier(_attributes_of(row), decode_tasks(tasks, parts), counts, failures, source)


def _attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    data = data_of(row["data"], row["root_key"])
    return {**loads(row["body"]), "status": row["status"], "data": data, "spec": None}
