"""Handlers that let scripted results take the place of what tasks would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mc.errors import TaskHandlerError
from mc.flows.handlers.handler_registry import Handler, HandlerRegistry
from mc.simulation.scripted_results import ScriptedResult, ScriptedResults
from mc.simulation.task_paths import TaskPaths
from mc.spec.leave import Refusal
from mc.spec.task_types import BUILT_IN_TASK_TYPES, SPREAD_ITEM, canonical_task_type

__all__ = ["ScriptedHandlers", "StandInHandlers"]

# They act on the world, if only by what they print.
EFFECTFUL_TASK_TYPES: Final = frozenset({"call", "http", "job", "log", "print", "shell"})


class ScriptedHandlers(HandlerRegistry):
    """Finds the handlers of another registry, each of which first looks for a scripted result.

    Args:
        results: what is looked for; more may be added later.
        real: where handlers are found.

    Attributes:
        paths: where the flows are whose tasks were called.
    """

    def __init__(self, results: ScriptedResults, real: HandlerRegistry) -> None:
        super().__init__()
        self.callables = real.callables
        self.allowed = real.allowed
        self.results = results
        self.paths = TaskPaths()
        self._real = real

    def resolve(self, task_type: Any) -> Handler:
        """Return the handler of a task type; one with scripted results needs none of its own."""
        handler = self.known.get(task_type) if isinstance(task_type, str) else None
        if handler is None:
            handler = self._wrap(task_type)
            self.known[task_type] = handler
        return handler

    def register(self, task_type: str, handler: Any) -> None:
        """Make a handler known under a name, in the place of one that bears it already."""
        self._real.register(task_type, handler)
        self.known.pop(task_type, None)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._real, *self.results.task_types}))

    def why_not(self, task_type: str) -> str | None:
        """Return why a task type cannot be used, or None if it can."""
        return None if self._has_result(task_type) else self._real.why_not(task_type)

    def find_doubt(self, task_type: str) -> str | None:
        """Return what stays unclear of a task type that can be used, if its handler will be called."""
        return None if self._has_result(task_type) else self._real.find_doubt(task_type)

    def refuse(self, task_type: str, params: Mapping[str, Any]) -> Refusal | None:
        """Return why a task may not name what it does, if its handler will be called."""
        return None if self._has_result(task_type) else self._real.refuse(task_type, params)

    def known_params(self, task_type: str) -> frozenset[str] | None:
        """Return the names of the parameters that a type's handler takes, if it will be called."""
        return None if self._has_result(task_type) else self._real.known_params(task_type)

    def examine_function(self, path: str) -> str | None:
        """Return what stays unclear of a function that a spec calls, if it will be called."""
        is_scripted = self._has_result("call") or self._has_result("job")
        return None if is_scripted else self._real.examine_function(path)

    def find_handler(self, task_type: Any) -> Handler | None:
        """Return what advances a task without a scripted result; None: it completes with its data.

        Raises:
            TaskHandlerError: nothing does.
        """
        return self._real.resolve(task_type)

    def stand_in(self, task: Any, task_ctx: Any) -> None:
        """Complete a task that nothing advances, with the data that it has."""
        ScriptedResult().play(task, task_ctx)

    def _has_result(self, task_type: str) -> bool:
        return canonical_task_type(task_type) in self.results.task_types

    def _wrap(self, task_type: Any) -> Handler:
        real, missing = None, None
        try:
            real = self.find_handler(task_type)
        except TaskHandlerError as error:
            if not isinstance(task_type, str) or not self._has_result(task_type):
                raise
            missing = error

        def call(task: Any, task_ctx: Any) -> Any:
            result = self._find_result(task, task_ctx)
            if result is not None:
                return result.play(task, task_ctx)
            if missing is not None:
                raise missing
            if real is not None:
                return real.call(task, task_ctx)
            return self.stand_in(task, task_ctx)

        def cancel(task: Any, task_ctx: Any) -> Any:
            if self._find_result(task, task_ctx) is None and real is not None and real.cancel is not None:
                return real.cancel(task, task_ctx)
            return None

        return Handler(
            call,
            has_effects=real is not None and real.has_effects,
            uninterpolated_params=real.uninterpolated_params if real is not None else (),
            cancel=cancel,
            version=real.version if real is not None else None,
            accepts=real.accepts if real is not None else (),
        )

    def _find_result(self, task: Any, task_ctx: Any) -> ScriptedResult | None:
        if task.get("task_type") == SPREAD_ITEM:
            return None  # the item's task, which has the same path, comes to it
        path = self.paths.of_call(task_ctx)
        task_type = canonical_task_type(str(task.get("task_type")))
        return self.results.find(path, task_type, task.get("attempt") or 1)


class StandInHandlers(ScriptedHandlers):
    """Runs the built-in types that act on nothing but the flow; all others complete with the data they have.

    No module is imported, so a name that nobody has registered is as good as any other.

    Attributes:
        stood_in: task type -> how many attempts completed so, because they had no scripted result.
    """

    def __init__(self, results: ScriptedResults) -> None:
        super().__init__(results, HandlerRegistry())
        self.stood_in: Counter[str] = Counter()

    def why_not(self, task_type: str) -> str | None:
        """Return None: every type can be simulated."""

    def examine_function(self, path: str) -> str | None:
        """Allow every function, as none is called."""

    def refuse(self, task_type: str, params: Mapping[str, Any]) -> Refusal | None:
        """Allow all commands and addresses, as none is run or asked."""

    def find_handler(self, task_type: Any) -> Handler | None:
        """Return the handler of a built-in type that acts on nothing but the flow, else None."""
        name = canonical_task_type(str(task_type))
        if name in BUILT_IN_TASK_TYPES - EFFECTFUL_TASK_TYPES or name == SPREAD_ITEM:
            return self._real.resolve(name)
        return None

    def stand_in(self, task: Any, task_ctx: Any) -> None:
        """Complete a task whose type is not run, and count it."""
        self.stood_in[canonical_task_type(str(task.get("task_type")))] += 1
        super().stand_in(task, task_ctx)
