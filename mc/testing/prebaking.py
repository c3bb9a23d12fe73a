"""What the fixture `mc_prebaked` is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc.simulation.outcomes import Outcome, Outcomes, to_outcomes
from mc.spec.task_types import canonical_task_type

__all__ = ["Outcome", "Prebaking"]


class Prebaking:
    """Lets outcomes take the place of tasks.

    Args:
        outcomes: where they are put.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def __call__(
        self,
        outcomes: Mapping[str, Any] | None = None,
        /,
        *,
        tasks: Mapping[str, Any] | None = None,
        task_types: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in outcomes, in the place of those for the same tasks and types.

        An outcome is a mapping (the data that the task leaves), an exception or its class (the task fails
        with it), an `Outcome` (with a duration), or a list of these, one for each attempt, of which the last
        stands for all that follow.

        Args:
            outcomes: name -> outcome; a name with `/` or `*` is the path of a task, any other may be a task's
                key or a task type.
            tasks: path of a task -> outcome: `outer/inner`, `spread/*`.
            task_types: task type -> outcome.

        Raises:
            McError: what is given is no outcome.
        """
        both = outcomes or {}
        types = {name: value for name, value in both.items() if "/" not in name and "*" not in name}
        self._outcomes.add(
            _read({**both, **(tasks or {})}),
            {
                canonical_task_type(name): outcome
                for name, outcome in _read({**types, **(task_types or {})}).items()
            },
        )


def _read(values: Mapping[str, Any]) -> dict[str, tuple[Outcome, ...]]:
    return {name: to_outcomes(value) for name, value in values.items()}
