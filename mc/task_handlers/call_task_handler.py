"""The task type `call`: calls a function in the tick, or as a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from mc.context.json_values import to_json_value
from mc.errors import NotJsonError, TaskHandlerError
from mc.flows.calls.missing_handlers import put_off_unless_allowed
from mc.flows.handlers.handler_registry import LateResult
from mc.flows.jobs.job import Outcome
from mc.task_handlers.bases.base_job_task_handler import BaseJobTaskHandler

__all__ = ["CallTaskHandler", "TaskHandler"]


_PLAIN: Final = (str, int, float, list, dict, tuple, type(None))  # looked at when the task is settled


class CallTaskHandler(BaseJobTaskHandler):
    """Calls `function` with `args` and `kwargs`; leaves `result`.

    A parameter of the function named `task_ctx` is given the context. A coroutine function is awaited,
    under asyncio only. If `transactional`, a parameter named `connection` is given the store's
    connection, in a transaction that ends with the save of the task.

    Where an `executor` is named, the same function is called outside of the tick, as a job.
    """

    has_effects: ClassVar[bool] = True
    elsewhere: ClassVar[str | None] = "executor"

    def make_work(self) -> Mapping[str, Any]:
        """Return the call."""
        if self.read_param("transactional", bool, False):
            raise self.spec_error(
                "it is transactional, which only a call in the tick can be; leave out `executor` or "
                "`transactional`"
            )
        self._find_function()
        work: dict[str, Any] = {"type": "function", "function": self.read_param("function", str)}
        work["args"], work["kwargs"] = self.read_param("args", list, []), self.read_param("kwargs", dict, {})
        return work

    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return what the function returned."""
        return {"result": outcome.result} if outcome.status == "COMPLETED" else {}

    def initial_tick(self) -> Any:
        """Call the function and complete, or start the job that does."""
        if self.read_param("executor", str, None) is not None:
            self.start_job(self.make_work())
            return None
        function = self._find_function()
        if self.read_param("transactional", bool, False):
            self._call_in_transaction(function)
            return None
        args, kwargs = self._make_arguments(function)
        result = function(*args, **kwargs)
        if hasattr(result, "__await__"):
            return LateResult(result, self._keep_result)
        self._keep_result(result)
        return None

    def _keep_result(self, result: Any) -> None:
        if not isinstance(result, _PLAIN):
            try:
                to_json_value(result, "/data/result")
            except NotJsonError as error:
                raise NotJsonError(
                    f"{self.params['function']!r} of task {self.task.get('key')!r} returned a value of type "
                    f"{type(result).__name__}, which cannot be kept as the result: {error.message} Call a "
                    f"function of your own that calls it and returns plain data, such as text or a list.",
                    **error.details,
                ) from error
        self.complete(result=result)

    def _call_in_transaction(self, function: Callable[..., Any]) -> None:
        begin = self.task_ctx.services.transaction
        if begin is None:
            raise TaskHandlerError(
                f"Task {self.task.get('key')!r} is transactional, which needs a store whose runner offers "
                f"its connection to tasks; this one offers none. Tick the flow by a FlowRunner (`houston "
                f"tick`), or leave `transactional` out and let the function open a connection of its own.",
                task_key=self.task.get("key"),
            )
        self._make_arguments(function, connection=None)  # what is wrong with them needs no transaction
        with begin(self.task_ctx) as connection:
            args, kwargs = self._make_arguments(function, connection=connection)
            result = function(*args, **kwargs)
            if hasattr(result, "__await__"):
                self._refuse_to_wait(result)
            self._keep_result(result)

    def _refuse_to_wait(self, result: Any) -> None:
        close = getattr(result, "close", None)
        if close is not None:
            close()  # or Python warns of a coroutine that nobody awaited
        raise TaskHandlerError(
            f"{self.params['function']!r} of task {self.task.get('key')!r} is a coroutine function, and the "
            f"task is transactional: the database would be locked while it waits. Make it a plain "
            f"function, or leave `transactional` out.",
            task_key=self.task.get("key"),
        )

    def _find_function(self) -> Callable[..., Any]:
        name: str = self.read_param("function", str)
        put_off_unless_allowed(name, self.task_ctx)
        function: Callable[..., Any] = self.task_ctx.engine.registry.callables.find_function(name)
        return function

    def _make_arguments(
        self, function: Callable[..., Any], **offered: Any
    ) -> tuple[list[Any], dict[str, Any]]:
        import inspect

        args, kwargs = self.read_param("args", list, []), dict(self.read_param("kwargs", dict, {}))
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):  # a builtin that does not tell
            return args, kwargs
        offered["task_ctx"] = self.task_ctx
        kwargs |= {name: value for name, value in offered.items() if name in signature.parameters}
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{self.params['function']}{signature} cannot be called with the args and kwargs of task "
                f"{self.task.get('key')!r}: {error}."
            ) from error
        return args, kwargs


TaskHandler = CallTaskHandler
