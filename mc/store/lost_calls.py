"""The calls of one flow's tasks that drivers were in when they ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from mc.context.json_values import dumps, loads
from mc.errors import McError

__all__ = ["LostCalls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCalls:
    """How often drivers ended in which call, and which calls are made now.

    A call is named by the task's key and the attempt. One with effects is under way until its outcome is
    saved.
    """

    counts: Mapping[str, int] = field(default_factory=dict)  # drivers in a row, by call; none is 0
    under_way: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.counts or self.under_way)

    def end(self, calls: Iterable[str]) -> Self:
        """Return what holds when the outcomes of calls are saved: they let a driver live."""
        if not self:
            return self
        ended = set(calls)
        return replace(
            self,
            counts={call: count for call, count in self.counts.items() if call not in ended},
            under_way=tuple(call for call in self.under_way if call not in ended),
        )

    def lose(self) -> Self:
        """Return what holds when the driver ended: each call under way has cost one more."""
        more = {call: self.counts.get(call, 0) + 1 for call in self.under_way}
        return replace(self, counts={**self.counts, **more}, under_way=())

    def reaching(self, limit: int) -> list[str]:
        """Return the calls that have cost so many drivers."""
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
