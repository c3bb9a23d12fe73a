"""Invariants of the rows of flows that live inside of tasks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mc.flows.state.task_node import flows_named_in
from mc.store.rows.inner_flow_rows import inner_flow_key

if TYPE_CHECKING:
    from tests.support.invariants import Seen, Snapshot

__all__ = ["flows_inside_fit", "hash_of_inside", "sub_flow_markers"]

Row = Mapping[str, Any]


def sub_flow_markers(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the dicts, of a task or of one that it proxies, that say which flow lives inside, and its key."""
    if "sub_flow" in task and task["status"] in ("RUNNING", "WAITING"):
        yield task, task["sub_flow"]
    if isinstance(task.get("proxied_task"), dict):
        yield from sub_flow_markers(task["proxied_task"])


def hash_of_inside(snapshot: Snapshot, key: str) -> int:
    inside = sorted(inner for inner, row in snapshot.inner_flows.items() if row["root_key"] == key)
    # sorted, because a server returns rows in the order in which they lie
    tasks = {inner: [row for _, row in sorted(snapshot.inner_tasks[inner].items())] for inner in inside}
    rows = [(snapshot.inner_flows[inner], *tasks[inner]) for inner in inside]
    return hash(tuple(tuple(row.values()) for found in rows for row in found))


def flows_inside_fit(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    """Yield which flows inside of tasks do not belong to what their tasks say, or not together."""
    for flow_key, tasks in snapshot.tasks.items():
        for row in tasks.values():
            yield from _find_misfits(snapshot, flow_key, (), row)
    reached = set(_reached(snapshot))
    for key, row in snapshot.inner_flows.items():
        if key not in reached:
            yield f"flow {row['root_key']}: the flow inside of {row['path']} is named by no task"
    places = Counter((row["root_key"], row["place"]) for row in snapshot.inner_flows.values())
    yield from (f"flow {root}: two flows are inside of one task" for (root, _), n in places.items() if n > 1)


def _reached(snapshot: Snapshot) -> Iterator[str]:
    """Yield the keys of the rows of inner flows that tasks name which are reached themselves."""
    level: list[tuple[str, list[str], Row]] = [
        (flow_key, [], row) for flow_key, tasks in snapshot.tasks.items() for row in tasks.values()
    ]
    while level:
        root_key, path, task = level.pop()
        for key in flows_named_in(json.loads(task["body"])):
            inner = inner_flow_key(root_key, path, key)
            yield inner
            below = snapshot.inner_tasks.get(inner, {}).values()
            level += [(root_key, [*path, task["key"]], row) for row in below]


def _find_misfits(snapshot: Snapshot, root_key: str, path: tuple[str, ...], row: Row) -> Iterator[str]:
    task, name = json.loads(row["body"]), "/".join((root_key, *path, row["key"]))
    if row["status"] not in ("RUNNING", "WAITING"):
        return
    if "flow_dict" in task and "sub_flow" in task:
        yield f"task {name} holds a flow as JSON, and as rows"
    for _, key in sub_flow_markers(task):
        inner = snapshot.inner_flows.get(inner_flow_key(root_key, path, key))
        if inner is None:
            yield f"task {name} says that {key} is inside of it, which is not stored"
            continue
        if json.loads(inner["path"]) != [*path, row["key"]] or json.loads(inner["body"])["key"] != key:
            yield f"the flow inside of task {name} says that it is {inner['path']} {inner['body']:.100}"
        rows = snapshot.inner_tasks[inner["key"]]
        counted = Counter(each["status"] for each in rows.values())
        if counted != json.loads(inner["task_counts"]):
            yield f"the flow inside of task {name} says {inner['task_counts']}, its rows are {dict(counted)}"
        if inner["status"] not in ("PENDING", "RUNNING") and snapshot.flows[root_key]["next_tick_at"] is None:
            yield f"the flow inside of task {name} is {inner['status']}, and nobody looks at it"
        for each in rows.values():
            if json.loads(each["body"])["status"] != each["status"]:
                yield f"task {name}/{each['key']} is {each['status']}, its dict says something else"
            yield from _find_misfits(snapshot, root_key, (*path, row["key"]), each)
