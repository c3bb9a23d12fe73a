"""A flow between the spec that it has and a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import json_equal
from mc.flows.migration.written_tasks import WrittenTasks
from mc.flows.state.task_node import Task
from mc.spec.task_graph import ROOT_TASK_KEY

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["SpecPair"]

_ATTRIBUTES: Final = ("label", "version", "description", "cfg", "params", "results")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecPair:
    """A flow with its spec and a new one; or a task that is proxied by another, as if a flow held it alone.

    Attributes:
        flow: the flow, as it stands.
        root_key: of the outermost flow.
        old_spec: its spec.
        new_spec: the new one.
        old: the tasks of its spec.
        new: the tasks of the new one.
        statuses: of the flow's tasks, in order, ROOT left out.
        later: the tasks that were added while the flow ran, in order.
        around: path of the task that the flow is inside of, with a slash at the end; empty: of none.
        place: JSON Pointer to the new spec in that of the outermost flow.
        proxied: the proxied task.
        is_flow: False for a proxied task, and between two rounds of a loop, of which there is nothing.
    """

    flow: Flow
    root_key: str
    old_spec: Mapping[str, Any]
    new_spec: Mapping[str, Any]
    old: WrittenTasks
    new: WrittenTasks
    statuses: Mapping[str, str]
    later: tuple[str, ...]
    around: str = ""
    place: str = ""
    proxied: Task | None = None
    is_flow: bool = True

    @classmethod
    def of(
        cls,
        flow: Flow,
        old_spec: Mapping[str, Any],
        new_spec: Mapping[str, Any],
        *,
        root_key: str | None = None,
        old: WrittenTasks | None = None,
        new: WrittenTasks | None = None,
        around: str = "",
        place: str = "",
    ) -> SpecPair:
        """Put a flow, reconciled, between two specs."""
        old = old if old is not None else WrittenTasks.from_flow_spec(old_spec)
        new = new if new is not None else WrittenTasks.from_flow_spec(new_spec)
        statuses = {key: node.status for key, node in flow.state.tasks.nodes.items() if key != ROOT_TASK_KEY}
        return cls(
            flow=flow,
            root_key=root_key or flow.key,
            old_spec=old_spec,
            new_spec=new_spec,
            old=old,
            new=new,
            statuses=statuses,
            later=tuple(key for key in statuses if key not in old.tasks),
            around=around,
            place=place,
        )

    def name(self, key: str) -> str:
        """Return the path of a task from the outermost flow on."""
        return f"{self.around}{key}"

    def pointer(self, key: str, part: str = "") -> str:
        """Return the JSON Pointer to a task in the outermost flow's new spec, or to a part of it."""
        return f"{self.place}{self.new.pointer(key, part)}"

    def task(self, key: str) -> Task:
        """Return the dict of a task that the flow has."""
        return self.proxied if self.proxied is not None else self.flow.state.tasks.nodes[key].task

    def changes(self) -> dict[str, tuple[str, ...]]:
        """Return which parts of which tasks that the flow has are written in another way."""
        both = (key for key in self.new.tasks if key in self.old.tasks and key in self.statuses)
        found = {key: self.old.differing_parts(self.new, key) for key in both}
        return {key: parts for key, parts in found.items() if parts}

    def attributes(self) -> list[str]:
        """Return which attributes of the flow are written in another way."""
        if not self.is_flow:
            return []
        specs = self.old_spec, self.new_spec
        return [name for name in _ATTRIBUTES if not json_equal(*(_attribute(spec, name) for spec in specs))]

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


def _attribute(spec: Mapping[str, Any], name: str) -> Any:
    value = spec.get(name)
    return value or {} if name == "cfg" else value


def _without_root(sources: Mapping[str, None]) -> list[str]:
    """Return what a task waits for; ROOT where it waits for nothing else."""
    return [source for source in sources if source != ROOT_TASK_KEY] or [ROOT_TASK_KEY]
