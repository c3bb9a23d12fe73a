"""The state of a flow: what is said of it, its tasks, and what became of both since the last save."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mc.context.json_values import copy_json, json_type_name, to_json_value
from mc.errors import FlowFormatError, McError, StatusError
from mc.flows.observer import ChangeEvent, MigrationRecord
from mc.flows.state.mailbox import Mailbox
from mc.flows.state.task_node import Task, TaskNode
from mc.flows.state.task_states import TaskStates
from mc.statuses import FINISHED_FLOW_STATUSES, FLOW_CHANGES, check_flow_change

__all__ = ["FlowState", "LiveFlow", "UnsavedChanges", "make_flow_key", "refuse_non_mapping"]


class LiveFlow(Protocol):
    """A flow that lives inside a task, as the flow around it knows it."""

    state: FlowState


@dataclass(slots=True)
class UnsavedChanges:
    """What has changed in a flow since it was loaded or saved last, besides the tasks that were touched."""

    edges: list[tuple[str, str]] = field(default_factory=list)  # (precursor, successor), that are new
    is_rebuilt: bool = False  # tasks may be gone; all that there are have been touched
    has_other_edges: bool = False  # edges are gone; all that there are stand in `edges`
    migrations: list[MigrationRecord] = field(default_factory=list)  # to other specs
    journal: list[ChangeEvent] | None = None  # changes of status; None: the flow was never in a store


class FlowState:
    """What there is of a flow: its attributes, as `Flow` documents them, and its tasks.

    Attributes:
        tasks: the tasks, their edges and statuses.
        data_handed_out: whether somebody may have changed `data` since they were looked at.
        data_bytes: of data that calls left in tasks, as far as it was counted.
        settled_status: the status as `change_status` left it.
        unsaved: what no store has yet, besides `tasks.touched`.
        mailbox: the signals that no task has taken yet; None until one comes.
        outside_changes: changes of status between two ticks, for the next tick's observers.
        outside_listener: hears of these changes, and keeps a journal of them.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        cfg: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        label: str | None = None,
        status: str = "PENDING",
        depth: int = 0,
        parent_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        result_paths: Mapping[str, Any] | None = None,
        version: Any = None,
        description: str | None = None,
        spec: Mapping[str, Any] | None = None,
        parent_task_key: str | None = None,
    ) -> None:
        given: Any = key
        if given is not None and not (isinstance(given, str) and given):
            raise McError(
                f"A flow cannot have the key {key!r}; give a text that is not empty, or none for one that is "
                f"made up."
            )
        self.key = key if key is not None else make_flow_key()
        self.cfg: dict[str, Any] = copy_json(refuse_non_mapping(cfg, "cfg")) if cfg is not None else {}
        self.data: dict[str, Any] = copy_json(refuse_non_mapping(data, "data")) if data is not None else {}
        self.data_handed_out = False
        self.label = label
        self.status = str(status)
        if self.status not in FLOW_CHANGES:
            raise StatusError(
                f"Flow {self.key!r}: {self.status!r} is not a status. Use one of {', '.join(FLOW_CHANGES)}.",
                key=self.key,
            )
        self.settled_status = self.status
        self.depth = depth
        self.parent_key = parent_key
        self.parent_task_key = parent_task_key
        self.params: dict[str, Any] | None = copy_json(params)
        self.result_paths: dict[str, Any] | None = copy_json(result_paths)
        self.results: dict[str, Any] | None = None
        self.version = version
        self.description = description
        self._spec: dict[str, Any] | None = copy_json(spec)
        self._read_spec: Callable[[], dict[str, Any] | None] | None = None
        self.error: dict[str, Any] | None = None
        self.blocked_reason: str | None = None
        self.missing_handlers: list[dict[str, Any]] | None = None
        self.stopped_at: str | None = None
        self.started_at: str | None = None
        self.finished_at: str | None = None
        self.deadline_at: str | None = None
        self.ticks = 0

        self.data_bytes = 0
        self.mailbox: Mailbox | None = None
        self.unsaved = UnsavedChanges()
        self.tasks = TaskStates()
        self._sub_flows: dict[int, tuple[Task, LiveFlow]] = {}  # by id of the task's dict
        self.outside_changes: list[tuple[TaskNode | None, str, str]] = []
        self.outside_listener = self._note_outside_change
        self.tasks.on_change = self.outside_listener

    # --- attributes ------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any] | None:
        """The spec that the flow was made from."""
        if self._read_spec is not None:
            self._spec, self._read_spec = self._read_spec(), None
        return self._spec

    @spec.setter
    def spec(self, value: dict[str, Any] | None) -> None:
        self._spec, self._read_spec = value, None

    def read_spec_later(self, read: Callable[[], dict[str, Any] | None]) -> None:
        """Read the spec when it is asked for."""
        self._read_spec = read

    def check_data(self) -> None:
        """Make JSON of the data that were handed out.

        Raises:
            NotJsonError: something in them is none.
        """
        self.data = to_json_value(self.data, "/flow/data")
        self.data_handed_out = False

    def open_mailbox(self) -> Mailbox:
        """Return the mailbox, which is made when it is needed."""
        if self.mailbox is None:
            self.mailbox = Mailbox()
        return self.mailbox

    def change_status(self, new: str) -> None:
        """Change the flow's status.

        Raises:
            StatusError: the change is not allowed.
        """
        old = self.status
        if new not in FLOW_CHANGES.get(old, ()):
            check_flow_change(self.key, old, new)
        self.status = self.settled_status = new
        if old in ("BLOCKED", "PAUSED"):
            self.blocked_reason = self.missing_handlers = self.stopped_at = None
        if old in FINISHED_FLOW_STATUSES:
            self.tasks.count_anew()  # of what ended with the flow, those that wait for it were not told
        if self.tasks.on_change:
            self.tasks.on_change(None, old, new)

    def count_as_saved(self) -> None:
        """Count the flow as saved, and keep a journal from now on."""
        unsaved = self.unsaved
        self.mark_saved(self.tasks.touched, len(unsaved.edges), len(unsaved.migrations), 0)

    def mark_saved(self, nodes: Iterable[TaskNode], edges: int, migrations: int, journal: int) -> None:
        """Forget what a store has committed; from the first save on a journal is kept.

        Args:
            nodes: the tasks that it wrote.
            edges: how many of the first edges it has.
            migrations: likewise.
            journal: likewise.
        """
        self.tasks.mark_saved(nodes)
        unsaved = self.unsaved
        unsaved.is_rebuilt = unsaved.has_other_edges = False
        if unsaved.journal is None:
            unsaved.journal = []
        del unsaved.edges[:edges], unsaved.migrations[:migrations], unsaved.journal[:journal]

    def settle_status(self) -> None:
        """Take up a status that was assigned to the flow since the last tick.

        Raises:
            StatusError: the change is not allowed; the flow has its old status again.
        """
        new, self.status = self.status, self.settled_status
        self.change_status(new)

    # --- who hears of changes --------------------------------------------------------------

    def take_outside_changes(self) -> list[tuple[TaskNode | None, str, str]]:
        """Return the changes that were made between two ticks, and forget them."""
        taken, self.outside_changes = self.outside_changes, []
        return taken

    def describe_change(self, node: TaskNode | None, old: str, new: str, at: str) -> ChangeEvent:
        """Return what observers and the journal are told of a change that was just made."""
        if node is None:
            error = self.error if new in ("FAILED", "CANCELLED") else None
            if new == "BLOCKED" and self.blocked_reason:
                error = {"type": "FlowBlocked", "message": self.blocked_reason}
            return ChangeEvent(self.key, None, 0, old, new, at, error)
        task = node.task
        error = task.get("error") if new in ("FAILED", "PENDING") else None
        return ChangeEvent(self.key, node.key, task.get("attempt", 0), old, new, at, error)

    def _note_outside_change(self, node: TaskNode | None, old: str, new: str) -> None:
        self.outside_changes.append((node, old, new))
        if self.unsaved.journal is not None:
            self.unsaved.journal.append(self.describe_change(node, old, new, ""))

    # --- tasks -----------------------------------------------------------------------------

    def ready_nodes(self) -> Sequence[TaskNode]:
        """Return the tasks that may start, in the order in which they do."""
        self.tasks.reconcile()
        return [] if self.status in FINISHED_FLOW_STATUSES else self.tasks.queues.startable()

    def count_tickable(self) -> int:
        """Return how many tasks run, wait or could start now."""
        return len(self.ready_nodes()) + len(self.tasks.running)

    def find_sub_flow(self, task: Task) -> LiveFlow | None:
        """Return the flow that lives inside a task, in a proxied one too."""
        found = self._sub_flows.get(id(task))
        return found[1] if found is not None else None

    def keep_sub_flow(self, task: Task, sub_flow: LiveFlow) -> None:
        """Let a flow live inside a task, in memory, until the flow is serialised."""
        self._sub_flows[id(task)] = (task, sub_flow)

    def drop_sub_flow(self, task: Task) -> None:
        """Let no flow live inside a task any more."""
        self._sub_flows.pop(id(task), None)

    def list_sub_flows(self) -> Collection[tuple[Task, LiveFlow]]:
        """Return the tasks in which flows live, with these."""
        return self._sub_flows.values()

    def nodes_with_sub_flows(self) -> list[TaskNode]:
        """Return the tasks of the graph that have a live sub-flow, in a proxied task too."""
        nodes = []
        for node in self.tasks.running if self._sub_flows else ():
            task: Any = node.task
            while isinstance(task, dict):
                if id(task) in self._sub_flows:
                    nodes.append(node)
                    break
                task = task.get("proxied_task")
        return nodes


def make_flow_key() -> str:
    """Return a new unique key, `flow:<uuid4>`."""
    return f"flow:{uuid.uuid4()}"


def refuse_non_mapping(value: Any, name: str) -> Any:
    """Return a mapping, or raise `FlowFormatError` telling what was given instead."""
    if not isinstance(value, Mapping):
        raise FlowFormatError(
            f"A flow's {name} must be a mapping; found {json_type_name(value)}.", pointer=f"/{name}"
        )
    return value
