"""An exclusive, expiring claim on a flow, and the calls in which runners ended that had claimed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Self

from mc.context.json_values import dumps, loads
from mc.errors import McError

__all__ = [
    "DEFAULT_LEASE_SECONDS",
    "MAX_LOST_CALLS",
    "NO_LOST_CALLS",
    "Lease",
    "LostCalls",
    "StoredRequest",
    "Wake",
]

DEFAULT_LEASE_SECONDS: Final = 60.0
MAX_LOST_CALLS: Final = 3  # runners in a row that ended in the same call; then the flow is BLOCKED


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCalls:
    """How often runners ended in which call, and which calls are made now.

    A call is named by the task's key and the attempt. One with effects is under way until its outcome is
    saved.
    """

    counts: Mapping[str, int] = field(default_factory=dict)  # runners in a row, by call; none is 0
    under_way: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.counts or self.under_way)

    def end(self, calls: Iterable[str]) -> Self:
        """Return what holds when the outcomes of calls are saved: they let a runner live."""
        if not self:
            return self
        ended = set(calls)
        return replace(
            self,
            counts={call: count for call, count in self.counts.items() if call not in ended},
            under_way=tuple(call for call in self.under_way if call not in ended),
        )

    def lose(self) -> Self:
        """Return what holds when the runner ended: each call under way has cost one more."""
        more = {call: self.counts.get(call, 0) + 1 for call in self.under_way}
        return replace(self, counts={**self.counts, **more}, under_way=())

    def reaching(self, limit: int) -> list[str]:
        """Return the calls that have cost so many runners."""
        return [call for call, count in self.counts.items() if count >= limit]

    def to_text(self) -> str | None:
        """Return JSON text; None if there is nothing to tell."""
        return dumps({"counts": dict(self.counts), "under_way": list(self.under_way)}) if self else None

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """Read what `to_text` wrote; of anything else, nothing."""
        try:
            found = loads(text) if text else None
            if not isinstance(found, dict):
                return cls()
            counts = {str(call): int(count) for call, count in found["counts"].items()}
            return cls(counts=counts, under_way=tuple(map(str, found["under_way"])))
        except (McError, KeyError, TypeError, ValueError, AttributeError):
            return cls()


NO_LOST_CALLS: Final = LostCalls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim on a flow; whoever names its token may save the flow as long as nobody took it over."""

    flow_key: str
    token: int  # grows with each claim of the flow
    id: str  # random: where a backup is restored, tokens are given out again
    owner: str
    expires_at: datetime  # by the database's clock
    seconds: float  # how long it lasts from the claim or the last renewal on
    lost_leases: int = 0  # runners in a row that vanished while they ticked the flow
    lost_calls: LostCalls = NO_LOST_CALLS  # in which they ended, as far as is known
    is_suspect: bool = False  # whether a runner ended while it held the flow, which may be the cause
    num_tasks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Something that happened elsewhere and concerns a flow."""

    kind: str  # see mc.store.rows.wakes
    source_key: str  # the flow, the signal or the resource that caused it
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """What an attempt of a task holds of resources, or waits for."""

    task_key: str  # the flow's task that it is, or is inside of
    granted: bool
    token: int  # of the lease under which it asked last
