"""What belongs into the same transaction as the save of a flow."""

from __future__ import annotations

from dataclasses import dataclass, field

from mc.flows.flow import Flow
from mc.store.lease import Wake

__all__ = ["Outbox"]


@dataclass(slots=True)
class Outbox:
    """What a flow's tasks want done to other stored flows, and what the tick acted upon."""

    started: dict[str, Flow] = field(default_factory=dict)  # new sub-flows by key
    cancelled: dict[str, str] = field(default_factory=dict)  # sub-flows to be cancelled: key -> reason
    acted_upon: tuple[Wake, ...] = ()

    def clear(self) -> None:
        """Forget what has been committed."""
        self.started.clear()
        self.cancelled.clear()
        self.acted_upon = ()
