"""The outbox: what belongs into the same transaction as the save of a flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mc.flows.flow import Flow
from mc.store.lease import Wake

if TYPE_CHECKING:
    from mc.flows.controls.control import Control

__all__ = ["Outbox"]


@dataclass(slots=True)
class Outbox:
    """What a flow's tasks want done to other stored flows, and what the tick acted upon."""

    started: dict[str, Flow] = field(default_factory=dict)  # new sub-flows by key
    cancelled: dict[str, str] = field(default_factory=dict)  # sub-flows to be cancelled: key -> reason
    asked: dict[str, Control] = field(default_factory=dict)  # of stored sub-flows by key
    passed_on: list[Control] = field(default_factory=list)  # to all stored sub-flows that it concerns
    refused: list[tuple[Control, str]] = field(default_factory=list)  # what a person asked in vain, and why
    acted_upon: tuple[Wake, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done to other flows, and nothing to be told."""
        return not (self.started or self.cancelled or self.asked or self.passed_on or self.refused)

    def clear(self) -> None:
        """Forget what has been committed."""
        self.started.clear()
        self.cancelled.clear()
        self.asked.clear()
        self.passed_on.clear()
        self.refused.clear()
        self.acted_upon = ()
