"""The task type `call`: calls a function in the tick."""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar

from mc.errors import TaskHandlerError
from mc.flows.handler_registry import LateResult, import_attribute, import_module
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["CallTaskHandler", "TaskHandler"]


class CallTaskHandler(BaseTaskHandler):
    """Calls `function` with `args` and `kwargs`; leaves `result`.

    A parameter of the function named `task_ctx` is given the context. A coroutine function is awaited,
    under the async front only.
    """

    has_effects: ClassVar[bool] = True

    def tick_task(self) -> Any:
        """Call the function and complete."""
        function = self._find_function()
        args, kwargs = self._make_arguments(function)
        result = function(*args, **kwargs)
        if hasattr(result, "__await__"):
            return LateResult(result, lambda value: self.complete(result=value))
        self.complete(result=result)
        return None

    def _find_function(self) -> Callable[..., Any]:
        name: str = self.read_param("function", str)
        module_name, _, attribute = name.partition(":")
        if not module_name or not attribute:
            raise self.spec_error(f"task_params.function is {name!r:.120}; expected 'module:function'")
        registry = self.task_ctx.engine.registry
        registry.check_allowed(module_name, name)
        function = import_attribute(module_name, attribute, name)
        if not callable(function):
            raise self.spec_error(
                f"task_params.function {name!r:.120} is {type(function).__name__}; expected something to call"
            )
        self._check_origin(function, module_name, name)
        return function  # type: ignore[no-any-return]

    def _check_origin(self, function: Any, module_name: str, name: str) -> None:
        """Refuse what an allowed module has only imported: `from os import system` allows nobody to call it.

        What the module lists in `__all__` is its own to offer.
        """
        offered = getattr(import_module(module_name, name), "__all__", ())
        origin = getattr(function, "__module__", None)
        if not isinstance(function, FunctionType | BuiltinFunctionType | type) or not isinstance(origin, str):
            return
        if origin != module_name and name.partition(":")[2] not in offered:
            self.task_ctx.engine.registry.check_allowed(origin, name)

    def _make_arguments(self, function: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
        import inspect

        args, kwargs = self.read_param("args", list, []), dict(self.read_param("kwargs", dict, {}))
        connection = self._find_connection()
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):  # a builtin that does not tell
            return args, kwargs
        if "task_ctx" in signature.parameters:
            kwargs["task_ctx"] = self.task_ctx
        if connection is not None and "connection" in signature.parameters:
            kwargs["connection"] = connection
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{self.params['function']}{signature} cannot be called with the args and kwargs of task "
                f"{self.task.get('key')!r}: {error}."
            ) from error
        return args, kwargs

    def _find_connection(self) -> Any:
        if not self.read_param("transactional", bool, False):
            return None
        connection = self.task_ctx.get("mc.connection")
        if connection is None:
            raise TaskHandlerError(
                f"Task {self.task.get('key')!r} is transactional, which needs a store whose driver offers "
                f"its connection to tasks; this one offers none. Leave `transactional` out and let the "
                f"function open a connection of its own.",
                task_key=self.task.get("key"),
            )
        return connection


TaskHandler = CallTaskHandler
