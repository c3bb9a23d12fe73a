"""The arguments of functions that are task handlers: a function is given what it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mc.context.paths import nearest_name
from mc.errors import TaskHandlerError

if TYPE_CHECKING:
    from inspect import Signature

__all__ = ["HandlerArguments"]

_CONTEXT_NAMES: Final = frozenset({"task", "task_ctx", "flow", "params"})


class HandlerArguments:
    """What a function takes of a task: the context by its names, every other name is a task parameter.

    Args:
        function: the handler.

    Attributes:
        params: names of the task parameters that it takes; None: it takes any, or looks at none.

    Raises:
        TaskHandlerError: it has a parameter that can never be given.
    """

    __slots__ = ("_context", "_function", "_own", "_positional", "_required", "_takes_rest", "params")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._positional: list[str] = []  # of the context, in order
        self._context: list[str] = []
        self._own: list[str] = []
        self._required: list[str] = []
        self._takes_rest = False
        signature = _signature_of(function)
        for at, parameter in enumerate(signature.parameters.values()):
            name, is_needed = parameter.name, parameter.default is parameter.empty
            if parameter.kind is parameter.VAR_KEYWORD:
                self._takes_rest = True
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                if name in _CONTEXT_NAMES and len(self._positional) == at:
                    self._positional.append(name)
                elif is_needed:
                    raise _positional_error(function, signature, name)
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                (self._context if name in _CONTEXT_NAMES else self._own).append(name)
                if is_needed and name not in _CONTEXT_NAMES:
                    self._required.append(name)
        looks_at_all = self._takes_rest or {"task", "params"} & {*self._context, *self._positional}
        self.params = frozenset(self._own) if self._own and not looks_at_all else None

    def call(self, task: Any, task_ctx: Any) -> Any:
        """Call the function for a task.

        Raises:
            TypeError: the task lacks a parameter that the function needs, or has one that it does not take.
        """
        given = {name: _read(name, task, task_ctx) for name in self._context}
        if self._own or self._takes_rest:
            params = task.get("task_params")
            if not isinstance(params, Mapping):
                params = {}
            for name in self._own:
                if name in params:
                    given[name] = params[name]
            self._check(task, params)
            if self._takes_rest:
                taken = {*self._context, *self._positional}
                given.update((name, value) for name, value in params.items() if name not in taken)
        return self._function(*[_read(name, task, task_ctx) for name in self._positional], **given)

    def _check(self, task: Any, params: Mapping[str, Any]) -> None:
        missing = [name for name in self._required if name not in params]
        unknown = [] if self.params is None else [name for name in params if name not in self.params]
        if not missing and not unknown:
            return
        key, task_type = task.get("key"), task.get("task_type")
        says = f"Task {key!r} (type {task_type!r}): {getattr(self._function, '__qualname__', self._function)}"
        if unknown:
            near = nearest_name(unknown[0], self._own)
            hint = f" Did you mean {near!r}?" if near else ""
            raise TypeError(
                f"{says} takes no parameter {unknown[0]!r}; it takes {', '.join(map(repr, self._own))}.{hint}"
            )
        has = ", ".join(map(repr, params)) or "none"
        raise TypeError(f"{says} needs the parameter {missing[0]!r}, which task_params lacks; it has {has}.")


def _signature_of(function: Callable[..., Any]) -> Signature:
    import inspect

    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise TaskHandlerError(
            f"The handler {function!r} does not tell its parameters. Wrap it in a function that names them."
        ) from error


def _positional_error(function: Callable[..., Any], signature: Signature, name: str) -> TaskHandlerError:
    shown = getattr(function, "__qualname__", None) or repr(function)
    return TaskHandlerError(
        f"The handler {shown}{signature} takes {name!r} by position only, and handlers are given their "
        f"arguments by name. Take the `/` away, or wrap it: def handle({name})."
    )


def _read(name: str, task: Any, task_ctx: Any) -> Any:
    if name == "task":
        return task
    if name == "task_ctx":
        return task_ctx
    return task_ctx.get("flow") if name == "flow" else task.get("task_params")
