"""An exclusive, expiring claim on a flow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mc.store.lost_calls import LostCalls

__all__ = ["DEFAULT_LEASE_SECONDS", "MAX_LOST_CALLS", "Lease", "StoredClaim", "Wake"]

DEFAULT_LEASE_SECONDS: Final = 60.0
NO_LOST_CALLS: Final = LostCalls()
MAX_LOST_CALLS: Final = 3  # drivers in a row that ended in the same call; then the flow is BLOCKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim on a flow; whoever names its token may save the flow as long as nobody took it over."""

    flow_key: str
    token: int  # grows with each claim of the flow
    id: str  # random: where a backup is restored, tokens are given out again
    owner: str
    expires_at: datetime  # by the database's clock
    seconds: float  # how long it lasts from the claim or the last renewal on
    lost_leases: int = 0  # drivers in a row that vanished while they ticked the flow
    lost_calls: LostCalls = NO_LOST_CALLS  # in which they ended, as far as is known
    num_tasks: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether a driver ended while it held the flow, and the flow may be the cause."""
        return bool(self.lost_leases or self.lost_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Something that happened elsewhere and concerns a flow."""

    kind: str  # see mc.store.rows.wakes
    source_key: str  # the flow, the signal or the resource that caused it
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClaim:
    """What an attempt of a task holds of resources, or waits for."""

    task_key: str  # the flow's task that it is, or is inside of
    granted: bool
    token: int  # of the lease under which it asked last
