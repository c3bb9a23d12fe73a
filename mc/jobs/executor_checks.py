"""Executors, examined: whether their settings are right, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mc.errors import ExecutorError
from mc.jobs.find_executor import make_executor
from mc.store.finding import Finding, Severity

__all__ = ["check_executors"]


def check_executors(names: Collection[str], settings: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the executors that jobs could not be handed to from here now.

    Args:
        names: of executors.
        settings: as for `make_executor`.
    """
    for name in sorted(names):
        of_whom = ""  # who makes it names it
        try:
            executor = make_executor(name, settings)
            of_whom = f"The executor {name!r}: "
            executor.check()
        except ExecutorError as error:
            yield Finding(
                code="executor",
                severity=Severity.PROBLEM,
                message=f"{of_whom}{error.message}",
                advice="Until then its jobs wait, and those that it has are not seen.",
                details={"executor": name},
            )
