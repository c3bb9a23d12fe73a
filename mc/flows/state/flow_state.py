"""The state of a flow: what is said of it, its tasks, and what became of both since the last save."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mc.context.json_values import copy_json, json_type_name, to_json_value
from mc.errors import FlowFormatError, McError, StatusError
from mc.flows.observer import ChangeEvent, MigrationRecord
from mc.flows.state.mailbox import Mailbox
from mc.flows.state.task_node import Task, TaskNode, with_proxied
from mc.flows.state.task_states import TaskStates, has_failed
from mc.statuses import FINISHED_FLOW_STATUSES, FLOW_CHANGES, check_flow_change

__all__ = ["FlowState", "SubFlowSource", "UnsavedChanges", "make_flow_key", "refuse_non_mapping"]


class SubFlowSource(Protocol):
    """Where the flows inside tasks are that are not in memory."""

    def read(
        self, wanted: Sequence[tuple[FlowState, str]], *, if_there: bool = False
    ) -> Sequence[FlowState | None]:
        """Return flows that live inside of tasks, or did so when these ended, in the order that is given.

        Args:
            wanted: of each the flow around it, and its key.
            if_there: None for what is not there, instead of raising.

        Raises:
            StoreError: one of them is not there, or cannot be read.
        """

    def find_places(self, texts: Sequence[str], *, also_pending: bool) -> Collection[tuple[str, ...]]:
        """Return the paths of flows inside of tasks that have a task whose JSON text holds one of these.

        Args:
            texts: what is looked for.
            also_pending: look at tasks that are PENDING, besides those that are RUNNING or WAITING.
        """


@dataclass(slots=True)
class UnsavedChanges:
    """What has changed in a flow since it was loaded or saved last, besides the tasks that were touched."""

    edges: list[tuple[str, str]] = field(default_factory=list)  # (precursor, successor), that are new
    is_rebuilt: bool = False  # tasks may be gone; all that there are have been touched
    has_other_edges: bool = False  # edges are gone; all that there are stand in `edges`
    migrations: list[MigrationRecord] = field(default_factory=list)  # to other specs
    journal: list[ChangeEvent] | None = None  # changes of status; None: the flow was never in a store


class _ReadLater:
    """An attribute that may be set to a function, which is called when somebody asks for the value."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, state: FlowState, owner: type) -> Any:
        if callable(state.__dict__[self._name]):
            state.__dict__[self._name] = state.__dict__[self._name]()
        return state.__dict__[self._name]

    def __set__(self, state: FlowState, value: Any) -> None:
        state.__dict__[self._name] = value


class FlowState:
    """What there is of a flow: its attributes, as `Flow` documents them, and its tasks.

    Attributes:
        tasks: the tasks, their edges and statuses.
        data_handed_out: whether somebody may have changed `data` since they were looked at.
        are_data_saved: whether nobody may have changed `data` since the last save.
        data_bytes: of data that calls left in tasks, as far as it was counted.
        settled_status: the status as `change_status` left it.
        unsaved: what no store has yet, besides `tasks.touched` and `changed_sub_flows`.
        outer: the flow around it, where it lives inside of a task.
        name_inside: of that task in paths; where another one is proxied by it, of both.
        sub_flow_source: of the outermost flow: where flows inside tasks are that are not in memory.
        changed_sub_flows: the flows inside tasks, by key of the task, that the next save has to look at.
        mailbox: the signals that no task has taken yet; None until one comes.
        outside_changes: changes of status between two ticks, for the next tick's observers.
        outside_listener: hears of these changes, and keeps a journal of them.
    """

    data, spec = _ReadLater(), _ReadLater()  # `spec`: that the flow was made from

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
        self.data = copy_json(refuse_non_mapping(data, "data")) if data is not None else {}
        self.data_handed_out = self.are_data_saved = False
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
        self.spec = copy_json(spec)
        self.error: dict[str, Any] | None = None
        self.blocked_reason: str | None = None
        self.missing_handlers: list[dict[str, Any]] | None = None
        self.stopped_at: str | None = None
        self.started_at: str | None = None
        self.finished_at: str | None = None
        self.deadline_at: str | None = None
        self.ticks = 0
        self.calls_left: int | None = None
        self.calls_begun: int | None = None
        self.next_call: str | None = None

        self.data_bytes = 0
        self.mailbox: Mailbox | None = None
        self.unsaved = UnsavedChanges()
        self.tasks = TaskStates()
        self.outer: FlowState | None = None
        self.name_inside = ""
        self.sub_flow_source: SubFlowSource | None = None
        self.changed_sub_flows: dict[str, FlowState] = {}
        self._sub_flows: dict[str, FlowState] = {}  # that live, by their keys
        self._kept: dict[str, FlowState] = {}  # that ended, for a retry or a look; by the key of the task
        self._sought: set[str] = set()  # texts; flows inside that hold one are in memory
        self._kept_at: dict[str, str] = {}  # the keys of these tasks, by the keys of the flows
        self.outside_changes: list[tuple[TaskNode | None, str, str]] = []
        self.outside_listener = self._note_outside_change
        self.tasks.on_change = self.outside_listener

    # --- attributes ------------------------------------------------------------------------

    @property
    def has_failed(self) -> bool:
        """Whether tasks failed so that the flow will not be COMPLETED."""
        return has_failed(self.cfg, self.tasks.failures, self.tasks.counts)

    @property
    def is_failing(self) -> bool:
        """Whether it did, and ends at once."""
        return self.has_failed and bool(self.cfg.get("fail_fast", True))

    def check_data(self) -> None:
        """Make JSON of the data that were handed out.

        Raises:
            NotJsonError: something in them is none.
        """
        self.data = to_json_value(self.data, "/flow/data")
        self.data_handed_out = False

    def note_tick(self) -> TaskNode | None:
        """Note how far the tick under way is, to be written down; return the first task that is left."""
        queues = self.tasks.queues
        self.calls_left, first = queues.count_left(), queues.next_left()
        self.calls_begun = len(queues.awaited) or None
        self.next_call = first.key if first is not None else None
        return first

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
        self.are_data_saved = not (self.data_handed_out or self.tasks.under_way)
        unsaved = self.unsaved
        unsaved.is_rebuilt = unsaved.has_other_edges = False
        if unsaved.journal is None:
            unsaved.journal = []
            for sub_flow in self.list_flows_inside():
                sub_flow.join_journal()
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
            counts = {status: count for status, count in self.tasks.counts.items() if count}
            return ChangeEvent(self.key, None, 0, old, new, at, error, counts)
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
        is_over = self.status in FINISHED_FLOW_STATUSES or self.is_failing
        return [] if is_over else self.tasks.queues.startable()

    def count_tickable(self) -> int:
        """Return how many tasks run, wait or could start now."""
        return len(self.ready_nodes()) + len(self.tasks.running)

    # --- flows inside tasks ----------------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...]:
        """Keys of the tasks that the flow is inside of, the outermost first."""
        return (*self.outer.path, self.parent_task_key or "") if self.outer is not None else ()

    def path_of(self, key: str) -> str:
        """Return the path of a task of the flow, `outer/inner` where the flow is inside of another's task."""
        path, state = key, self
        while state.outer is not None:
            path, state = f"{state.name_inside}/{path}", state.outer
        return path

    def find_sub_flow(self, task: Task) -> FlowState | None:
        """Return the flow that lives inside a task, or inside a task that is proxied by one."""
        key = task.get("sub_flow")
        if key is None:
            return None
        if key not in self._sub_flows:
            self.read_sub_flows([task])
        return self._sub_flows[key]

    def known_sub_flow(self, task: Task) -> FlowState | None:
        """Return the same if it is in memory."""
        return self._sub_flows.get(task.get("sub_flow", ""))

    def find_kept_sub_flow(self, task: Task) -> FlowState | None:
        """Return the flow that lived inside a task when it ended, which was kept for a person's retry."""
        key = (task.get("kept") or {}).get("sub_flow")
        if key is None:
            return None
        kept = self._known_kept(key)
        if kept is None:
            (kept,) = self._source().read([(self, key)])
            if kept is not None:
                self._keep(kept, task)
        return kept

    def find_completed_sub_flow(self, task: Task) -> FlowState | None:
        """Return the flow that a COMPLETED task ran, for those who look at it; None where no store has it."""
        self.read_completed_sub_flows([task])
        return self._known_kept(task.get("sub_flow"))

    def read_completed_sub_flows(self, tasks: Iterable[Task]) -> None:
        """Read at once the flows that COMPLETED tasks ran, as far as they are stored and not in memory."""
        named = [task for task in tasks if "sub_flow" in task]
        missing = [task for task in named if self._known_kept(task["sub_flow"]) is None]
        source = self.outermost.sub_flow_source
        if source is None or not missing:
            return
        found = source.read([(self, task["sub_flow"]) for task in missing], if_there=True)
        for task, sub_flow in zip(missing, found, strict=True):
            if sub_flow is not None:
                self._keep(sub_flow, task)

    def keep_completed(self, task: Task, sub_flow: FlowState) -> None:
        """Keep the flow that a COMPLETED task ran, for those who look at it."""
        task["sub_flow"] = sub_flow.key
        self._keep(sub_flow, task)

    def _known_kept(self, key: str | None) -> FlowState | None:
        kept = self._kept.get(self._kept_at.get(key or "", ""))
        return kept if kept is not None and kept.key == key else None

    def keep_sub_flow(self, task: Task, sub_flow: FlowState) -> None:
        """Let a flow live inside a task, or inside one that is proxied by it."""
        task["sub_flow"] = sub_flow.key
        self.take_in(sub_flow, task)
        sub_flow.note_change()
        node = self.tasks.nodes.get(sub_flow.parent_task_key or "")
        if node is not None:
            self.tasks.touch(node)  # it says which flow it is

    def drop_sub_flow(self, task: Task) -> None:
        """Let no flow live inside a task any more."""
        self._sub_flows.pop(task.pop("sub_flow", None), None)

    def keep_for_retry(self, task: Task, sub_flow: FlowState) -> None:
        """Keep for a person's retry the flow that lived inside a task."""
        self.drop_sub_flow(task)
        task["kept"] = {"sub_flow": sub_flow.key}
        self._keep(sub_flow, task)
        sub_flow.note_change()  # it ended, perhaps with no task of it

    def list_sub_flows(self) -> Collection[FlowState]:
        """Return the flows that live inside tasks, as far as they are in memory."""
        return self._sub_flows.values()

    def list_flows_inside(self) -> Collection[FlowState]:
        """Return these, and those that ended and are kept."""
        return [*self._sub_flows.values(), *self._kept.values()]

    def read_sub_flows(self, tasks: Iterable[Task]) -> None:
        """Read at once the flows that live inside tasks, as far as they are not in memory."""
        self._read_missing([(self, task) for task in tasks if "sub_flow" in task])

    def read_mentioning(self, texts: Sequence[str], *, also_pending: bool = False) -> None:
        """Read at once the flows inside tasks, at any depth, in which a task under way may hold a text.

        What is in memory afterwards is all that does: the others hold none, and do not change.

        Args:
            texts: parts of JSON text; a flow is read that holds one of them.
            also_pending: look at tasks that are PENDING too.
        """
        source, new = self.outermost.sub_flow_source, [text for text in texts if text not in self._sought]
        if source is None or not new:
            return
        self._sought.update(new)
        found = source.find_places(new, also_pending=also_pending)
        places = {path[:end] for path in found for end in range(1, len(path) + 1)}
        level: list[FlowState] = [self]
        while level and places:
            inside = [
                (state, task)
                for state in level
                for node in state.tasks.known_running()
                if (*state.path, node.key) in places
                for task in with_proxied(node.task)
                if "sub_flow" in task
            ]
            self._read_missing(inside)
            level = [state.find_sub_flow(task) for state, task in inside]  # type: ignore[misc]

    def _read_missing(self, inside: Iterable[tuple[FlowState, Task]]) -> None:
        """Read flows that live inside tasks, each named by the flow around it and the task."""
        missing = [(state, task) for state, task in inside if state.known_sub_flow(task) is None]
        if missing:
            found = self._source().read([(state, task["sub_flow"]) for state, task in missing])
            for (state, task), sub_flow in zip(missing, found, strict=True):
                if sub_flow is not None:
                    state.take_in(sub_flow, task)

    def note_change(self) -> None:
        """Let the next save of the outermost flow look at this one."""
        outer, key = self.outer, self.parent_task_key or ""
        if outer is None or outer.unsaved.journal is None or outer.changed_sub_flows.get(key) is self:
            return
        outer.changed_sub_flows[key] = self
        outer.note_change()

    @property
    def outermost(self) -> FlowState:
        """The flow that is inside of no task."""
        return self.outer.outermost if self.outer is not None else self

    def _source(self) -> SubFlowSource:
        source = self.outermost.sub_flow_source
        if source is None:
            raise FlowFormatError(
                f"Flow {self.key!r}: a task names a flow inside of it by `sub_flow` that is not there. Only "
                f"the engine may write that entry of a task dict."
            )
        return source

    @staticmethod
    def name_of_place(sub_flow: FlowState, task: Task) -> str:
        """Return what paths call the task, which may be proxied by another one, that a flow is inside of."""
        place, key = sub_flow.parent_task_key or "", str(task.get("key"))
        return place if key == place else f"{place}/{key}"

    def take_in(self, sub_flow: FlowState, task: Task) -> None:
        """Let a flow, just read, live inside a task."""
        self._kept.pop(sub_flow.parent_task_key or "", None)
        self._sub_flows[sub_flow.key] = sub_flow
        self._link(sub_flow, task)

    def _keep(self, sub_flow: FlowState, task: Task) -> None:
        place = self._kept_at[sub_flow.key] = sub_flow.parent_task_key or ""
        self._kept[place] = sub_flow
        self._link(sub_flow, task)

    def _link(self, sub_flow: FlowState, task: Task) -> None:
        sub_flow.name_inside = self.name_of_place(sub_flow, task)
        sub_flow.outer = self
        sub_flow.tasks.on_touch = sub_flow.note_change
        if self.unsaved.journal is not None:
            sub_flow.join_journal()

    def join_journal(self) -> None:
        """Write what changes here into the journal of the flow around it."""
        self.unsaved.journal = _InnerJournal(self)
        for sub_flow in self.list_flows_inside():
            sub_flow.join_journal()


class _InnerJournal(list[ChangeEvent]):
    """The journal of a flow inside a task: what tasks did is passed on to that of the flow around it."""

    def __init__(self, state: FlowState) -> None:
        super().__init__()
        self._state = state

    def append(self, event: ChangeEvent) -> None:
        """Pass an event on, with the path of its task; that of the flow itself the outer task tells."""
        state = self._state
        if event.task_key is None or state.outer is None or state.outer.unsaved.journal is None:
            return
        path = f"{state.name_inside}/{event.task_key}"
        state.outer.unsaved.journal.append(ChangeEvent(event.flow_key, path, *event[2:]))


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
