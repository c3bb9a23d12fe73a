"""A model of a store, in plain dictionaries: who may do what, and what comes of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mc.clock import ManualClock
from mc.statuses import FINISHED_FLOW_STATUSES
from tests.reliability.stateful.workload import KINDS, Kind

__all__ = ["LIVE", "Known", "Model", "Refusal", "Wake"]

LIVE = ("PENDING", "RUNNING")
TRIED_AGAIN_AFTER = timedelta(seconds=60)  # what is to be cancelled, and made a runner stumble
Refusal = str | None  # name of the error that is to come; None: it is done
Wake = tuple[str, str]  # kind, and the flow that caused it


@dataclass(slots=True)
class Known:
    """A stored flow.

    Attributes:
        at: when its tasks can go on; None while it waits for its sub-flow.
        due: when it may be claimed; None: never by itself.
        version: grows with each save.
        ran_out: whether the lease is over that `owner` still has.
    """

    key: str
    kind_name: str
    data: dict[str, Any]
    created_at: datetime
    at: datetime | None
    due: datetime | None
    waits: list[float] = field(default_factory=list)
    status: str = "PENDING"
    waiter: str | None = None
    child: str | None = None
    token: int = 0
    owner: str | None = None
    ran_out: bool = False
    lost: int = 0
    version: int = 0
    finished_at: datetime | None = None
    wakes: set[Wake] = field(default_factory=set)

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED_FLOW_STATUSES

    @property
    def is_held(self) -> bool:
        return self.owner is not None and not self.ran_out


class Model:
    """All flows of a store.

    Args:
        clock: that of the runners.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.flows: dict[str, Known] = {}
        self.used: set[str] = set()  # keys of deleted flows
        self._clock = clock

    @property
    def now(self) -> datetime:
        return self._clock.now()

    # --- flows come and go -----------------------------------------------------------------

    def add(self, key: str, kind: str, data: dict[str, Any], waiter: str | None = None) -> Known:
        """Store a new flow."""
        known = Known(key, kind, data, self.now, self.now, self.now, list(KINDS[kind].waits), waiter=waiter)
        self.flows[key] = known
        return known

    def copy(self, key: str, new_key: str) -> None:
        """Store what was exported under another key: the same flow, with a life of its own."""
        old = self.flows[key]
        new = self.add(new_key, old.kind_name, old.data)
        new.waits, new.status, new.at = list(old.waits), old.status, old.at
        new.finished_at = old.finished_at
        self._make_due(new)

    def family(self, key: str) -> list[str]:
        """Return a flow and all sub-flows below it."""
        found = [key]
        for each in found:
            found += [known.key for known in self.flows.values() if known.waiter == each]
        return found

    def delete(self, key: str) -> list[str] | None:
        """Delete a family, and return the keys; None where somebody holds one of them."""
        family = self.family(key)
        if any(self.flows[each].is_held for each in family):
            return None
        waiter = self.flows[key].waiter
        self._remove(family)
        if waiter is not None:
            self.wake(waiter, ("finished", key))
        return family

    def prune(self, age: timedelta, keep_failed: bool) -> list[str]:
        """Delete the families that ended long ago, and return the keys."""
        before = self.now - age
        gone: list[str] = []
        for key, top in list(self.flows.items()):
            if top.waiter in self.flows or top.created_at >= before:
                continue
            family = self.family(key)
            if all(self._may_go(self.flows[each], before, keep_failed) for each in family):
                gone += family
        self._remove(gone)
        return gone

    @staticmethod
    def _may_go(known: Known, before: datetime, keep_failed: bool) -> bool:
        if not known.is_finished or known.is_held or (keep_failed and known.status == "FAILED"):
            return False
        assert known.finished_at is not None
        return known.finished_at < before

    def _remove(self, keys: Collection[str]) -> None:
        for key in keys:
            del self.flows[key]
        self.used.update(keys)
        for known in self.flows.values():
            known.wakes = {wake for wake in known.wakes if wake[1] not in keys}

    # --- runners ---------------------------------------------------------------------------

    def claim(self, owner: str, limit: int) -> list[Known]:
        """Claim what is due, and return it in order."""
        chosen: list[Known] = []
        for known in self._claimable()[:limit]:
            lost = known.lost + (known.owner is not None)
            if lost and chosen:
                break  # a flow that may have killed its runners is claimed alone
            known.lost = lost
            chosen.append(known)
            if lost:
                break
        for known in chosen:
            known.token += 1
            known.owner, known.ran_out = owner, False
        return chosen

    def _claimable(self) -> list[Known]:
        found = [
            known
            for known in self.flows.values()
            if known.due is not None and known.due <= self.now and not known.is_held
        ]
        return sorted(found, key=self._urgency)

    @staticmethod
    def _urgency(known: Known) -> tuple[bool, int, Any, datetime, str]:
        is_suspect = known.lost > 0 or known.owner is not None
        return is_suspect, -known.kind.priority, known.due, known.created_at, known.key

    def holds(self, key: str, token: int) -> bool:
        """Tell whether that token is the flow's, and has not been given back."""
        known = self.flows.get(key)
        return known is not None and known.token == token and known.owner is not None

    def give_back(self, known: Known) -> None:
        known.owner, known.ran_out = None, False

    def set_aside(self, known: Known, until: datetime) -> None:
        self.give_back(known)
        known.due = until
        if any(kind == "cancel" for kind, _ in known.wakes):
            known.due = min(until, self.now)

    def give_back_as_lost(self, known: Known) -> None:
        self.give_back(known)
        known.lost += 1

    def block(self, known: Known) -> None:
        """Block a flow by its runner."""
        self._block(known)

    def _block(self, known: Known) -> None:
        if known.status in LIVE:
            known.status = "BLOCKED"
        is_to_end = any(kind == "cancel" for kind, _ in known.wakes)
        known.due = self.now + TRIED_AGAIN_AFTER if is_to_end else None
        known.lost = 0
        known.token += 1
        known.version += 1
        self.give_back(known)

    def work(self, known: Known, seen: frozenset[Wake]) -> bool:
        """Tick a flow as far as it gets, save it and let it go; return whether it got anywhere.

        Args:
            known: the flow, held by who works.
            seen: what had been noted for it when it was loaded.
        """
        progressed = self._tick(known, seen)
        known.wakes -= seen
        self._saved(known)
        return progressed

    def _tick(self, known: Known, seen: frozenset[Wake]) -> bool:
        if known.is_finished:
            return False
        if any(kind == "cancel" for kind, _ in seen):
            self.cancel(known)
            return True
        if known.status not in LIVE:
            return False
        if known.kind.child is not None and known.child is not None:
            return self._look_at_child(known, seen)
        if known.at is None or known.at > self.now:
            return False
        known.status = "RUNNING"
        if known.kind.child is not None:
            child = self.add(f"{known.key}/t0/1", known.kind.child, {}, waiter=known.key)
            known.child, known.at = child.key, None
        elif known.waits:
            known.at = self.now + timedelta(seconds=known.waits.pop(0))
        else:
            self._end(known, known.kind.end)
        return True

    def _look_at_child(self, known: Known, seen: frozenset[Wake]) -> bool:
        if not seen:
            return False
        child = self.flows.get(known.child or "")
        if child is not None and not child.is_finished:
            return False
        done = child is not None and child.status == "COMPLETED"
        self._end(known, "COMPLETED" if done else "FAILED")
        return True

    def run_tick(self, owner: str, batch: int) -> None:
        """Do what a runner's tick does."""
        progressed = False
        while True:
            claimed = self.claim(owner, batch)
            if claimed:
                seen = {known.key: frozenset(known.wakes) for known in claimed}
                for known in claimed:
                    progressed |= self.work(known, seen[known.key])
            elif not progressed:
                return
            else:
                progressed = False

    # --- changes of a flow -----------------------------------------------------------------

    def save_by_hand(self, known: Known) -> None:
        """Save a flow outside a runner, which shuts out a runner whose lease ran out."""
        known.token += 1
        self._saved(known)

    def cancel(self, known: Known) -> None:
        """Cancel a flow, and its sub-flow with it."""
        if known.is_finished:
            return
        self._end(known, "CANCELLED")
        if known.child in self.flows:
            self.wake(known.child, ("cancel", known.key))

    def wake(self, key: str, wake: Wake) -> None:
        """Note for a flow what happened elsewhere."""
        known = self.flows.get(key)
        if known is None or known.is_finished:
            return
        known.wakes.add(wake)
        if known.status in LIVE or wake[0] == "cancel":
            known.due = self.now if known.due is None else min(known.due, self.now)

    def _end(self, known: Known, status: str) -> None:
        known.status, known.finished_at = status, self.now
        if known.waiter is not None:
            self.wake(known.waiter, ("finished", known.key))

    def _saved(self, known: Known) -> None:
        known.version += 1
        known.lost = 0
        self.give_back(known)
        if known.is_finished:
            known.wakes.clear()
        self._make_due(known)

    def _make_due(self, known: Known) -> None:
        known.due = None
        if known.status == "PENDING":
            known.due = self.now
        elif known.status == "RUNNING" and known.at is not None:
            known.due = max(known.at, self.now)
        if any(kind == "cancel" or known.status in LIVE for kind, _ in known.wakes):
            known.due = self.now
