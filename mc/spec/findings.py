"""What one validation has found so far, and what its checks share."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from mc.errors import McError, Problem
from mc.spec.problems import NameSuggester, make_problem
from mc.spec.task_types import BUILT_IN_TASK_TYPES

__all__ = ["Findings"]


class Findings:
    """Collects problems and warnings.

    Attributes:
        problems: what is wrong, in order.
        warnings: what may be wrong, or is probably not meant; the spec is valid all the same.
        suggester: finds the nearest valid names.
        task_types: the names that can be run; may have `why_not(name)`.
        type_names: the same names as a set, as far as they can be listed.
    """

    __slots__ = (
        "known_functions",
        "known_types",
        "problems",
        "suggester",
        "task_types",
        "type_names",
        "warnings",
    )

    def __init__(self, task_types: Container[str] | None) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.suggester = NameSuggester()
        self.task_types: Container[str] = BUILT_IN_TASK_TYPES if task_types is None else task_types
        listed = self.task_types if isinstance(self.task_types, Iterable) else ()
        self.type_names = frozenset(name for name in listed if isinstance(name, str))
        self.known_functions: dict[str, McError | str | None] = {}  # why not, what is unclear, or None
        self.known_types: dict[str, str | None] = {}  # name -> None if it can be run, else why not

    def add(
        self,
        number: str,
        pointer: str,
        message: str,
        *,
        found: Any = None,
        expected: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Note a problem."""
        self.problems.append(
            make_problem(number, pointer, message, found=found, expected=expected, suggestion=suggestion)
        )

    def warn(
        self,
        number: str,
        pointer: str,
        message: str,
        *,
        found: Any = None,
        expected: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Note a warning."""
        self.warnings.append(
            make_problem(number, pointer, message, found=found, expected=expected, suggestion=suggestion)
        )

    def refused_steps(self, pointer: str, since: int) -> set[str]:
        """Return the steps from a place to the problems below it, the first `since` problems left out."""
        start = pointer + "/"
        below = (problem.pointer for problem in self.problems[since:])
        return {place[len(start) :].partition("/")[0] for place in below if place.startswith(start)}
