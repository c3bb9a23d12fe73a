"""Writes of the tasks and edges of flows, as far as they differ from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Table, bindparam, delete, insert

from mc.context.json_values import loads
from mc.flows.formats.flow_rows import FlowChanges
from mc.flows.state.task_node import Task, flows_named_in
from mc.store.rows.flow_and_task_rows import check_key, encode_task
from mc.store.rows.task_parts import PARTS_IN_TEXT, SetApart, parts_of
from mc.store.schema import tables
from mc.store.sql.statements import Batch, BulkUpdate, Count, Prepared, Row
from mc.store.stored_state import StoredState, TaskColumns

__all__ = ["INNER_GRAPHS", "OUTER_GRAPHS", "GraphDraft", "GraphWriter"]

_NAMED: Final = '"sub_flow":'  # what stands in the text of a task that names a flow inside of it


@dataclass(slots=True, kw_only=True)
class GraphDraft:
    """What a save has to write of the tasks and edges of a flow, made before the transaction begins."""

    key: str  # of the flow's rows
    name: str  # the flow's key
    state: StoredState  # as the database stands now
    changes: FlowChanges
    new_tasks: list[Row] = field(default_factory=list)
    changed_tasks: list[Row] = field(default_factory=list)
    moved_tasks: list[Row] = field(default_factory=list)  # whose dict is as it was
    placed_tasks: list[Row] = field(default_factory=list)  # that have another place in the order
    removed_tasks: list[Row] = field(default_factory=list)
    new_parts: list[Row] = field(default_factory=list)  # of tasks
    gone_parts: list[Row] = field(default_factory=list)
    new_edges: list[Row] = field(default_factory=list)
    stored: dict[str, TaskColumns] = field(default_factory=dict)  # rows as the save leaves them
    gone_inside: list[str] = field(default_factory=list)  # keys of flows that tasks do not name any more

    def compare(self) -> None:
        """Work out what is to be written.

        Raises:
            NotJsonError: JSON cannot hold a task.
            FlowFormatError: a key is none that every database can keep.
        """
        self._compare_tasks()
        changes, state = self.changes, self.state
        if changes.edges and state.num_edges is None and state.source is not None:
            state.num_edges = state.source.count_edges()
        first = 0 if changes.has_other_edges else state.num_edges or 0
        self.new_edges = [
            (self.key, source, dest, position) for position, (source, dest) in enumerate(changes.edges, first)
        ]

    def _compare_tasks(self) -> None:
        flow_key, known = self.key, self.state.tasks
        for row in self.changes.task_rows:
            key = row.key
            before = known.get(key)
            had = parts_of(before.body) if before is not None and PARTS_IN_TEXT in before.body else set()
            is_new = self.state.revision == 0
            stored, parts = encode_task(self.name, row, had, is_new=is_new)
            if row.from_tick is not None and (before != stored or row.status == "RUNNING"):
                task = {**row.task, "from_tick": row.from_tick}
                stored, parts = encode_task(self.name, replace(row, task=task), had, is_new=is_new)
            if before == stored:
                continue
            self.stored[key] = stored
            if had or parts is not None:
                self._compare_parts(key, had, parts)
            if before is not None and before.body != stored.body and _NAMED in before.body:
                self._note_gone(before, row.task)
            if before is None:
                check_key(key, f"task key of flow {self.name!r}")
                self.new_tasks.append((flow_key, key, *stored))
                continue
            _, rank, status, unmet, due_at, body = stored
            if before.position != stored.position:
                self.placed_tasks.append((*stored, flow_key, key, before.status))
            elif before.body == body:
                self.moved_tasks.append((rank, status, unmet, due_at, flow_key, key, before.status))
            else:
                self.changed_tasks.append((rank, status, unmet, due_at, body, flow_key, key, before.status))
        if self.changes.is_rebuilt:
            left = known.keys() - {row.key for row in self.changes.task_rows}
            self.removed_tasks = [(flow_key, key, known[key].status) for key in sorted(left)]
            for key in left:
                self._note_gone(known[key], {})
                if PARTS_IN_TEXT in known[key].body:
                    self._compare_parts(key, parts_of(known[key].body), None)

    def _compare_parts(self, key: str, had: set[str], parts: SetApart | None) -> None:
        has = parts.digests if parts is not None else set()
        texts = parts.texts if parts is not None else {}
        self.new_parts += [(self.key, key, digest, texts[digest]) for digest in sorted(has - had)]
        self.gone_parts += [(self.key, key, digest) for digest in sorted(had - has)]

    def _note_gone(self, before: TaskColumns, task: Task) -> None:
        named = set(flows_named_in(task))
        self.gone_inside += [key for key in flows_named_in(loads(before.body)) if key not in named]

    def mark_graph_saved(self) -> None:
        """Take over into `state` what has been committed."""
        state = self.state
        state.revision += 1
        if self.changes.has_other_edges:
            state.num_edges = len(self.new_edges)
        elif self.new_edges:
            state.num_edges = (state.num_edges or 0) + len(self.new_edges)
        for _, key, _ in self.removed_tasks:
            del state.tasks[key]
        state.tasks.update(self.stored)


class GraphWriter:
    """Writes tasks and edges of flows.

    Args:
        task: the table of the tasks.
        edge: the table of the edges.
        part: the table of the parts of tasks.
    """

    def __init__(self, task: Table, edge: Table, part: Table) -> None:
        moved = ("rank", "status", "unmet", "due_at")
        names = ("flow_key", "key", "position", "rank", "status", "unmet", "due_at", "body")
        self._insert_task: Final = Prepared(insert(task), names)
        self._insert_edge: Final = Prepared(insert(edge), ("flow_key", "src_key", "dest_key", "position"))
        self._insert_part: Final = Prepared(insert(part), ("flow_key", "task_key", "digest", "text"))
        self._delete_part: Final = Prepared(
            delete(part).where(
                part.c.flow_key == bindparam("flow"),
                part.c.task_key == bindparam("task"),
                part.c.digest == bindparam("part"),
            ),
            ("flow", "task", "part"),
        )
        self._move: Final = BulkUpdate(task, moved, guard="status")
        self._change: Final = BulkUpdate(task, (*moved, "body"), guard="status")
        self._place: Final = BulkUpdate(task, ("position", *moved, "body"), guard="status")
        self._remove: Final = Prepared(
            delete(task).where(
                task.c.flow_key == bindparam("flow"),
                task.c.key == bindparam("task"),
                task.c.status == bindparam("known_status"),
            ),
            ("flow", "task", "known_status"),
        )
        self._delete_edges: Final = Prepared(
            delete(edge).where(edge.c.flow_key == bindparam("flow")), ("flow",)
        )

    def insert(self, batch: Batch, drafts: Sequence[GraphDraft]) -> None:
        """Let a batch add the tasks, their parts and the edges that are new."""
        self._insert_task.put(batch, [row for draft in drafts for row in draft.new_tasks])
        self._insert_part.put(batch, [row for draft in drafts for row in draft.new_parts])
        self._insert_edge.put(batch, [row for draft in drafts for row in draft.new_edges])

    def update(self, batch: Batch, drafts: Sequence[GraphDraft], found: Count) -> int:
        """Let a batch write all that changed, each task if it has the status that was known of it.

        Args:
            batch: of the save.
            drafts: what is to be written.
            found: to which the tasks are added that were changed.

        Returns:
            How many tasks are to be changed.
        """
        changed = [row for draft in drafts for row in draft.changed_tasks]
        moved = [row for draft in drafts for row in draft.moved_tasks]
        placed = [row for draft in drafts for row in draft.placed_tasks]
        removed = [row for draft in drafts for row in draft.removed_tasks]
        others = [(draft.key,) for draft in drafts if draft.changes.has_other_edges]
        gone_parts = [row for draft in drafts for row in draft.gone_parts]
        if changed:
            self._change.put(batch, changed, found)
        if moved:
            self._move.put(batch, moved, found)
        if placed or removed or others or gone_parts:  # of few saves
            self._place.put(batch, placed, found)
            self._remove.put(batch, removed, found)
            self._delete_edges.put(batch, others)
            self._delete_part.put(batch, gone_parts)
        self.insert(batch, drafts)
        return len(changed) + len(moved) + len(placed) + len(removed)


OUTER_GRAPHS: Final = GraphWriter(tables.task, tables.edge, tables.task_part)
INNER_GRAPHS: Final = GraphWriter(tables.inner_task, tables.inner_edge, tables.inner_task_part)
