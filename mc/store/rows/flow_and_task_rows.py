"""Flows as rows of the tables, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from mc.context.json_values import dumps, encode_json, loads
from mc.context.late_dict import LateDict
from mc.durations import format_time, to_time_text
from mc.errors import FlowFormatError, McError, StoreError
from mc.flows.flow import Flow
from mc.flows.formats.flow_dict import FLOW_ATTRIBUTES
from mc.flows.formats.flow_rows import FlowChanges, next_tick_time, state_from_frontier, state_from_rows
from mc.flows.state.flow_state import refuse_non_mapping
from mc.flows.state.lazy_nodes import TaskSource
from mc.flows.state.task_row import TaskRow
from mc.spec.names import find_key_fault, find_text_fault
from mc.store.rows.task_parts import (
    PARTS_ENTRY,
    SetApart,
    StoredParts,
    has_unread,
    may_set_apart,
    put_together,
    refer_to_results,
    set_apart,
)
from mc.store.sql.column_types import storable_text
from mc.store.stored_state import StoredState, TaskColumns

__all__ = [
    "FAILURES",
    "check_key",
    "data_of",
    "decode_tasks",
    "encode_flow",
    "encode_task",
    "explained",
    "flow_priority",
    "make_flow",
    "make_partial_flow",
    "read_failures",
]

# attributes with a column of their own; the rest of them is the JSON text in `body`
_COLUMNS: Final = (
    "key",
    "label",
    "status",
    "blocked_reason",
    "parent_key",
    "parent_task_key",
    "finished_at",
)
FAILURES: Final = "failures"  # entry of `body` besides the attributes: see `FlowChanges`
_IN_BODY: Final = tuple(name for name in FLOW_ATTRIBUTES if name not in {*_COLUMNS, "data", "spec"})
_LARGE: Final = 4_000  # characters of a flow's data that are not looked at before somebody asks for them
_NAMES_FLOW: Final = '"sub_flow":'  # in the text of a task with a flow inside of it
_MAX_PRIORITY: Final = 2**31 - 1


def check_key(key: Any, what: str) -> None:
    """Raise `FlowFormatError` for a key that not every database can hold."""
    fault = find_key_fault(key)
    if fault:
        raise FlowFormatError(f"The {what} {key!r:.60} cannot be stored: {fault}. Choose another.", key=key)


def _check_label(flow: Flow) -> None:
    fault = find_text_fault(flow.label) if flow.label is not None else None
    if fault:
        raise FlowFormatError(
            f"The label of flow {flow.key!r} cannot be stored: {fault}. Choose another.", key=flow.key
        )


def encode_flow(flow: Flow, changes: FlowChanges, now: datetime, state: StoredState) -> dict[str, Any]:
    """Return the columns of a flow's row that a save writes, `data` left out.

    Raises:
        NotJsonError: JSON cannot hold an attribute; the message names flow and place.
    """
    at, attributes = format_time(now), changes.attributes
    body = {name: attributes[name] for name in _IN_BODY}
    if state.own_spec is not None and not changes.migrations:
        body["spec"] = state.own_spec
    row = {name: attributes[name] for name in _COLUMNS}
    if flow.label != state.label:
        _check_label(flow)
    if flow.blocked_reason is not None:
        row["blocked_reason"] = storable_text(flow.blocked_reason)
    row["priority"] = flow_priority(flow)
    due = next_tick_time(flow.state, at)
    row["next_tick_at"] = due if due is None or due == at else to_time_text(due)
    row["modified_at"] = at
    row["task_counts"] = dumps(flow.count_tasks())
    body[FAILURES] = changes.failures
    body["bytes"] = changes.bytes
    row["body"] = encode_json(body, f"flow {flow.key!r}")
    return row


def encode_task(
    flow_key: str, row: TaskRow, stored_parts: Collection[str] = (), *, is_new: bool = False
) -> tuple[TaskColumns, SetApart | None]:
    """Return a task's row, and its parts, if it has any.

    Args:
        flow_key: of its flow.
        row: the task.
        stored_parts: digests of the parts of it that are stored.
        is_new: its flow is not stored yet; results that it refers to are another flow's, and become its own.

    Raises:
        NotJsonError: JSON cannot hold the task dict; the message names flow, task and place.
    """
    due_at = row.due_at if isinstance(row.due_at, str) and len(row.due_at) <= 32 else None
    task = row.task
    if task.get("status") != row.status:
        task = {**task, "status": row.status}  # its handler is at work, and what it wrote is not settled
    if PARTS_ENTRY in task:  # somebody else's entry: it would be taken for ours
        task = {name: value for name, value in task.items() if name != PARTS_ENTRY}
    what, pointer, parts, body = f"task {row.key!r} of flow {flow_key!r}", f"/graph/tasks/{row.key}", None, ""
    results: list[list[Any]] = []
    if not is_new and (type(task.get("data")) is LateDict or "proxied_task" in task):
        task, results = refer_to_results(task, what)
    if not (stored_parts and has_unread(task)):
        body = encode_json(task, what, pointer)
    if (not body or _NAMES_FLOW in body) and may_set_apart(task, len(body)):
        task, parts = set_apart(task, what, pointer, stored_parts)
        body = ""
    if results:
        task, body = {**task, PARTS_ENTRY: [*task.get(PARTS_ENTRY, ()), *results]}, ""
    if not body:
        body = encode_json(task, what, pointer)
    return TaskColumns(row.position, row.rank, row.status, row.unmet, due_at, body), parts


def make_flow(
    row: Mapping[str, Any],
    spec_text: str | None,
    tasks: Iterable[tuple[str, TaskColumns]],
    edges: Iterable[tuple[str, str]],
    parts: StoredParts,
) -> Flow:
    """Make a flow of its rows.

    Raises:
        StoreError: the rows hold something else than was written; the message names the flow.
    """
    with explained(row["key"]):
        attributes = _attributes_of(row)
        if spec_text is not None:
            attributes.setdefault("spec", loads(spec_text))
        return Flow.from_state(state_from_rows(attributes, decode_tasks(tasks, parts), edges))


def make_partial_flow(
    row: Mapping[str, Any], tasks: Iterable[tuple[str, TaskColumns]], parts: StoredParts, source: TaskSource
) -> Flow:
    """Make a flow of its row, with `task_counts`, and of those of the tasks with which a tick begins.

    Raises:
        StoreError: the rows hold something else than was written; the message names the flow.
    """
    with explained(row["key"]):
        attributes = _attributes_of(row)
        counts, failures = loads(row["task_counts"]), read_failures(loads(row["body"]))
        found = decode_tasks(tasks, parts)
        return Flow.from_state(state_from_frontier(attributes, found, counts, failures, source))


def read_failures(body: Mapping[str, Any]) -> int | None:
    """Return from a flow's `body` how many tasks are FAILED that are not allowed to; None: not known."""
    failures: int | None = body.get(FAILURES)
    return failures


def decode_tasks(tasks: Iterable[tuple[str, TaskColumns]], parts: StoredParts) -> Iterator[TaskRow]:
    """Yield the tasks that rows hold; within `explained`."""
    for key, stored in tasks:
        position, rank, status, unmet, due_at, body = stored
        task = loads(body)
        if (task["key"], task["status"]) != (key, status):
            raise ValueError(
                f"the row of task {key!r} says that it is {status}, and holds a task {task['key']!r} that is "
                f"{task['status']}"
            )
        if PARTS_ENTRY in task:
            put_together(task, parts)
        yield TaskRow(
            key=key,
            position=position,
            rank=rank,
            status=status,
            unmet=unmet,
            due_at=due_at,
            task=task,
        )


def _attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = loads(row["body"])
    attributes.update({name: row[name] for name in _COLUMNS}, data=data_of(row["data"], row["key"]))
    return attributes


def data_of(text: str, flow_key: str) -> dict[str, Any] | Callable[[], dict[str, Any]]:
    """Return a flow's data, or where they are large what reads them; within `explained`.

    Args:
        text: as it was stored.
        flow_key: for errors.
    """

    def read() -> dict[str, Any]:
        with explained(flow_key):
            data: dict[str, Any] = refuse_non_mapping(loads(text), "data")
            return data

    return read() if len(text) < _LARGE else read


@contextmanager
def explained(key: str) -> Iterator[None]:
    """Let what is wrong with rows of a flow be told as a `StoreError` that names the flow."""
    try:
        yield
    except StoreError:
        raise  # it tells already why they could not be read
    except (McError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"The rows of flow {key!r} cannot be read: {str(error).rstrip('.')}. They were changed "
            f"by something else than mc, or the database is damaged.",
            key=key,
        ) from error


def flow_priority(flow: Flow) -> int:
    """Return a flow's `cfg.priority` as a whole number that a column can hold."""
    priority = flow.cfg.get("priority")
    if isinstance(priority, bool) or not isinstance(priority, int | float) or not math.isfinite(priority):
        return 0
    return int(max(-_MAX_PRIORITY, min(_MAX_PRIORITY, priority)))
