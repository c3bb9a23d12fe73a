"""Saves that end leases, several in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from mc.flows.flow import Flow
from mc.store.lease import Lease, Wake

__all__ = ["FinalSave", "group_saves"]

_MOST_TASKS: Final = 2_000  # in one transaction, which keeps the rows locked


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSave:
    """A flow that was ticked under a lease and is to be saved and let go."""

    flow: Flow
    lease: Lease
    acted_upon: tuple[Wake, ...] = ()  # what the flow need not be woken for again


def group_saves(saves: Iterable[FinalSave], waiting: Collection[str]) -> list[list[FinalSave]]:
    """Return saves in groups that can share a transaction.

    Args:
        saves: of different flows.
        waiting: keys of flows whose end changes another flow, too. Each is saved alone, because
            two transactions might change the same two flows in different order.
    """
    groups: list[list[FinalSave]] = [[]]
    tasks = 0
    for save in saves:
        if save.flow.key in waiting:
            groups.insert(0, [save])
            continue
        tasks += save.lease.num_tasks
        if groups[-1] and tasks > _MOST_TASKS:
            groups.append([])
            tasks = save.lease.num_tasks
        groups[-1].append(save)
    return [group for group in groups if group]
