"""A flow between the spec that it has and a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc.flows.migration.written_tasks import WrittenTasks
from mc.spec.task_graph import ROOT_TASK_KEY

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["SpecPair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecPair:
    """A flow with its spec and a new one.

    Attributes:
        flow: the flow, as it stands.
        old: the tasks of its spec.
        new: the tasks of the new one.
        statuses: of the flow's tasks, in order, ROOT left out.
        later: the tasks that were added while the flow ran, in order.
    """

    flow: Flow
    old: WrittenTasks
    new: WrittenTasks
    statuses: Mapping[str, str]
    later: tuple[str, ...]

    @classmethod
    def of(cls, flow: Flow, old: WrittenTasks, new: WrittenTasks) -> SpecPair:
        """Put a flow, reconciled, between two specs."""
        statuses = {key: node.status for key, node in flow.state.tasks.nodes.items() if key != ROOT_TASK_KEY}
        later = tuple(key for key in statuses if key not in old.tasks)
        return cls(flow=flow, old=old, new=new, statuses=statuses, later=later)

    def task_keys(self) -> list[str]:
        """Return the tasks that the flow will have, in order: the new spec's, then those added later."""
        return [*self.new.tasks, *(key for key in self.later if key not in self.new.tasks)]

    def edges(self) -> list[tuple[str, str]]:
        """Return the edges that the flow will have, by successor: the new spec's, then those added later."""
        before: dict[str, dict[str, None]] = {
            key: dict.fromkeys(self.new.precursors.get(key, ())) for key in self.task_keys()
        }
        for edge in self.flow.get_edges():
            source, dest = edge["src_key"], edge["dest_key"]
            is_written = source in self.old.precursors.get(dest, ())
            if not is_written and dest in before and (source in before or source == ROOT_TASK_KEY):
                before[dest][source] = None
        return [(source, key) for key, sources in before.items() for source in _without_root(sources)]

    def status_of(self, key: str) -> str:
        """Return the status of a task that the flow will have; one that is added has not begun."""
        return "COMPLETED" if key == ROOT_TASK_KEY else self.statuses.get(key, "PENDING")


def _without_root(sources: Mapping[str, None]) -> list[str]:
    """Return what a task waits for; ROOT where it waits for nothing else."""
    return [source for source in sources if source != ROOT_TASK_KEY] or [ROOT_TASK_KEY]
