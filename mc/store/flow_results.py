"""Results of a flow, and of the items of a task, as far as they are known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.durations import seconds_between
from mc.errors import FlowNotFoundError
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.calls.item_task import as_item
from mc.flows.calls.task_paths import find_task
from mc.flows.flow import Task
from mc.flows.state.flow_state import FlowState
from mc.json_data import JsonData
from mc.store.flow_store import FlowStore

__all__ = ["FlowResults", "ItemResult", "read_results"]

_ITEM_KEY: Final = re.compile(r"item_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult(JsonData):
    """What became of one item of a `spread`, or of one task inside of another.

    Attributes:
        task: key of its task.
        key: of the item, where items are a mapping; else its number, from 0. None: it is of no item.
        item: the item.
        status: of its task; None where that is not stored any more, and what it left is not known.
        attempt: of its task.
        params: of its task.
        data: what its task left.
        error: of its task: type and message.
        seconds: that the last attempt took, if it is over.
    """

    task: str
    key: str | int | None = None
    item: Any = None
    status: str | None = None
    attempt: int = 0
    params: Mapping[str, Any]
    data: Mapping[str, Any]
    error: Mapping[str, Any] | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowResults(JsonData):
    """The results of a flow, or of the items of one of its tasks.

    Attributes:
        key: of the flow.
        task: path of the task; None: the flow's own results are meant.
        status: of the task, or of the flow.
        results: what the flow's spec declares; None until it is COMPLETED.
        items: in their order.
    """

    key: str
    task: str | None
    status: str
    results: Mapping[str, Any] | None
    items: tuple[ItemResult, ...] = ()


def read_results(store: FlowStore, key: str, path: str | None = None) -> FlowResults:
    """Return the results of a stored flow, or of the items of a task in it.

    Args:
        store: where it is.
        key: of the flow.
        path: of the task: its key, or `outer/inner`.

    Raises:
        FlowNotFoundError: there is no flow with that key.
        GraphError: it has no such task.
    """
    flow = store.load(key)
    if path is None:
        return FlowResults(key=key, task=None, status=flow.status, results=flow.results)
    state, task = find_task(flow, path)
    items = tuple(_items_of(task, find_item_tasks(store, state, task)))
    return FlowResults(key=key, task=path, status=task["status"], results=flow.results, items=items)


def find_item_tasks(store: FlowStore, state: FlowState, task: Task) -> dict[str, Task]:
    """Return the tasks inside of a task, by key: of a flow that is inside of it, or of a stored one.

    Args:
        store: where the flow is.
        state: the flow that the task is in.
        task: the task.
    """
    inside = {key: each for key, (_, each) in inner_tasks(state, task).items()}
    stored = (task.get("data") or {}).get("flow_key") or (task.get("kept") or {}).get("flow_key")
    if inside or not isinstance(stored, str):
        return inside
    try:
        return dict(store.load(stored).tasks)
    except FlowNotFoundError:  # deleted since
        return {}


def _items_of(task: Task, tasks: Mapping[str, Task]) -> Iterator[ItemResult]:
    items = _keyed((task.get("task_params") or {}).get("items"))
    if not tasks and task["status"] == "COMPLETED":  # what was inside is not stored any more
        left = dict(_keyed((task.get("data") or {}).get("results")))
        for number, (item_key, item) in enumerate(items):
            data = left.get(item_key)
            status = None if data is None else "COMPLETED"
            yield ItemResult(
                task=f"item_{number}", key=item_key, item=item, status=status, params={}, data=data or {}
            )
    for key, each in tasks.items():
        match = _ITEM_KEY.fullmatch(key)
        number = int(match[1]) if match else len(items)
        yield _result_of(key, each, *(items[number] if number < len(items) else (None, None)))


def _keyed(values: Any) -> list[tuple[str | int, Any]]:
    """Return items, or what they left, with their keys or numbers; none where they are not known yet."""
    if isinstance(values, dict):
        return list(values.items())
    return list(enumerate(values)) if isinstance(values, list) else []


def _result_of(key: str, task: Task, item_key: str | int | None, item: Any) -> ItemResult:
    task = as_item(task)
    error = task.get("error") or {}
    return ItemResult(
        task=key,
        key=item_key,
        item=item,
        status=task["status"],
        attempt=task.get("attempt") or 0,
        params=task.get("task_params") or {},
        data=task.get("data") or {},
        error={name: error.get(name) for name in ("type", "message")} if error else None,
        seconds=seconds_between(task.get("started_at"), task.get("finished_at")),
    )
