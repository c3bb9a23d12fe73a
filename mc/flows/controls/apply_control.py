"""Controls applied to a flow: what a person asks of it, done.

A retry goes on inside of tasks that hold flows or other tasks, so that no completed work is repeated but
what stood on the failure: tasks whose start rule does not hold while what is retried is unfinished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.context.sizes import json_size
from mc.durations import format_time, parse_duration, parse_time
from mc.errors import ControlError, McError
from mc.flows.calls.attempts import add_attempt
from mc.flows.calls.item_task import holder_of_params
from mc.flows.calls.task_paths import find_task
from mc.flows.controls.control import Control, ControlKind, check_control
from mc.flows.controls.inside import Inside, find_inside, kept_inside, retried_inside
from mc.flows.flow import Flow
from mc.flows.resources.requests import ask_anew
from mc.flows.state.start_rules import START
from mc.flows.state.starting import decide
from mc.flows.state.task_node import BEGUN_WITH_PARAMS, Task, TaskNode, with_proxied
from mc.flows.state.task_states import TaskStates, has_failed
from mc.flows.state.under_way import make_due
from mc.flows.time_limits import extend_limits
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.flows.services import EngineServices, OpenTick
    from mc.flows.state.flow_state import FlowState

__all__ = ["apply_control", "runs_tasks_without_handler"]

_RETRIED_INSIDE: Final = ("FAILED", "CANCELLED")  # others go on as they are


def apply_control(
    engine: EngineServices, flow: Flow, control: Control, task_ctx: Mapping[str, Any] | None = None
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
    for path in control.tasks:
        find_task(flow, path, ControlError)
    _check(tick, control)
    _apply(tick, control)


def _check(tick: OpenTick, control: Control) -> None:
    """Refuse what is not allowed, at any depth, before anything is changed."""
    flow, is_retry = tick.flow, control.kind is ControlKind.RETRY
    nodes, inside = _named_nodes(flow, control), find_inside(flow, control.tasks)
    statuses = {node.key: node.status for node in nodes}
    around = {each.node.key: each.node.status for each in inside}
    check_control(
        flow.key, control, flow.status, {**around, **statuses}, flow.count_tasks(), lambda: flow.tasks
    )
    for each in inside:
        if not (is_retry and each.has_ended):
            _check_inside(tick, replace(control, tasks=tuple(each.tasks)), each.node, each.flow)
    if is_retry:
        named = {each.node: each.tasks for each in inside}
        set_back, anew = _plan_retry(tick, _nodes_to_retry(nodes, inside), goes_on=bool(inside))
        for node in set_back:
            kept = None if node in anew else retried_inside(tick.state, node.task)
            if kept is not None and kept.status in _RETRIED_INSIDE:
                retry = replace(control, tasks=tuple(named.get(node, ())))
                _check_inside(tick, retry, node, Flow.from_state(kept))


def _check_inside(tick: OpenTick, control: Control, node: TaskNode, inside: Flow) -> None:
    try:
        _check(tick.engine.begin_tick(inside, tick.ctx), control)
    except ControlError as error:
        message = error.message.replace(f"houston show {inside.key}", "`houston show` of the flow")
        raise ControlError(f"Inside of task {node.key!r}: {message}", key=tick.flow.key) from error


def _apply(tick: OpenTick, control: Control) -> None:
    """Do what has been checked."""
    flow = tick.flow
    nodes, inside = _named_nodes(flow, control), find_inside(flow, control.tasks)
    with tick.between_ticks():
        for each in inside:
            if control.kind is not ControlKind.RETRY or not each.has_ended:
                _apply_inside(tick, control, each)
        if control.kind is ControlKind.RETRY:
            _retry(tick, nodes, inside)
        elif nodes or not inside:
            _APPLIERS[control.kind](tick, control, nodes)


def _named_nodes(flow: Flow, control: Control) -> list[TaskNode]:
    nodes = flow.state.tasks.nodes
    return [nodes[key] for key in control.tasks if key in nodes and key != flow.ROOT_TASK_KEY]


def _apply_inside(tick: OpenTick, control: Control, inside: Inside) -> None:
    """Do what is asked of tasks inside of one, which becomes due."""
    node, tasks = inside.node, tick.state.tasks
    below = tick.engine.begin_tick(inside.flow, tick.ctx)
    _apply(below, replace(control, tasks=tuple(inside.tasks)))
    if inside.has_ended:
        _keep_as_rows(tick, node.task, inside.flow)
    else:
        _, *proxied = with_proxied(node.task)
        if node.status != "PENDING":
            make_due([(tasks, node), *proxied], tick.at)
    tasks.touch(node)


def _keep_as_rows(tick: OpenTick, task: Task, sub_flow: Flow) -> None:
    """Let a task that ended name the flow that is kept, where it holds it as a flow dict."""
    kept: Any = task["kept"]
    if "flow_dict" in kept:
        tick.state.keep_for_retry(task, sub_flow.state)
    elif isinstance(kept.get("proxied_task"), dict):
        _keep_as_rows(tick, kept["proxied_task"], sub_flow)


def runs_tasks_without_handler(engine: EngineServices, flow: Flow, control: Control) -> str | None:
    """Return the task type, where to stop a task takes a handler that this process lacks."""
    tasks = flow.state.tasks
    try:
        inside = find_inside(flow, control.tasks)
    except ControlError:  # which whoever applies it tells
        return None
    for each in inside:
        below = replace(control, tasks=tuple(each.tasks))
        missing = runs_tasks_without_handler(engine, each.flow, below)
        if missing is not None:
            return missing
    stopped: list[TaskNode] = []
    if control.kind is ControlKind.CANCEL:
        stopped = list(tasks.running)
    elif control.kind is ControlKind.SKIP:
        stopped = [node for node in tasks.running if node.key in control.tasks]
    elif control.kind is ControlKind.RETRY and tasks.running:
        failed = _named_nodes(flow, control) or tasks.failed_nodes()
        stopped = [node for node in _find_set_back(tasks, failed) if node in tasks.running]
    for node in stopped:
        if not engine.has_handler(node.task.get("task_type")):
            return str(node.task.get("task_type"))
    return None


# --- flows -----------------------------------------------------------------------------------


def _cancel(tick: OpenTick, control: Control, nodes: list[TaskNode]) -> None:
    message = f"by {control.by}{f': {control.reason}' if control.reason else ''}"
    tick.flow.error = {"type": "Cancelled", "message": message}
    tick.cancel()


def _pause(tick: OpenTick, control: Control, nodes: list[TaskNode]) -> None:
    since = tick.flow.stopped_at or tick.at  # it may be BLOCKED
    tick.flow.change_status("PAUSED")
    tick.flow.stopped_at = since


def _resume(tick: OpenTick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    if control.extend:
        if flow.stopped_at is None:
            raise ControlError(
                f"Flow {flow.key!r} is {flow.status}, and it is not on record since when; its time cannot be "
                f"given back. Resume it without extending it.",
                key=flow.key,
            )
        stopped = tick.now - parse_time(flow.stopped_at)
        extend_limits(tick.state, max(stopped, timedelta(0)), tick.engine.find_sub_flow)
    flow.change_status("RUNNING" if flow.started_at else "PENDING")
    ask_anew(flow, tick.at, tick.engine.find_sub_flow)


# --- retry -----------------------------------------------------------------------------------


def _retry(tick: OpenTick, nodes: list[TaskNode], inside: Sequence[Inside]) -> None:
    """Try tasks again, and of those that have flows inside of them what is named there."""
    tasks = tick.state.tasks
    chosen = _nodes_to_retry(nodes, inside)
    if inside and not chosen:
        return  # done inside of tasks that go on
    named = {each.node: each.tasks for each in inside}
    is_over = tick.flow.status in FINISHED_FLOW_STATUSES
    set_back, anew = _plan_retry(tick, chosen, goes_on=bool(inside))
    for node in set_back:
        if node in tasks.running:
            tick.stop_task(node)
            node.task["finished_at"] = tick.at
            tasks.change(node, "CANCELLED")
        _retry_task(tick, node, goes_on_inside=node not in anew, named=named.get(node, ()))
    if is_over:
        _begin_flow_anew(tick)


def _nodes_to_retry(nodes: Sequence[TaskNode], inside: Iterable[Inside]) -> list[TaskNode]:
    """Return the tasks that are named, and those that ended with a named one inside of them."""
    return list(dict.fromkeys([*nodes, *(each.node for each in inside if each.has_ended)]))


def _plan_retry(
    tick: OpenTick, nodes: list[TaskNode], *, goes_on: bool
) -> tuple[dict[TaskNode, None], set[TaskNode]]:
    """Return the tasks to set back, and those of them that begin anew with all that is inside of them.

    Args:
        tick: of the flow.
        nodes: the tasks to retry; none: all that failed.
        goes_on: whether tasks are retried inside of others, which may be all: then no `nodes` mean none.

    Raises:
        ControlError: a retry would lead nowhere.
    """
    flow, tasks = tick.flow, tick.state.tasks
    if goes_on and not nodes:
        return {}, set()
    is_over = flow.status in FINISHED_FLOW_STATUSES
    chosen = nodes
    if not chosen:
        chosen = tasks.failed_nodes()
    elif is_over and flow.cfg.get("fail_fast", True):
        _refuse_to_leave_failures(flow, chosen)
    if is_over:
        chosen = [*dict.fromkeys([*chosen, *tasks.nodes_with_status("CANCELLED")])]
    elif not chosen:
        raise ControlError(
            f"Flow {flow.key!r} is {flow.status} and no task of it failed but those that are allowed to. "
            f"Name the tasks to retry.",
            key=flow.key,
        )
    set_back = _find_set_back(tasks, chosen)
    if is_over and not set_back and not tasks.unfinished_count():
        _refuse_without_results(tick)
    return set_back, {node for node in set_back if decide(tasks.nodes, node, set_back.keys())[0] != START}


def _find_set_back(tasks: TaskStates, chosen: Iterable[TaskNode]) -> dict[TaskNode, None]:
    """Return tasks that are to be tried again, and those that stand on how they ended, in the order of edges.

    A task that has begun or ended stands on them if its start rule held and does not hold while they are
    unfinished; one that was skipped, if its rule does not hold then. What a person skipped stays so.
    """
    wanted = set(chosen)
    found: dict[TaskNode, None] = {}
    queue = [(node.rank, node.position, node) for node in wanted]
    heapify(queue)
    seen = set(wanted)
    while queue:
        _, _, node = heappop(queue)
        if node not in wanted and not _stands_on(tasks, node, found):
            continue
        found[node] = None
        for dest in node.successors:
            if dest not in seen and dest.status != "PENDING":
                seen.add(dest)
                heappush(queue, (dest.rank, dest.position, dest))
    return found


def _stands_on(tasks: TaskStates, node: TaskNode, found: dict[TaskNode, None]) -> bool:
    if "skipped_by" in node.task or decide(tasks.nodes, node, found.keys())[0] == START:
        return False
    return node.status == "SKIPPED" or decide(tasks.nodes, node)[0] == START


def _refuse_to_leave_failures(flow: Flow, chosen: list[TaskNode]) -> None:
    tasks = flow.state.tasks
    keys = {node.key for node in chosen}
    left = [node.key for node in tasks.failed_nodes() if node.key not in keys]
    counts = Counter(tasks.counts)
    counts.subtract(node.status for node in {*chosen, *tasks.nodes_with_status("CANCELLED")})
    counts["PENDING"] += sum(tasks.counts.values()) - counts.total()
    if left and has_failed(flow.cfg, len(left), counts):
        raise ControlError(
            f"Flow {flow.key!r} would fail again at once, because {', '.join(left[:5])} failed too. Retry "
            f"them as well, or skip them first.",
            key=flow.key,
        )


def _refuse_without_results(tick: OpenTick) -> None:
    """Refuse to let a flow go on all tasks of which are done, and whose `results` lead nowhere still."""
    key = tick.flow.key
    try:
        tick.read_results()
    except McError as error:
        raise ControlError(
            f"Flow {key!r} would fail again at once: all its tasks are done, and its results cannot be read: "
            f"{error.message} Write what is missing (houston set {key}), or move the flow to a spec with "
            f"other results (houston migrate {key}), then retry.",
            key=key,
        ) from error


def _begin_flow_anew(tick: OpenTick) -> None:
    flow = tick.flow
    flow.error = flow.finished_at = flow.results = None
    flow.ticks = 0
    timeout = flow.cfg.get("timeout")
    if timeout is not None:
        flow.deadline_at = format_time(tick.now + timedelta(seconds=parse_duration(timeout)))
    flow.started_at = flow.started_at or tick.at  # it may have been cancelled before its first tick
    flow.change_status("RUNNING")


def _retry_task(tick: OpenTick, node: TaskNode, *, goes_on_inside: bool, named: Sequence[str]) -> None:
    """Make a finished task PENDING; what was done inside it is kept, or begins anew as well.

    Args:
        tick: of the flow.
        node: the task.
        goes_on_inside: whether it does not stand on what is retried.
        named: the tasks inside of it that are to be tried again; none: all that failed.
    """
    task = node.task
    record = {name: task.get(name) for name in ("attempt", "started_at", "finished_at", "error")}
    params: Task = {name: task[name] for name in ("task_params", "raw_task_params") if name in task}
    kept, inside = None, None
    if goes_on_inside and task.get("kept"):
        kept, inside = task["kept"], kept_inside(tick.state, task)
    tick.state.data_bytes = max(tick.state.data_bytes - json_size(task.get("data") or {}), 0)
    was_failed = node.status == "FAILED"
    tick.state.tasks.change_from_outside(node, "PENDING")
    task.pop("skipped_by", None)
    task["attempts_before"] = task["attempt"]  # its policy counts anew
    if was_failed:
        add_attempt(task, record)
    if kept:
        task |= params
        _go_on_inside(tick, task, kept, inside, named)


def _go_on_inside(
    tick: OpenTick, task: Task, kept: Mapping[str, Any], inside: FlowState | None, named: Sequence[str]
) -> None:
    """Put back what a task had inside it when it ended, so that its handler goes on there.

    Args:
        tick: of the flow.
        task: the task.
        kept: what it kept.
        inside: the flow that is to live inside of it, or inside of what it proxies.
        named: see `_retry_task`.
    """
    task["initialised"] = True
    if "flow_key" in kept:
        task["retries_sub_flow"] = True
        if "flow_dict" in kept:
            task["flow_dict"] = _retried_flow_dict(tick, kept["flow_dict"])
    elif inside is not None and ("sub_flow" in kept or "flow_dict" in kept):
        tick.state.keep_sub_flow(task, inside)
        _retry_inside(tick, Flow.from_state(inside), named)
    if "proxied_task" in kept:
        proxied = task["proxied_task"] = copy_json(kept["proxied_task"])
        inner = proxied.pop("kept", None)
        for name in ("error", "next_tick_at", "deadline_at", "initialised"):
            proxied.pop(name, None)
        proxied["status"] = "PENDING"
        proxied["attempts_before"] = proxied.get("attempt", 0)
        if inner:
            _go_on_inside(tick, proxied, inner, inside, named)


def _retry_inside(tick: OpenTick, sub_flow: Flow, named: Sequence[str]) -> None:
    if sub_flow.status in _RETRIED_INSIDE:
        retry = Control(kind=ControlKind.RETRY, by="the flow that it is inside of", tasks=tuple(named))
        _apply(tick.engine.begin_tick(sub_flow), retry)


def _retried_flow_dict(tick: OpenTick, flow_dict: Mapping[str, Any]) -> dict[str, Any]:
    sub_flow = Flow.from_flow_dict(flow_dict)
    _retry_inside(tick, sub_flow, ())
    return sub_flow.to_flow_dict()


# --- tasks -----------------------------------------------------------------------------------


def _skip(tick: OpenTick, control: Control, nodes: list[TaskNode]) -> None:
    tasks = tick.state.tasks
    for node in nodes:
        tick.stop_task(node)
        task = node.task
        _forget_what_was_begun(task)
        task["skipped_by"] = {"by": control.by, "reason": control.reason}
        task["finished_at"] = tick.at
        if node.status != "SKIPPED":  # one of the others may have left it without a way to start
            tasks.change_from_outside(node, "SKIPPED")
    for node in _find_skipped_for(nodes):
        tasks.change_from_outside(node, "PENDING")  # it is decided anew whether it starts


def _find_skipped_for(nodes: Iterable[TaskNode]) -> list[TaskNode]:
    """Return the tasks that were skipped because these had failed, in the order of edges."""
    keys, stack = {node.key for node in nodes}, list(nodes)
    found: dict[TaskNode, None] = {}
    while stack:
        for dest in stack.pop().successors:
            cause = dest.task.get("skipped_for") if dest.status == "SKIPPED" else None
            if isinstance(cause, dict) and cause.get("task") in keys and dest not in found:
                found[dest] = None
                stack.append(dest)
    return sorted(found, key=lambda node: (node.rank, node.position))


def _set(tick: OpenTick, control: Control, nodes: list[TaskNode]) -> None:
    flow = tick.flow
    if not nodes:
        flow.data = {**flow.data, **copy_json(dict(control.data or {}))}
        return
    (node,) = nodes
    task = node.task
    if control.data is not None:
        task["data"] = {**task["data"], **copy_json(dict(control.data))}
    if control.params is not None:
        holder = holder_of_params(task)
        name = "raw_task_params" if "raw_task_params" in holder else "task_params"
        holder[name] = {**(holder.get(name) or {}), **copy_json(dict(control.params))}
        _forget_what_was_begun(task)  # with the params that it had
    tick.state.tasks.touch(node)


def _forget_what_was_begun(task: Task) -> None:
    """Let another attempt of a task that is finished, or PENDING after a retry, begin from its start."""
    for name in BEGUN_WITH_PARAMS:
        task.pop(name, None)


_APPLIERS: Final[Mapping[ControlKind, Callable[[OpenTick, Control, list[TaskNode]], None]]] = {
    ControlKind.CANCEL: _cancel,
    ControlKind.PAUSE: _pause,
    ControlKind.RESUME: _resume,
    ControlKind.SKIP: _skip,
    ControlKind.SET: _set,
}
