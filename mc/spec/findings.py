"""Findings of one validation so far, and what its checks share."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Final, Unpack

from mc.errors import McError, Problem
from mc.spec.problems import NameSuggester, Told, list_names, make_problem, shorten
from mc.spec.task_types import BUILT_IN_TASK_TYPES

__all__ = ["OWN_CODE", "Findings"]

OWN_CODE: Final = "Name the module of your own types in handler_modules (command line: --handlers MODULE)."


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
        "forgotten",
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
        self.forgotten: dict[str, tuple[int, list[str]]] = {}  # code -> where its problem is, names
        self.known_functions: dict[str, McError | str | None] = {}  # why not, what is unclear, or None
        self.known_types: dict[str, str | None] = {}  # name -> None if it can be run, else why not

    def add(self, number: str, pointer: str, message: str, **told: Unpack[Told]) -> None:
        """Note a problem."""
        self.problems.append(make_problem(number, pointer, message, **told))

    def warn(self, number: str, pointer: str, message: str, **told: Unpack[Told]) -> None:
        """Note a warning."""
        self.warnings.append(make_problem(number, pointer, message, **told))

    def add_own_code(
        self, number: str, pointer: str, message: str, *, found: str, expected: str, suggestion: str | None
    ) -> None:
        """Note that a type or function is not to be had.

        Where no module of the application's own code is known at all, one problem for all of them says so.
        """
        is_forgotten = suggestion is None and getattr(self.task_types, "handler_modules", None) == ()
        if not is_forgotten:
            self.add(number, pointer, message, found=found, expected=expected, suggestion=suggestion)
            return
        if number not in self.forgotten:
            self.forgotten[number] = (len(self.problems), [])
            self.add(number, pointer, message, found=found, expected=expected)
        at, names = self.forgotten[number]
        names.append(found)
        if len(names) > 1:
            shown = list_names(map(shorten, dict.fromkeys(names)))
            modules = list(dict.fromkeys(name.partition(":")[0] for name in names if ":" in name))
            given = " --handlers ".join(list_names([module]) for module in modules[:3])
            advice = OWN_CODE.replace("MODULE", given or "MODULE")
            self.problems[at] = replace(
                self.problems[at],
                message=f"{len(names)} tasks need code that is not known here: {shown}. {advice}",
            )

    def refused_steps(self, pointer: str, since: int) -> set[str]:
        """Return the steps from a place to the problems below it, the first `since` problems left out."""
        start = pointer + "/"
        below = (problem.pointer for problem in self.problems[since:])
        return {place[len(start) :].partition("/")[0] for place in below if place.startswith(start)}
