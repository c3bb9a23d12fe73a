"""A save that ends a lease, and may share a transaction with others."""

from __future__ import annotations

from dataclasses import dataclass

from mc.flows.flow import Flow
from mc.store.lease import Lease, Wake

__all__ = ["FinalSave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSave:
    """A flow that was ticked under a lease and is to be saved and let go."""

    flow: Flow
    lease: Lease
    acted_upon: tuple[Wake, ...] = ()  # what the flow need not be woken for again
