"""Tasks whose handler the process at hand lacks: found by a tick, kept by the flow until a runner has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from mc.durations import format_time
from mc.errors import (
    HandlerVersionError,
    McError,
    NotAllowedError,
    TaskHandlerError,
    TaskTypeNotAllowedError,
    UnknownTaskTypeError,
)
from mc.flows.calls.task_call import CallPutOffError
from mc.flows.handlers.callables import split_path
from mc.flows.resources.requests import ask_anew
from mc.flows.services import graph_task_key
from mc.spec.task_types import canonical_task_type
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.calls.task_call import TaskCall
    from mc.flows.flow import Flow
    from mc.flows.handlers.handler_registry import Handler
    from mc.flows.services import EngineServices
    from mc.flows.state.task_node import Task

__all__ = [
    "MissingHandlers",
    "block_for",
    "carry_on",
    "find_missing_handler",
    "is_missing",
    "note_if_missing",
    "put_off_unless_allowed",
    "put_off_unless_leave",
    "settle_version",
]

_SHOWN: Final = 5


@dataclass(slots=True, kw_only=True)
class _Missing:
    """One handler that is missing, and the first task that needs it."""

    path: str  # keys of the tasks from the outermost to the one that needs it
    task_type: str
    version: str | None  # with which the task has begun; None: any will do
    error: McError
    function: str | None = None  # that a `call` names, in a module that this process may not or cannot import
    tasks: int = 1  # that need it


@dataclass(slots=True)
class MissingHandlers:
    """The `MissingHandlerService` of a runner, for the tasks of one tick."""

    found: dict[tuple[str, str | None], _Missing] = field(default_factory=dict)

    def note(
        self,
        error: McError,
        task: Task,
        ctx: Mapping[str, Any],
        *outer: str,
        function: str | None = None,
    ) -> None:
        """Note a task that is left as it is."""
        task_type, version = str(task.get("task_type")), task.get("handler_version")
        known = self.found.get((task_type, function or version))
        if known is not None:
            known.tasks += 1
            return
        path = _path_of(str(task.get("key")), outer, ctx)
        self.found[task_type, function or version] = _Missing(
            path=path, task_type=task_type, version=version, error=error, function=function
        )

    @property
    def first_error(self) -> McError:
        """Why the first of the tasks cannot be called."""
        return next(iter(self.found.values())).error

    def describe(self) -> str:
        """Return why the flow is BLOCKED, for people."""
        found = list(self.found.values())
        parts = [_describe(missing) for missing in found[:_SHOWN]]
        if len(found) > _SHOWN:
            parts.append(f"{len(found) - _SHOWN} more handlers are missing")
        return (
            f"No runner that came by has what these tasks need: {'; '.join(parts)} The flow carries on by "
            f"itself as soon as a runner that has it comes by."
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return what is missing as JSON-safe data, for `Flow.missing_handlers`."""
        return [
            {
                "task": missing.path,
                "task_type": missing.task_type,
                "version": missing.version,
                **({"function": missing.function} if missing.function is not None else {}),
            }
            for missing in self.found.values()
        ]


def note_if_missing(task: Task, task_ctx: TaskCall) -> bool:
    """Note a task that stands inside another one and cannot be called here; False if it can be.

    Args:
        task: the inner task, not started, or begun earlier.
        task_ctx: the call of the outer task.
    """
    missing = task_ctx.services.missing_handlers
    if missing is None or task.get("task_type") in task_ctx.services.overrides:
        return False
    error = find_missing_handler(task_ctx.engine, task)
    if error is None:
        return False
    missing.note(error, task, task_ctx, graph_task_key(task_ctx), str(task_ctx.task.get("key")))
    return True


def put_off_unless_allowed(function: str, task_ctx: TaskCall) -> None:
    """Put off a `call` of a function whose module this process may not or cannot import; another one may.

    Raises:
        CallPutOffError: the task is left as it is, and noted for the runner.
        TaskHandlerError: there is no runner that would keep the flow for another one.
    """
    error = _why_not_at_hand(function, task_ctx.engine)
    if error is not None:
        _put_off(error, task_ctx, function)


def put_off_unless_leave(task_type: str, task_ctx: TaskCall) -> None:
    """Put off a task of a type for which nobody gave leave in this process; in another one somebody may.

    Raises:
        CallPutOffError: the task is left as it is, and noted for the runner.
        NotAllowedError: there is no runner that would keep the flow for another one.
    """
    error = _why_no_leave(task_type, task_ctx.engine)
    if error is not None:
        _put_off(error, task_ctx)


def _put_off(error: McError, task_ctx: TaskCall, function: str | None = None) -> None:
    missing = task_ctx.services.missing_handlers
    if missing is None:
        raise error
    task = task_ctx.task
    missing.note(error, task, task_ctx, graph_task_key(task_ctx), function=function)
    task.pop("deadline_at", None)  # its time begins when it is called
    raise CallPutOffError


def _why_no_leave(task_type: str, engine: EngineServices) -> McError | None:
    refusal = engine.registry.allowed.refuse(task_type)
    return None if refusal is None else NotAllowedError(refusal.message, name=task_type)


def _why_not_at_hand(function: str, engine: EngineServices) -> McError | None:
    module_name, _ = split_path(function)
    try:
        engine.registry.callables.check_allowed(module_name, function)
        engine.registry.callables.import_module(module_name, function)
    except (TaskTypeNotAllowedError, UnknownTaskTypeError) as error:
        return error
    return None


def is_missing(error: BaseException) -> TypeGuard[TaskHandlerError]:
    """Tell whether a task cannot be called for want of a handler that another process may have."""
    return isinstance(error, UnknownTaskTypeError | TaskTypeNotAllowedError | HandlerVersionError)


def find_missing_handler(engine: EngineServices, task: Task) -> McError | None:
    """Return why a task cannot be called in this process; None if it can, or fails for another reason."""
    task_type = task.get("task_type")
    if not isinstance(task_type, str):
        return None  # no process has a handler for what is no name
    try:
        check_version(task, engine.resolve_handler(task_type))
    except McError as error:
        return error if is_missing(error) else None
    return None


def settle_version(task: Task, handler: Handler) -> None:
    """Note the version of the handler with which a task begins; later, check that it is still the same.

    Raises:
        HandlerVersionError: the task has begun with another version, which the handler does not accept.
    """
    if "handler_version" in task:
        check_version(task, handler)
    elif handler.version is not None and "initialised" not in task:
        task["handler_version"] = handler.version


def check_version(task: Task, handler: Handler) -> None:
    """Raise `HandlerVersionError` unless a handler may go on with a task."""
    version = task.get("handler_version")
    if version is None or _accepts(handler, version):
        return
    has = f"version {handler.version!r} of it" if handler.version is not None else "one without a version"
    also = ", ".join(map(repr, sorted(handler.accepts)))
    raise HandlerVersionError(
        f"Task {task.get('key')!r} has begun with version {version!r} of the handler of "
        f"{task.get('task_type')!r}, and here is {has}{f', which accepts {also} too' if also else ''}. Let a "
        f"runner run that has version {version!r}, or write accepts=({version!r},) at the handler if it can "
        f"go on with such a task.",
        task_key=task.get("key"),
        task_type=task.get("task_type"),
        version=version,
    )


def block_for(flow: Flow, missing: MissingHandlers, at: str) -> None:
    """Make a flow BLOCKED, at a time, until a runner comes by that has one of the handlers."""
    flow.blocked_reason = missing.describe()
    flow.missing_handlers = missing.to_dicts()
    flow.change_status("BLOCKED")
    flow.stopped_at = at


def carry_on(flow: Flow, engine: EngineServices) -> bool:
    """Make a flow RUNNING that is BLOCKED for missing handlers, if the engine has one of them.

    Another one that is missing still will block it again, but then the flow has come further.

    Returns:
        False if it stays as it is.
    """
    if flow.status != "BLOCKED" or not flow.missing_handlers:
        return False
    if not any(_is_there(entry, flow, engine) for entry in flow.missing_handlers):
        return False
    flow.change_status("RUNNING")
    ask_anew(flow, format_time(engine.clock.now()), engine.find_sub_flow)
    return True


def _is_there(entry: Mapping[str, Any], flow: Flow, engine: EngineServices) -> bool:
    """Tell whether a task can be called now, or need not be called any more."""
    path = str(entry.get("task"))
    key = path if path in flow.state.tasks.nodes else path.partition("/")[0]
    if key in flow.state.tasks.nodes and flow.state.tasks.nodes[key].status in FINISHED_TASK_STATUSES:
        return True  # a person skipped it
    if isinstance(entry.get("function"), str):
        return _why_not_at_hand(entry["function"], engine) is None
    wanted = {"task_type": entry.get("task_type"), "handler_version": entry.get("version")}
    no_leave = _why_no_leave(canonical_task_type(str(entry.get("task_type"))), engine)
    return no_leave is None and find_missing_handler(engine, wanted) is None


def _accepts(handler: Handler, version: str) -> bool:
    return handler.version == version or version in handler.accepts


def _describe(missing: _Missing) -> str:
    version = f", version {missing.version!r}" if missing.version is not None else ""
    others = f" (and {missing.tasks - 1} more)" if missing.tasks > 1 else ""
    needs = f"task {missing.path!r}{others} of the type {missing.task_type!r}{version}"
    return f"{needs}: {missing.error.message}"


def _path_of(key: str, outer: tuple[str, ...], ctx: Mapping[str, Any]) -> str:
    steps = [key, *reversed(outer)]
    parent = ctx.get("parent")
    while parent:
        steps += [str(parent["task"].get("key")), graph_task_key(parent)]
        parent = parent.get("parent")
    path: list[str] = []
    for step in reversed(steps):
        if not path or path[-1] != step:  # a proxied task may bear the key of the outer one
            path.append(step)
    return "/".join(path)
