"""The fixture `mc_scripted`: scripted results in the place of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc.simulation.scripted_results import ScriptedResult, ScriptedResults, to_scripted_results
from mc.spec.task_types import canonical_task_type

__all__ = ["ScriptedResult", "Scripting"]


class Scripting:
    """Lets scripted results take the place of tasks.

    Args:
        results: where they are put.
    """

    def __init__(self, results: ScriptedResults) -> None:
        self._results = results

    def __call__(
        self,
        results: Mapping[str, Any] | None = None,
        /,
        *,
        tasks: Mapping[str, Any] | None = None,
        task_types: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in scripted results, in the place of those for the same tasks and types.

        A scripted result is a mapping (the data that the task leaves), an exception or its class (the task
        fails with it), a `ScriptedResult` (with a duration), or a list of these, one for each attempt; the
        last stands for all that follow.

        Args:
            results: name -> scripted result; a name with `/` or `*` is the path of a task, any other may be
                a task's key or a task type.
            tasks: path of a task -> scripted result: `outer/inner`, `spread/*`.
            task_types: task type -> scripted result.

        Raises:
            McError: what is given is no scripted result.
        """
        both = results or {}
        types = {name: value for name, value in both.items() if "/" not in name and "*" not in name}
        self._results.add(
            _read({**both, **(tasks or {})}),
            {
                canonical_task_type(name): result
                for name, result in _read({**types, **(task_types or {})}).items()
            },
        )


def _read(values: Mapping[str, Any]) -> dict[str, tuple[ScriptedResult, ...]]:
    return {name: to_scripted_results(value) for name, value in values.items()}
