"""A proxied task, ticked in the place of another one, by its own `cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from mc.context.conditions import evaluate_condition
from mc.context.json_values import copy_as_json
from mc.durations import format_time, parse_duration, parse_time
from mc.flows.calls.attempts import note_failed_attempt
from mc.flows.calls.failure import describe_exception
from mc.flows.calls.lone_call import prepare_task_call
from mc.flows.calls.missing_handlers import find_missing_handler, note_if_missing
from mc.flows.calls.retry import next_attempt_at
from mc.flows.calls.task_call import Calls, TaskCall
from mc.flows.resources.grants import may_call_proxied
from mc.flows.services import SERVICES, graph_task_key
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.base_sub_flow_task_handler import drop_sub_flow

__all__ = ["cancel_proxied_task", "due_time", "new_proxied_task", "tick_proxied_task"]


def new_proxied_task(handler: BaseTaskHandler, task_spec: Any) -> dict[str, Any]:
    """Return a task dict, not started, made from a task spec, which is copied.

    Args:
        handler: the handler of the outer task, whose key it bears where it has none.
        task_spec: the spec.

    Raises:
        SpecError: it is not a task spec.
        NotJsonError: JSON cannot hold it.
    """
    if not isinstance(task_spec, Mapping) or not isinstance(task_spec.get("task_type"), str):
        raise handler.spec_error("its proxied task must be a mapping with a task_type")
    task: dict[str, Any] = copy_as_json(dict(task_spec))
    for name in ("precursors", "successors"):
        task.pop(name, None)
    task["key"] = task.get("key") or handler.task.get("key")
    task["task_params"] = task.get("task_params") or {}
    task["data"] = task.get("data") or {}
    return {**task, "status": "PENDING", "attempt": 0}


def tick_proxied_task(task: dict[str, Any], task_ctx: TaskCall) -> Calls:
    """Tick a proxied task once, if it is due; start it, time it out, or plan another attempt.

    Args:
        task: the proxied task.
        task_ctx: the call of the outer task.
    """
    now = format_time(task_ctx.now())
    is_late = bool(task.get("deadline_at")) and task["deadline_at"] <= now
    if (task.get("next_tick_at") or "") > now and not is_late:
        return
    if note_if_missing(task, task_ctx):
        return
    task.pop("next_tick_at", None)
    if task["status"] == "PENDING":
        if not _start(task, task_ctx):
            return
    elif not is_late and not may_call_proxied(task, task_ctx, task_ctx.now()):
        task["status"] = "WAITING"
        return
    if is_late:
        cancel_proxied_task(task, task_ctx)
        limit = task["cfg"]["timeout"]
        error = TimeoutError(f"Task {task['key']!r} ran for longer than its cfg.timeout ({limit}).")
        task["error"] = describe_exception(error, now, task_ctx.engine.max_msg_len)
        task["status"] = "FAILED"
    else:
        _set_deadline(task, task_ctx)
        raw_params = task["task_params"]
        call = _make_call(task, task_ctx)
        if call is not None:
            yield call
            yield None
            if call.has_effects:
                task_ctx.has_effects = True
        if task["task_params"] is not raw_params:
            task["raw_task_params"] = raw_params
    if task["status"] == "FAILED":
        drop_sub_flow(task_ctx, task)
        _try_again(task, task_ctx)


def cancel_proxied_task(task: dict[str, Any], task_ctx: TaskCall) -> None:
    """Let the handler of a proxied task that was started stop what it started elsewhere."""
    if task["status"] not in ("RUNNING", "WAITING"):
        return
    if find_missing_handler(task_ctx.engine, task) is not None:
        task["status"] = "CANCELLED"  # a handler that went away cannot have anything to stop
        return
    call = _make_call(task, task_ctx)
    if call is not None and call.handler.cancel is not None:
        call.handler.cancel(task, call)
    task["status"] = "CANCELLED"


def due_time(task: Mapping[str, Any]) -> datetime | None:
    """Return when an unfinished proxied task can do something next; None: no time is known."""
    times = [task[name] for name in ("next_tick_at", "deadline_at") if task.get(name)]
    return parse_time(min(times)) if times else None


def _make_call(task: dict[str, Any], task_ctx: TaskCall) -> TaskCall | None:
    key = task_ctx.get("idempotency_key")  # made when it is asked for: before the call copies the context
    services = task_ctx.services
    override = services.overrides.get(task.get("task_type", ""))
    call = prepare_task_call(task_ctx.engine, task, task_ctx, override)
    if call is not None:
        nesting = replace(services.nesting, in_place_of=graph_task_key(task_ctx))
        call[SERVICES] = replace(services, nesting=nesting)
        if key is not None and task["attempt"] > 1:
            call["idempotency_key"] = f"{key}/{task['attempt']}"
    return call


def _start(task: dict[str, Any], task_ctx: TaskCall) -> bool:
    """Begin an attempt; False if the task's own condition says that it is not wanted."""
    cfg = task.get("cfg") or {}
    if cfg.get("when") is not None and not evaluate_condition(cfg["when"], task_ctx.path_ctx()):
        task["status"] = "SKIPPED"
        return False
    if not may_call_proxied(task, task_ctx, task_ctx.now()):
        return False
    now = task_ctx.now()
    task["attempt"] += 1
    task["started_at"] = format_time(now)
    task_ctx.report.progressed = True
    return True


def _set_deadline(task: dict[str, Any], task_ctx: TaskCall) -> None:
    """Note when the time of an attempt is up, if it is not known: it begins, or its call was put off."""
    limit = (task.get("cfg") or {}).get("timeout")
    if limit is not None and "deadline_at" not in task:
        task["deadline_at"] = format_time(task_ctx.now() + timedelta(seconds=parse_duration(limit)))


def _try_again(task: dict[str, Any], task_ctx: TaskCall) -> None:
    """Make a FAILED task PENDING again where its `cfg.retry` allows another attempt."""
    again, at = next_attempt_at(task_ctx.get("idempotency_key", ""), task, task["error"], task_ctx.now())
    if not again:
        return
    note_failed_attempt(task, task.pop("error"), format_time(task_ctx.now()))
    for name in (
        "deadline_at",
        "finished_at",
        "handler_version",
        "initialised",
        "kept",
        "proxied_task",
        "resource_claim",
        "waits_for",
    ):
        task.pop(name, None)
    if "raw_task_params" in task:
        task["task_params"] = task.pop("raw_task_params")
    task["status"] = "PENDING"
    if at:
        task["next_tick_at"] = at
    else:
        task_ctx.report.retried_at_once = True
    task_ctx.report.progressed = True
