"""The flow dict: a flow as JSON-safe data, lossless both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mc.context.json_values import copy_json, json_type_name
from mc.context.sizes import json_size
from mc.durations import parse_time
from mc.errors import DurationError, FlowFormatError
from mc.flows.state.flow_state import FlowState
from mc.flows.state.graph import add_graph
from mc.flows.state.mailbox import signal_from_dict
from mc.flows.state.task_node import Task, with_proxied
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.statuses import FLOW_CHANGES, TASK_CHANGES

__all__ = [
    "FLOW_ATTRIBUTES",
    "FLOW_DICT_VERSION",
    "begin_inside",
    "kept_sub_flow",
    "read_attributes",
    "state_from_dict",
    "state_to_dict",
    "task_to_dict",
]

FLOW_DICT_VERSION: Final = 1

# attribute -> types that it may have; what a flow dict says of the flow besides its graph
FLOW_ATTRIBUTES: Final[Mapping[str, tuple[type, ...]]] = {
    "key": (str,),
    "label": (str, type(None)),
    "version": (object,),
    "description": (str, type(None)),
    "cfg": (dict,),
    "data": (dict,),
    "params": (dict, bool, type(None)),
    "status": (str,),
    "depth": (int,),
    "parent_key": (str, type(None)),
    "parent_task_key": (str, type(None)),
    "result_paths": (dict, type(None)),
    "results": (dict, type(None)),
    "error": (dict, type(None)),
    "blocked_reason": (str, type(None)),
    "missing_handlers": (list, type(None)),
    "stopped_at": (str, type(None)),
    "started_at": (str, type(None)),
    "finished_at": (str, type(None)),
    "deadline_at": (str, type(None)),
    "ticks": (int,),
    "calls_left": (int, type(None)),
    "calls_begun": (int, type(None)),
    "next_call": (str, type(None)),
    "spec": (dict, type(None)),
}
# what a task of a flow dict may hold of what the engine relies upon
_TASK_ATTRIBUTES: Final[Mapping[str, tuple[type, ...]]] = {
    "status": (str,),
    "task_params": (dict, type(None)),
    "data": (dict, type(None)),
    "cfg": (dict, type(None)),
    "attempt": (int,),
    "from_tick": (int,),
    "attempts": (list,),
    "next_tick_at": (str, type(None)),
    "deadline_at": (str, type(None)),
    "waits_for": (dict, type(None)),
    "resource_claim": (dict, type(None)),
}
_BY_ARGUMENT: Final = (
    "key",
    "label",
    "version",
    "description",
    "cfg",
    "data",
    "params",
    "status",
    "depth",
    "parent_key",
    "parent_task_key",
    "result_paths",
    "spec",
)
_TYPE_NAMES: Final = {str: "text", dict: "a mapping", list: "a list", int: "a whole number"} | {
    bool: "true or false",
    type(None): "null",
    object: "anything",
}
_COMPUTED: Final = frozenset(
    {"schema_version", "graph", "num_tickable_tasks", "signals", "spec_digest", "seconds", "task_seconds"}
)


def state_to_dict(state: FlowState) -> dict[str, Any]:
    """Return a flow as data; see `Flow.to_flow_dict`."""
    state.tasks.reconcile()
    first = state.note_tick()
    flow_dict: dict[str, Any] = {"schema_version": FLOW_DICT_VERSION}
    for name in FLOW_ATTRIBUTES:
        flow_dict[name] = copy_json(getattr(state, name))
    if state.mailbox is not None and len(state.mailbox):
        flow_dict["signals"] = [signal.to_dict() for signal in state.mailbox]
    flow_dict["num_tickable_tasks"] = state.count_tickable()
    nodes = state.tasks.nodes
    state.read_completed_sub_flows(node.task for node in nodes.values() if node.status == "COMPLETED")
    tasks = {key: task_to_dict(state, node.task) for key, node in nodes.items()}
    if first is not None:
        for key, task in tasks.items():
            if state.tasks.queues.is_passed(nodes[key], first):
                task["from_tick"] = state.ticks + 1
    flow_dict["graph"] = {
        "tasks": tasks,
        "edges": state.tasks.list_edges(),
        "order": [key for key in nodes if key != ROOT_TASK_KEY],
    }
    return flow_dict


def task_to_dict(state: FlowState, task: Task) -> Task:
    """Return a copy of a task dict that holds the flows which live inside of it as flow dicts."""
    copied: Task = copy_json(task)
    _write_sub_flows(state, task, copied)
    return copied


def _write_sub_flows(state: FlowState, task: Task, copied: Task) -> None:
    """Write flows that a task dict names into the copy of it, a proxied task and what is kept included."""
    copied.pop("sub_flow", None)
    sub_flow = None
    if task.get("status") == "COMPLETED":
        sub_flow = state.find_completed_sub_flow(task)
    elif task.get("status") in ("PENDING", "RUNNING", "WAITING"):
        sub_flow = state.find_sub_flow(task)
    if sub_flow is not None:
        copied["flow_dict"] = _sub_flow_to_dict(sub_flow)
    if isinstance(task.get("proxied_task"), dict):
        _write_sub_flows(state, task["proxied_task"], copied["proxied_task"])
    kept = task.get("kept")
    if not isinstance(kept, dict):
        return
    sub_flow = state.find_kept_sub_flow(task)
    if sub_flow is not None:
        copied["kept"] = {"flow_dict": _sub_flow_to_dict(sub_flow)}
    if isinstance(kept.get("proxied_task"), dict):
        _write_sub_flows(state, kept["proxied_task"], copied["kept"]["proxied_task"])


def _sub_flow_to_dict(sub_flow: FlowState) -> dict[str, Any]:
    return {**state_to_dict(sub_flow), "spec": None}  # the task's parameters hold it


def begin_inside(state: FlowState, *, has_source: bool = False) -> None:
    """Let the flows live whose flow dicts stand in tasks, and keep those that tasks which are done ran.

    Args:
        state: of the flow, just read.
        has_source: flows that task dicts name without holding them can be read; flow dicts stand in those
            tasks alone that had begun before flows inside of tasks were rows.
    """
    tasks = state.tasks
    ready = (node for _, _, node in tasks.queues.ready)  # a person may have retried them
    for node in [*tasks.known_running(), *ready] if has_source else tasks.nodes.values():
        for task in with_proxied(node.task):
            if not has_source:
                task.pop("sub_flow", None)
            if "retries_sub_flow" in task:
                continue  # its handler takes it up
            flow_dict = task.pop("flow_dict", None)
            if isinstance(flow_dict, dict):
                sub_flow = state_from_dict(flow_dict)
                sub_flow.parent_task_key = node.key
                _refuse_twin(state, sub_flow)
                keep = state.keep_completed if task.get("status") == "COMPLETED" else state.keep_sub_flow
                keep(task, sub_flow)


def _refuse_twin(state: FlowState, sub_flow: FlowState) -> None:
    if any(other.key == sub_flow.key for other in state.list_sub_flows()):
        pointer = f"/graph/tasks/{sub_flow.parent_task_key}/flow_dict/key"
        raise FlowFormatError(
            f"{pointer}: the flow inside of another task has the key {sub_flow.key!r} as well.",
            pointer=pointer,
        )


def kept_sub_flow(state: FlowState, task: Task) -> FlowState | None:
    """Return the flow that lived inside a task when it ended, which a person's retry goes on in."""
    flow_dict = (task.get("kept") or {}).get("flow_dict")
    if isinstance(flow_dict, dict) and "flow_key" not in task["kept"]:
        sub_flow = state_from_dict(flow_dict)
        sub_flow.name_inside = state.name_of_place(sub_flow, task)
        return sub_flow
    return state.find_kept_sub_flow(task)


def state_from_dict(flow_dict: Mapping[str, Any], *, with_inside: bool = True) -> FlowState:
    """Make the state of a flow from data; see `Flow.from_flow_dict`.

    Args:
        flow_dict: the data.
        with_inside: let the flows inside its tasks live; else they stay flow dicts.
    """
    attributes = read_attributes(flow_dict)
    state = FlowState(**{name: attributes[name] for name in _BY_ARGUMENT if name in attributes})
    for name in FLOW_ATTRIBUTES:
        if name in attributes and name not in _BY_ARGUMENT:
            setattr(state, name, copy_json(attributes[name]))
    tasks, edges = _read_graph(flow_dict.get("graph") or {})
    add_graph(state, tasks, edges)
    state.tasks.go_on(state.ticks, state.next_call, state.calls_left, state.calls_begun)
    state.data_bytes = sum(json_size(task["data"]) for task in tasks if task.get("data"))
    if with_inside:
        begin_inside(state)
    for at, value in enumerate(_read_signals(flow_dict)):
        signal = signal_from_dict(value, f"/signals/{at}")
        if not state.open_mailbox().put(signal):
            raise FlowFormatError(
                f"/signals/{at}/id: {signal.id!r} stands there twice.", pointer=f"/signals/{at}/id"
            )
    return state


def _read_signals(flow_dict: Mapping[str, Any]) -> list[Any]:
    signals = flow_dict.get("signals") or []
    if not isinstance(signals, list):
        raise FlowFormatError(
            f"/signals: found {json_type_name(signals)}, expected a list.", pointer="/signals"
        )
    return signals


def read_attributes(flow_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a flow dict says of the flow besides its graph.

    Raises:
        FlowFormatError: an attribute is unknown or of the wrong type, or the version is newer.
    """
    if not isinstance(flow_dict, Mapping):
        raise FlowFormatError(f"A flow dict is a mapping; found {json_type_name(flow_dict)}.", pointer="")
    if "tasks" in flow_dict and "graph" not in flow_dict:
        raise FlowFormatError(
            "This is a flow spec, not a flow dict. Make a flow of it first (`houston submit`, "
            "`FlowEngine.flow_spec_to_flow`).",
            pointer="",
        )
    version = flow_dict.get("schema_version", FLOW_DICT_VERSION)
    if version != FLOW_DICT_VERSION or isinstance(version, bool):
        raise FlowFormatError(
            f"/schema_version: this version of mc reads flow dicts of version {FLOW_DICT_VERSION}; found "
            f"{version!r}. Use the version of mc that wrote it.",
            pointer="/schema_version",
        )
    for name, value in flow_dict.items():
        if name in _COMPUTED:
            continue
        types = FLOW_ATTRIBUTES.get(name)
        if types is None:
            known = ", ".join([*FLOW_ATTRIBUTES, "graph"])
            raise FlowFormatError(
                f"/{name}: a flow dict has no such key; it has {known}.", pointer=f"/{name}"
            )
        if not isinstance(value, types) or (isinstance(value, bool) and types == (int,)):
            expected = " or ".join(_TYPE_NAMES[kind] for kind in types)
            raise FlowFormatError(
                f"/{name}: found {json_type_name(value)}, expected {expected}.", pointer=f"/{name}"
            )
    status = flow_dict.get("status", "PENDING")
    if status not in FLOW_CHANGES:
        raise FlowFormatError(
            f"/status: {status!r} is not a flow status; use one of {', '.join(FLOW_CHANGES)}.",
            pointer="/status",
        )
    return {name: value for name, value in flow_dict.items() if name in FLOW_ATTRIBUTES}


def _read_graph(graph: Any) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    if not isinstance(graph, Mapping):
        raise FlowFormatError(f"/graph: found {type(graph).__name__}, expected an object.", pointer="/graph")
    tasks = graph.get("tasks") or {}
    edges = graph.get("edges") or []
    if not isinstance(tasks, Mapping):
        raise FlowFormatError(
            "/graph/tasks: expected an object of key -> task, which keeps each key unique.",
            pointer="/graph/tasks",
        )
    if not isinstance(edges, (list, tuple)):
        raise FlowFormatError("/graph/edges: expected a list of edges.", pointer="/graph/edges")
    for key, task in tasks.items():
        _check_task(key, task)
    order = graph.get("order") or list(tasks)
    if not _is_order_of(order, tasks):
        raise FlowFormatError(
            "/graph/order: expected a list of all task keys, each once.", pointer="/graph/order"
        )
    pairs = []
    for number, edge in enumerate(edges):
        if not isinstance(edge, Mapping) or not all(
            isinstance(edge.get(end), str) for end in ("src_key", "dest_key")
        ):
            pointer = f"/graph/edges/{number}"
            raise FlowFormatError(
                f"{pointer}: expected {{src_key, dest_key}}; found {edge!r:.200}.", pointer=pointer
            )
        pairs.append((edge["src_key"], edge["dest_key"]))
    copies = [copy_json({**tasks[key], "key": key}) for key in order if key != ROOT_TASK_KEY]
    return copies, pairs


def _check_task(key: Any, task: Any) -> None:
    pointer = f"/graph/tasks/{key}"
    if not isinstance(key, str) or not isinstance(task, Mapping):
        raise FlowFormatError(f"{pointer}: expected a text key and a task object.", pointer=pointer)
    for name, types in _TASK_ATTRIBUTES.items():
        value = task.get(name)
        if name in task and (not isinstance(value, types) or (isinstance(value, bool) and types == (int,))):
            expected = " or ".join(kind.__name__ for kind in types)
            raise FlowFormatError(
                f"{pointer}/{name}: found {type(value).__name__}, expected {expected}.",
                pointer=f"{pointer}/{name}",
            )
    if task.get("status", "PENDING") not in TASK_CHANGES:
        raise FlowFormatError(
            f"{pointer}/status: {task.get('status')!r} is not a task status; use one of "
            f"{', '.join(TASK_CHANGES)}.",
            pointer=f"{pointer}/status",
        )
    for name in ("next_tick_at", "deadline_at"):
        if task.get(name):
            try:
                parse_time(task[name])
            except DurationError as error:
                raise FlowFormatError(
                    f"{pointer}/{name}: {error.message}", pointer=f"{pointer}/{name}"
                ) from error
    if task.get("key", key) != key:
        raise FlowFormatError(
            f"{pointer}/key: found {task['key']!r}, expected {key!r}.", pointer=f"{pointer}/key"
        )


def _is_order_of(order: Any, tasks: Mapping[str, Any]) -> bool:
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        return False
    named = {*order, ROOT_TASK_KEY}
    return len({*order}) == len(order) and named == {*tasks, ROOT_TASK_KEY}
