"""The base class of custom task types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from mc.context.json_values import json_type_name
from mc.durations import format_time
from mc.errors import SpecError
from mc.flows.calls.task_call import TaskCall

__all__ = ["BaseTaskHandler"]

_REQUIRED: Final = object()
_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    dict: "a mapping",
    int: "a whole number",
    list: "a list",
    str: "text",
}


class BaseTaskHandler:
    """Advances one task by one tick.

    An object is made for each tick; what must be remembered between ticks belongs into
    `self.task["data"]`, which is saved with the flow. A handler tells how far it is by
    `self.task["status"]`: RUNNING (tick me again), WAITING, COMPLETED or FAILED. What it raises fails
    the task.

    Attributes:
        has_effects: whether it acts on the world outside the flow. Then its task is saved right
            after the call; others may be saved together.
        uninterpolated_params: names of task parameters whose `$ctx` references are left alone.
        version: noted by the tasks that begin with the handler. A handler of another version goes on with
            them only if it `accepts` theirs; else their flow is BLOCKED until a runner has it.
        accepts: other versions whose tasks the handler can go on with.
        task: the task, a dict; `data` is its output, `task_params` its input.
        task_ctx: a mapping with `flow`, `engine`, `idempotency_key` (the same for each repetition of one
            attempt) and whatever the caller of the tick passed.
    """

    has_effects: ClassVar[bool] = True
    uninterpolated_params: ClassVar[frozenset[str]] = frozenset()
    version: ClassVar[str | None] = None
    accepts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, task: dict[str, Any], task_ctx: TaskCall) -> None:
        self.task = task
        self.task_ctx = task_ctx

    @property
    def params(self) -> dict[str, Any]:
        """The task's parameters, references resolved."""
        params: dict[str, Any] = self.task["task_params"]
        return params

    @property
    def data(self) -> dict[str, Any]:
        """The task's output."""
        data: dict[str, Any] = self.task["data"]
        return data

    def tick_task(self) -> Any:
        """Advance the task: `initial_tick` at the first tick of an attempt, `intermediate_tick` later.

        Returns:
            None, an awaitable (under asyncio), or a generator of handler calls.
        """
        if "initialised" in self.task:
            return self.intermediate_tick()
        return self.initial_tick()

    def initial_tick(self) -> Any:
        """Begin; a task that is done at once sets COMPLETED here."""
        raise TypeError(f"{type(self).__name__} must define initial_tick.")

    def intermediate_tick(self) -> Any:
        """Go on with a task that was RUNNING or WAITING after its last tick."""
        raise TypeError(
            f"{type(self).__name__} leaves tasks unfinished but does not define intermediate_tick."
        )

    def cancel(self) -> None:
        """Stop what was started elsewhere, because the flow ended before the task."""

    def complete(self, **data: Any) -> None:
        """Set COMPLETED.

        Args:
            **data: laid over the task's data.
        """
        self.task["data"].update(data)
        self.task["status"] = "COMPLETED"

    def wait_until(self, due_at: datetime | None) -> None:
        """Set WAITING until a time (aware), or, with None, until an event from outside."""
        self.task["status"] = "WAITING"
        if due_at is None:
            self.task.pop("next_tick_at", None)
        else:
            self.task["next_tick_at"] = format_time(due_at)

    def read_param(self, name: str, kind: type = object, default: Any = _REQUIRED) -> Any:
        """Return one of the task's parameters, checked.

        Args:
            name: the parameter.
            kind: what it must be: `str`, `bool`, `int`, `list`, `dict`, or `object` for any JSON value.
            default: what is returned where it is missing or null; without it, it must be there.

        Raises:
            SpecError: it is missing or of another type.
        """
        params = self.task["task_params"]
        if not isinstance(params, dict):
            raise self.spec_error(f"task_params is {json_type_name(params)}; expected a mapping")
        value = params.get(name)
        if value is None and default is not _REQUIRED:
            return default
        expected = _TYPE_NAMES.get(kind, "any JSON value")
        if name not in params:
            raise self.spec_error(f"task_params.{name} is missing; expected {expected}")
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)  # 1e3 is a whole number to JSON
        is_bool_for_number = kind is int and isinstance(value, bool)
        if not isinstance(value, kind) or is_bool_for_number:
            raise self.spec_error(f"task_params.{name} is {json_type_name(value)}; expected {expected}")
        return value

    def spec_error(self, problem: str) -> SpecError:
        """Return the error to raise where the task's spec is wrong; it names the task and its type."""
        return SpecError(f"Task {self.task.get('key')!r} (type {self.task.get('task_type')!r}): {problem}.")
