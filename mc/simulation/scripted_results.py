"""Results of tasks that were written down before: what is left, after how long, and which attempts fail."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mc.context.json_values import copy_as_json
from mc.durations import format_time, parse_duration, parse_time
from mc.errors import McError
from mc.simulation.task_paths import RoundStep

if TYPE_CHECKING:
    from mc.flows.calls.task_call import TaskCall

__all__ = ["ScriptedResult", "ScriptedResults", "make_exception", "to_scripted_results"]

_ANY_STEP = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedResult:
    """What one attempt of a task comes to, in the place of what its handler would do.

    Attributes:
        data: laid over the task's `data`.
        duration: how long the attempt takes: seconds, or a text such as `"5m"`; none unless given.
        error: the attempt fails with it.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    duration: float | str = 0
    error: BaseException | None = None

    def play(self, task: dict[str, Any], task_ctx: TaskCall) -> None:
        """Settle the status of a task that is called, or let it wait until its time is over."""
        seconds = parse_duration(self.duration)
        if seconds:
            started_at = task.setdefault("started_at", format_time(task_ctx.now()))
            due_at = parse_time(started_at) + timedelta(seconds=seconds)
            if task_ctx.now() < due_at:
                task["status"], task["next_tick_at"] = "WAITING", format_time(due_at)
                return
        if self.error is not None:
            raise self.error.with_traceback(None)
        task["data"].update(copy_as_json(dict(self.data)))
        task["status"] = "COMPLETED"


class ScriptedResults:
    """Finds the scripted result of a task's attempt: by the task's path first, then by its type.

    A path is written `outer/inner`. `*` stands for any one step, so `spread/*` is each item of a `spread`. A
    task in a `loop` is found by `loop/task` in each round, by `loop/round_2/task` in the third.

    Args:
        tasks: path -> scripted results of the attempts; the last one stands for all that follow.
        task_types: task type -> the same.

    Attributes:
        used: what was found so far, as it is written.
    """

    __slots__ = ("_patterns", "_tasks", "_types", "used")

    def __init__(
        self,
        tasks: Mapping[str, Sequence[ScriptedResult]] | None = None,
        task_types: Mapping[str, Sequence[ScriptedResult]] | None = None,
    ) -> None:
        self._tasks: dict[tuple[str, ...], tuple[ScriptedResult, ...]] = {}
        self._patterns: list[tuple[str, ...]] = []
        self._types: dict[str, tuple[ScriptedResult, ...]] = {}
        self.used: set[str] = set()
        self.add(tasks or {}, task_types or {})

    def add(
        self,
        tasks: Mapping[str, Sequence[ScriptedResult]],
        task_types: Mapping[str, Sequence[ScriptedResult]],
    ) -> None:
        """Take in more scripted results, in the place of those for the same paths and types."""
        self._tasks |= {tuple(path.split("/")): tuple(attempts) for path, attempts in tasks.items()}
        self._types |= {name: tuple(attempts) for name, attempts in task_types.items()}
        patterns = [steps for steps in self._tasks if _ANY_STEP in steps]
        self._patterns = sorted(patterns, key=lambda steps: steps.count(_ANY_STEP))

    @property
    def task_types(self) -> Iterable[str]:
        """The task types that have scripted results."""
        return self._types.keys()

    @property
    def unused(self) -> list[str]:
        """What no task was found for, as it is written."""
        named = ["/".join(steps) for steps in self._tasks] + [f"type {name}" for name in self._types]
        return [name for name in named if name not in self.used]

    def find(self, path: tuple[str, ...], task_type: str, attempt: int) -> ScriptedResult | None:
        """Return the scripted result of an attempt, or None.

        Args:
            path: of the task, with steps for the rounds of loops.
            task_type: canonical.
            attempt: from 1.
        """
        without_rounds = tuple(step for step in path if not isinstance(step, RoundStep))
        for steps in dict.fromkeys((path, without_rounds)):
            found = self._find_exactly(steps)
            if found is not None:
                self.used.add("/".join(found))
                return _of_attempt(self._tasks[found], attempt)
        if task_type in self._types:
            self.used.add(f"type {task_type}")
            return _of_attempt(self._types[task_type], attempt)
        return None

    def _find_exactly(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        if path in self._tasks:
            return path
        for pattern in self._patterns:
            if len(pattern) == len(path) and all(
                wanted in (_ANY_STEP, step) for wanted, step in zip(pattern, path, strict=True)
            ):
                return pattern
        return None


def _of_attempt(attempts: tuple[ScriptedResult, ...], attempt: int) -> ScriptedResult:
    return attempts[min(max(attempt, 1), len(attempts)) - 1]


def to_scripted_results(value: Any) -> tuple[ScriptedResult, ...]:
    """Return the scripted results of attempts that a test writes down.

    Args:
        value: a mapping (the data that is left), an exception or its class (the attempt fails with it), an
            `ScriptedResult`, or a list of these, one for each attempt, of which the last stands for all that
            follow.

    Raises:
        McError: it is none of these, or JSON cannot hold the data.
    """
    if isinstance(value, ScriptedResult):
        return (value,)
    if isinstance(value, Mapping):
        return (ScriptedResult(data=copy_as_json(dict(value))),)
    if isinstance(value, Exception):
        return (ScriptedResult(error=value),)
    if isinstance(value, type) and issubclass(value, Exception):
        return (ScriptedResult(error=value("scripted")),)
    if isinstance(value, list | tuple) and value and not any(isinstance(one, list | tuple) for one in value):
        return tuple(result for one in value for result in to_scripted_results(one))
    raise McError(
        f"{value!r:.200} is not a scripted result. Give the data that the task leaves (a mapping), an "
        f"exception, a ScriptedResult, or a list of these, one for each attempt."
    )


def make_exception(name: str, message: str) -> Exception:
    """Return an exception whose class has that name: Python's own, or one made for the purpose.

    Args:
        name: of the class, alone or with its module.
        message: what it says.
    """
    module, _, class_name = name.rpartition(".")
    known = getattr(builtins, class_name, None) if module in ("", "builtins") else None
    base: type[Exception] = Exception
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(message)
        except TypeError:  # UnicodeDecodeError and its like want to be told more
            base = Exception if issubclass(known, BaseExceptionGroup) else known.__mro__[1]
    made: type[Exception] = type(class_name, (base,), {"__module__": module or "builtins"})
    return made(message)
