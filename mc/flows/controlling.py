"""Does what a person asks of a flow.

A retry goes on inside of tasks that hold flows or other tasks, so that no completed work is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.durations import format_time, parse_duration
from mc.errors import ControlError
from mc.flows.attempts import add_attempt
from mc.flows.control import Control, ControlKind, check_control
from mc.flows.flow import Flow
from mc.flows.task_node import Task, TaskNode
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow_engine import FlowEngine
    from mc.flows.tick import Tick

__all__ = ["apply_control", "runs_tasks_without_handler"]


def apply_control(
    engine: FlowEngine, flow: Flow, control: Control, task_ctx: Mapping[str, Any] | None = None
) -> None:
    """Do what is asked, or leave the flow as it is.

    Args:
        engine: gives handlers, clock and observers.
        flow: changed in place.
        control: what is asked.
        task_ctx: more entries for the `task_ctx` of the handlers of tasks that are stopped.

    Raises:
        ControlError: the flow's state does not allow it; nothing was changed.
    """
    tick = engine.begin_tick(flow, task_ctx)
    nodes = [flow._nodes[key] for key in control.tasks if key in flow._nodes and key != flow.ROOT_TASK_KEY]
    statuses = {node.key: node.status for node in nodes}
    check_control(flow.key, control, flow.status, statuses, flow.count_tasks())
    with tick.between_ticks():
        _APPLIERS[control.kind](tick, control, nodes)


def runs_tasks_without_handler(engine: FlowEngine, flow: Flow, control: Control) -> str | None:
    """Return the task type, where to stop a task takes a handler that this process lacks."""
    stopped: list[TaskNode] = []
    if control.kind is ControlKind.CANCEL:
        stopped = list(flow._running)
    elif control.kind is ControlKind.SKIP:
        stopped = [node for node in flow._running if node.key in control.tasks]
    for node in stopped:
        if not engine.has_handler(node.task.get("task_type")):
            return str(node.task.get("task_type"))
    return None


# --- flows -----------------------------------------------------------------------------------


def _cancel(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    message = f"by {control.by}{f': {control.reason}' if control.reason else ''}"
    tick.flow.error = {"type": "Cancelled", "message": message}
    tick.cancel()


def _pause(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    tick.flow.change_status("PAUSED")


def _resume(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    flow.blocked_reason = None
    flow.change_status("RUNNING" if flow.started_at else "PENDING")


# --- retry -----------------------------------------------------------------------------------


def _retry(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    is_over = flow.status in FINISHED_FLOW_STATUSES
    chosen = nodes
    if not chosen:
        chosen = [node for node in flow._nodes_with_status("FAILED") if not node.may_fail]
    elif is_over and flow.cfg.get("fail_fast", True):
        _refuse_to_leave_failures(flow, chosen)
    if is_over:
        chosen = [*dict.fromkeys([*chosen, *flow._nodes_with_status("CANCELLED")])]
    elif not chosen:
        raise ControlError(
            f"Flow {flow.key!r} is {flow.status} and no task of it failed but those that are allowed to. "
            f"Name the tasks to retry.",
            key=flow.key,
        )
    for node in chosen:
        _retry_task(tick, node)
    for node in _skipped_for(chosen):
        flow.change_task_status(node.key, "PENDING")
    if is_over:
        _begin_flow_anew(tick)


def _refuse_to_leave_failures(flow: Flow, chosen: list[TaskNode]) -> None:
    keys = {node.key for node in chosen}
    left = [
        node.key for node in flow._nodes_with_status("FAILED") if not node.may_fail and node.key not in keys
    ]
    if left:
        raise ControlError(
            f"Flow {flow.key!r} would fail again at once, because {', '.join(left[:5])} failed too. Retry "
            f"them as well, or skip them first.",
            key=flow.key,
        )


def _begin_flow_anew(tick: Tick) -> None:
    flow = tick.flow
    flow.error = flow.finished_at = flow.results = None
    flow.ticks = 0
    timeout = flow.cfg.get("timeout")
    if timeout is not None:
        flow.deadline_at = format_time(tick.now + timedelta(seconds=parse_duration(timeout)))
    flow.started_at = flow.started_at or tick.at  # it may have been cancelled before its first tick
    flow.change_status("RUNNING")


def _retry_task(tick: Tick, node: TaskNode) -> None:
    """Make a finished task PENDING; what was done inside it is kept."""
    task = node.task
    record = {name: task.get(name) for name in ("attempt", "started_at", "finished_at", "error")}
    params: Task = {name: task[name] for name in ("task_params", "raw_task_params") if name in task}
    kept = task.get("kept")
    was_failed = node.status == "FAILED"
    tick.flow.change_task_status(node.key, "PENDING")
    task.pop("skipped_by", None)
    task["attempts_before"] = task["attempt"]  # its policy counts anew
    if was_failed:
        add_attempt(task, record)
    if kept:
        task |= params
        _go_on_inside(tick.engine, task, kept)


def _go_on_inside(engine: FlowEngine, task: Task, kept: Mapping[str, Any]) -> None:
    """Put back what a task had inside it when it ended, so that its handler goes on there."""
    task["initialised"] = True
    if "flow_dict" in kept:
        sub_flow = Flow.from_flow_dict(kept["flow_dict"])
        if sub_flow.status in ("FAILED", "CANCELLED"):
            retry = Control(kind=ControlKind.RETRY, by="the flow that it is inside of")
            apply_control(engine, sub_flow, retry)
        task["flow_dict"] = sub_flow.to_flow_dict()
    if "proxied_task" in kept:
        proxied = task["proxied_task"] = copy_json(kept["proxied_task"])
        inner = proxied.pop("kept", None)
        for name in ("error", "next_tick_at", "deadline_at", "initialised"):
            proxied.pop(name, None)
        proxied["status"] = "PENDING"
        proxied["attempts_before"] = proxied.get("attempt", 0)
        if inner:
            _go_on_inside(engine, proxied, inner)
    if "flow_key" in kept:
        task["retries_sub_flow"] = True


def _skipped_for(chosen: list[TaskNode]) -> list[TaskNode]:
    """Return the tasks that were skipped because these did not complete, however long the chain."""
    found: dict[TaskNode, None] = {}
    stack = list(chosen)
    while stack:
        for dest in stack.pop().successors:
            if dest.status == "SKIPPED" and dest not in found and "skipped_by" not in dest.task:
                found[dest] = None
                stack.append(dest)
    return sorted(found, key=lambda node: node.position)


# --- tasks -----------------------------------------------------------------------------------


def _skip(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    for node in nodes:
        tick.stop_task(node)
        task = node.task
        task.pop("kept", None)
        task["skipped_by"] = {"by": control.by, "reason": control.reason}
        task["finished_at"] = tick.at
        if node.status != "SKIPPED":  # one of the others may have left it without a way to start
            flow.change_task_status(node.key, "SKIPPED")


def _set(tick: Tick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    if not nodes:
        flow.data = {**flow.data, **copy_json(dict(control.data or {}))}
        return
    (node,) = nodes
    task = node.task
    if control.data is not None:
        task["data"] = {**task["data"], **copy_json(dict(control.data))}
    if control.params is not None:
        name = "raw_task_params" if "raw_task_params" in task else "task_params"
        task[name] = {**task[name], **copy_json(dict(control.params))}
        task.pop("kept", None)  # it was begun with the params that it had
    flow._touch(node)


_APPLIERS: Final[Mapping[ControlKind, Callable[[Tick, Control, list[TaskNode]], None]]] = {
    ControlKind.CANCEL: _cancel,
    ControlKind.PAUSE: _pause,
    ControlKind.RESUME: _resume,
    ControlKind.RETRY: _retry,
    ControlKind.SKIP: _skip,
    ControlKind.SET: _set,
}
