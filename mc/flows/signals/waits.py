"""Tasks of a flow that wait for signals, at any depth inside it, and how those that get one are woken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc.flows.state.task_node import Task, TaskNode

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.state.flow_state import FlowState
    from mc.flows.state.task_states import TaskStates

__all__ = ["Wait", "accepts_by", "find_waits", "free_signals_of_ended_waits", "wake_waits"]

FindFlow = Callable[[str], "Flow | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A task that waits for a signal.

    Attributes:
        task: the task; `waits_for` holds `signal`, `since`, `until` and `wait_id`.
        path: keys of the tasks from the outermost to this one.
        holders: what has to be ticked for it to be ticked, the outermost first, itself at the end: nodes of
            flows, and dicts of proxied tasks.
    """

    task: Task
    path: tuple[str, ...]
    holders: tuple[tuple[TaskStates, TaskNode] | Task, ...]


def find_waits(flow: Flow, find_flow: FindFlow | None = None) -> list[Wait]:
    """Return the waits of a flow in the order in which signals are given to them: by start, then position.

    Args:
        flow: the flow.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
    """
    found = list(_in_flow(flow.state, (), (), find_flow))
    found.sort(key=lambda wait: str(wait.task["waits_for"].get("since")))
    return found


def wake_waits(flow: Flow, at: str, find_flow: FindFlow | None = None) -> bool:
    """Make each task due for which there is a signal, and return whether there was one.

    A wait gets the oldest signal of its name whose data fit its schema. No wait gets one that an older wait
    can have.

    Args:
        flow: the outermost flow, to which the signals were sent.
        at: the present, ISO 8601.
        find_flow: see `find_waits`.
    """
    mailbox = flow.state.mailbox
    if mailbox is None:
        return False
    mailbox.is_new = False
    if not len(mailbox):
        return False
    woken = False
    for wait in find_waits(flow, find_flow):
        waits_for = wait.task["waits_for"]
        wait_id = str(waits_for.get("wait_id"))
        signal = mailbox.find(str(waits_for.get("signal")), wait_id, accepts_by(wait.task))
        if signal is not None:
            mailbox.reserve(signal, wait_id)
            _make_due(wait, at)
            woken = True
    return woken


def free_signals_of_ended_waits(flow: Flow, at: str, find_flow: FindFlow | None = None) -> None:
    """Give signals that are kept for tasks which ended otherwise to those that wait still."""
    mailbox = flow.state.mailbox
    if mailbox is None or not mailbox.reserved_waits():
        return
    alive = {str(wait.task["waits_for"].get("wait_id")) for wait in find_waits(flow, find_flow)}
    ended = mailbox.reserved_waits() - alive
    if ended:
        mailbox.free(ended)
        wake_waits(flow, at, find_flow)


def accepts_by(task: Task) -> Callable[[Any], bool]:
    """Return what tells whether the data of a signal fit the schema of a task."""
    schema = task["task_params"].get("schema")
    if schema is None:
        return lambda data: True

    def fits(data: Any) -> bool:
        from mc.spec.schema.params_schema import find_misfits  # jsonschema, for those who need it

        return not find_misfits(schema, data)

    return fits


def _in_flow(
    state: FlowState, path: tuple[str, ...], holders: tuple[Any, ...], find_flow: FindFlow | None
) -> Iterator[Wait]:
    for node in sorted(state.tasks.running, key=lambda node: node.position):
        step = (*holders, (state.tasks, node))
        yield from _in_task(node.task, node.status, state, (*path, node.key), step, find_flow)


def _in_task(
    task: Task,
    status: str,
    state: FlowState,
    path: tuple[str, ...],
    holders: tuple[Any, ...],
    find_flow: FindFlow | None,
) -> Iterator[Wait]:
    if status == "WAITING" and isinstance(task.get("waits_for"), dict):
        yield Wait(task=task, path=path, holders=holders)
        return
    proxied = task.get("proxied_task")
    if isinstance(proxied, dict):
        inner_status = proxied.get("status", "PENDING")
        yield from _in_task(
            proxied, inner_status, state, _path_inside(path, proxied), (*holders, proxied), find_flow
        )
    live = state.find_sub_flow(task) if status in ("RUNNING", "WAITING") else None
    if live is not None:
        yield from _in_flow(live, path, holders, find_flow)
    elif find_flow is not None and isinstance(task.get("data"), dict):
        child = find_flow(str(task["data"].get("flow_key")))
        if child is not None:
            yield from _in_flow(child.state, path, holders, find_flow)


def _path_inside(path: tuple[str, ...], proxied: Task) -> tuple[str, ...]:
    key = str(proxied.get("key"))
    return path if key == path[-1] else (*path, key)


def _make_due(wait: Wait, at: str) -> None:
    for holder in wait.holders:
        if isinstance(holder, tuple):
            tasks, node = holder
            if node.status == "WAITING":
                node.task["next_tick_at"] = at
                tasks.queues.push_due(node)
            tasks.touch(node)
        elif holder.get("status") == "WAITING":
            holder["next_tick_at"] = at
