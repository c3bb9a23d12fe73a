"""Grants: tasks that need named resources start, and go on, only while they hold them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc.context.conditions import evaluate_condition
from mc.durations import format_time
from mc.errors import ResourceError
from mc.flows.handlers.handler_registry import NO_HANDLER
from mc.flows.resource import read_needs, request_id
from mc.flows.services import SERVICES, Answer, ResourceRequest, ResourceService
from mc.flows.state.starting import ReadyEntry
from mc.flows.state.task_node import Task, TaskNode
from mc.flows.state.task_states import TaskStates

if TYPE_CHECKING:
    from datetime import datetime

    from mc.flows.flow import Flow
    from mc.flows.services import OpenTick, Services

__all__ = ["grant_resources", "may_call", "may_call_proxied", "refuse_inside_holder"]


@dataclass(slots=True)
class _Asker:
    """A task of the graph that is to be granted what it needs."""

    node: TaskNode
    request: ResourceRequest
    entry: ReadyEntry | None  # None: it runs or waits already


def grant_resources(tick: OpenTick, ready: list[ReadyEntry]) -> list[ReadyEntry]:
    """Return those of the ready tasks that may start now, in order.

    The others wait, named in their `resource_claim`, or are left ready where `max_running_tasks` does not let
    them start anyway. Tasks that run and have lost what they held wait, too, until they have it again.

    Args:
        tick: of the flow.
        ready: the ready tasks; the caller starts what is returned.
    """
    flow = tick.flow
    service, outermost = tick.services.resources, _outermost(tick)
    askers = list(_without_their_share(tick, service, outermost))
    limit = flow.cfg.get("max_running_tasks")
    tasks = flow.state.tasks
    room = math.inf if limit is None else limit - len(tasks.running)
    startable: list[ReadyEntry] = []
    seen: set[TaskNode] = set()
    for entry in sorted(ready):
        node = entry[2]
        needs = read_needs(node.task.get("cfg"))
        if node in seen:
            continue
        seen.add(node)
        tasks.queues.end_wait(node)
        if not needs or not _is_to_start(tick, node):
            startable.append(entry)
        elif room <= 0:
            tasks.queues.push_ready(node)
            continue
        else:
            askers.append(_Asker(node, _request(tick, node, needs), entry))
        room -= 1
    if askers:
        answers = service.acquire(outermost, [asker.request for asker in askers])
        for asker, answer in zip(askers, answers, strict=True):
            _note(tasks, asker, answer, tick.at)
            if answer.granted and asker.entry is not None:
                startable.append(asker.entry)
    return sorted(startable)


def may_call(tick: OpenTick, node: TaskNode) -> bool:
    """Tell whether the handler of a task may be called: it needs nothing, or it has what it needs."""
    task = node.task
    if not read_needs(task.get("cfg")) or _is_late(task, tick.at):
        return True  # it is called no more, but timed out
    return tick.services.resources.holds(_outermost(tick), _id_of(tick.flow, node))


def may_call_proxied(task: Task, task_ctx: Mapping[str, Any], now: datetime) -> bool:
    """Ask for what a proxied task needs; False: it has to wait, and says so in its `resource_claim`.

    Raises:
        ResourceError: its `cfg.resources` is malformed, or an outer task holds resources already.
    """
    needs = read_needs(task.get("cfg"))
    if not needs:
        return True
    flow: Flow = task_ctx["flow"]
    outer: Task = task_ctx["task"]
    services: Services = task_ctx[SERVICES]
    refuse_inside_holder(task, outer, task_ctx)
    service, outermost = services.resources, services.nesting.outermost_flow or flow
    begun = task["status"] != "PENDING"
    noted = task.get("resource_claim") or {}
    key = task_ctx.get("idempotency_key") or f"{flow.key}/{outer.get('key')}"
    attempt = max(task["attempt"] + (not begun), 1)
    id_ = request_id(key, task["key"], attempt)
    if begun and service.holds(outermost, id_):
        return True
    at = format_time(now)
    request = ResourceRequest(
        id=id_,
        task_key=services.nesting.outermost_task_key or str(outer.get("key")),
        attempt=attempt,
        needs=needs,
        priority=(task.get("cfg") or {}).get("priority", 0),
        since=noted.get("since") or at,
        begun=begun,
    )
    (answer,) = service.acquire(outermost, [request])
    task["resource_claim"] = _entry(request, answer, at)
    if not answer.granted and answer.at:
        task["next_tick_at"] = answer.at
    return answer.granted


def refuse_inside_holder(task: Mapping[str, Any], outer: Mapping[str, Any], ctx: Mapping[str, Any]) -> None:
    """Raise `ResourceError` where a task needs resources and a task around it holds some.

    Whoever holds something and asks for more may wait for ever for another that does the same.
    """
    holder = outer.get("key") if read_needs(outer.get("cfg")) else _holder_around(ctx)
    if holder is not None:
        raise ResourceError(
            f"Task {task.get('key')!r} asks for resources inside task {holder!r}, which holds some. Write "
            f"cfg.resources either on the outer task, with all that is needed, or on the inner ones.",
            task_key=task.get("key"),
        )


def _holder_around(ctx: Mapping[str, Any]) -> Any:
    """Return the key of a task around the flow that holds resources, or None."""
    services: Services = ctx[SERVICES]
    if services.nesting.resource_holder is not None:
        return services.nesting.resource_holder
    if not services.resources.are_held_around():
        return None
    around = ctx["parent"]
    while isinstance(around, Mapping):
        task = around.get("task")
        while isinstance(task, Mapping):
            if read_needs(task.get("cfg")):
                return task.get("key")
            task = task.get("proxied_task")
        around = around.get("parent")
    return None


def _outermost(tick: OpenTick) -> Flow:
    return tick.services.nesting.outermost_flow or tick.flow


def _without_their_share(tick: OpenTick, service: ResourceService, outermost: Flow) -> Iterator[_Asker]:
    """Yield tasks that run or wait and hold no more what they need: their flow was paused, or is a copy."""
    flow = tick.flow
    for node in sorted(flow.state.tasks.running, key=lambda node: node.position):
        needs = read_needs(node.task.get("cfg"))
        if needs and not service.holds(outermost, _id_of(flow, node)) and not _is_late(node.task, tick.at):
            yield _Asker(node, _request(tick, node, needs), None)


def _is_to_start(tick: OpenTick, node: TaskNode) -> bool:
    """Tell whether a task would run if it were started, and not be skipped or fail at once."""
    task = node.task
    if task["status"] != "PENDING" or node.status != "PENDING" or node.unmet:
        return False
    try:
        if _holder_around(tick.ctx) is not None:
            return False
        when = task["cfg"].get("when")
        return when is None or evaluate_condition(when, tick.new_call(node, NO_HANDLER).path_ctx())
    except Exception:  # noqa: BLE001 - raised again when it is started, and recorded in the task
        return False


def _request(tick: OpenTick, node: TaskNode, needs: Mapping[str, int]) -> ResourceRequest:
    task, begun = node.task, node.status != "PENDING"
    return ResourceRequest(
        id=_id_of(tick.flow, node),
        task_key=tick.services.nesting.outermost_task_key or node.key,
        attempt=_attempt_of(node),
        needs=needs,
        priority=node.priority,
        since=(task.get("resource_claim") or {}).get("since") or tick.at,
        begun=begun,
    )


def _attempt_of(node: TaskNode) -> int:
    attempt: int = node.task["attempt"]
    return attempt + 1 if node.status == "PENDING" else max(attempt, 1)


def _id_of(flow: Flow, node: TaskNode) -> str:
    return request_id(flow.key, node.key, _attempt_of(node))


def _note(tasks: TaskStates, asker: _Asker, answer: Answer, at: str) -> None:
    node, task = asker.node, asker.node.task
    was_running = bool((task.get("resource_claim") or {}).get("was_running"))
    noted = task["resource_claim"] = _entry(asker.request, answer, at)
    tasks.touch(node)
    if asker.entry is not None:
        if not answer.granted:
            _set_time(task, answer.at)
            tasks.queues.await_resources(node)
            if answer.at:
                tasks.queues.push_ready(node)  # to the due ones
    elif answer.granted:
        if was_running and node.status == "WAITING":
            task.pop("next_tick_at", None)
            tasks.change(node, "RUNNING")
    elif node.status == "RUNNING" or was_running:
        noted["was_running"] = True
        _set_time(task, answer.at)
        if node.status == "RUNNING":
            tasks.change(node, "WAITING")
        tasks.queues.push_due(node)


def _entry(request: ResourceRequest, answer: Answer, at: str) -> dict[str, Any]:
    noted: dict[str, Any] = {"id": request.id, "needs": dict(request.needs), "since": request.since}
    if answer.granted:
        return {**noted, "granted_at": at}
    return {**noted, "lacking": list(answer.lacking), "until": answer.at}


def _set_time(task: Task, at: str | None) -> None:
    if at:
        task["next_tick_at"] = at
    else:
        task.pop("next_tick_at", None)


def _is_late(task: Mapping[str, Any], at: str) -> bool:
    return bool(task.get("deadline_at")) and task["deadline_at"] <= at
