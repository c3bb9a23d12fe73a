"""Observers, which are told what the engine did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mc.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from logging import Logger

__all__ = ["ChangeEvent", "MigrationRecord", "Observer", "tell_observers"]


class ChangeEvent(NamedTuple):
    """One change of a status."""

    flow_key: str  # the flow, or the flow of the task
    task_key: str | None  # None: the flow itself changed
    attempt: int  # number of the task's attempt, from 1; 0 before the first and for flows
    old_status: str
    new_status: str
    at: str  # ISO 8601, UTC, by the engine's clock
    error: dict[str, Any] | None = None  # type, message, traceback, where there is one
    tasks: Mapping[str, int] | None = None  # of a flow that changed: how many have each status


class Observer(Protocol):
    """Code that is told of each change of a status, in order, in the thread that ticks.

    It must not block and must not change the flow. What it raises is logged and changes nothing.
    """

    def on_change(self, event: ChangeEvent) -> None:
        """Take note of a change that has just been made in memory (and is not saved yet)."""


def tell_observers(observers: Sequence[Observer], event: ChangeEvent, logger: Logger) -> None:
    """Tell observers of a change; what they raise is logged."""
    for observer in observers:
        try:
            observer.on_change(event)
        except BaseException as error:  # an observer must not change what the engine does
            if INTERRUPTS.caused(error):
                raise
            logger.exception("observer %r failed on %s", observer, event, extra={"action": "observer_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRecord:
    """A migration that was carried out and is not saved yet.

    Attributes:
        journal_length: how many entries the flow's journal had then.
        detail: what the history keeps of it.
        removed: the tasks that the flow lost, with the status that each had.
    """

    journal_length: int
    detail: dict[str, Any]
    removed: tuple[tuple[str, str], ...]
