"""The registry of handlers: which code advances a task of which type.

A registry is an object that an engine holds; there is no global one. Names are looked up in this
order: what the application registered, built-in types, plugins (entry points of the group
`mc.task_handlers`), then import paths below the modules that the application allowed.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mc.errors import McError, TaskHandlerError, UnknownTaskTypeError
from mc.flows.handlers.callables import CallableFinder, marked_name
from mc.flows.handlers.handler_arguments import HandlerArguments
from mc.interrupts import INTERRUPTS
from mc.spec.leave import Allowed, AllowedNames, Refusal
from mc.spec.task_types import BUILT_IN_TASK_TYPES, SPREAD_ITEM, canonical_task_type

__all__ = ["NO_HANDLER", "Handler", "HandlerRegistry", "LateResult", "adapt_handler", "task_handler"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Handler:
    """How the engine calls a handler, whatever the application gave.

    Attributes:
        call: `(task, task_ctx)`; returns None, an awaitable, or a generator of handler calls.
        has_effects: whether it acts on the world outside the flow; such a task is saved right
            after its call.
        uninterpolated_params: names of parameters whose `$ctx` references are left alone.
        cancel: `(task, task_ctx)`, called when the flow ends before the task does.
        version: noted by the tasks that begin with it; None: it has none.
        accepts: other versions whose tasks it can go on with.
        is_plain: whether it is built in and calls no code but the engine's; it shares the time of its tick.
        params: names of the task parameters that it takes; None: any.
        elsewhere: name of a parameter by which the work is done elsewhere, so that the call has no effects.

    Raises:
        TaskHandlerError: a version is no text, or empty.
    """

    __slots__ = (
        "accepts",
        "call",
        "cancel",
        "elsewhere",
        "has_effects",
        "is_plain",
        "params",
        "uninterpolated_params",
        "version",
    )

    def __init__(
        self,
        call: Callable[..., Any],
        *,
        has_effects: bool = True,
        uninterpolated_params: Iterable[str] = (),
        cancel: Callable[..., Any] | None = None,
        version: str | None = None,
        accepts: Iterable[str] = (),
        is_plain: bool = False,
        params: frozenset[str] | None = None,
        elsewhere: str | None = None,
    ) -> None:
        self.call = call
        self.elsewhere = elsewhere
        self.is_plain = is_plain
        self.params = params
        self.has_effects = has_effects
        self.uninterpolated_params = frozenset(uninterpolated_params)
        self.cancel = cancel
        self.version = version
        if isinstance(accepts, str):
            raise TaskHandlerError(f"accepts={accepts!r} is text; write a list of versions, ({accepts!r},).")
        self.accepts = frozenset(accepts)
        for each in (*self.accepts, *((version,) if version is not None else ())):
            if not isinstance(each, str) or not each:
                raise TaskHandlerError(f"{each!r} is not the version of a handler; write text, such as '2'.")


class LateResult:
    """What a handler awaits; the value is passed on when it is there.

    Args:
        awaitable: a coroutine, or something else to await.
        keep: is given the value.
    """

    __slots__ = ("_awaitable", "_keep")

    def __init__(self, awaitable: Awaitable[Any], keep: Callable[[Any], None]) -> None:
        self._awaitable = awaitable
        self._keep = keep

    def __await__(self) -> Generator[Any, None, None]:
        return self._finish().__await__()

    async def _finish(self) -> None:
        self._keep(await self._awaitable)

    def close(self) -> None:
        """Give up a coroutine that will not be awaited."""
        close = getattr(self._awaitable, "close", None)
        if close is not None:
            close()


_PLAIN = frozenset(f"mc.task_handlers.{name}_task_handler" for name in ("noop", "wait", "wire"))
# of a task that failed before its call
NO_HANDLER = Handler(lambda task, task_ctx: None, has_effects=False, is_plain=True)


def task_handler(
    task_type: str, *, has_effects: bool = True, version: str | None = None, accepts: Iterable[str] = ()
) -> Callable[[Function], Function]:
    """Mark a function as the handler of a task type.

    The function is given what it names: `task`, `task_ctx`, `flow`, `params` (all of the task's parameters),
    and under any other name the task's parameter of that name; `**kwargs` gets the rest of them. A mapping
    that it returns is laid over the task's `data`, any other value but None becomes
    `data["result"]`; the task is then COMPLETED, unless the function set it to WAITING, FAILED or SKIPPED
    (what is to be ticked again at once is a `BaseTaskHandler`). It may be `async`.
    The engine knows it when it is passed in `task_handlers`, or lives in one of `handler_modules`.

    Args:
        task_type: the name that specs use.
        has_effects: False if it touches nothing outside the flow, so that its result may be saved
            together with others.
        version: of the handler, where a later one could not go on with tasks that this one began.
        accepts: earlier versions whose tasks it can go on with.
    """

    def mark(function: Function) -> Function:
        function.task_type = task_type  # type: ignore[attr-defined]
        function.has_effects = has_effects  # type: ignore[attr-defined]
        function.version = version  # type: ignore[attr-defined]
        function.accepts = accepts  # type: ignore[attr-defined]
        return function

    return mark


def adapt_handler(handler: Any) -> Handler:
    """Return the engine's way to call a handler class, a handler object or a plain function.

    Raises:
        TaskHandlerError: it is none of these.
    """
    if isinstance(handler, Handler):
        return handler
    cancel: Callable[..., Any] | None = None
    params: frozenset[str] | None = None
    if isinstance(handler, type):
        call, cancel = _adapt_class(handler)
    elif hasattr(handler, "tick_task"):
        arguments = HandlerArguments(handler.tick_task)
        call, params = arguments.call, arguments.params
        cancel = HandlerArguments(handler.cancel).call if hasattr(handler, "cancel") else None
    elif callable(handler):
        arguments = HandlerArguments(handler)
        call, params = _adapt_function(arguments.call), arguments.params
    else:
        raise TaskHandlerError(
            f"{handler!r} cannot be a task handler. Give a BaseTaskHandler subclass, an object with "
            f"tick_task(task, task_ctx), or a function."
        )
    return Handler(
        call,
        has_effects=getattr(handler, "has_effects", True),
        uninterpolated_params=getattr(handler, "uninterpolated_params", ()),
        cancel=cancel,
        version=getattr(handler, "version", None),
        accepts=getattr(handler, "accepts", ()),
        is_plain=isinstance(handler, type) and handler.__module__ in _PLAIN,
        params=params,
        elsewhere=getattr(handler, "elsewhere", None),
    )


def _adapt_class(cls: Any) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    if not hasattr(cls, "tick_task"):
        raise TaskHandlerError(
            f"The class {cls.__qualname__} cannot be a task handler: it has no tick_task. Derive it from "
            f"mc.task_handlers.base_task_handler.BaseTaskHandler."
        )

    def call(task: Any, task_ctx: Any) -> Any:
        return cls(task, task_ctx).tick_task()

    def cancel(task: Any, task_ctx: Any) -> Any:
        return cls(task, task_ctx).cancel()

    return call, cancel if hasattr(cls, "cancel") else None


def _adapt_function(invoke: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def call(task: Any, task_ctx: Any) -> Any:
        result = invoke(task, task_ctx)
        if hasattr(result, "__await__"):
            return LateResult(result, lambda value: keep_result(task, value))
        keep_result(task, result)
        return None

    def keep_result(task: Any, result: Any) -> None:
        if isinstance(result, Mapping):
            task["data"].update(result)
        elif result is not None:
            task["data"]["result"] = result
        if task.get("status") == "RUNNING":
            task["status"] = "COMPLETED"

    return call


class HandlerRegistry:
    """Finds the handler of a task type; also tells validation which types there are.

    Args:
        task_handlers: a mapping of task type -> handler, or an iterable of handlers that carry
            their `task_type`.
        handler_modules: modules below which import paths in specs are allowed, and whose
            `@task_handler` functions are known by their names.
        allow: which commands and addresses specs may name; see `mc.spec.leave.Allowed.of`.

    Attributes:
        allowed: the same, for the handlers that run commands and send requests to ask.
    """

    def __init__(
        self,
        task_handlers: Mapping[str, Any] | Iterable[Any] | None = None,
        handler_modules: str | Iterable[str] = (),
        allow: AllowedNames = (),
    ) -> None:
        if isinstance(handler_modules, str):
            handler_modules = (handler_modules,)
        self.callables = CallableFinder(handler_modules)
        self.allowed = Allowed.of(allow)
        self.known: dict[str, Handler] = {}  # task type -> handler, what was looked up included
        self._own: set[str] = set()  # task types that the application has registered
        self._plugins: dict[str, Any] | None = None
        self._scanned = False
        self._broken: list[UnknownTaskTypeError] = []  # why modules could not be imported
        for name, handler in _name_handlers(task_handlers):
            self.register(name, handler)

    @property
    def handler_modules(self) -> tuple[str, ...]:
        """The modules that the application allowed."""
        return self.callables.modules

    @property
    def has_broken_modules(self) -> bool:
        """Whether some of them could not be imported when they were looked into."""
        return bool(self._broken)

    def register(self, task_type: str, handler: Any) -> None:
        """Make a handler known under a name, in the place of one that bears it already."""
        self.known[task_type] = adapt_handler(handler)
        self._own.add(task_type)

    def resolve(self, task_type: Any) -> Handler:
        """Return the handler of a task type.

        Raises:
            UnknownTaskTypeError: there is none, or its module cannot be imported.
            TaskTypeNotAllowedError: it is an import path outside the allowed modules.
            TaskHandlerError: what was found cannot be a handler.
        """
        if not isinstance(task_type, str):
            raise UnknownTaskTypeError(f"{task_type!r} is not a task type; a task needs a task_type.")
        handler = self.known.get(task_type)
        if handler is None:
            name = canonical_task_type(task_type)
            found = self.resolve(name) if name != task_type else adapt_handler(self._find(task_type))
            handler = self.known[task_type] = found
        return handler

    def __contains__(self, task_type: object) -> bool:
        return isinstance(task_type, str) and self.why_not(task_type) is None

    def __iter__(self) -> Iterator[str]:
        self._scan()
        names = {*BUILT_IN_TASK_TYPES, *self.known, *self._entry_points()} - {SPREAD_ITEM}
        return iter(sorted(names))

    def why_not(self, task_type: str) -> str | None:
        """Return why a task type cannot be used, or None if it can."""
        try:
            self._examine(task_type)
        except McError as error:
            return error.message
        return None

    def find_doubt(self, task_type: str) -> str | None:
        """Return what stays unclear of a task type that can be used, as far as can be told; None: nothing."""
        try:
            return self._examine(task_type)
        except McError:
            return None

    def _examine(self, task_type: str) -> str | None:
        """Return what stays unclear of a task type; only modules that the application listed are imported."""
        if task_type == SPREAD_ITEM:
            raise UnknownTaskTypeError(f"{task_type!r} is the engine's own.", task_type=task_type)
        if task_type in self.known or canonical_task_type(task_type) in BUILT_IN_TASK_TYPES:
            return None
        if (":" in task_type or "." in task_type) and task_type not in self._entry_points():
            self._scan()
            if task_type not in self.known:
                module_name, attribute = self._split(task_type)
                if not self.callables.is_at_hand(module_name):
                    return self.callables.read(module_name, attribute, task_type)
        self.resolve(task_type)
        return None

    def refuse(self, task_type: str, params: Mapping[str, Any]) -> Refusal | None:
        """Return why a task may not name what it does; None: it may, or its code is the application's."""
        return None if task_type in self._own else self.allowed.refuse(task_type, params)

    def known_params(self, task_type: str) -> frozenset[str] | None:
        """Return the names of the parameters that a type's handler takes; None: any, or it is not known."""
        handler = self.known.get(task_type)
        return None if handler is None else handler.params

    def _find(self, task_type: str) -> Any:
        if task_type in BUILT_IN_TASK_TYPES:
            return importlib.import_module(f"mc.task_handlers.{task_type}_task_handler").TaskHandler
        if task_type == SPREAD_ITEM:
            return importlib.import_module("mc.task_handlers.spread_task_handler").SpreadItemTaskHandler
        plugin = self._entry_points().get(task_type)
        if plugin is not None:
            try:
                return plugin.load()
            except BaseException as error:
                if INTERRUPTS.caused(error):
                    raise
                what = f"{type(error).__name__}: {error}".rstrip(".: ")
                raise UnknownTaskTypeError(
                    f"{task_type!r}: the plugin {plugin.value!r} cannot be loaded: {what}.",
                    task_type=task_type,
                ) from error
        self._scan()
        if task_type in self.known:
            return self.known[task_type]
        if "." not in task_type and ":" not in task_type:
            if self._broken:
                told = " ".join(error.message for error in self._broken)
                raise UnknownTaskTypeError(
                    f"There is no task type {task_type!r}, unless a module has it that is broken: {told}",
                    task_type=task_type,
                )
            raise UnknownTaskTypeError(
                f"There is no task type {task_type!r}. Register a handler under that name, or name the "
                f"module that defines it in handler_modules (command line: --handlers MODULE).",
                task_type=task_type,
            )
        return self.callables.find(*self._split(task_type), task_type)

    def _split(self, task_type: str) -> tuple[str, str]:
        """Return module and attribute of an import path."""
        module_name, _, attribute = task_type.partition(":")
        if not attribute:
            package, separator, name = module_name.rpartition(".tasks.")
            if not separator:
                raise UnknownTaskTypeError(
                    f"There is no task type {task_type!r}. An import path is written 'module:attribute', "
                    f"or 'package.tasks.name' for package.task_handlers.name_task_handler:TaskHandler.",
                    task_type=task_type,
                )
            module_name = f"{package}.task_handlers.{name}_task_handler"
            attribute = "TaskHandler"
        return module_name, attribute

    def examine_function(self, path: str) -> str | None:
        """Return what stays unclear of a function that a spec calls; see `CallableFinder.examine_function`.

        Raises:
            TaskHandlerError: it cannot be called by a spec.
        """
        return self.callables.examine_function(path)

    def _entry_points(self) -> dict[str, Any]:
        if self._plugins is None:
            from importlib.metadata import entry_points

            self._plugins = {point.name: point for point in entry_points(group="mc.task_handlers")}
        return self._plugins

    def _scan(self) -> None:
        """Import the allowed modules and register their `@task_handler` functions and classes.

        One that cannot be imported keeps nobody from those of the others.
        """
        if self._scanned:
            return
        broken: list[UnknownTaskTypeError] = []
        for module_name in self.handler_modules:
            try:
                module = self.callables.import_module(module_name, module_name)
            except UnknownTaskTypeError as error:
                broken.append(error)
                continue
            for value in list(vars(module).values()):
                name = marked_name(value)
                if name is not None and callable(value) and self._is_free(name):
                    self.register(name, value)
        self._broken, self._scanned = broken, not broken

    def _is_free(self, name: str) -> bool:
        return not (name in self.known or name in BUILT_IN_TASK_TYPES or name in self._entry_points())


def _name_handlers(task_handlers: Mapping[str, Any] | Iterable[Any] | None) -> Iterator[tuple[str, Any]]:
    if isinstance(task_handlers, Mapping):
        yield from task_handlers.items()
        return
    for handler in task_handlers or ():
        name = getattr(handler, "task_type", None)
        if not isinstance(name, str):
            raise TaskHandlerError(
                f"{handler!r} has no task_type. Decorate it with @task_handler('name'), or pass "
                f"task_handlers={{'name': handler}}."
            )
        yield name, handler
